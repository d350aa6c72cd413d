/* place: the folder that a run starts in, its /tmp.
 *
 * At level contained nothing can be mounted. There, in an image that is made for it, /tmp is a link to /proc/self/fd/1000 and /runtime one
 * to /proc/self/fd/1001: each process that looks sees what its own descriptor leads to, and a run's lead to its slot's folders, which are
 * open to the slot's uid alone. Without the links, scripts are told by TMPDIR. What failed: a root of hard links for each slot (seconds to
 * make, a second copy in any layered image), rewriting paths by seccomp's notifications (the keeper may not read the caller's memory). */
#include "cell/cell.h"

#include "base/descriptor.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

int place_enter(struct cell *cell, struct fault *why)
{
    bool contained = cell->plan->level == LEVEL_CONTAINED;
    if ((contained ? fchdir(CELL_TMP_FD) : chdir("/tmp")) < 0)
        return fault_set(why, errno, "chdir", "/tmp");
    /* When the machine, or the service's own group, is short of memory, the kernel is to end runs, before any of the service's processes.
     */
    OWN_FD score = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
    if (score < 0 || write(score, "1000", 4) != 4)
        return fault_set(why, errno, "write", "oom_score_adj");
    if (!contained)
        return 0;
    /* In /dev/shm, which all runs have, what one has made is for itself. */
    umask(077);
    /* Where one uid is everybody's, no other process of it may look into this one; and it dies with the zygote, as it can't fork. */
    if (!cell->plan->uids && (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0 || prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0))
        return fault_set(why, errno, "prctl", "place");
    return 0;
}
