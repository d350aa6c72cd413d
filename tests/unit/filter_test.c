#include "cli/filter.h"

#include "cli/front_rules.h"
#include "cli/init_rules.h"
#include "cli/worker_rules.h"

#include <errno.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <seccomp.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define COUNT(array) (sizeof(array) / sizeof *(array))

static struct plan plan_of_test = { .level = LEVEL_FULL, .group = { [GROUP_MEMORY] = "/" } };

/* Makes the call in a child under the worker's filter. Returns its errno, 0 if it worked, or 1000 + the signal that it died of. */
static int call_try(enum filter_for which, long number, long a, long b, long c)
{
    struct sock_filter *program;
    size_t length;
    struct fault why;
    assert_int_equal(filter_compile(which, &plan_of_test, &program, &length, &why), 0);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        struct sock_fprog load = { .len = (unsigned short)length, .filter = program };
        if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &load) < 0)
            _exit(250);
        errno = 0;
        long r = syscall(number, a, b, c, 0, 0, 0);
        syscall(SYS_exit_group, r < 0 ? errno : 0); /* a sanitizer's _exit() makes calls of its own */
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    free(program);
    return WIFSIGNALED(status) ? 1000 + WTERMSIG(status) : WEXITSTATUS(status);
}

static int worker_try(long number, long a, long b, long c)
{
    return call_try(FILTER_WORKER, number, a, b, c);
}

static void what_python_needs_is_allowed(void **state)
{
    (void)state;
    assert_int_equal(worker_try(SYS_getpid, 0, 0, 0), 0);
    assert_int_equal(worker_try(SYS_socket, AF_UNIX, SOCK_STREAM, 0), 0);
    assert_int_equal(worker_try(SYS_prctl, PR_SET_NAME, (long)"name", 0), 0);
    assert_int_equal(worker_try(SYS_memfd_create, (long)"name", 0, 0), 0);
    assert_int_equal(worker_try(SYS_ioctl, -1, FIONREAD, 0), EBADF); /* the kernel's own answer */
    assert_int_equal(worker_try(SYS_prlimit64, 0, RLIMIT_NOFILE, 0), 0);
    int ends[2];
    char byte[] = "x";
    assert_int_equal(pipe(ends), 0);
    assert_int_equal(worker_try(SYS_write, ends[1], (long)byte, 1), 0);
    assert_int_equal(worker_try(SYS_read, ends[0], (long)byte, 1), 0);
    assert_int_equal(worker_try(SYS_socketpair, AF_UNIX, SOCK_STREAM, 0), EFAULT); /* the kernel's: it has no room for the pair */
    assert_int_equal(worker_try(SYS_mknodat, -1, (long)"x", S_IFIFO | 0600), EBADF);
    assert_int_equal(worker_try(SYS_personality, 0xffffffff, 0, 0), 0);
    assert_int_equal(worker_try(SYS_setsockopt, -1, SOL_SOCKET, SO_SNDBUF), EBADF);
    close(ends[0]);
    close(ends[1]);
}

/* libseccomp leaves out what it doesn't know, so a slip of the pen would pass unseen. */
static void no_name_in_the_lists_is_misspelt(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(WORKER_RULES); i++)
        if (WORKER_RULES[i].number == 0 && seccomp_syscall_resolve_name(WORKER_RULES[i].name) == __NR_SCMP_ERROR)
            fail_msg("%s", WORKER_RULES[i].name);
    for (size_t i = 0; i < COUNT(WORKER_VALUES); i++)
        assert_true(seccomp_syscall_resolve_name(WORKER_VALUES[i].name) >= 0);
    for (size_t i = 0; i < COUNT(INIT_ALLOWED); i++)
        assert_int_not_equal(seccomp_syscall_resolve_name(INIT_ALLOWED[i]), __NR_SCMP_ERROR);
    for (size_t i = 0; i < COUNT(FRONT_CALLS); i++)
        assert_int_not_equal(seccomp_syscall_resolve_name(FRONT_CALLS[i]), __NR_SCMP_ERROR);
}

static void the_host_s_disks_are_not_written_out_for_a_script(void **state)
{
    (void)state;
    assert_int_equal(worker_try(SYS_sync, 0, 0, 0), 0);
    assert_int_equal(worker_try(SYS_syncfs, -1, 0, 0), 0); /* not the kernel's answer, EBADF */
}

static void sockets_beyond_the_cell_read_permission_denied(void **state)
{
    (void)state;
    for (int family = 0; family < 50; family++)
        if (family != AF_UNIX) {
            assert_int_equal(worker_try(SYS_socket, family, SOCK_STREAM, 0), EACCES);
            assert_int_equal(worker_try(SYS_socketpair, family, SOCK_STREAM, 0), EACCES);
        }
    assert_int_equal(worker_try(SYS_socket, (long)0x100000000 + AF_UNIX, SOCK_STREAM, 0), EACCES);
}

static void namespaces_are_not_to_be_had(void **state)
{
    (void)state;
    static const long FLAGS[] = { CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNS,     CLONE_NEWNET,
                                  CLONE_NEWIPC,  CLONE_NEWUTS, CLONE_NEWCGROUP, CLONE_NEWUSER | CLONE_NEWNS };
    for (size_t i = 0; i < sizeof FLAGS / sizeof *FLAGS; i++) {
        assert_int_equal(worker_try(SYS_clone, FLAGS[i] | SIGCHLD, 0, 0), EPERM);
        assert_int_equal(worker_try(SYS_clone, (long)0x100000000 | FLAGS[i] | SIGCHLD, 0, 0), EPERM);
        assert_int_equal(worker_try(SYS_unshare, FLAGS[i], 0, 0), EPERM);
    }
    assert_int_equal(worker_try(SYS_setns, 0, 0, 0), EPERM);
    assert_int_equal(worker_try(SYS_clone, CLONE_PARENT | SIGCHLD, 0, 0), EPERM); /* a child of the keeper's side */
    /* ENOSYS and not EPERM: glibc falls back to clone only then. */
    assert_int_equal(worker_try(SYS_clone3, 0, 0, 0), ENOSYS);
}

static void ways_into_other_processes_and_the_kernel_are_refused(void **state)
{
    (void)state;
    static const long CALLS[] = { SYS_ptrace,
                                  SYS_process_vm_readv,
                                  SYS_process_vm_writev,
                                  SYS_pidfd_getfd,
                                  SYS_bpf,
                                  SYS_perf_event_open,
                                  SYS_userfaultfd,
                                  SYS_io_uring_setup,
                                  SYS_keyctl,
                                  SYS_add_key,
                                  SYS_request_key,
                                  SYS_mount,
                                  SYS_umount2,
                                  SYS_pivot_root,
                                  SYS_chroot,
                                  SYS_init_module,
                                  SYS_kexec_load,
                                  SYS_seccomp,
                                  SYS_open_by_handle_at,
                                  SYS_swapon,
                                  SYS_reboot,
                                  SYS_syslog };
    for (size_t i = 0; i < sizeof CALLS / sizeof *CALLS; i++)
        assert_int_equal(worker_try(CALLS[i], 0, 0, 0), EPERM);
    assert_int_equal(worker_try(SYS_prctl, PR_SET_SECCOMP, 1, 0), EPERM);
    assert_int_equal(worker_try(SYS_prctl, (long)0x100000000 + PR_SET_SECCOMP, 1, 0), EPERM);
    assert_int_equal(worker_try(SYS_prlimit64, 1, RLIMIT_NOFILE, 0), EPERM);
    assert_int_equal(worker_try(SYS_personality, 0x0040000, 0, 0), ENOSYS); /* ADDR_NO_RANDOMIZE */
    assert_int_equal(worker_try(SYS_mknodat, -1, (long)"x", S_IFCHR | 0600), EPERM);
}

static void terminal_ioctls_that_inject_are_refused_however_they_are_spelled(void **state)
{
    (void)state;
    static const unsigned long REFUSED[] = { TIOCSTI, TIOCLINUX, TIOCSETD, TIOCCONS };
    for (size_t i = 0; i < sizeof REFUSED / sizeof *REFUSED; i++) {
        assert_int_equal(worker_try(SYS_ioctl, -1, (long)REFUSED[i], 0), EPERM);
        assert_int_equal(worker_try(SYS_ioctl, -1, (long)(REFUSED[i] | UINT64_C(0x100000000)), 0), EPERM); /* CVE-2019-10063 */
    }
}

static void socket_options_that_bring_programs_are_refused_however_they_are_spelled(void **state)
{
    (void)state;
    static const long REFUSED[] = { SO_ATTACH_FILTER, SO_ATTACH_BPF, SO_ATTACH_REUSEPORT_CBPF, SO_ATTACH_REUSEPORT_EBPF };
    for (size_t i = 0; i < sizeof REFUSED / sizeof *REFUSED; i++) {
        assert_int_equal(worker_try(SYS_setsockopt, -1, SOL_SOCKET, REFUSED[i]), EPERM);
        assert_int_equal(worker_try(SYS_setsockopt, -1, SOL_SOCKET, (long)0x100000000 + REFUSED[i]), EPERM);
    }
}

#ifdef __x86_64__
static void calls_of_other_architectures_end_the_process(void **state)
{
    (void)state;
    assert_int_equal(worker_try(0x40000000 | SYS_getpid, 0, 0, 0), 1000 + SIGSYS); /* x32 */
    struct sock_filter *program;
    size_t length;
    struct fault why;
    assert_int_equal(filter_compile(FILTER_WORKER, &plan_of_test, &program, &length, &why), 0);
    pid_t pid = fork();
    if (pid == 0) {
        struct sock_fprog load = { .len = (unsigned short)length, .filter = program };
        if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &load) < 0)
            _exit(250);
        signal(SIGSEGV, SIG_DFL); /* cmocka's handler would go on with the tests in this child */
        long r;
        __asm__ volatile("int $0x80" : "=a"(r) : "a"(20) : "memory"); /* i386's getpid */
        _exit(0);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    free(program);
    /* A kernel without 32-bit emulation has no such entry: SIGSEGV. */
    assert_true(WIFSIGNALED(status) && (WTERMSIG(status) == SIGSYS || WTERMSIG(status) == SIGSEGV));
}
#endif

static void init_and_front_die_of_what_they_have_no_use_for(void **state)
{
    (void)state;
    assert_int_equal(call_try(FILTER_INIT, SYS_write, -1, 0, 0), EBADF);
    assert_int_equal(call_try(FILTER_INIT, SYS_wait4, -1, 0, 0), ECHILD);
    assert_int_equal(call_try(FILTER_FRONT, SYS_write, -1, 0, 0), EBADF);
    static const long CALLS[] = { SYS_execve, SYS_openat, SYS_socket, SYS_clone, SYS_ptrace, SYS_kill, SYS_setresuid, SYS_mount };
    for (size_t i = 0; i < sizeof CALLS / sizeof *CALLS; i++) {
        assert_int_equal(call_try(FILTER_INIT, CALLS[i], 0, 0, 0), 1000 + SIGSYS);
        assert_int_equal(call_try(FILTER_FRONT, CALLS[i], 0, 0, 0), 1000 + SIGSYS);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_python_needs_is_allowed),
        cmocka_unit_test(no_name_in_the_lists_is_misspelt),
        cmocka_unit_test(the_host_s_disks_are_not_written_out_for_a_script),
        cmocka_unit_test(sockets_beyond_the_cell_read_permission_denied),
        cmocka_unit_test(namespaces_are_not_to_be_had),
        cmocka_unit_test(ways_into_other_processes_and_the_kernel_are_refused),
        cmocka_unit_test(terminal_ioctls_that_inject_are_refused_however_they_are_spelled),
        cmocka_unit_test(socket_options_that_bring_programs_are_refused_however_they_are_spelled),
#ifdef __x86_64__
        cmocka_unit_test(calls_of_other_architectures_end_the_process),
#endif
        cmocka_unit_test(init_and_front_die_of_what_they_have_no_use_for),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
