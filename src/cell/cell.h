/* The cell: all that holds a worker in. Two processes make it. The keeper forks the cell's init, which makes the namespaces and mounts
 * (init.h); the zygote forks the worker, which goes into them and puts the remaining layers on itself, here. */
#ifndef VIVARY_CELL_CELL_H
#define VIVARY_CELL_CELL_H

#include "base/fault.h"
#include "cell/numbers.h"
#include "wire/fork.h"
#include "wire/plan.h"

#include <linux/filter.h>

struct cell {
    const struct plan *plan;
    const struct sock_filter *filter;  /* of plan->worker_filter_length instructions */
    uint64_t zygote_data, zygote_size; /* bytes: what the warm interpreter has before the run, RLIMIT_DATA and RLIMIT_AS count it */
    uint32_t slot;
    int fds[FORK_FDS_MAX];
    int groups[GROUP_KINDS]; /* cgroup.procs files to join */
    uint32_t group_count;
    int listener; /* of the worker's filter, once it is loaded; -1: none */
};

/* Puts every layer on the calling process, which must be single-threaded. Afterwards descriptors 0, 1, 2, CELL_SOCKET_FD and CELL_STATUS_FD
 * are open, at level contained the slot's folders, and nothing else. On failure the caller must report *why and _exit: a half-made cell has
 * no way back. 0 or -errno. */
int cell_enter(struct cell *cell, struct fault *why);

int groups_enter(struct cell *cell, struct fault *why);
int namespaces_enter(struct cell *cell, struct fault *why);
int descriptors_enter(struct cell *cell, struct fault *why);
int rlimits_enter(struct cell *cell, struct fault *why);
int credentials_enter(struct cell *cell, struct fault *why);
int place_enter(struct cell *cell, struct fault *why);
int user_enter(struct cell *cell, struct fault *why);
int capabilities_enter(struct cell *cell, struct fault *why);
int no_new_privs_enter(struct cell *cell, struct fault *why);
int landlock_enter(struct cell *cell, struct fault *why);
int seccomp_enter(struct cell *cell, struct fault *why);

/* The pieces that init and front use as well. */
int bounding_drop(struct fault *why);                          /* needs CAP_SETPCAP */
int keyring_leave(const struct plan *plan, struct fault *why); /* for an empty session keyring */
int capabilities_clear(struct fault *why);                     /* permitted, effective, inheritable, ambient */
/* `ret_listener`: takes the calls that the filter refers to it, the caller's; NULL: it refers none. */
int seccomp_load(const struct sock_filter *filter, uint32_t length, int *ret_listener, struct fault *why);

#endif
