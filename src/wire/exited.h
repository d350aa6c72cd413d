/* zygote to keeper: "this worker has ended"; of kind WIRE_WARM, "I am warm: order forks"; of kind WIRE_BORN, at level contained and with
 * its pidfd, "this worker is there". */
#ifndef VIVARY_WIRE_EXITED_H
#define VIVARY_WIRE_EXITED_H

#include "wire/kind.h"

struct exited {
    uint32_t kind; /* WIRE_EXITED, WIRE_WARM or WIRE_BORN */
    uint32_t slot;
    uint64_t generation;
    int32_t status; /* as of wait(2); -errno with `failed` 1 if there never was a process */
    uint32_t failed;
    uint64_t user_us, system_us, faults; /* of it, and of its children that it has waited for */
};
static_assert(sizeof(struct exited) == 48, "no padding: it would carry our memory to another process");

static inline bool exited_valid(const void *bytes, size_t length, const struct wire_bounds *bounds, struct exited *ret_exited)
{
    struct exited e;
    if (length != sizeof e)
        return false;
    memcpy(&e, bytes, sizeof e);
    if (e.kind != WIRE_EXITED && e.kind != WIRE_WARM && e.kind != WIRE_BORN)
        return false;
    if (e.kind != WIRE_WARM && (e.slot >= bounds->slots || e.generation == 0))
        return false;
    *ret_exited = e;
    return true;
}

#endif
