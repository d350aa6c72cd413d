/* What the front is told at its start: in a memory file on descriptor FRONT_PLAN_FD, this struct and then `filter_length` instructions
 * (struct sock_filter) of its seccomp filter, compiled by the parent. The sockets of the runtimes' keepers are FRONT_KEEPER_FD and up,
 * listening sockets follow them. */
#ifndef VIVARY_WIRE_FRONT_PLAN_H
#define VIVARY_WIRE_FRONT_PLAN_H

#include <assert.h>
#include <stdint.h>

enum { FRONT_PLAN_FD = 3, FRONT_NEWS_FD = 4, FRONT_KEEPER_FD = 5, FRONT_LISTEN_MAX = 16, RUNTIMES_MAX = 8, RUNTIME_NAME_ROOM = 32 };
enum { FRONT_PLAN_VERSION = 6, FRONT_READY_MAX = 2048 };

/* An interpreter with its packages: a keeper, and slots, of its own. The first is `default`. */
struct front_runtime {
    char name[RUNTIME_NAME_ROOM];
    char python[32];         /* its version */
    char isolation[16];      /* the level's name */
    char packages[512];      /* that are preloaded, and their versions, as members of a JSON object */
    uint32_t slots;          /* spare ones counted as well */
    uint32_t at_once;        /* runs */
    uint32_t notify;         /* each worker's socket brings the listener of its filter */
    uint32_t cgroup_version; /* of the files that come with READY */
};

struct front_plan {
    uint32_t version;
    uint32_t listeners;       /* how many listening sockets */
    uint32_t filter_length;   /* in instructions; 0: no filter (only a sanitizer build) */
    uint32_t jail;            /* 1: as root, chroot to an empty folder, and change to uid and gid; 0: can't */
    uint32_t uid, gid;        /* 0: there are no others */
    uint32_t slots;           /* of all runtimes together */
    uint32_t queue_max;       /* runs that may wait for a worker */
    uint32_t connections_max; /* HTTP connections at once */
    uint32_t deadline_ms;     /* wall time of one run, from the moment a worker is taken */
    uint32_t exit_grace_ms;   /* wall time for exit handlers once the result is there */
    uint32_t drain_ms;        /* at SIGTERM, connections are still taken for so long; what they ask is answered 503 */
    uint32_t request_ms;      /* a request must have come whole in this time, and an answer have been taken in it */
    uint32_t idle_ms;         /* a kept-alive connection without a request is closed after this */
    uint32_t processes;       /* of one run */
    uint32_t reserved;
    uint64_t body_max;                                                /* bytes of a request's body */
    uint64_t run_body_max;                                            /* the same for /v1/run, which carries files */
    uint64_t cpu_ms, memory_bytes, tmp_bytes, tmp_files, files_bytes; /* of one run */
    uint32_t runtimes;
    uint32_t keys;       /* a call needs one; they come over FRONT_NEWS_FD: a byte 'K' with a memory file of struct key */
    uint64_t result_max; /* bytes of a result's JSON */
    uint64_t stdout_max; /* bytes of stdout kept; the rest is dropped */
    struct front_runtime runtime[RUNTIMES_MAX];
    char ready[FRONT_READY_MAX]; /* the answer to GET /readyz once a worker is there, JSON */
};
static_assert(sizeof(struct front_plan) == 144 + RUNTIMES_MAX * sizeof(struct front_runtime) + FRONT_READY_MAX, "no padding");

#endif
