/* One generation of the service's processes: a front, and a keeper for each runtime, with the settings that they were started with. There
 * are two while new settings take over: the one that serves, and the one that gets ready to, or finishes what it has begun. */
#ifndef VIVARY_CLI_GENERATION_H
#define VIVARY_CLI_GENERATION_H

#include "cli/launch.h"
#include "wire/front_plan.h"

#include <stdbool.h>
#include <sys/types.h>

struct generation {
    struct launch launches[RUNTIMES_MAX]; /* the first has the settings of all */
    uint32_t runtimes;
    int front_plan;
    pid_t keepers[RUNTIMES_MAX], front; /* 0: not there */
    int news[RUNTIMES_MAX], front_news;
    bool ready[RUNTIMES_MAX]; /* its first worker waits */
    int keys;                 /* a memory file, as they were last right; -1: none are asked for */
};

/* Empty, with no descriptor that is anybody's. `number`: 0, or 1 for the one beside it, so that their names differ. */
void generation_clear(struct generation *generation, uint32_t number);

/* Of the settings that are in launches[0]: keys and plans. 0, or 1 with the reason printed. */
int generation_prepare(struct generation *generation);

/* Starts all of it; the listeners stay the caller's. 0, or 1 with the reason printed. */
int generation_start(struct generation *generation, const int *listeners);

/* Another front for the keepers that there are: their zygotes stay warm, so this takes no longer than a front's start. */
int generation_front(struct generation *generation, const int *listeners);

/* Takes the keys as the file has them now, and has the front take them. One that is wrong changes nothing. 0 or 1. */
int generation_keys(struct generation *generation);

/* Ends what is left, the front first: it finishes the runs in flight while the keepers still live. `signals`: a signalfd to wait at. */
void generation_stop(struct generation *generation, int grace_ms, int signals);

/* Closes what a generation that has been stopped, or was never started, still has open. */
void generation_free(struct generation *generation);

bool generation_ready(const struct generation *generation);

/* Takes what was reaped out of it: true if it was a part of it; *ret_keeper: a keeper. */
bool generation_lose(struct generation *generation, pid_t pid, bool *ret_keeper);

#endif
