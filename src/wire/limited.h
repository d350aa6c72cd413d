/* keeper to front: "the run's limits hold: let it begin", in answer to a TAKEN that wanted to know. */
#ifndef VIVARY_WIRE_LIMITED_H
#define VIVARY_WIRE_LIMITED_H

#include "wire/kind.h"

struct limited {
    uint32_t kind; /* WIRE_LIMITED */
    uint32_t slot;
    uint64_t generation;
};
static_assert(sizeof(struct limited) == 16, "no padding: it would carry our memory to another process");

static inline bool limited_valid(const void *bytes, size_t length, const struct wire_bounds *bounds, struct limited *ret_limited)
{
    struct limited l;
    if (length != sizeof l)
        return false;
    memcpy(&l, bytes, sizeof l);
    if (l.kind != WIRE_LIMITED || l.slot >= bounds->slots || l.generation == 0)
        return false;
    *ret_limited = l;
    return true;
}

#endif
