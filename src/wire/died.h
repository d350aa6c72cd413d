/* keeper to front: "nothing of this worker's cell is left." Follows each READY once, whatever ended the cell. */
#ifndef VIVARY_WIRE_DIED_H
#define VIVARY_WIRE_DIED_H

#include "wire/usage.h"

enum died_why {
    DIED_DONE = 1, /* the front said DONE */
    DIED_EXITED,   /* the worker ended by itself: status is as of wait(2) */
    DIED_DEADLINE, /* its time was over */
    DIED_CPU,      /* its processor time was used up */
    DIED_MEMORY,   /* all its processes together held too much */
    DIED_DISK,     /* it wrote too much, or too many files */
    DIED_WHYS
};

struct died {
    uint32_t kind; /* WIRE_DIED */
    uint32_t slot;
    uint64_t generation;
    uint32_t why;
    int32_t status;         /* of the worker, as of wait(2); 0 if it never was a process of its own */
    struct run_usage usage; /* zero unless the run's TAKEN wanted to know */
};
static_assert(sizeof(struct died) == 72, "no padding: it would carry our memory to another process");

static inline bool died_valid(const void *bytes, size_t length, const struct wire_bounds *bounds, struct died *ret_died)
{
    struct died d;
    if (length != sizeof d)
        return false;
    memcpy(&d, bytes, sizeof d);
    if (d.kind != WIRE_DIED || d.slot >= bounds->slots || d.generation == 0 || d.why == 0 || d.why >= DIED_WHYS)
        return false;
    *ret_died = d;
    return true;
}

#endif
