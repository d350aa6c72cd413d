/* The zygote's half that is written in C: the loop that forks, and a worker's talk with the front. No Python in here. */
#ifndef VIVARY_ZYGOTE_ZYGOTE_H
#define VIVARY_ZYGOTE_ZYGOTE_H

#include "base/fault.h"
#include "wire/frame.h"
#include "wire/plan.h"

#include <stddef.h>

/* The plan, mapped from ZYGOTE_PLAN_FD; NULL with *why filled. */
const struct plan *plan_map(struct fault *why);

/* Tells the keeper that the interpreter is warm, then forks a worker for each order. Returns 0 in each worker, jailed, and never in the
 * zygote but with -errno. The end of the keeper's socket ends the process. */
int fork_loop(const struct plan *plan, struct fault *why);

/* A worker's word that it is ready. 0 or -errno. */
int worker_ready(void);

/* Waits for a frame of this type; the payload is malloc'ed, the caller's. 0 or -errno (-EPIPE: the front is gone; -EPROTO: another frame).
 */
int worker_receive(enum frame_type type, char **ret_payload, size_t *ret_length);

/* Sends a frame whole. 0 or -errno. */
int worker_send(enum frame_type type, const void *payload, size_t length);

#endif
