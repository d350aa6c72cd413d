/* The keeper: the process that holds the privileges. It makes cells, kills, reaps and counts, and reads nothing that a stranger wrote: only
 * fixed-size records of front and zygote, and the kernel's files. One thread, one loop, no allocation after its start. */
#ifndef VIVARY_KEEPER_KEEPER_H
#define VIVARY_KEEPER_KEEPER_H

#include "base/fault.h"
#include "base/meters.h"
#include "wire/died.h"
#include "wire/fork.h"
#include "wire/plan.h"

#include <linux/filter.h>
#include <stdbool.h>
#include <sys/types.h>

enum slot_state {
    SLOT_EMPTY,
    SLOT_MAKING,  /* its cell's init makes namespaces and mounts */
    SLOT_JAILING, /* its worker is on its way */
    SLOT_WAITING, /* the front was told of it */
    SLOT_RUNNING, /* the front gave it a run */
    SLOT_KILLING, /* its init was sent SIGKILL */
    SLOT_STATES
};

enum event { EVENT_OOM, EVENT_FORK_REFUSED, EVENTS };

/* One serves. The other is to take its place, or has lost it, and ends with the last of its cells. */
enum { ZYGOTES = 2 };

/* Namespaces that a slot keeps from run to run: in the kernel a network namespace costs more than all else of a cell together, and nothing
 * that a run may call changes one of these. */
enum held { HELD_NET, HELD_UTS, HELD_CGROUP, HELD_KINDS };

struct zygote_process {
    int socket;
    int pidfd;
    pid_t pid; /* 0: none */
    bool warm;
    bool quick; /* it has imported, and no more: another that has prepared its memory is to take its place */
    uint64_t born_ns;
    uint64_t cells; /* made of it */
};

struct slot {
    enum slot_state state;
    uint32_t zygote;      /* that its cell is of */
    uint64_t generation;  /* of the cell in it; counts up */
    uint64_t deadline_ns; /* of the state: jailing, running */
    bool init_dead;
    bool worker_forked; /* ordered from the zygote, its end not yet reported */
    bool end_ordered;   /* of the zygote, where it is the one who can */
    enum died_why why;  /* what ended the cell */
    int32_t status;     /* of the worker, as of wait(2) */
    int init_fd;        /* full: pidfd of the cell's pid 1; contained: of the worker; -1: none */
    pid_t sweeper;      /* contained: clears away what the run has left; 0: none */
    bool swept;
    uint64_t sweep_ns;                /* no new sweeper before this */
    int status_fd;                    /* where init and worker say that they are done with their part, as struct fault */
    int worker[FORK_KEPT];            /* the worker's ends, until the zygote has the order */
    int given[3];                     /* the front's ends, until it is told: socket, stdout, stderr */
    int groups[GROUP_KINDS];          /* cgroup.procs, for all cells of this slot */
    int held[ZYGOTES][HELD_KINDS];    /* they belong to the zygote's user namespace; -1: not made yet */
    int cpu_usage;                    /* the cgroup's account of processor time */
    int meters[METERS];               /* and more of it; -1: not here */
    int events[EVENTS];               /* what the groups count of what seldom happens; -1: not here */
    uint64_t memory_bytes, processes; /* what its groups allow now */
    uint64_t cpu_ms;                  /* what its run may use */
    bool wants_usage;                 /* its run's TAKEN did */
    bool meters_given;                /* to this front */
    uint64_t empty_by_ns; /* its worker waits to be told of until then, while memory of the run before isn't freed; 0: it doesn't */
    struct meters before; /* what its groups had counted when the run began */
    uint32_t ooms_before, forks_refused_before;
    struct run_usage of_worker; /* what the zygote heard */
};

/* What an event of the keeper's epoll is about: a slot's number for a worker's status, and these. */
#define KEEPER_TAG_INIT (UINT64_C(1) << 32) /* plus the slot's number: its cell's init has ended */
#define KEEPER_TAG_FRONT (UINT64_C(2) << 32)
#define KEEPER_TAG_ZYGOTE (UINT64_C(3) << 32) /* plus its number */
#define KEEPER_TAG_SIGNALS (UINT64_C(4) << 32)
#define KEEPER_TAG_WATCHER (UINT64_C(5) << 32)
#define KEEPER_TAG_NEWS (UINT64_C(6) << 32)

struct keeper {
    const struct plan *plan;
    const struct sock_filter *worker_filter, *init_filter, *keeper_filter;
    struct slot *slots;
    uint32_t group_count;
    int groups_held[GROUP_KINDS]; /* locked; they are let go of with this process */
    int epoll, signals;
    int front; /* -1: it has ended, and another is on its way */
    int news;  /* to `vivary serve`: that the first worker waits; from it: the socket of another front */
    struct zygote_process zygotes[ZYGOTES];
    uint32_t zygote; /* the one that new cells are of */
    uint64_t zygotes_started;
    uint64_t retry_ns;       /* no new cell before this */
    uint64_t front_by_ns;    /* without a front: stop if none has come by then */
    uint64_t cpu_look_ns;    /* nor a look at the runs' processor time */
    unsigned failures;       /* in a row */
    struct watched *watched; /* contained: shared with the watcher */
    int watcher;             /* its socket; -1: none */
    pid_t watcher_pid;
    uint8_t uses[USES_KINDS]; /* of each, a bit for each of the last eight runs */
    bool told_ready, stopping, children_ended;
};

/* jail.c: gives up what making cells doesn't need. All that the keeper starts has the filter too. 0 or -errno. */
int keeper_jail(const struct keeper *keeper, struct fault *why);

/* zygote.c: starts a zygote, which will say WIRE_WARM on its socket; a quick one if no other serves. 0 or -errno. */
int zygote_start(struct keeper *keeper, uint32_t number, struct fault *why);
/* Its program, in the process that is to be it, with nothing open but these two and the log. Returns only on failure. */
int zygote_exec(const struct plan *plan, bool quick, int socket, int plan_fd, struct fault *why);
/* zygote_full.c, zygote_contained.c: in a child of the keeper, make a zygote that is the keeper's child too, until its program begins. */
int zygote_launch_full(const struct plan *plan, bool quick, int socket, int plan_fd, pid_t *ret_pid, struct fault *why);
int zygote_launch_contained(const struct plan *plan, bool quick, int socket, int plan_fd, pid_t *ret_pid, struct fault *why);

/* zygotes.c: what one has said; its end. */
void zygote_read(struct keeper *keeper, uint32_t number);
void zygote_reap(struct keeper *keeper, uint32_t number);
void zygote_kill(const struct zygote_process *zygote);
/* Sees that there is one, and that it is renewed. Returns how long the loop may wait, in ns. */
uint64_t zygotes_tend(struct keeper *keeper, uint64_t now);

/* main.c: ends the slot's cell; goes on with one of which nothing is left; counts what went wrong. */
void slot_kill(struct slot *slot, enum died_why why);
void slot_settle(struct keeper *keeper, uint32_t slot);
void cell_failed(struct keeper *keeper, const struct fault *why);

/* front.c: what it has said; its end; and the socket of another, from `vivary serve`. */
void front_read(struct keeper *keeper);
void front_lose(struct keeper *keeper);
int front_watch(struct keeper *keeper); /* as epoll_ctl(2) */
void news_read(struct keeper *keeper);

enum { RETRY_MS = 200 }; /* before what failed is tried again */

/* cell.c: starts to make a cell for an empty slot. On failure the slot is empty again, or being killed. */
int cell_start(struct keeper *keeper, uint32_t slot, struct fault *why);
/* Lets go of what the slot holds of a zygote that is gone. */
void held_drop(struct slot *slot, uint32_t zygote);
/* Orders its worker, once its init has made it. */
int cell_order(struct keeper *keeper, uint32_t slot, struct fault *why);
/* Where there are no pidfds: has the zygotes end the cells that are to be. */
void ends_order(struct keeper *keeper);

/* contained.c: what a slot costs where no namespace and no cgroup bounds it. A sweeper for a slot whose worker is reaped; true once it is
 * through. */
bool slot_sweep(struct keeper *keeper, uint32_t slot);
int contained_prepare(struct keeper *keeper, struct fault *why);
/* Ends all runs, once the zygote was sent SIGKILL. */
void contained_stop(struct keeper *keeper);
/* Reaps sweepers, the watcher and orphans. */
void strays_reap(struct keeper *keeper);

/* watch.c: a process that adds up what the runs use, and says which uses too much. 0 or -errno. */
int watcher_start(struct keeper *keeper, struct fault *why);
void watcher_tell(const struct keeper *keeper, uint32_t slot); /* a run has begun in the slot, or ended */
void watcher_read(struct keeper *keeper, void (*over)(struct keeper *keeper, uint32_t slot, enum died_why why));

/* usage.c: what a run may use, if less than the plan allows, and what it has used. 0 or -errno. */
int slot_limit(struct keeper *keeper, uint32_t slot, uint64_t memory_bytes, uint64_t processes, struct fault *why);
void meters_open(struct keeper *keeper, uint32_t slot);
void usage_begin(struct keeper *keeper, uint32_t slot);
void events_begin(struct keeper *keeper, uint32_t slot); /* the same for what seldom happens, and is dear to read */
void usage_read(const struct keeper *keeper, uint32_t slot, struct run_usage *ret_usage);

/* cell.c: notes what a run uses. Cells are made for what more than half of the last ones did. */
void uses_note(struct keeper *keeper, uint32_t uses);

/* cgroup.c: the slots' groups. */
int groups_make(struct keeper *keeper, struct fault *why);
void groups_remove(const struct plan *plan);
uint64_t group_cpu_ns(const struct keeper *keeper, const struct slot *slot); /* 0 where it isn't counted */

#endif
