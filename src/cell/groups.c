/* cgroups: memory, processes and processor time of the whole slot together, whatever it forks. */
#include "cell/cell.h"

#include <errno.h>
#include <unistd.h>

int groups_enter(struct cell *cell, struct fault *why)
{
    /* The keeper opened these files, and cgroup checks the opener's rights since Linux 5.16 (CVE-2021-4197), older kernels the writer's:
     * those refuse here, and the worker doesn't start. */
    for (uint32_t i = 0; i < cell->group_count; i++)
        if (write(cell->groups[i], "0", 1) != 1) /* "0" is the writer itself: cgroups(7) */
            return fault_set(why, errno, "write", "cgroup.procs");
    return 0;
}
