/* What keeper, launcher, zygote and inits ask of the kernel beside what a worker may: they make namespaces and mounts, and jail workers.
 * Their filter is the union, without a look at arguments; it stays on every worker below its own, narrower one. The default is ENOSYS, as
 * there: a zygote is an ordinary Python. Not among it: modules, kexec, bpf, perf, io_uring, keys, clocks, swap, tracing, handles of files.
 */
#ifndef VIVARY_CLI_KEEPER_RULES_H
#define VIVARY_CLI_KEEPER_RULES_H

/* clang-format off */
static const char *const KEEPER_CALLS[] = {
    "mount", "umount2", "pivot_root", "chroot",                                  /* the template, and what is the cell's own */
    "unshare", "setns", "clone", "clone3", "sethostname",                        /* namespaces */
    "keyctl", "setgroups", "setresgid", "setresuid", "capset", "prctl",                    /* credentials */
    "seccomp", "landlock_create_ruleset", "landlock_add_rule", "landlock_restrict_self",
    "setrlimit", "prlimit64", "ioctl", "process_madvise",
    "kill", "pidfd_open", "pidfd_send_signal", "wait4", "waitid", "signalfd4",
    "epoll_create1", "epoll_ctl", "epoll_wait", "epoll_pwait",
    "execve", "symlinkat", "symlink", "mkdir", "mkdirat", "rmdir", "unlinkat", "fchown", "close_range",
    "socket", "socketpair", "connect", "sendmsg", "recvmsg", "setpgid",
};
/* clang-format on */

#endif
