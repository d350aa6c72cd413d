/* keeper to front: "this worker waits; here are its descriptors", with READY_FDS descriptors (SCM_RIGHTS) in this order, and then, with the
 * first worker of a slot that this front hears of, the files that tell what the slot uses: base/meters.h. */
#ifndef VIVARY_WIRE_READY_H
#define VIVARY_WIRE_READY_H

#include "wire/kind.h"

enum { READY_SOCKET, READY_STDOUT, READY_STDERR, READY_FDS }; /* a stream socket; the read ends of two pipes */

struct ready {
    uint32_t kind; /* WIRE_READY */
    uint32_t slot;
    uint64_t generation; /* never 0; new for each worker of a slot */
    uint64_t zygotes;    /* that the keeper has started so far */
    uint32_t meters;     /* bits: which files come along */
    uint32_t reserved;
};
static_assert(sizeof(struct ready) == 32, "no padding: it would carry our memory to another process");

static inline bool ready_valid(const void *bytes, size_t length, const struct wire_bounds *bounds, struct ready *ret_ready)
{
    struct ready r;
    if (length != sizeof r)
        return false;
    memcpy(&r, bytes, sizeof r);
    if (r.kind != WIRE_READY || r.slot >= bounds->slots || r.generation == 0 || r.meters >= 8)
        return false;
    *ret_ready = r;
    return true;
}

#endif
