/* Starting the keeper: what `serve` and `run` share. */
#ifndef VIVARY_CLI_LAUNCH_H
#define VIVARY_CLI_LAUNCH_H

#include "cli/python.h"
#include "kernel/probe.h"
#include "settings/settings.h"
#include "wire/plan.h"

#include <linux/filter.h>
#include <sys/types.h>

/* A runtime: an interpreter, and all that a keeper of it needs. */
struct launch {
    char name[32];
    uint32_t number;     /* among the runtimes; the first is 0 */
    uint32_t generation; /* 0 or 1: of generation.h */
    uint32_t uid_range;  /* of the first, for the others to be beside; 0: not chosen yet */
    struct settings settings;
    bool alone; /* one run, without a front */
    struct host host;
    struct python python;
    struct plan plan;
    int plan_fd;                      /* the plan and its filters, for the keeper */
    char binaries[SETTINGS_PATH_MAX]; /* the folder of vivary-keeper and vivary-front */
};

/* Finds launch->binaries and launch->plan.modules. 0, or 1 with the reason printed on stderr. */
int launch_folders(struct launch *launch);

/* Probes host and Python and makes the plans. 0, or 1 with the reason printed on stderr. */
int launch_prepare(struct launch *launch);

/* Starts a keeper. *ret_front is the front's end of its socket, *ret_news says 'R' when the first worker waits, and ends with the keeper;
 * one byte with a socket, sent to it, is the keeper's end of another front's. */
int launch_keeper(const struct launch *launch, pid_t *ret_pid, int *ret_front, int *ret_news);

/* The plan of a front for these runtimes, the caller's. 0, or 1 with the reason printed. */
int launch_front_plan(const struct launch *launches, uint32_t count, int *ret_fd);

/* Starts a front on listening sockets; all descriptors stay the caller's. `keepers`: its ends of their sockets, in the order of the
 * runtimes. *ret_news takes keys, see FRONT_NEWS_FD. */
int launch_front(const struct launch *launch, int plan_fd, const int *keepers, uint32_t keeper_count, const int *listeners, uint32_t count,
                 pid_t *ret_pid, int *ret_news);

/* Makes launches 1 and up of what --runtime says. 0, or 1 with the reason printed. */
int launch_runtimes(struct launch *launches, uint32_t *ret_count);

/* Reads the file of keys, if there is one, into a memory file. 0 with *ret_fd (-1: there are none), or 1 with the reason printed. */
int launch_keys(const struct launch *launch, int *ret_fd);

/* Removes what a keeper that was killed has left: its runs and their folders, its cgroups. */
void launch_clear(const struct launch *launch);

#endif
