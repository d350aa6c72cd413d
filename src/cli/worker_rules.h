/* What a worker may ask of the kernel: what CPython, numpy, pandas, threads, child processes, asyncio, sqlite3 and multiprocessing use.
 *
 * The default is ENOSYS, so that libc takes its fallback. A call that exists, and that a script must not have, answers EPERM: a user reads
 * "not permitted", which is the truth. Nothing kills: a program that tries whether a call is there must not die of the question. Only calls
 * of another architecture end the process. */
#ifndef VIVARY_CLI_WORKER_RULES_H
#define VIVARY_CLI_WORKER_RULES_H

#include "cell/numbers.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <sched.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>

enum rule_test {
    TEST_NONE,
    TEST_EQUAL,   /* all 64 bits. For an allowed value only: what is refused must not get through with a high bit set */
    TEST_DIFFERS, /* the complement */
    TEST_MASKED,  /* (argument & mask) == value */
    TEST_NO_BIT,  /* no bit of the mask is set; if one is, the answer is EPERM */
};

enum { ANSWER_ALLOW = -1, ANSWER_DONE = -2 };

struct syscall_rule {
    const char *name;
    int number; /* of calls younger than libseccomp 2.5.4; such have one number everywhere. 0: there is the name alone */
    int answer; /* an errno, or ANSWER_ALLOW */
    enum rule_test test;
    unsigned argument;
    uint64_t mask, value;
};

/* It would give each brace a line, and each call of the list. */
/* clang-format off */
#define ALLOW(call) { .name = #call, .answer = ANSWER_ALLOW }
#define ALLOW_YOUNG(call, its_number) { .name = #call, .number = (its_number), .answer = ANSWER_ALLOW }
#define ALLOW_EQUAL(call, index, datum) { .name = #call, .answer = ANSWER_ALLOW, .test = TEST_EQUAL, .argument = (index), .value = (datum) }
#define ALLOW_MASKED(call, index, bits, datum) \
    { .name = #call, .answer = ANSWER_ALLOW, .test = TEST_MASKED, .argument = (index), .mask = (bits), .value = (datum) }
#define ALLOW_UNLESS_BITS(call, index, bits) \
    { .name = #call, .answer = ANSWER_ALLOW, .test = TEST_NO_BIT, .argument = (index), .mask = (bits) }
#define ANSWER(call, error) { .name = #call, .answer = (error) }
#define ANSWER_DIFFERS(call, error, index, datum) \
    { .name = #call, .answer = (error), .test = TEST_DIFFERS, .argument = (index), .value = (datum) }
#define ANSWER_MASKED(call, error, index, bits, datum) \
    { .name = #call, .answer = (error), .test = TEST_MASKED, .argument = (index), .mask = (bits), .value = (datum) }

/* The kernel takes an int, and ignores what a caller puts above it: a filter must too (CVE-2019-10063). */
#define LOW_32 UINT64_C(0xffffffff)
#define ALLOW_OPTION(option) ALLOW_MASKED(prctl, 0, LOW_32, option)

#define NAMESPACE_FLAGS \
    (CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS | (uint64_t)CLONE_NEWCGROUP)

static const struct syscall_rule WORKER_RULES[] = {
    /* Memory. mincore and cachestat are left out: they tell what others have read of shared files (CVE-2019-5489). */
    ALLOW(brk), ALLOW(mmap), ALLOW(munmap), ALLOW(mprotect), ALLOW(mremap), ALLOW(madvise), ALLOW(mlock), ALLOW(mlock2),
    ALLOW(munlock), ALLOW(membarrier), ALLOW(process_madvise) /* less nearly all, see below */, ALLOW(pkey_alloc), ALLOW(pkey_free), ALLOW(pkey_mprotect), ALLOW_YOUNG(mseal, 462),

    /* Open files. */
    ALLOW(read), ALLOW(write), ALLOW(readv), ALLOW(writev), ALLOW(pread64), ALLOW(pwrite64), ALLOW(preadv), ALLOW(pwritev), ALLOW(preadv2),
    ALLOW(pwritev2), ALLOW(close), ALLOW(close_range), ALLOW(lseek), ALLOW(dup), ALLOW(dup2), ALLOW(dup3), ALLOW(fcntl), ALLOW(flock),
    ALLOW(ftruncate), ALLOW(fallocate), ALLOW(readahead),
    ALLOW(copy_file_range), ALLOW(sendfile), ALLOW(splice), ALLOW(tee), ALLOW(pipe), ALLOW(pipe2), ALLOW(memfd_create), ALLOW(getdents),
    ALLOW(getdents64),
    /* They would write out the whole host's disks, for nothing: a cell's files are in memory. sync(2) can't fail, so it says it is done. */
    ANSWER(sync, 0), ANSWER(syncfs, 0),
    /* Less a few, see WORKER_VALUES below. */
    ALLOW(ioctl),

    /* Names of files: permissions, mounts and Landlock say which. */
    ALLOW(open), ALLOW(openat), ALLOW(openat2), ALLOW(creat), ALLOW(truncate), ALLOW(stat), ALLOW(fstat), ALLOW(lstat), ALLOW(newfstatat),
    ALLOW(statx), ALLOW(statfs), ALLOW(fstatfs), ALLOW(access), ALLOW(faccessat), ALLOW(faccessat2), ALLOW(getcwd), ALLOW(chdir),
    ALLOW(fchdir), ALLOW(mkdir), ALLOW(mkdirat), ALLOW(rmdir), ALLOW(rename), ALLOW(renameat), ALLOW(renameat2), ALLOW(link), ALLOW(linkat),
    ALLOW(unlink), ALLOW(unlinkat), ALLOW(symlink), ALLOW(symlinkat), ALLOW(readlink), ALLOW(readlinkat), ALLOW(chmod), ALLOW(fchmod),
    ALLOW(fchmodat), ALLOW_YOUNG(fchmodat2, 452), ALLOW(chown), ALLOW(fchown), ALLOW(lchown), ALLOW(fchownat), ALLOW(umask), ALLOW(utime),
    ALLOW(utimes), ALLOW(utimensat), ALLOW(futimesat), ALLOW(getxattr), ALLOW(lgetxattr), ALLOW(fgetxattr), ALLOW(listxattr),
    ALLOW(llistxattr), ALLOW(flistxattr), ALLOW(setxattr), ALLOW(lsetxattr), ALLOW(fsetxattr), ALLOW(removexattr), ALLOW(lremovexattr),
    ALLOW(fremovexattr), /* Plain files, FIFOs and sockets; devices not. The kernel reads 0 as a plain file. */
    ALLOW_MASKED(mknod, 1, S_IFMT, 0), ALLOW_MASKED(mknodat, 2, S_IFMT, 0), ALLOW_MASKED(mknod, 1, S_IFMT, S_IFREG),
    ALLOW_MASKED(mknodat, 2, S_IFMT, S_IFREG), ALLOW_MASKED(mknod, 1, S_IFMT, S_IFIFO), ALLOW_MASKED(mknodat, 2, S_IFMT, S_IFIFO),
    ALLOW_MASKED(mknod, 1, S_IFMT, S_IFSOCK), ALLOW_MASKED(mknodat, 2, S_IFMT, S_IFSOCK), ANSWER_MASKED(mknod, EPERM, 1, S_IFMT, S_IFCHR),
    ANSWER_MASKED(mknodat, EPERM, 2, S_IFMT, S_IFCHR), ANSWER_MASKED(mknod, EPERM, 1, S_IFMT, S_IFBLK),
    ANSWER_MASKED(mknodat, EPERM, 2, S_IFMT, S_IFBLK),

    /* Waiting. */
    ALLOW(select), ALLOW(pselect6), ALLOW(poll), ALLOW(ppoll), ALLOW(epoll_create), ALLOW(epoll_create1), ALLOW(epoll_ctl),
    ALLOW(epoll_wait), ALLOW(epoll_pwait), ALLOW(epoll_pwait2), ALLOW(eventfd), ALLOW(eventfd2), ALLOW(signalfd), ALLOW(signalfd4),
    ALLOW(timerfd_create), ALLOW(timerfd_settime), ALLOW(timerfd_gettime),

    /* Processes and threads: the cell's pid namespace says which, its cgroup how many. clone3 stays unlisted: its flags lie in memory that
     * a filter can't read. ENOSYS makes glibc use clone; EPERM would not. */
    ALLOW(fork), ALLOW(vfork), ALLOW(execve), ALLOW(execveat), ALLOW(exit), ALLOW(exit_group), ALLOW(wait4), ALLOW(waitid),
    /* A fresh user namespace gives back all capabilities, and the kernel code that wants them. CLONE_PARENT would make children of the
     * process that started the worker, which is none of the cell's. */
    ALLOW_UNLESS_BITS(clone, 0, NAMESPACE_FLAGS | CLONE_PARENT), ALLOW(futex), ALLOW(futex_waitv), ALLOW(set_tid_address),
    ALLOW(set_robust_list), ALLOW(get_robust_list), ALLOW(rseq), ALLOW(arch_prctl), ALLOW(gettid), ALLOW(getpid), ALLOW(getppid),
    ALLOW(getpgid), ALLOW(getpgrp), ALLOW(setpgid), ALLOW(getsid), ALLOW(setsid), ALLOW(sched_yield), ALLOW(sched_getaffinity),
    ALLOW(sched_setaffinity), ALLOW(sched_getparam), ALLOW(sched_setparam), ALLOW(sched_getscheduler), ALLOW(sched_setscheduler),
    ALLOW(sched_get_priority_max), ALLOW(sched_get_priority_min), ALLOW(sched_rr_get_interval), ALLOW(sched_getattr), ALLOW(getpriority),
    ALLOW(setpriority), ALLOW(getrlimit), ALLOW(setrlimit), ALLOW(getrusage), ALLOW(times), ALLOW(getcpu),
    /* One's own limits; those of another process would be a way to act on it. */
    ALLOW_EQUAL(prlimit64, 0, 0), ANSWER_DIFFERS(prlimit64, EPERM, 0, 0),
    /* To ask, and to set what is set already: other personalities weaken address layout, or emulate old bugs. */
    ALLOW_MASKED(personality, 0, LOW_32, LOW_32), ALLOW_MASKED(personality, 0, LOW_32, 0), ALLOW_OPTION(PR_SET_NAME),
    ALLOW_OPTION(PR_GET_NAME), ALLOW_OPTION(PR_SET_PDEATHSIG), ALLOW_OPTION(PR_GET_PDEATHSIG), ALLOW_OPTION(PR_SET_DUMPABLE),
    ALLOW_OPTION(PR_GET_DUMPABLE), ALLOW_OPTION(PR_SET_CHILD_SUBREAPER), ALLOW_OPTION(PR_GET_CHILD_SUBREAPER),
    ALLOW_OPTION(PR_SET_NO_NEW_PRIVS), ALLOW_OPTION(PR_GET_NO_NEW_PRIVS), ALLOW_OPTION(PR_GET_SECCOMP), ALLOW_OPTION(PR_SET_TIMERSLACK),
    ALLOW_OPTION(PR_GET_TIMERSLACK), ALLOW_OPTION(PR_CAPBSET_READ), ALLOW_OPTION(PR_SET_THP_DISABLE), ALLOW_OPTION(PR_GET_THP_DISABLE),
    ALLOW_OPTION(PR_GET_KEEPCAPS), ALLOW_OPTION(PR_GET_SECUREBITS), ALLOW_OPTION(PR_GET_TID_ADDRESS),
    ALLOW_OPTION(0x53564d41 /* PR_SET_VMA: names a mapping; new in Linux 5.17 */),
    /* More filters would make each call slower, and could change what libc believes of a call. */
    ANSWER_MASKED(prctl, EPERM, 0, LOW_32, PR_SET_SECCOMP), ANSWER(seccomp, EPERM),

    /* Signals. */
    ALLOW(kill), ALLOW(tkill), ALLOW(tgkill), ALLOW(pidfd_open), ALLOW(pidfd_send_signal), ALLOW(rt_sigaction), ALLOW(rt_sigprocmask),
    ALLOW(rt_sigreturn), ALLOW(rt_sigpending), ALLOW(rt_sigtimedwait), ALLOW(rt_sigsuspend), ALLOW(rt_sigqueueinfo),
    ALLOW(rt_tgsigqueueinfo), ALLOW(sigaltstack), ALLOW(pause), ALLOW(restart_syscall),

    /* Identity: with no capability and one uid mapped, a change to another fails in the kernel. */
    ALLOW(getuid), ALLOW(geteuid), ALLOW(getgid), ALLOW(getegid), ALLOW(getresuid), ALLOW(getresgid), ALLOW(getgroups), ALLOW(setuid),
    ALLOW(setgid), ALLOW(setreuid), ALLOW(setregid), ALLOW(setresuid), ALLOW(setresgid), ALLOW(setfsuid), ALLOW(setfsgid), ALLOW(setgroups),
    ALLOW(capget), ANSWER(capset, EPERM),

    /* Time. */
    ALLOW(clock_gettime), ALLOW(clock_getres), ALLOW(clock_nanosleep), ALLOW(nanosleep), ALLOW(gettimeofday), ALLOW(time), ALLOW(alarm),
    ALLOW(setitimer), ALLOW(getitimer), ALLOW(timer_create), ALLOW(timer_settime), ALLOW(timer_gettime), ALLOW(timer_getoverrun),
    ALLOW(timer_delete), ANSWER(settimeofday, EPERM), ANSWER(clock_settime, EPERM), ANSWER(adjtimex, EPERM), ANSWER(clock_adjtime, EPERM),

    /* Facts. */
    ALLOW(getrandom), ALLOW(uname), ALLOW(sysinfo),

    /* Sockets: Unix ones, within the cell. Of the others a user reads "permission denied"; "not implemented" would not be true. */
    ALLOW_EQUAL(socket, 0, AF_UNIX), ANSWER_DIFFERS(socket, EACCES, 0, AF_UNIX), ALLOW_EQUAL(socketpair, 0, AF_UNIX),
    ANSWER_DIFFERS(socketpair, EACCES, 0, AF_UNIX), ALLOW(bind), ALLOW(listen), ALLOW(accept), ALLOW(accept4), ALLOW(connect),
    ALLOW(getsockname), ALLOW(getpeername), ALLOW(getsockopt), ALLOW(setsockopt) /* less a few, see below */, ALLOW(sendto),
    ALLOW(recvfrom), ALLOW(sendmsg), ALLOW(recvmsg), ALLOW(sendmmsg), ALLOW(recvmmsg), ALLOW(shutdown),

    /* System V and POSIX objects are not allowed: they would outlive a run if its IPC namespace ever failed, and nothing in Python's
     * library makes them (multiprocessing uses files in /dev/shm). */

    /* Answered as done: what a cell may write to is in memory, and on files that it only reads these would flush or drop the host's cache. */
    ANSWER(fsync, 0), ANSWER(fdatasync, 0), ANSWER(sync_file_range, 0), ANSWER(msync, 0), ANSWER(fadvise64, 0),

    /* Refused: mounts, roots and namespaces, which want capabilities that a cell hasn't; should it ever have one, this holds. */
    ANSWER(mount, EPERM), ANSWER(umount2, EPERM), ANSWER(pivot_root, EPERM), ANSWER(chroot, EPERM), ANSWER(fsopen, EPERM),
    ANSWER(fsconfig, EPERM), ANSWER(fsmount, EPERM), ANSWER(fspick, EPERM), ANSWER(open_tree, EPERM), ANSWER(move_mount, EPERM),
    ANSWER(mount_setattr, EPERM), ANSWER(unshare, EPERM), ANSWER(setns, EPERM),
    /* Landlock: the worker has its rules; a script that adds to them could only ask kernel code questions. */
    ANSWER(landlock_create_ruleset, EPERM), ANSWER(landlock_add_rule, EPERM), ANSWER(landlock_restrict_self, EPERM),
    /* Refused: the host's own. */
    ANSWER(swapon, EPERM), ANSWER(swapoff, EPERM), ANSWER(reboot, EPERM), ANSWER(sethostname, EPERM), ANSWER(setdomainname, EPERM),
    ANSWER(acct, EPERM), ANSWER(quotactl, EPERM), ANSWER(quotactl_fd, EPERM), ANSWER(init_module, EPERM), ANSWER(finit_module, EPERM),
    ANSWER(delete_module, EPERM), ANSWER(kexec_load, EPERM), ANSWER(kexec_file_load, EPERM), ANSWER(iopl, EPERM), ANSWER(ioperm, EPERM),
    ANSWER(syslog, EPERM), ANSWER(vhangup, EPERM), ANSWER(fanotify_init, EPERM), ANSWER(fanotify_mark, EPERM),
    /* Refused: ways into other processes, were the uid ever shared with one. */
    ANSWER(ptrace, EPERM), ANSWER(process_vm_readv, EPERM), ANSWER(process_vm_writev, EPERM),
    ANSWER(process_mrelease, EPERM), ANSWER(pidfd_getfd, EPERM), ANSWER(kcmp, EPERM), ANSWER(move_pages, EPERM),
    ANSWER(migrate_pages, EPERM),
    /* Refused: files by number, past all names and mounts (the "shocker" hole of Docker, 2014). */
    ANSWER(open_by_handle_at, EPERM), ANSWER(name_to_handle_at, EPERM),
    /* Refused: kernel code that was broken into time and again, or that helps those who break in, and that Python does without. */
    ANSWER(bpf, EPERM), ANSWER(perf_event_open, EPERM), ANSWER(userfaultfd, EPERM), ANSWER(io_uring_setup, EPERM),
    ANSWER(io_uring_enter, EPERM), ANSWER(io_uring_register, EPERM), ANSWER(keyctl, EPERM), ANSWER(add_key, EPERM),
    ANSWER(request_key, EPERM), ANSWER(vmsplice, EPERM), ANSWER(mbind, EPERM), ANSWER(set_mempolicy, EPERM), ANSWER(modify_ldt, EPERM),
};
/* clang-format on */

enum values_test { VALUES_ANY_OF, VALUES_NONE_OF, VALUES_FROM /* the first, upwards */ };

/* Values of an argument that are refused, of calls that are else allowed. They are compared by the bits of the mask. A list that is shorter
 * repeats its last. */
struct values_refused {
    const char *name;
    unsigned argument;
    uint32_t mask;
    uint32_t values[4];
    enum values_test test;
    int answer; /* an errno, which 0 stands for EPERM in; ANSWER_DONE says success, and does nothing */
};

#define ALL_BITS 0xffffffffU
#define ONE(value)                                                                                                                         \
    {                                                                                                                                      \
        (value), (value), (value), (value)                                                                                                 \
    }

/* clang-format off */
static const struct values_refused WORKER_VALUES[] = {
    { "ioctl", 1, ALL_BITS, {
        TIOCSTI,    /* types into the terminal's input: CVE-2016-2781, CVE-2017-5226 */
        TIOCLINUX,  /* pastes into a console: CVE-2023-28100 */
        TIOCSETD,   /* line disciplines are modules with a long list of holes: CVE-2017-2636 */
        TIOCCONS } }, /* takes the console's output */
    /* Interfaces, bridges, VLANs: answered on any socket, and some load a driver for the question (net/socket.c). */
    { "ioctl", 1, 0xff00, ONE(0x8900) },
    { "ioctl", 1, ALL_BITS, ONE(0x80811501U) }, /* FS_IOC_GETFSSYSFSPATH: the host's name of a disk */
    /* Programs for the kernel's BPF machine, which the bpf call is refused for; the classic kind would come in by this door. */
    { "setsockopt", 2, ALL_BITS, { SO_ATTACH_FILTER, SO_ATTACH_BPF, SO_ATTACH_REUSEPORT_CBPF, SO_ATTACH_REUSEPORT_EBPF } },
    { "setsockopt", 2, ALL_BITS, ONE(76) }, /* SO_PASSPIDFD, and */
    { "getsockopt", 2, ALL_BITS, ONE(77) }, /* SO_PEERPIDFD: a handle on a process outside of the cell, from the one socket that leads there */
    /* dnotify tells of each access to a folder that other runs, and the host, use as well; a lease makes others' opens wait. */
    { "fcntl", 1, ALL_BITS, { F_NOTIFY, F_SETLEASE, F_SETLEASE, F_SETLEASE } },
    /* Urgent data on Unix sockets: CVE-2025-38236. */
    { "sendto", 3, MSG_OOB, ONE(MSG_OOB) }, { "recvfrom", 3, MSG_OOB, ONE(MSG_OOB) }, { "sendmsg", 2, MSG_OOB, ONE(MSG_OOB) },
    { "recvmsg", 2, MSG_OOB, ONE(MSG_OOB) }, { "sendmmsg", 3, MSG_OOB, ONE(MSG_OOB) }, { "recvmmsg", 3, MSG_OOB, ONE(MSG_OOB) },
    /* Merging equal pages tells what others hold (CVE-2015-2877); the next two take pages of the machine away. */
    { "madvise", 2, ALL_BITS, { 12 /* MERGEABLE */, 100 /* HWPOISON */, 101 /* SOFT_OFFLINE */, 101 } },
    /* On itself alone, by the number that stands for that, and only to make pages ready, many with one call: pages.c. */
    { "process_madvise", 0, ALL_BITS, ONE(0xffffd8efU /* PIDFD_SELF_THREAD_GROUP */), VALUES_NONE_OF, EPERM },
    { "process_madvise", 3, ALL_BITS, ONE(MADV_POPULATE_WRITE), VALUES_NONE_OF, EPERM },
    { "preadv2", 5, 8, ONE(8) }, /* RWF_NOWAIT: whether others have read a file, as mincore tells */
};

/* Where no mount makes /tmp a run's own, two descriptors do (place.h), and no child process may lose them: to close them says that they
 * aren't there, and libc closes one by one, up to RLIMIT_NOFILE, where close_range isn't known. */
#define PLACES { CELL_TMP_FD, CELL_RUNTIME_FD, CELL_RUNTIME_FD, CELL_RUNTIME_FD }
#define SELF { CELL_SELF_PID, CELL_SELF_PID, CELL_SELF_PID, CELL_SELF_PID }
#define SELF_OR_ZERO { CELL_SELF_PID, 0, 0, 0 }
#define ALWAYS(call, error) { call, 0, 0, ONE(0), VALUES_ANY_OF, error }
static const struct values_refused CONTAINED_VALUES[] = {
    { "close", 0, ALL_BITS, PLACES, VALUES_ANY_OF, EBADF }, { "dup2", 1, ALL_BITS, PLACES, VALUES_ANY_OF, EBADF },
    { "dup3", 1, ALL_BITS, PLACES, VALUES_ANY_OF, EBADF }, { "fcntl", 0, ALL_BITS, PLACES, VALUES_ANY_OF, EBADF },
    /* All from some descriptor on: what glibc's posix_spawn() does for subprocess (Python 3.13), which fails if it is refused, for it can't
     * list /proc/self/fd either. So nothing is closed: a child keeps what was made inheritable. */
    { "close_range", 1, ALL_BITS, ONE(~0U), VALUES_ANY_OF, ANSWER_DONE },
    { "close_range", 1, ALL_BITS, ONE(CELL_TMP_FD), VALUES_FROM, ENOSYS },
    /* Without a user namespace of the worker's own, these are what a capability that was left to it would be used with. */
    ALWAYS("setuid", EPERM), ALWAYS("setgid", EPERM), ALWAYS("setreuid", EPERM), ALWAYS("setregid", EPERM), ALWAYS("setresuid", EPERM),
    ALWAYS("setresgid", EPERM), ALWAYS("setgroups", EPERM),
    /* Disk space in one call, faster than it is looked at. libc writes instead. */
    ALWAYS("fallocate", EOPNOTSUPP),
    /* Without a pid namespace: what a process may ask of any other by its number. Clocks of processes are negative numbers. */
    { "clock_gettime", 0, ALL_BITS, ONE(0x80000000), VALUES_FROM, EINVAL }, { "clock_getres", 0, ALL_BITS, ONE(0x80000000), VALUES_FROM, EINVAL },
    { "clock_nanosleep", 0, ALL_BITS, ONE(0x80000000), VALUES_FROM, EINVAL }, { "timer_create", 0, ALL_BITS, ONE(0x80000000), VALUES_FROM, EINVAL },
    { "sched_getaffinity", 0, ALL_BITS, SELF_OR_ZERO, VALUES_NONE_OF, EPERM }, { "sched_getparam", 0, ALL_BITS, SELF_OR_ZERO, VALUES_NONE_OF, EPERM },
    { "sched_getscheduler", 0, ALL_BITS, SELF_OR_ZERO, VALUES_NONE_OF, EPERM }, { "sched_getattr", 0, ALL_BITS, SELF_OR_ZERO, VALUES_NONE_OF, EPERM },
    { "sched_rr_get_interval", 0, ALL_BITS, SELF_OR_ZERO, VALUES_NONE_OF, EPERM },
    { "getpriority", 1, ALL_BITS, SELF_OR_ZERO, VALUES_NONE_OF, EPERM },
    { "ioctl", 1, 0xff00, ONE(0xb700) }, /* of a namespace: who owns it, which is above it (ioctl_ns(2)) */
    /* Who is at the other end: of its one socket, the keeper. */
    { "getsockopt", 2, ALL_BITS, { SO_PEERCRED, SO_PEERSEC, 59 /* SO_PEERGROUPS */, 59 }, VALUES_ANY_OF, EPERM },
};

/* Without a memory cgroup, files without a name are memory that nothing adds up. */
static const struct values_refused UNGROUPED_VALUES[] = { ALWAYS("memfd_create", EPERM) };

/* Below ABI 6 Landlock doesn't keep abstract sockets apart, and there is no network namespace that would. */
static const struct values_refused UNSCOPED_VALUES[] = { ALWAYS("socket", EACCES) };

/* One uid for all: the kernel lets a process act on others of its uid, the service's own among them. So a run is one process, and acts on
 * itself alone. */

static const struct values_refused ALONE_VALUES[] = {
    ALWAYS("fork", EPERM), ALWAYS("vfork", EPERM), ALWAYS("execve", EPERM), ALWAYS("execveat", EPERM),
    { "clone", 0, CLONE_THREAD, ONE(0), VALUES_ANY_OF, EPERM },
    { "kill", 0, ALL_BITS, SELF_OR_ZERO, VALUES_NONE_OF, EPERM }, { "tgkill", 0, ALL_BITS, SELF, VALUES_NONE_OF, EPERM },
    ALWAYS("tkill", EPERM), { "rt_sigqueueinfo", 0, ALL_BITS, SELF, VALUES_NONE_OF, EPERM },
    { "rt_tgsigqueueinfo", 0, ALL_BITS, SELF, VALUES_NONE_OF, EPERM }, ALWAYS("pidfd_open", EPERM), ALWAYS("pidfd_send_signal", EPERM),
    { "sched_setaffinity", 0, ALL_BITS, SELF_OR_ZERO, VALUES_NONE_OF, EPERM },
    { "sched_setparam", 0, ALL_BITS, SELF_OR_ZERO, VALUES_NONE_OF, EPERM },
    { "sched_setscheduler", 0, ALL_BITS, SELF_OR_ZERO, VALUES_NONE_OF, EPERM },
    { "setpriority", 0, ALL_BITS, ONE(0), VALUES_NONE_OF, EPERM }, /* which: PRIO_PROCESS, not all of a user's */
    { "setpriority", 1, ALL_BITS, SELF_OR_ZERO, VALUES_NONE_OF, EPERM }, { "setpgid", 0, ALL_BITS, SELF_OR_ZERO, VALUES_NONE_OF, EPERM },
    /* A file's owner is sent SIGKILL when there is something to read: no call of kill's family is needed. */
    { "fcntl", 1, ALL_BITS, { F_SETOWN, F_SETOWN_EX, F_SETSIG, F_SETSIG }, VALUES_ANY_OF, EPERM },
    ALWAYS("socket", EACCES),
    /* Other runs' folders have the same owner, and Landlock doesn't know of these calls, or not before ABI 3. That a mode was set is said and
     * not done, since shutil.copy() sets one. */
    ALWAYS("chmod", ANSWER_DONE), ALWAYS("fchmodat", ANSWER_DONE), ALWAYS("fchmodat2", ANSWER_DONE), ALWAYS("truncate", EACCES), ALWAYS("setxattr", EPERM),
    ALWAYS("lsetxattr", EPERM), ALWAYS("removexattr", EPERM), ALWAYS("lremovexattr", EPERM),
    { "utimensat", 1, ALL_BITS, ONE(0), VALUES_NONE_OF, EPERM }, ALWAYS("utime", EPERM), ALWAYS("utimes", EPERM), ALWAYS("futimesat", EPERM),
    /* It is to die with its zygote, which has no other hold on it when the keeper is gone. */
    { "prctl", 0, ALL_BITS, ONE(PR_SET_PDEATHSIG), VALUES_ANY_OF, EPERM },
};
/* clang-format on */

#endif
