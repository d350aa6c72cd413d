/* The body of POST /v1/run. All that can be seen before a worker is taken is judged here, and the worker gets the body as it came. */
#ifndef VIVARY_FRONT_RUN_REQUEST_H
#define VIVARY_FRONT_RUN_REQUEST_H

#include "front/problem.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    RUN_FILES_MAX = 1000,
    RUN_PATTERNS_MAX = 32,
    RUN_WORDS_MAX = 256, /* of argv, and of env */
    RUN_WORDS_BYTES = 64 << 10,
    RUN_PATH_MAX = 1024,
    RUN_PATH_PARTS = 16,
    RUN_PATTERN_MAX = 256,
    RUN_MEMORY_LEAST = 16, /* MiB: below, no interpreter does anything */
};

struct run_limits {
    uint64_t wall_ms, cpu_ms, memory_mb, output_kb, files_mb, processes;
};

struct run_request {
    struct run_limits limits; /* asked for, or else the most */
    bool stream;
    char runtime[64];
};

/* 0 with *ret_request filled, or the HTTP status with *ret_problem filled. `most` is what a request may ask for. */
unsigned run_request_parse(const char *body, size_t length, const struct run_limits *most, struct run_request *ret_request,
                           struct problem *ret_problem);

#endif
