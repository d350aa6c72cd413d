/* keeper to zygote: "fork a worker into this cell", with fork_fds() descriptors and then one `cgroup.procs` file for each cgroup to join;
 * of kind WIRE_END, without any and where there are no pidfds, "end this cell". */
#ifndef VIVARY_WIRE_FORK_H
#define VIVARY_WIRE_FORK_H

#include "wire/kind.h"
#include "wire/plan.h"
#include "wire/uses.h"

enum {
    FORK_SOCKET, /* the worker's end of the stream to the front */
    FORK_STDOUT, /* write ends of pipes */
    FORK_STDERR,
    FORK_STATUS,           /* write end of a pipe: the worker sends a struct fault here, with error 0 once it is ready */
    FORK_KEPT,             /* those before this one, the keeper holds until the order is sent */
    FORK_INIT = FORK_KEPT, /* full: pidfd of the cell's init; none where the zygote makes it */
    FORK_TMP = FORK_KEPT,  /* contained: the slot's two folders, by O_PATH */
    FORK_RUNTIME,
    FORK_FDS_MAX
};

struct fork_order {
    uint32_t kind; /* WIRE_FORK or WIRE_END */
    uint32_t slot;
    uint64_t generation;
    uint32_t uses; /* enum uses: what it is to have ready */
    uint32_t reserved;
};
static_assert(sizeof(struct fork_order) == 24, "no padding: it would carry our memory to another process");

static inline uint32_t fork_fds(const struct plan *plan)
{
    if (plan->level == LEVEL_CONTAINED)
        return FORK_RUNTIME + 1;
    return plan->pidfds ? FORK_INIT + 1 : FORK_KEPT;
}

#endif
