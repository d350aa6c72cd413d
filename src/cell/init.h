/* The cell's init: pid 1 of its pid namespace, forked by the keeper. It makes the mounts, says so, drops everything and then
 * only reaps. When it dies, the kernel kills all that is left in the cell: pid_namespaces(7). Having it lets a script be an ordinary
 * process: pid 1 ignores signals that it doesn't handle, even SIGKILL from inside. */
#ifndef VIVARY_CELL_INIT_H
#define VIVARY_CELL_INIT_H

#include "cell/cell.h"

/* Runs in a process that was cloned with new pid, mount and IPC namespaces, in the slot's network, UTS and cgroup namespaces and the
 * zygote's user namespace. `made` is where a struct fault goes, with error 0 once all is made. Never returns. */
_Noreturn void init_run(const struct plan *plan, const struct sock_filter *filter, int made);

/* Where the zygote makes it instead, with new namespaces of every kind: gives up all that the caller, whose worker is its child, has no
 * need of. 0 or -errno. */
int init_drop(const struct plan *plan, const struct sock_filter *filter, struct fault *why);

int mounts_make(const struct plan *plan, struct fault *why); /* the cell's own /tmp, /dev/shm, /dev/pts, /runtime and /proc */

#endif
