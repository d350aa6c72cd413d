/* rlimits: bounds for each process, beside the cgroup's for all together; where no cgroup can be had, the only ones. */
#include "cell/cell.h"

#include <errno.h>
#include <stdbool.h>
#include <sys/resource.h>

int rlimits_enter(struct cell *cell, struct fault *why)
{
    const struct plan *plan = cell->plan;
    /* Headroom below the cgroup's limit: a script that asks for too much should read MemoryError, not be killed without a word. */
    uint64_t room = plan->memory_bytes - plan->memory_bytes / 32;
    bool contained = plan->level == LEVEL_CONTAINED;
    uint64_t cpu_s = (plan->cpu_ms + 999) / 1000;
    const struct {
        const char *name;
        uint64_t most;
        int resource;
        bool fixed_in_gvisor; /* it lets nobody set these */
    } limits[] = {
        { "DATA", cell->zygote_data + room, RLIMIT_DATA },
        /* Counts every mapping, so only where nothing else bounds shared memory: it makes threads dear (arenas, stacks). */
        { "AS", plan->group[GROUP_MEMORY][0] != '\0' ? RLIM_INFINITY : cell->zygote_size + room, RLIMIT_AS },
        { "CPU", cpu_s, RLIMIT_CPU }, /* soft = hard: the kernel's SIGKILL, which no handler survives */
        { "FSIZE", contained ? plan->tmp_bytes : plan->memory_bytes, RLIMIT_FSIZE },
        /* It counts all processes of the uid, wherever they are: with one uid for all it would count the service's, but in a user
         * namespace of the worker's own, which counts for itself. What is set before that is made bounds the uid outside of it as well
         * (set_userns_rlimit_max in kernel/user_namespace.c), so it is set after it. */
        { "NPROC", plan->uids ? plan->processes : RLIM_INFINITY, RLIMIT_NPROC },
        { "NOFILE", plan->descriptors, RLIMIT_NOFILE },
        { "STACK", 8 << 20, RLIMIT_STACK },
        /* Too little for a file, as 0 is; and where crashes are piped to a program of the host's root, which 0 doesn't prevent, the one
         * value that does: core(5), do_coredump in fs/coredump.c. */
        { "CORE", 1, RLIMIT_CORE },
        { "MEMLOCK", contained ? 0 : 64 << 10, RLIMIT_MEMLOCK },
        { "MSGQUEUE", contained ? 0 : 64 << 10, RLIMIT_MSGQUEUE, true },
        { "SIGPENDING", 1024, RLIMIT_SIGPENDING, true },
        { "NICE", 0, RLIMIT_NICE, true },
        { "RTPRIO", 0, RLIMIT_RTPRIO, true },
    };
    for (size_t i = 0; i < sizeof limits / sizeof *limits; i++) {
        struct rlimit now, wanted = { .rlim_cur = limits[i].most, .rlim_max = limits[i].most };
        /* A hard limit that is already lower stays: raising it needs CAP_SYS_RESOURCE over the host, which a zygote never has. */
        if (getrlimit(limits[i].resource, &now) == 0 && now.rlim_max < wanted.rlim_max)
            wanted.rlim_cur = wanted.rlim_max = now.rlim_max;
        if (setrlimit(limits[i].resource, &wanted) < 0 && !(limits[i].fixed_in_gvisor && !plan->pidfds && errno == EPERM))
            return fault_set(why, errno, "setrlimit", limits[i].name);
    }
    return 0;
}
