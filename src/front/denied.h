/* The calls that a run was refused: heard of by its filter's listener, answered here, counted, and told in its report. */
#ifndef VIVARY_FRONT_DENIED_H
#define VIVARY_FRONT_DENIED_H

#include "front/json_write.h"

#include <stdint.h>

enum {
    DENIED_KINDS = 24,  /* told apart; what is more is counted as one */
    DENIED_FREE = 256,  /* of a run, answered as they come */
    DENIED_A_TICK = 16, /* of a run, in each tick after these: a script that does nothing else must not slow down its neighbours */
};

struct denied_kind {
    int call;       /* its number */
    uint64_t value; /* of the argument that tells what was wanted */
    uint64_t count;
};

struct denied {
    struct denied_kind kinds[DENIED_KINDS];
    uint32_t used;
    uint64_t others, sum;
    uint32_t left; /* that may be answered in this tick */
};

/* Answers one call that waits at the listener, and notes it. 0, or -errno when the listener is of no more use. */
int denied_hear(struct denied *denied, int listener);

/* The names that calls are told by, from 0 on; NULL: there are no more. */
const char *denied_row_name(size_t row);
/* Adds what was counted to sums by row; the last of them is for what has none. */
void denied_sum(const struct denied *denied, uint64_t *sums, size_t count);

/* A JSON array. */
void denied_write(struct writer *w, const struct denied *denied);

#endif
