/* What an operator can set. One struct, filled from defaults, the configuration file, the environment and the command line, in this order.
 */
#ifndef VIVARY_SETTINGS_SETTINGS_H
#define VIVARY_SETTINGS_SETTINGS_H

#include <stdint.h>

enum { SETTINGS_LISTEN_MAX = 16, SETTINGS_RUNTIMES_MAX = 7 /* beside `default` */, SETTINGS_PATH_MAX = 1024 };

struct settings {
    char listen[SETTINGS_LISTEN_MAX][SETTINGS_PATH_MAX]; /* "ADDR:PORT", "[ADDR6]:PORT" or "unix:/path"; empty: PORT, or 127.0.0.1:8080 */
    uint32_t listen_count;
    char runtimes[SETTINGS_RUNTIMES_MAX][SETTINGS_PATH_MAX]; /* NAME=PYTHON[,preload=A+B][,share=DIR][,slots=N] */
    uint32_t runtime_count;
    char host[64];                   /* with PORT, where there is no address; default: 127.0.0.1 */
    char python[SETTINGS_PATH_MAX];  /* default: /usr/bin/python3 */
    char preload[SETTINGS_PATH_MAX]; /* names with commas between; default: numpy,pandas; empty: nothing */
    char share[SETTINGS_PATH_MAX];   /* a folder that scripts see read-only as /app; default: empty, an empty one */
    char level[16];                  /* auto, full or contained */
    char keys[SETTINGS_PATH_MAX];    /* a file of API keys; default: empty, none are asked for */
    char log_format[16];             /* logfmt or json */
    uint64_t slots;                  /* runs at once; each slot holds a waiting worker */
    uint64_t spare;                  /* slots beyond those */
    uint64_t queue_max;              /* runs that may wait for a slot */
    uint64_t connections_max;
    uint64_t deadline_ms;   /* wall time of one run */
    uint64_t cpu_ms;        /* processor time of one run */
    uint64_t exit_grace_ms; /* wall time for exit handlers once the result is there */
    uint64_t drain_ms;      /* at SIGTERM: connections are still taken, and told that it stops */
    uint64_t request_ms;    /* a request must have come whole in this time */
    uint64_t idle_ms;       /* a kept-alive connection without a request is closed after this */
    uint64_t memory_mb;
    uint64_t processes; /* processes and threads of one run */
    uint64_t tmp_mb;    /* /tmp and /dev/shm, each */
    uint64_t tmp_files; /* inodes in each of them */
    uint64_t descriptors;
    uint64_t renew_runs, renew_s; /* when a warm interpreter is replaced; 0: never */
    uint64_t body_max;            /* bytes */
    uint64_t run_body_max;        /* bytes */
    uint64_t files_mb;            /* in, and out, of /v1/run */
    uint64_t result_max;          /* bytes */
    uint64_t stdout_max;          /* bytes */
};

#endif
