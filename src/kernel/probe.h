/* What this host can hold a script with. Each thing is tried in a forked child; nothing is inferred from a version. */
#ifndef VIVARY_KERNEL_PROBE_H
#define VIVARY_KERNEL_PROBE_H

#include <stdbool.h>

struct host {
    char kernel[128];
    bool user, pid, mnt, net, ipc, uts, cgroup; /* namespaces */
    bool nested_user;                           /* a user namespace made as an unprivileged uid inside another */
    bool overlay;                               /* an overlay whose upper folder becomes read-only */
    bool proc_subset;                           /* a new /proc with subset=pid and hidepid */
    int landlock_abi;                           /* 0: none */
    bool seccomp_filter;
    bool other_uids;        /* a process may take another uid and gid, and end others' processes */
    int cgroup_version;     /* 0: no group could be made */
    bool memory, pids, cpu; /* controllers in which a group could be made */
};

void host_probe(struct host *ret_host);

#endif
