/* One cgroup for each slot and controller. A slot's groups are reused, so that a run costs no mkdir; what lives in them is a new cell each
 * time. */
#include "keeper/keeper.h"

#include "base/descriptor.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

static int value_write(const char *folder, const char *file, uint64_t value, struct fault *why)
{
    char path[PLAN_PATH_MAX + 64], text[24];
    snprintf(path, sizeof path, "%s/%s", folder, file);
    int length = snprintf(text, sizeof text, "%llu", (unsigned long long)value);
    OWN_FD fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return fault_set(why, errno, "open", file);
    return write(fd, text, (size_t)length) == length ? 0 : fault_set(why, errno, "write", file);
}

static int limits_set(const struct plan *plan, enum plan_group kind, const char *folder, struct fault *why)
{
    bool first = plan->cgroup_version == 1;
    struct fault ignored;
    int r = 0;
    switch (kind) {
    case GROUP_MEMORY:
        r = value_write(folder, first ? "memory.limit_in_bytes" : "memory.max", plan->memory_bytes, why);
        if (r == 0) /* no swap beside it; kernels without swap accounting lack the file, and then swap isn't theirs to give */
            value_write(folder, first ? "memory.memsw.limit_in_bytes" : "memory.swap.max", first ? plan->memory_bytes : 0, &ignored);
        if (r == 0 && !first) /* all of a run or nothing of it: a script that lost one of its children can't know */
            return value_write(folder, "memory.oom.group", 1, why);
        return r;
    case GROUP_PIDS:
        return value_write(folder, "pids.max", plan->processes, why);
    default:
        return 0; /* time is accounted, and the keeper looks; shares are equal by themselves */
    }
}

/* A v2 group's children have the controllers that it hands down; without systemd, the root hands down none. */
static int controllers_enable(const struct plan *plan, const char *group, bool of_parent, struct fault *why)
{
    char path[PLAN_PATH_MAX + 48], wanted[32];
    int length = snprintf(wanted, sizeof wanted, "%s%s%s", plan->group[GROUP_MEMORY][0] != '\0' ? "+memory " : "",
                          plan->group[GROUP_PIDS][0] != '\0' ? "+pids " : "", plan->group[GROUP_SHARE][0] != '\0' ? "+cpu" : "");
    snprintf(path, sizeof path, "%s%s/cgroup.subtree_control", group, of_parent ? "/.." : "");
    OWN_FD fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0 || write(fd, wanted, (size_t)length) != length)
        return fault_set(why, errno, "write", of_parent ? "parent's subtree" : "subtree_control");
    return 0;
}

int groups_make(struct keeper *keeper, struct fault *why)
{
    const struct plan *plan = keeper->plan;
    for (int kind = 0; kind < GROUP_KINDS; kind++) {
        if (plan->group[kind][0] == '\0')
            continue;
        bool made_before = false; /* v2: one tree for all controllers */
        for (int other = 0; other < kind; other++)
            made_before |= strcmp(plan->group[other], plan->group[kind]) == 0;
        if (mkdir(plan->group[kind], 0755) < 0 && errno != EEXIST)
            return fault_set(why, errno, "mkdir", "cgroup");
        if (!made_before) {
            /* For as long as this keeper lives, another service that starts doesn't take it for a dead one's: cli/group_sweep.c. */
            keeper->groups_held[kind] = open(plan->group[kind], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
            if (keeper->groups_held[kind] < 0 || flock(keeper->groups_held[kind], LOCK_SH) < 0)
                return fault_set(why, errno, "flock", "cgroup");
        }
        if (plan->cgroup_version == 2 && !made_before) {
            int r = controllers_enable(plan, plan->group[kind], true, why);
            if (r == 0)
                r = controllers_enable(plan, plan->group[kind], false, why);
            if (r < 0)
                return r;
        }
        if (kind == GROUP_SHARE && plan->cgroup_version == 1) {
            /* On each processor all runs together count as one process, as they do with version 2's standard weight: so front and keeper,
             * which serve them, and whoever asks get their turns beside bombs. 1024 is a process's. */
            long processors = sysconf(_SC_NPROCESSORS_ONLN);
            if (processors < 1 || processors > 256) /* MAX_SHARES, sched.h */
                processors = processors < 1 ? 1 : 256;
            uint64_t shares = UINT64_C(1024) * (uint64_t)processors;
            int r = value_write(plan->group[kind], "cpu.shares", shares, why);
            if (r < 0)
                return r;
        }
        for (uint32_t slot = 0; slot < plan->slots; slot++) {
            char folder[PLAN_PATH_MAX + 24], path[PLAN_PATH_MAX + 48];
            snprintf(folder, sizeof folder, "%s/slot-%u", plan->group[kind], slot);
            if (mkdir(folder, 0755) < 0 && errno != EEXIST)
                return fault_set(why, errno, "mkdir", "slot's cgroup");
            int r = limits_set(plan, (enum plan_group)kind, folder, why);
            if (r < 0)
                return r;
            struct slot *at = &keeper->slots[slot];
            if (!made_before) {
                snprintf(path, sizeof path, "%s/cgroup.procs", folder);
                int fd = open(path, O_WRONLY | O_CLOEXEC);
                if (fd < 0)
                    return fault_set(why, errno, "open", "cgroup.procs");
                at->groups[keeper->group_count] = fd;
            }
            if (kind == GROUP_CPU) {
                snprintf(path, sizeof path, "%s/%s", folder, plan->cgroup_version == 1 ? "cpuacct.usage" : "cpu.stat");
                at->cpu_usage = open(path, O_RDONLY | O_CLOEXEC);
                if (at->cpu_usage < 0)
                    return fault_set(why, errno, "open", "cpu usage");
            }
        }
        if (!made_before)
            keeper->group_count++;
    }
    for (uint32_t slot = 0; slot < plan->slots; slot++)
        meters_open(keeper, slot);
    return 0;
}

void groups_remove(const struct plan *plan)
{
    for (int kind = 0; kind < GROUP_KINDS; kind++) {
        if (plan->group[kind][0] == '\0')
            continue;
        for (uint32_t slot = 0; slot < plan->slots; slot++) {
            char folder[PLAN_PATH_MAX + 24];
            snprintf(folder, sizeof folder, "%s/slot-%u", plan->group[kind], slot);
            rmdir(folder);
        }
        rmdir(plan->group[kind]);
    }
}

uint64_t group_cpu_ns(const struct keeper *keeper, const struct slot *slot)
{
    char text[256];
    if (slot->cpu_usage < 0)
        return 0;
    ssize_t got = pread(slot->cpu_usage, text, sizeof text - 1, 0);
    if (got <= 0)
        return 0;
    text[got] = '\0';
    if (keeper->plan->cgroup_version == 1)
        return strtoull(text, NULL, 10);
    return strncmp(text, "usage_usec ", 11) == 0 ? strtoull(text + 11, NULL, 10) * 1000 : 0; /* its first line: cgroup-v2.rst */
}
