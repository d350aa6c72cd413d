/* keeper to front: "this is what the run used", in answer to the DONE of a run whose TAKEN wanted to know. */
#ifndef VIVARY_WIRE_USED_H
#define VIVARY_WIRE_USED_H

#include "wire/usage.h"

struct used {
    uint32_t kind; /* WIRE_USED */
    uint32_t slot;
    uint64_t generation;
    struct run_usage usage;
};
static_assert(sizeof(struct used) == 64, "no padding: it would carry our memory to another process");

static inline bool used_valid(const void *bytes, size_t length, const struct wire_bounds *bounds, struct used *ret_used)
{
    struct used u;
    if (length != sizeof u)
        return false;
    memcpy(&u, bytes, sizeof u);
    if (u.kind != WIRE_USED || u.slot >= bounds->slots || u.generation == 0)
        return false;
    *ret_used = u;
    return true;
}

#endif
