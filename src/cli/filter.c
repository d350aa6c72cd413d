#include "cli/filter.h"

#include "base/descriptor.h"
#include "cli/rules.h"

#include <errno.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <seccomp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>

#define COUNT(array) (sizeof(array) / sizeof *(array))
#define LOW_32                                                                                                                             \
    UINT64_C(0xffffffff) /* the kernel takes an int, and ignores what a caller puts above it: a filter must too (CVE-2019-10063) */

enum {
    NAMESPACE_FLAGS =
        CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWCGROUP | 0x80 /* NEWTIME */
};

static int calls_add(scmp_filter_ctx filter, uint32_t action, const char *const *names, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        int call = seccomp_syscall_resolve_name(names[i]);
        if (call == __NR_SCMP_ERROR)
            continue; /* younger than this libseccomp */
        int r = seccomp_rule_add(filter, action, call, 0);
        if (r < 0 && r != -EDOM) /* EDOM: not a call of this architecture */
            return r;
    }
    return 0;
}

static int rule_add(scmp_filter_ctx filter, uint32_t action, int call, struct scmp_arg_cmp compare)
{
    int r = seccomp_rule_add(filter, action, call, 1, compare);
    return r == -EDOM ? 0 : r;
}

/* Rules that look at an argument. For each call they cover all cases but the default's. */
static int worker_arguments_add(scmp_filter_ctx filter)
{
    static const int PRCTL_ALLOWED[] = {
        PR_SET_NAME,
        PR_GET_NAME,
        PR_SET_PDEATHSIG,
        PR_GET_PDEATHSIG,
        PR_SET_DUMPABLE,
        PR_GET_DUMPABLE,
        PR_SET_CHILD_SUBREAPER,
        PR_GET_CHILD_SUBREAPER,
        PR_GET_NO_NEW_PRIVS,
        PR_SET_NO_NEW_PRIVS,
        PR_GET_SECCOMP,
        PR_SET_TIMERSLACK,
        PR_GET_TIMERSLACK,
        PR_CAPBSET_READ,
        PR_SET_THP_DISABLE,
        PR_GET_THP_DISABLE,
        PR_GET_KEEPCAPS,
        PR_GET_SECUREBITS,
        0x53564d41 /* PR_SET_VMA */,
    };
    int r = 0;
    for (size_t i = 0; r == 0 && i < COUNT(PRCTL_ALLOWED); i++)
        r = rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(prctl), SCMP_A0(SCMP_CMP_MASKED_EQ, LOW_32, (scmp_datum_t)PRCTL_ALLOWED[i]));
    /* Sockets: Unix ones only. A Python user reads "permission denied" for the others. */
    if (r == 0)
        r = rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(socket), SCMP_A0(SCMP_CMP_EQ, AF_UNIX));
    if (r == 0)
        r = rule_add(filter, SCMP_ACT_ERRNO(EACCES), SCMP_SYS(socket), SCMP_A0(SCMP_CMP_NE, AF_UNIX));
    if (r == 0)
        r = rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(socketpair), SCMP_A0(SCMP_CMP_EQ, AF_UNIX));
    /* A fresh user namespace gives all capabilities, and kernel code that wants them. */
    if (r == 0)
        r = rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(clone), SCMP_A0(SCMP_CMP_MASKED_EQ, NAMESPACE_FLAGS, 0));
    for (unsigned bit = 0; r == 0 && bit < 32; bit++)
        if ((NAMESPACE_FLAGS & (1u << bit)) != 0)
            r = rule_add(filter, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(clone), SCMP_A0(SCMP_CMP_MASKED_EQ, 1u << bit, 1u << bit));
    /* Limits of oneself; of another process they would be a way to act on it. */
    if (r == 0)
        r = rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(prlimit64), SCMP_A0(SCMP_CMP_MASKED_EQ, LOW_32, 0));
    /* FIFOs, plain files and sockets; devices not. */
    static const mode_t KINDS[] = { 0, S_IFREG, S_IFIFO, S_IFSOCK };
    for (size_t i = 0; r == 0 && i < COUNT(KINDS); i++) {
        r = rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(mknod), SCMP_A1(SCMP_CMP_MASKED_EQ, S_IFMT, KINDS[i]));
        if (r == 0)
            r = rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(mknodat), SCMP_A2(SCMP_CMP_MASKED_EQ, S_IFMT, KINDS[i]));
    }
    static const mode_t DEVICES[] = { S_IFCHR, S_IFBLK };
    for (size_t i = 0; r == 0 && i < COUNT(DEVICES); i++) {
        r = rule_add(filter, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(mknod), SCMP_A1(SCMP_CMP_MASKED_EQ, S_IFMT, DEVICES[i]));
        if (r == 0)
            r = rule_add(filter, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(mknodat), SCMP_A2(SCMP_CMP_MASKED_EQ, S_IFMT, DEVICES[i]));
    }
    /* What Python asks, and what sets nothing: other personalities weaken address layout, or emulate old bugs. */
    if (r == 0)
        r = rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(personality), SCMP_A0(SCMP_CMP_MASKED_EQ, LOW_32, LOW_32));
    if (r == 0)
        r = rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(personality), SCMP_A0(SCMP_CMP_MASKED_EQ, LOW_32, 0));
    return r;
}

static int rules_add(scmp_filter_ctx filter, enum filter_for which)
{
    if (which == FILTER_INIT)
        return calls_add(filter, SCMP_ACT_ALLOW, INIT_CALLS, COUNT(INIT_CALLS));
    if (which == FILTER_FRONT)
        return calls_add(filter, SCMP_ACT_ALLOW, FRONT_CALLS, COUNT(FRONT_CALLS));
    int r = calls_add(filter, SCMP_ACT_ALLOW, WORKER_CALLS, COUNT(WORKER_CALLS));
    if (r == 0)
        r = calls_add(filter, SCMP_ACT_ERRNO(EPERM), WORKER_REFUSED, COUNT(WORKER_REFUSED));
    return r < 0 ? r : worker_arguments_add(filter);
}

/* libseccomp lets an unconditional rule swallow those that look at arguments, so what is refused of ioctl stands before its program, by
 * hand. Compared are the low 32 bits alone, which hold them on little-endian machines. */
static size_t ioctl_write(struct sock_filter *to)
{
    static const uint32_t REFUSED[] = {
        TIOCSTI,   /* types into the terminal's input: CVE-2016-2781, CVE-2017-5226 */
        TIOCLINUX, /* pastes into a console: CVE-2023-28100 */
        TIOCSETD,  /* line disciplines are modules with a long list of holes: CVE-2017-2636 */
        TIOCCONS,  /* takes the console's output */
    };
    enum { KINDS = COUNT(REFUSED) };
    size_t at = 0;
    to[at++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
    to[at++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SCMP_SYS(ioctl), 0, KINDS + 3);
    to[at++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[1]));
    for (unsigned char i = 0; i < KINDS; i++)
        to[at++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, REFUSED[i], (unsigned char)(KINDS - i), 0);
    to[at++] = (struct sock_filter)BPF_STMT(BPF_JMP | BPF_JA, 1);
    to[at++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM);
    return at;
}

enum { IOCTL_INSTRUCTIONS = 16 };

static int program_export(scmp_filter_ctx filter, bool worker, struct sock_filter **ret_program, size_t *ret_length, struct fault *why)
{
    OWN_FD file = memfd_create("filter", MFD_CLOEXEC);
    if (file < 0)
        return fault_set(why, errno, "memfd_create", "filter");
    int r = seccomp_export_bpf(filter, file);
    if (r < 0)
        return fault_set(why, -r, "seccomp_export_bpf", "filter");
    off_t size = lseek(file, 0, SEEK_END);
    struct sock_filter *program = size > 0 ? malloc((size_t)size + IOCTL_INSTRUCTIONS * sizeof *program) : NULL;
    size_t before = program != NULL && worker ? ioctl_write(program) : 0;
    if (program == NULL || pread(file, program + before, (size_t)size, 0) != size) {
        free(program);
        return fault_set(why, ENOMEM, "pread", "filter");
    }
    *ret_program = program;
    *ret_length = before + (size_t)size / sizeof *program;
    return 0;
}

int filter_compile(enum filter_for which, struct sock_filter **ret_program, size_t *ret_length, struct fault *why)
{
    scmp_filter_ctx filter = seccomp_init(which == FILTER_WORKER ? SCMP_ACT_ERRNO(ENOSYS) : SCMP_ACT_KILL_PROCESS);
    if (filter == NULL)
        return fault_set(why, ENOMEM, "seccomp_init", "filter");
    /* Another architecture's calls (int 0x80, x32) have other numbers: an attack, and its end. The default would kill the thread alone. */
    int r = seccomp_attr_set(filter, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);
    if (r == 0)
        r = seccomp_attr_set(filter, SCMP_FLTATR_CTL_OPTIMIZE, 2); /* a binary tree: some ten steps for each call, not two hundred */
    if (r == 0)
        r = rules_add(filter, which);
    r = r < 0 ? fault_set(why, -r, "seccomp_rule_add", "filter")
              : program_export(filter, which == FILTER_WORKER, ret_program, ret_length, why);
    seccomp_release(filter);
    return r;
}
