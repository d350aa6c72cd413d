/* descriptors: a worker holds nothing that leads anywhere but to its own run. */
#include "base/descriptor.h"
#include "cell/ablation.h"
#include "cell/cell.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

static int descriptor_move(int from, int to, int flags, struct fault *why)
{
    if (dup3(from, to, flags) < 0)
        return fault_set(why, errno, "dup3", to >= CELL_TMP_FD ? "socket or folder" : "standard descriptor");
    return 0;
}

int descriptors_enter(struct cell *cell, struct fault *why)
{
    bool contained = cell->plan->level == LEVEL_CONTAINED;
    /* Nothing that is moved may lie where something is moved to: the numbers received are all above 2 and far below 1000. */
    int r = descriptor_move(cell->fds[FORK_SOCKET], CELL_SOCKET_FD, O_CLOEXEC, why);
    if (r == 0)
        r = descriptor_move(cell->fds[FORK_STATUS], CELL_STATUS_FD, O_CLOEXEC, why);
    if (r == 0)
        r = descriptor_move(cell->fds[FORK_STDOUT], STDOUT_FILENO, 0, why);
    if (r == 0)
        r = descriptor_move(cell->fds[FORK_STDERR], STDERR_FILENO, 0, why);
    if (r == 0 && contained) /* child processes look through them as well */
        r = descriptor_move(cell->fds[FORK_TMP], CELL_TMP_FD, 0, why);
    if (r == 0 && contained)
        r = descriptor_move(cell->fds[FORK_RUNTIME], CELL_RUNTIME_FD, 0, why);
    if (r < 0)
        return r;
    int empty = open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (empty < 0)
        return fault_set(why, errno, "open", "/dev/null");
    r = descriptor_move(empty, STDIN_FILENO, 0, why);
    if (r < 0)
        return r;
    if (layer_left_out(cell->plan, LAYER_DESCRIPTORS))
        return 0;
    if (close_range(STDERR_FILENO + 1, (contained ? CELL_TMP_FD : CELL_SOCKET_FD) - 1, 0) < 0 ||
        close_range(CELL_STATUS_FD + 1, FD_LAST, 0) < 0)
        return fault_set(why, errno, "close_range", "all but ours");
    return 0;
}
