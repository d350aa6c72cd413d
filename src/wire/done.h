/* front to keeper: "I need nothing more of this worker: end its cell." */
#ifndef VIVARY_WIRE_DONE_H
#define VIVARY_WIRE_DONE_H

#include "wire/kind.h"

struct done {
    uint32_t kind; /* WIRE_DONE */
    uint32_t slot;
    uint64_t generation;
};
static_assert(sizeof(struct done) == 16, "no padding: it would carry our memory to another process");

static inline bool done_valid(const void *bytes, size_t length, const struct wire_bounds *bounds, struct done *ret_done)
{
    struct done d;
    if (length != sizeof d)
        return false;
    memcpy(&d, bytes, sizeof d);
    if (d.kind != WIRE_DONE || d.slot >= bounds->slots || d.generation == 0)
        return false;
    *ret_done = d;
    return true;
}

#endif
