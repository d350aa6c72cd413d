/* The answer of POST /v1/run: what the worker said of its script, and what keeper and kernel say of the run, which wins. */
#ifndef VIVARY_FRONT_REPORT_H
#define VIVARY_FRONT_REPORT_H

#include "front/front.h"

/* How a run ended, as the keeper tells it. */
struct ending {
    bool died;      /* DIED came; else it ended by its own word */
    uint32_t why;   /* enum died_why; 0: it isn't known, so it is no fault of the script's */
    int32_t status; /* of the worker, as of wait(2) */
    struct run_usage usage;
};

enum run_status {
    RUN_OK,
    RUN_EXCEPTION,
    RUN_EXIT,
    RUN_NO_ENTRY,
    RUN_NOT_JSON,
    RUN_WALL_LIMIT,
    RUN_CPU_LIMIT,
    RUN_MEMORY_LIMIT,
    RUN_OUTPUT_LIMIT,
    RUN_PROCESS_LIMIT,
    RUN_DISK_LIMIT,
    RUN_SIGNAL,
    RUN_CANCELLED,
    RUN_INTERNAL,
    RUN_STATUSES
};

const char *run_status_name(enum run_status status);

/* As large as the JSON of files may be that keep to their limit. */
uint64_t report_files_most(const struct call *call);

/* The body, malloc'ed, the caller's, not NUL-terminated; NULL when memory is out. *ret_status tells what the run came to. */
char *report_make(const struct front *front, const struct worker *worker, const struct call *call, const struct ending *ending,
                  enum run_status *ret_status, struct run_usage *ret_usage, size_t *ret_length);

#endif
