/* What this host can hold a script with. Each thing is tried in a forked child; nothing is inferred from a version. */
#ifndef VIVARY_KERNEL_PROBE_H
#define VIVARY_KERNEL_PROBE_H

#include <stdbool.h>

enum { HOST_RANGE_AT = 65536 };

struct host {
    char kernel[128];
    bool own_user;  /* probed in a user namespace that this process made, in which it is root: host_enter_user */
    bool own_range; /* it has as many uids for slots there, from HOST_RANGE_AT on; else it is the only user */
    bool user, pid, mnt, net, ipc, uts, cgroup; /* namespaces */
    bool nested_user;                           /* a user namespace made as an unprivileged uid inside another */
    bool pidfd;                                 /* processes by descriptor, from clone(2) to setns(2) */
    bool overlay;                               /* an overlay whose upper folder becomes read-only */
    bool proc_subset;                           /* a new /proc with subset=pid and hidepid */
    int landlock_abi;                           /* 0: none */
    bool seccomp_filter;
    bool notify;            /* refused calls can be heard of */
    bool other_uids;        /* a process may take another uid and gid, and end others' processes */
    int cgroup_version;     /* 0: no group could be made */
    bool memory, pids, cpu; /* controllers in which a group could be made */
};

void host_probe(struct host *ret_host);

/* What a user without privileges can have: becomes root of a new user namespace, over nothing but what is made in it. False if that isn't
 * to be had. */
bool host_enter_user(bool *ret_range);
/* Whether it is to be had, and what it brings: probed in a child. */
bool host_probe_user(bool (*enough)(const struct host *host));

#endif
