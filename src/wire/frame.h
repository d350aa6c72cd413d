/* The frames between front and worker, on one SOCK_STREAM socket pair per worker. Both sides are processes of one machine
 * and one build, so integers travel in native order. The front treats what a worker sends as hostile; the worker trusts the front. */
#ifndef VIVARY_WIRE_FRAME_H
#define VIVARY_WIRE_FRAME_H

#include <assert.h>
#include <stdint.h>

enum frame_type {
    FRAME_RUN = 1,     /* front to worker: the script, UTF-8 */
    FRAME_RESULT = 2,  /* worker to front: what main() returned, as a JSON object */
    FRAME_ERROR = 3,   /* worker to front: why there is no result, UTF-8; at most FRAME_ERROR_MAX bytes */
    FRAME_REQUEST = 5, /* front to worker: the body of POST /v1/run, checked */
    FRAME_REPORT = 6,  /* worker to front: what came of it, a JSON object */
    FRAME_END = 4,     /* worker to front, after a result, an error or a report: exit handlers have run, all output is written. Empty */
};

enum { FRAME_ERROR_MAX = 64 * 1024 };

struct frame_header {
    uint32_t type;
    uint32_t exchange; /* counts the exchanges on one socket: 1 for the first run. An answer repeats the number of its question */
    uint64_t length;   /* of the payload that follows, in bytes */
};
static_assert(sizeof(struct frame_header) == 16, "no padding: it would carry our memory to another process");

#endif
