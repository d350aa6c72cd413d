/* Who sends runs: one caller for each key, or one for everybody where no keys are asked for. */
#ifndef VIVARY_FRONT_CALLER_H
#define VIVARY_FRONT_CALLER_H

#include "settings/keys.h"
#include "wire/front_plan.h"

#include <stdbool.h>
#include <stdint.h>

struct call;
struct front;

/* What a caller has waiting for one runtime, in its order. */
struct lane {
    struct call *head, *tail;
    uint32_t queued, running;
    struct caller *next_waiting;
};

struct caller {
    struct key key;           /* of everybody: without a name and without limits */
    bool gone;                /* its key isn't in the file any more; it goes with its last run */
    uint32_t running, queued; /* for and on all runtimes */
    uint32_t calls;           /* that are its own: HTTP requests, whatever they wait for */
    uint64_t bodies;          /* bytes of their bodies */
    struct lane lanes[RUNTIMES_MAX];
    uint64_t pass; /* when its turn is, in the queue's own time */
    double tokens; /* runs that it may begin at once */
    uint64_t tokens_ns;
};

/* Keys, and whose they are. */
struct keyring {
    struct keys keys;
    struct caller **callers; /* of each key */
    bool asked;              /* a call without a key is refused, also while there are no keys yet */
    struct caller everybody;
};

/* Takes other keys, which become the ring's; what a key had waiting and running stays. 0 or -1 when memory is out, and nothing changed. */
int keyring_replace(struct keyring *ring, struct keys *keys);

/* Whose an Authorization header is: NULL if it is nobody's, or missing where it is asked for. */
struct caller *keyring_find(struct keyring *ring, const char *authorization);

/* Takes a token out of the caller's bucket. 0, or in how many seconds there is one. */
uint32_t caller_admit(struct caller *caller, uint64_t now_ns);

bool caller_may_use(const struct caller *caller, const char *runtime);

/* After one of its runs or calls has ended: lets go of a caller that is gone. */
void caller_settle(struct caller *caller);

#endif
