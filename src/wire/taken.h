/* front to keeper: "I give this worker its run; end it by then." */
#ifndef VIVARY_WIRE_TAKEN_H
#define VIVARY_WIRE_TAKEN_H

#include "wire/kind.h"
#include "wire/uses.h"

struct taken {
    uint32_t kind; /* WIRE_TAKEN */
    uint32_t slot;
    uint64_t generation;  /* of the slot: a late message must not hit the next run */
    uint64_t deadline_ns; /* CLOCK_MONOTONIC */
    /* What the request asks for, where that is less than what the keeper grants; 0: nothing less. */
    uint64_t memory_bytes;
    uint32_t cpu_ms, processes;
    uint32_t uses;          /* enum uses */
    uint32_t wants_limited; /* 1: LIMITED is to tell when the limits hold, and the run waits for that */
};
static_assert(sizeof(struct taken) == 48, "no padding: it would carry our memory to another process");

static inline bool taken_valid(const void *bytes, size_t length, const struct wire_bounds *bounds, struct taken *ret_taken)
{
    struct taken t;
    if (length != sizeof t)
        return false;
    memcpy(&t, bytes, sizeof t); /* copied, then judged: nobody changes it in between */
    if (t.kind != WIRE_TAKEN || t.slot >= bounds->slots || t.generation == 0 || (t.uses & ~(uint32_t)USES_ALL) != 0)
        return false;
    *ret_taken = t;
    return true;
}

#endif
