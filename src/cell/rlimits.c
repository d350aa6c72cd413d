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
        int resource;
        const char *name;
        uint64_t most;
        bool fixed_in_gvisor; /* it lets nobody set these */
    } limits[] = {
        { RLIMIT_DATA, "DATA", cell->zygote_data + room },
        /* Counts every mapping, so only where nothing else bounds shared memory: it makes threads dear (arenas, stacks). */
        { RLIMIT_AS, "AS", plan->group[GROUP_MEMORY][0] != '\0' ? RLIM_INFINITY : cell->zygote_size + room },
        { RLIMIT_CPU, "CPU", cpu_s }, /* soft = hard: the kernel's SIGKILL, which no handler survives */
        { RLIMIT_FSIZE, "FSIZE", contained ? plan->tmp_bytes : plan->memory_bytes },
        /* It counts all processes of the uid, wherever they are: with one uid for all it would count the service's, but in a user
         * namespace of the worker's own, which counts for itself. What is set before that is made bounds the uid outside of it as well
         * (set_userns_rlimit_max in kernel/user_namespace.c), so it is set after it. */
        { RLIMIT_NPROC, "NPROC", plan->uids ? plan->processes : RLIM_INFINITY },
        { RLIMIT_NOFILE, "NOFILE", plan->descriptors },
        { RLIMIT_STACK, "STACK", 8 << 20 },
        /* Too little for a file, as 0 is; and where crashes are piped to a program of the host's root, which 0 doesn't prevent, the one
         * value that does: core(5), do_coredump in fs/coredump.c. */
        { RLIMIT_CORE, "CORE", 1 },
        { RLIMIT_MEMLOCK, "MEMLOCK", contained ? 0 : 64 << 10 },
        { RLIMIT_MSGQUEUE, "MSGQUEUE", contained ? 0 : 64 << 10, true },
        { RLIMIT_SIGPENDING, "SIGPENDING", 1024, true },
        { RLIMIT_NICE, "NICE", 0, true },
        { RLIMIT_RTPRIO, "RTPRIO", 0, true },
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
