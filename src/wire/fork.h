/* keeper to zygote: "fork a worker into this cell", with FORK_FDS descriptors and then one `cgroup.procs` file for each cgroup to join. */
#ifndef VIVARY_WIRE_FORK_H
#define VIVARY_WIRE_FORK_H

#include "wire/kind.h"

enum {
    FORK_SOCKET, /* the worker's end of the stream to the front */
    FORK_STDOUT, /* write ends of pipes */
    FORK_STDERR,
    FORK_STATUS, /* write end of a pipe: the worker sends a struct fault here, with error 0 once it is ready */
    FORK_INIT,   /* pidfd of the cell's init */
    FORK_FDS
};

struct fork_order {
    uint32_t kind; /* WIRE_FORK */
    uint32_t slot;
    uint64_t generation;
};
static_assert(sizeof(struct fork_order) == 16, "no padding: it would carry our memory to another process");

#endif
