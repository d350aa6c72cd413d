/* What keeper and zygote are told at their start: in a memory file, this struct, then the seccomp filters of worker, init and keeper
 * (struct sock_filter, compiled by the parent). It holds settings of the operator and facts of the host; nothing of a request. */
#ifndef VIVARY_WIRE_PLAN_H
#define VIVARY_WIRE_PLAN_H

#include <assert.h>
#include <stddef.h>
#include <stdint.h>

enum { PLAN_VERSION = 5, PLAN_PATH_MAX = 1024, PLAN_PREFIXES_MAX = 8, PLAN_FILTER_MAX = 4096 };
enum { KEEPER_FRONT_FD = 3, KEEPER_PLAN_FD = 4, KEEPER_NEWS_FD = 5 };
enum { ZYGOTE_KEEPER_FD = 3, ZYGOTE_PLAN_FD = 4 };

enum plan_group {
    GROUP_MEMORY,
    GROUP_PIDS,
    GROUP_CPU,   /* accounts processor time */
    GROUP_SHARE, /* divides it: as much for a slot with one process as for one with sixty */
    GROUP_KINDS
};

/* How scripts are held. full: namespaces, mounts and a user namespace, beside all that `contained` has. contained: what an unprivileged
 * container leaves to its root, or to a user in it. */
enum plan_level { LEVEL_FULL = 1, LEVEL_CONTAINED };

enum { SHM_SHUT = 2 };

/* Uids and gids, counted from plan.uid_base. In `full` they are those that the zygote's user namespace shows. */
enum {
    UID_INIT = 900, /* of every cell's init: not the worker's, so the worker can't signal or trace it */
    UID_FRONT = 901,
    UID_RUN = 902,   /* of `vivary run` */
    UID_SLOT = 1000, /* of slot 0; slot n has UID_SLOT + n */
    UID_KILLER =
        3000, /* of what ends the processes of slot 0: nothing else has it, so nobody can end it first. Slot n has UID_KILLER + n */
};

struct plan {
    uint32_t version;
    uint32_t level; /* enum plan_level */
    uint32_t slots;
    uint32_t landlock_abi;   /* 0: the kernel has none */
    uint32_t user_nested;    /* each worker gets a user namespace of its own, inside its zygote's */
    uint32_t overlay;        /* system folders are overlays (a refused write says EACCES), else read-only binds (EROFS) */
    uint32_t cgroup_version; /* 0: none usable */
    uint32_t uid_base;       /* the zygote's uids 0..65535 are uid_base.. outside */
    uint32_t worker_filter_length, init_filter_length, keeper_filter_length; /* in instructions */
    uint32_t prefixes;
    uint32_t uids;   /* each slot has an uid of its own. Else all is one user's; at level contained no run may fork then */
    uint32_t notify; /* refused calls are told to the front, by the worker's listener: seccomp_unotify(2) */
    uint32_t pidfds; /* 0: there are none (gVisor). Then a cell's init is the zygote's child, and ended by it on the keeper's order */
    uint32_t once;   /* one run, and no more: nothing is prepared for another */
    uint32_t linked; /* contained: /tmp and /runtime are links to descriptors 1000 and 1001 of whoever looks */
    uint32_t shm;    /* contained: runs may use /dev/shm; SHM_SHUT: it is the container's own, and is to be shut to those who list it */
#ifdef VIVARY_ABLATION
    uint32_t without; /* bits of enum layer */
#endif
    uint64_t memory_bytes;
    uint64_t tmp_bytes, tmp_files;
    char tmp_options[96]; /* full: of the mounts that hold to these. Made once: each init would touch ten pages of libc to print them */
    uint64_t processes;
    uint64_t descriptors;
    uint64_t cpu_ms;
    uint64_t deadline_ms; /* of a run, in wall time */
    uint64_t result_max;
    uint64_t files_bytes;          /* that a request of /v1/run may have brought back */
    uint64_t renew_runs, renew_ms; /* a zygote's age at which another takes its place; 0: never */
    char python[PLAN_PATH_MAX];
    char preload[PLAN_PATH_MAX];
    char share[PLAN_PATH_MAX];                     /* empty: /app is an empty folder */
    char modules[PLAN_PATH_MAX];                   /* the folder of our Python files and extension module */
    char prefix[PLAN_PREFIXES_MAX][PLAN_PATH_MAX]; /* folders that the interpreter lives in, besides /usr */
    char folder[PLAN_PATH_MAX];                    /* contained: where the slots' folders lie */
    char group[GROUP_KINDS][PLAN_PATH_MAX];        /* cgroup folder to make ours in, for each controller; empty: not usable */
};

#endif
