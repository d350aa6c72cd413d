/* namespaces: another view of processes, files, network, IPC and names than the host's. The cell's init has made them. At level contained
 * there are none. */
#include "cell/ablation.h"
#include "cell/cell.h"

#include <errno.h>
#include <sched.h>
#include <unistd.h>

int namespaces_enter(struct cell *cell, struct fault *why)
{
    bool entered = cell->plan->level == LEVEL_CONTAINED || !cell->plan->pidfds; /* without pidfds, it was born in all of them */
    /* The pid namespace is entered by being born there: the zygote set it before the fork. setns(2) with a pidfd: Linux 5.8. */
    unsigned long kinds = CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWCGROUP;
    if (!entered && setns(cell->fds[FORK_INIT], (int)namespaces_of(cell->plan, kinds)) < 0)
        return fault_set(why, errno, "setns", "cell's namespaces");
    /* The zygote's session and process group reach across pid namespaces: kill(0) would be addressed to it and to all other workers. */
    if (setsid() < 0)
        return fault_set(why, errno, "setsid", "worker");
    return 0;
}
