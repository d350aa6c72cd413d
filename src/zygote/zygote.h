/* The zygote's half that is written in C: the loop that forks, and a worker's talk with the front. No Python in here. */
#ifndef VIVARY_ZYGOTE_ZYGOTE_H
#define VIVARY_ZYGOTE_ZYGOTE_H

#include "base/fault.h"
#include "cell/cell.h"
#include "wire/frame.h"
#include "wire/plan.h"
#include "zygote/pages.h"

#include <stddef.h>
#include <sys/types.h>

enum { ZYGOTE_LESSONS_MAX = 16, ZYGOTE_STATES_MAX = 4 };

struct child {
    pid_t pid;  /* 0: none; where there are no pidfds, of the cell's init */
    int status; /* its init says here how the worker has ended: wait(2) */
    uint64_t generation;
};

struct zygote {
    const struct plan *plan;
    struct cell cell;
    struct child *children;
    struct pages lessons[ZYGOTE_LESSONS_MAX]; /* the first: what every run writes to; the others: what a package adds */
    size_t lesson_count;
    struct iovec states[ZYGOTE_STATES_MAX]; /* of random generators */
    size_t state_count;
    size_t lesson_of[USES_KINDS];   /* 0: none */
    uint32_t had;                   /* lessons that this process has had, a bit for each */
    size_t ahead;                   /* the lesson of which a worker that waits long gets a part */
    struct pages rested;            /* what of it this process has had */
    unsigned long populated, calls; /* pages that this process has had copied at once, and in how many calls */
};

/* Maps the plan from ZYGOTE_PLAN_FD. 0 or -errno. */
int zygote_open(struct zygote *zygote, struct fault *why);

/* Once the interpreter is warm: brings its memory into the form that is to be forked; `quick`: leaves it as it is. 0 or -errno. */
int zygote_settle(struct zygote *zygote, bool quick, struct fault *why);

/* Learns which pages a worker writes to that gets `script` and goes through `work`, beside those of lesson 0. Returns the lesson's number
 * or -errno. */
int zygote_learn(struct zygote *zygote, enum frame_type type, const char *script, size_t length, int (*work)(void *argument),
                 void *argument, struct fault *why);

/* Has the pages of a lesson copied at once. */
void zygote_populate(struct zygote *zygote, size_t lesson);

/* In a worker: waits for its run; if none comes for a while, has a part of a package's pages copied, while there is nothing else to do. */
void zygote_rest(struct zygote *zygote);

/* Tells the keeper that the interpreter is warm, then forks a worker for each order. Returns 0 in each worker, jailed, and never in the
 * zygote but with -errno. The end of the keeper's socket ends the process. */
int fork_loop(struct zygote *zygote, struct fault *why);

/* Forks a cell's init, and it a worker. Returns the init's pid, and where it will say how the worker ended, the caller's; 0 in the worker;
 * -errno. */
pid_t init_fork(struct zygote *zygote, int *ret_status);

/* A worker's word that it is ready: to the front its filter's listener, if it has one, and then to the keeper. 0 or -errno. */
int worker_ready(struct zygote *zygote);

/* Waits for a script, or a request of /v1/run; *ret_type says which. The payload is malloc'ed, the caller's. 0 or -errno (-EPIPE: the front
 * is gone; -EPROTO: another frame). */
int worker_receive(enum frame_type *ret_type, char **ret_payload, size_t *ret_length);

/* Lowers this process's limits, for it and all that it starts, where a request asks for less than the operator allows. 0 or -errno. */
int worker_limit(const struct zygote *zygote, uint64_t memory_bytes, uint64_t processes, uint64_t cpu_ms);

/* Sends a frame whole. 0 or -errno. */
int worker_send(enum frame_type type, const void *payload, size_t length);

#endif
