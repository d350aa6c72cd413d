/* A cell's init where there are no pidfds (gVisor): the keeper can't enter the zygote's namespaces there, nor a worker those that an init
 * has made. So the zygote forks the init into new ones, and the init its worker, whose end it tells the zygote and shares. */
#include "cell/init.h"
#include "zygote/zygote.h"

#include "base/descriptor.h"
#include "cell/ablation.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { INIT_STATUS_FD, INIT_FAULT_FD };

static _Noreturn void init_fail(int fd, const struct fault *why)
{
    _exit(write(fd, why, sizeof *why) == sizeof *why ? 1 : 2);
}

static _Noreturn void init_wait(pid_t worker)
{
    for (;;) {
        int status;
        pid_t pid = waitpid(-1, &status, 0); /* orphans of the cell become its children, and are reaped here */
        if (pid == worker)
            _exit(write(INIT_STATUS_FD, &status, sizeof status) == sizeof status ? 0 : 1);
        if (pid < 0 && errno != EINTR)
            _exit(1);
    }
}

pid_t init_fork(struct zygote *zygote, int *ret_status)
{
    const struct plan *plan = zygote->plan;
    struct cell *cell = &zygote->cell;
    unsigned long kinds = CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWNET | CLONE_NEWUTS;
    int ends[2];
    if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) < 0)
        return -errno;
    OWN_FD status_read = ends[0];
    OWN_FD status_write = ends[1];
    /* A fork but for the flags: this process has one thread, and neither uses its tid. */
    pid_t init = (pid_t)syscall(SYS_clone, namespaces_of(plan, kinds) | SIGCHLD, NULL, NULL, NULL, NULL);
    if (init < 0)
        return -errno;
    if (init > 0) {
        *ret_status = fd_take(&status_read);
        return init;
    }

    struct fault why = { 0 };
    if (mounts_make(plan, &why) < 0)
        init_fail(cell->fds[FORK_STATUS], &why);
    pid_t worker = _Fork();
    if (worker == 0)
        return 0;
    if (worker < 0) {
        fault_set(&why, errno, "fork", "worker");
        init_fail(cell->fds[FORK_STATUS], &why);
    }
    if (dup2(status_write, INIT_STATUS_FD) < 0 || dup2(cell->fds[FORK_STATUS], INIT_FAULT_FD) < 0 ||
        close_range(INIT_FAULT_FD + 1, FD_LAST, 0) < 0)
        _exit(1);
    if (init_drop(plan, cell->filter + plan->worker_filter_length, &why) < 0)
        init_fail(INIT_FAULT_FD, &why);
    close(INIT_FAULT_FD); /* so that the worker's end is seen by its status pipe */
    init_wait(worker);
}
