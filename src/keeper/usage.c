/* What a run may use, where its request asks for less than the operator allows, and what it has used: read from the slot's cgroups, which
 * count on from run to run, so the beginning is noted. */
#include "keeper/keeper.h"

#include "base/descriptor.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int slot_open_file(const struct keeper *keeper, uint32_t number, enum plan_group kind, const char *file, int flags)
{
    char path[PLAN_PATH_MAX + 64];
    if (keeper->plan->group[kind][0] == '\0')
        return -1;
    snprintf(path, sizeof path, "%s/slot-%u/%s", keeper->plan->group[kind], number, file);
    return open(path, flags | O_CLOEXEC);
}

void meters_open(struct keeper *keeper, uint32_t number)
{
    int *meters = keeper->slots[number].meters, *events = keeper->slots[number].events;
    bool first = keeper->plan->cgroup_version == 1;
    events[EVENT_OOM] = slot_open_file(keeper, number, GROUP_MEMORY, first ? "memory.oom_control" : "memory.events", O_RDONLY);
    events[EVENT_FORK_REFUSED] = slot_open_file(keeper, number, GROUP_PIDS, "pids.events", O_RDONLY);
    meters[METER_TIME] = slot_open_file(keeper, number, GROUP_CPU, first ? "cpuacct.usage" : "cpu.stat", O_RDONLY);
    meters[METER_SYSTEM] = first ? slot_open_file(keeper, number, GROUP_CPU, "cpuacct.usage_sys", O_RDONLY) : -1;
    meters[METER_MEMORY] = slot_open_file(keeper, number, GROUP_MEMORY, first ? "memory.max_usage_in_bytes" : "memory.peak", O_RDWR);
    /* A peak that can't be set back is that of all runs so far: Linux 6.12 was the first to do that in v2. What is used at the end then
     * stands for it. */
    if (!first && (meters[METER_MEMORY] < 0 || write(meters[METER_MEMORY], "0", 1) != 1)) {
        fd_close(&meters[METER_MEMORY]);
        meters[METER_MEMORY] = slot_open_file(keeper, number, GROUP_MEMORY, "memory.current", O_RDONLY);
    }
}

static uint32_t event_count(int file, const char *name)
{
    char text[512];
    return meter_text(file, text, sizeof text) > 0 ? (uint32_t)meter_number(text, name) : 0;
}

static void events_read(const struct slot *slot, uint32_t *ret_ooms, uint32_t *ret_forks_refused)
{
    *ret_ooms = event_count(slot->events[EVENT_OOM], "oom_kill");
    *ret_forks_refused = event_count(slot->events[EVENT_FORK_REFUSED], "max");
}

void usage_begin(struct keeper *keeper, uint32_t number)
{
    struct slot *slot = &keeper->slots[number];
    if (slot->meters[METER_MEMORY] >= 0 && write(slot->meters[METER_MEMORY], "0", 1) < 0)
        errno = 0; /* memory.current isn't to be written to */
    meters_read(slot->meters, keeper->plan->cgroup_version, &slot->before);
    slot->of_worker = (struct run_usage) { 0 };
}

void events_begin(struct keeper *keeper, uint32_t number)
{
    struct slot *slot = &keeper->slots[number];
    events_read(slot, &slot->ooms_before, &slot->forks_refused_before);
}

void usage_read(const struct keeper *keeper, uint32_t number, struct run_usage *ret_usage)
{
    const struct slot *slot = &keeper->slots[number];
    struct meters now;
    *ret_usage = slot->of_worker; /* without a group, what the zygote heard when it reaped the worker: its children count once waited for */
    meters_read(slot->meters, keeper->plan->cgroup_version, &now);
    if ((now.known & METERS_TIME) != 0) {
        meters_since(&slot->before, &now, &ret_usage->user_us, &ret_usage->system_us);
        ret_usage->known |= USAGE_CPU;
    }
    if ((now.known & METERS_MEMORY) != 0) {
        ret_usage->memory_peak = now.memory_peak;
        ret_usage->known |= USAGE_MEMORY;
    }
    events_read(slot, &ret_usage->ooms, &ret_usage->forks_refused);
    ret_usage->ooms -= slot->ooms_before;
    ret_usage->forks_refused -= slot->forks_refused_before;
}

static int value_set(const struct keeper *keeper, uint32_t number, enum plan_group kind, const char *file, uint64_t value,
                     struct fault *why)
{
    char text[24];
    int length = snprintf(text, sizeof text, "%llu", (unsigned long long)value);
    OWN_FD fd = slot_open_file(keeper, number, kind, file, O_WRONLY);
    if (fd < 0)
        return fault_set(why, errno, "open", file);
    return write(fd, text, (size_t)length) == length ? 0 : fault_set(why, errno, "write", file);
}

/* Memory with swap, where that is counted, may never be less than memory alone: which goes first depends on the direction. */
static int memory_set(const struct keeper *keeper, uint32_t number, uint64_t bytes, bool lower, struct fault *why)
{
    static const char ALONE[] = "memory.limit_in_bytes", WITH_SWAP[] = "memory.memsw.limit_in_bytes";
    struct fault ignored;
    if (keeper->plan->cgroup_version == 2)
        return value_set(keeper, number, GROUP_MEMORY, "memory.max", bytes, why);
    if (!lower)
        value_set(keeper, number, GROUP_MEMORY, WITH_SWAP, bytes, &ignored); /* a kernel may not have it */
    int r = value_set(keeper, number, GROUP_MEMORY, ALONE, bytes, why);
    if (r == 0 && lower)
        value_set(keeper, number, GROUP_MEMORY, WITH_SWAP, bytes, &ignored);
    return r;
}

int slot_limit(struct keeper *keeper, uint32_t number, uint64_t memory_bytes, uint64_t processes, struct fault *why)
{
    const struct plan *plan = keeper->plan;
    struct slot *slot = &keeper->slots[number];
    int r = 0;
    if (memory_bytes != slot->memory_bytes && plan->group[GROUP_MEMORY][0] != '\0')
        r = memory_set(keeper, number, memory_bytes, memory_bytes < slot->memory_bytes, why);
    if (r == 0)
        slot->memory_bytes = memory_bytes;
    if (r == 0 && processes != slot->processes && plan->group[GROUP_PIDS][0] != '\0')
        r = value_set(keeper, number, GROUP_PIDS, "pids.max", processes, why);
    if (r == 0)
        slot->processes = processes;
    return r;
}
