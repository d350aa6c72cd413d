/* user: a user namespace of the worker's own, which owns no other namespace. Whatever capability a script might regain, it is one over
 * nothing: mounts, network and pids of the cell belong to the zygote's user namespace, outside of it. */
#include "cell/cell.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

static int map_write(const char *path, const char *text, struct fault *why)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return fault_set(why, errno, "open", path);
    ssize_t wrote = write(fd, text, strlen(text));
    int error = errno;
    close(fd);
    return wrote == (ssize_t)strlen(text) ? 0 : fault_set(why, error, "write", path);
}

int user_enter(struct cell *cell, struct fault *why)
{
    if (!cell->plan->user_nested)
        return 0;             /* the zygote's user namespace holds it then; start-up printed it */
    unsigned own = geteuid(); /* the slot's uid; it has no number once the namespace is there */
    if (unshare(CLONE_NEWUSER) < 0)
        return fault_set(why, errno, "unshare", "user");
    char map[64];
    snprintf(map, sizeof map, "%d %u 1", CELL_SCRIPT_UID, own);
    /* Demanded before an unprivileged gid_map: user_namespaces(7). gVisor has no such file, and doesn't demand it. */
    int r = map_write("/proc/self/setgroups", "deny", why);
    if (!cell->plan->pidfds)
        r = 0;
    if (r == 0)
        r = map_write("/proc/self/uid_map", map, why);
    if (r == 0)
        r = map_write("/proc/self/gid_map", map, why);
    struct rlimit processes = { .rlim_cur = cell->plan->processes, .rlim_max = cell->plan->processes };
    if (r == 0 && !cell->plan->uids && setrlimit(RLIMIT_NPROC, &processes) < 0)
        r = fault_set(why, errno, "setrlimit", "NPROC");
    return r;
}
