/* What each kind of process may ask of the kernel. Names, not numbers: one that this libseccomp doesn't know, or that this architecture doesn't have, is
 * left out, and thus gets the default. */
#ifndef VIVARY_CLI_RULES_H
#define VIVARY_CLI_RULES_H

/* A worker: what CPython, numpy, pandas, threads, child processes, asyncio, sqlite3 and multiprocessing use. The default is ENOSYS, so that libc takes its
 * fallback; clone3 stays unlisted, since its flags lie in memory that a filter can't read, and ENOSYS makes glibc use clone. */
static const char *const WORKER_CALLS[] = {
    /* memory */
    "brk", "mmap", "munmap", "mprotect", "mremap", "madvise", "msync", "mincore", "mlock", "munlock", "mlock2", "membarrier", "pkey_alloc", "pkey_free",
    "pkey_mprotect",
    /* files: permissions, mounts and Landlock say which */
    "read", "write", "readv", "writev", "pread64", "pwrite64", "preadv", "pwritev", "preadv2", "pwritev2", "open", "openat", "openat2", "close",
    "close_range", "creat", "lseek", "dup", "dup2", "dup3", "fcntl", "flock", "fsync", "fdatasync", "sync_file_range", "ftruncate", "truncate",
    "fallocate", "fadvise64", "readahead", "copy_file_range", "sendfile", "splice", "tee", "stat", "fstat", "lstat", "newfstatat", "statx", "statfs",
    "fstatfs", "access", "faccessat", "faccessat2", "getdents", "getdents64", "getcwd", "chdir", "fchdir", "mkdir", "mkdirat", "rmdir", "rename", "renameat",
    "renameat2", "link", "linkat", "unlink", "unlinkat", "symlink", "symlinkat", "readlink", "readlinkat", "chmod", "fchmod", "fchmodat", "fchmodat2",
    "chown", "fchown", "lchown", "fchownat", "umask", "utime", "utimes", "utimensat", "futimesat", "getxattr", "lgetxattr", "fgetxattr", "listxattr",
    "llistxattr", "flistxattr", "setxattr", "lsetxattr", "fsetxattr", "removexattr", "lremovexattr", "fremovexattr", "memfd_create", "pipe", "pipe2",
    "inotify_init", "inotify_init1", "inotify_add_watch", "inotify_rm_watch", "sync", "syncfs", "cachestat",
    /* waiting */
    "select", "pselect6", "poll", "ppoll", "epoll_create", "epoll_create1", "epoll_ctl", "epoll_wait", "epoll_pwait", "epoll_pwait2", "eventfd",
    "eventfd2", "signalfd", "signalfd4", "timerfd_create", "timerfd_settime", "timerfd_gettime",
    /* processes and threads: the cell's pid namespace says which, its cgroup how many */
    "fork", "vfork", "execve", "execveat", "exit", "exit_group", "wait4", "waitid", "futex", "futex_waitv", "set_tid_address", "set_robust_list",
    "get_robust_list", "rseq", "arch_prctl", "gettid", "getpid", "getppid", "getpgid", "getpgrp", "setpgid", "getsid", "setsid", "kill", "tkill", "tgkill",
    "pidfd_open", "pidfd_send_signal", "rt_sigaction", "rt_sigprocmask", "rt_sigreturn", "rt_sigpending", "rt_sigtimedwait", "rt_sigsuspend",
    "rt_sigqueueinfo", "rt_tgsigqueueinfo", "sigaltstack", "pause", "restart_syscall", "sched_yield", "sched_getaffinity", "sched_setaffinity",
    "sched_getparam", "sched_setparam", "sched_getscheduler", "sched_setscheduler", "sched_get_priority_max", "sched_get_priority_min",
    "sched_rr_get_interval", "sched_getattr", "getpriority", "setpriority", "getrlimit", "setrlimit", "getrusage", "times", "getcpu",
    /* identity: with no capability and one uid mapped, a change to another fails in the kernel */
    "getuid", "geteuid", "getgid", "getegid", "getresuid", "getresgid", "getgroups", "setuid", "setgid", "setreuid", "setregid", "setresuid", "setresgid",
    "setfsuid", "setfsgid", "setgroups", "capget",
    /* time */
    "clock_gettime", "clock_getres", "clock_nanosleep", "nanosleep", "gettimeofday", "time", "alarm", "setitimer", "getitimer", "timer_create",
    "timer_settime", "timer_gettime", "timer_getoverrun", "timer_delete",
    /* the rest */
    "getrandom", "uname", "sysinfo", "ioctl", /* less a few, see filter.c */
    /* Unix sockets within the cell (socket and socketpair have rules of their own) */
    "bind", "listen", "accept", "accept4", "connect", "getsockname", "getpeername", "getsockopt", "setsockopt", "send", "recv", "sendto", "recvfrom",
    "sendmsg", "recvmsg", "sendmmsg", "recvmmsg", "shutdown",
    /* System V and POSIX objects, of the cell's own IPC namespace, in its cgroup's memory */
    "shmget", "shmat", "shmdt", "shmctl", "semget", "semop", "semtimedop", "semctl", "msgget", "msgsnd", "msgrcv", "msgctl", "mq_open", "mq_unlink",
    "mq_timedsend", "mq_timedreceive", "mq_notify", "mq_getsetattr",
};

/* Calls that exist, and that a script must not have: "not permitted" says that better than ENOSYS would. Ways to gain rights, to reach other processes
 * or kernel code that has been broken into often. */
static const char *const WORKER_REFUSED[] = {
    "mount", "umount2", "pivot_root", "chroot", "fsopen", "fsconfig", "fsmount", "fspick", "open_tree", "move_mount", "mount_setattr", "unshare", "setns",
    "swapon", "swapoff", "reboot", "sethostname", "setdomainname", "settimeofday", "clock_settime", "adjtimex", "clock_adjtime", "acct", "quotactl",
    "init_module", "finit_module", "delete_module", "kexec_load", "kexec_file_load", "iopl", "ioperm", "syslog", "ptrace", "process_vm_readv",
    "process_vm_writev", "process_madvise", "pidfd_getfd", "kcmp", "bpf", "perf_event_open", "userfaultfd", "io_uring_setup", "io_uring_enter",
    "io_uring_register", "keyctl", "add_key", "request_key", "open_by_handle_at", "name_to_handle_at", "seccomp", "capset", "vmsplice", "fanotify_init",
    "move_pages", "migrate_pages", "mbind", "set_mempolicy", "modify_ldt", "vhangup", "ustat", "nfsservctl", "lookup_dcookie",
};

/* A cell's init, once it has made the cell. Anything else kills it, and with it the cell. */
static const char *const INIT_CALLS[] = { "write", "close", "pause", "rt_sigreturn", "restart_syscall", "exit_group" };

/* The front, once it is jailed: it talks on the descriptors it has, and on those that it accepts or is sent. No files, no programs, no new sockets. */
static const char *const FRONT_CALLS[] = {
    "read", "write", "readv", "writev", "recvfrom", "recvmsg", "sendto", "sendmsg", "sendfile", "splice", "accept4", "shutdown", "close", "epoll_wait",
    "epoll_pwait", "epoll_ctl", "poll", "ppoll", "setsockopt", "getsockopt", "getsockname", "getpeername", "fcntl", "ioctl", "timerfd_settime", "lseek",
    "brk", "mmap", "munmap", "mremap", "madvise", "mprotect", "futex", "clock_gettime", "gettimeofday", "time", "nanosleep", "clock_nanosleep", "getrandom",
    "getpid", "gettid", "tgkill", "rt_sigreturn", "rt_sigprocmask", "rt_sigaction", "restart_syscall", "exit", "exit_group", "fstat", "newfstatat",
    "prlimit64", "sched_yield", "set_robust_list", "rseq",
};

#endif
