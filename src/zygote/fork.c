/* The zygote's loop: forks a worker for each of the keeper's orders, and reports each end. */
#include "zygote/zygote.h"

#include "base/descriptor.h"
#include "base/passing.h"
#include "wire/exited.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

/* Jails the new worker. On failure it says why and ends. */
static void worker_begin(struct zygote *zygote, uint32_t uses)
{
    struct cell *cell = &zygote->cell;
    struct fault why = { 0 };
    if (zygote->lesson_count > 0)
        zygote_populate(zygote, 0);
    for (size_t i = 0; i < USES_KINDS; i++)
        if ((uses >> i & 1) != 0 && zygote->lesson_of[i] != 0)
            zygote_populate(zygote, zygote->lesson_of[i]);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    if (cell_enter(cell, &why) == 0)
        return;
    int status = fcntl(CELL_STATUS_FD, F_GETFD) >= 0 ? CELL_STATUS_FD : cell->fds[FORK_STATUS];
    _exit(write(status, &why, sizeof why) == sizeof why ? 1 : 2);
}

static uint64_t microseconds(const struct timeval *time)
{
    return (uint64_t)time->tv_sec * 1000000 + (uint64_t)time->tv_usec;
}

static int keeper_tell(uint32_t kind, uint32_t slot, uint64_t generation, int status, uint32_t failed, const struct rusage *usage)
{
    struct exited exited = { .kind = kind, .slot = slot, .generation = generation, .status = status, .failed = failed };
    if (usage != NULL) {
        exited.user_us = microseconds(&usage->ru_utime);
        exited.system_us = microseconds(&usage->ru_stime);
        exited.faults = (uint64_t)usage->ru_minflt + (uint64_t)usage->ru_majflt;
    }
    return passing_send(ZYGOTE_KEEPER_FD, &exited, sizeof exited, NULL, 0);
}

/* Where no init dies with it, the keeper ends a worker by its pidfd. 0 or -errno. */
static int birth_tell(const struct fork_order *order, pid_t pid)
{
    struct exited born = { .kind = WIRE_BORN, .slot = order->slot, .generation = order->generation };
    OWN_FD pidfd = pidfd_open(pid, 0);
    return pidfd < 0 ? -errno : passing_send(ZYGOTE_KEEPER_FD, &born, sizeof born, &pidfd, 1);
}

static void cell_end(const struct zygote *zygote, const struct fork_order *order)
{
    const struct child *child = &zygote->children[order->slot];
    if (child->pid > 0 && child->generation == order->generation)
        kill(child->pid, SIGKILL); /* all of its pid namespace dies with it */
}

static bool inits_are_ours(const struct plan *plan)
{
    return plan->level == LEVEL_FULL && !plan->pidfds;
}

/* Returns true in the worker. */
static bool order_follow(struct zygote *zygote)
{
    struct cell *cell = &zygote->cell;
    struct fork_order order = { 0 };
    int fds[PASSING_FDS_MAX];
    size_t count = 0;
    ssize_t got = passing_receive(ZYGOTE_KEEPER_FD, &order, sizeof order, fds, &count);
    if (got == -EAGAIN)
        return false;
    const uint32_t expected = fork_fds(cell->plan);
    if (got == sizeof order && order.kind == WIRE_END && order.slot < cell->plan->slots && count == 0 && inits_are_ours(cell->plan)) {
        cell_end(zygote, &order);
        return false;
    }
    if (got != sizeof order || order.kind != WIRE_FORK || order.slot >= cell->plan->slots || count < expected ||
        count > expected + GROUP_KINDS)
        _exit(got == 0 ? 0 : 1); /* the keeper is gone, or not itself: either ends all workers, as this is pid 1 of theirs */

    cell->slot = order.slot;
    bool contained = cell->plan->level == LEVEL_CONTAINED;
    cell->group_count = (uint32_t)count - expected;
    for (size_t i = 0; i < count; i++)
        *(i < expected ? &cell->fds[i] : &cell->groups[i - expected]) = fds[i];
    int error = 0, status = -1;
    pid_t pid = -1;
    if (inits_are_ours(cell->plan)) {
        pid = init_fork(zygote, &status);
        error = pid < 0 ? -pid : 0;
    } else if (!contained &&
               setns(cell->fds[FORK_INIT], CLONE_NEWPID) < 0) /* for children only: the worker is born next to the cell's init */
        error = errno;
    else if ((pid = _Fork()) < 0) /* no after-fork handlers: what they renew is done in worker.py, for less */
        error = errno;
    if (pid == 0) {
        worker_begin(zygote, order.uses);
        return true;
    }
    /* The kernel gives the lowest free numbers, so they mostly lie side by side: one call then, not nine. */
    bool together = true;
    for (size_t i = 1; i < count; i++)
        together &= fds[i] == fds[0] + (int)i;
    if (!together || close_range((unsigned)fds[0], (unsigned)fds[count - 1], 0) < 0)
        for (size_t i = 0; i < count; i++)
            close(fds[i]);
    if (error != 0) {
        keeper_tell(WIRE_EXITED, order.slot, order.generation, -error, 1, NULL);
    } else {
        zygote->children[order.slot].pid = pid;
        zygote->children[order.slot].status = status;
        zygote->children[order.slot].generation = order.generation;
        if (contained && birth_tell(&order, pid) < 0)
            kill(pid, SIGKILL); /* nobody else could; its end is reported like any */
    }
    return false;
}

static void children_reap(const struct zygote *zygote)
{
    int status;
    pid_t pid;
    struct rusage usage;
    while ((pid = wait4(-1, &status, WNOHANG, &usage)) > 0)
        for (uint32_t slot = 0; slot < zygote->plan->slots; slot++)
            if (zygote->children[slot].pid == pid) {
                zygote->children[slot].pid = 0;
                int told;
                if (inits_are_ours(zygote->plan)) {
                    if (read(zygote->children[slot].status, &told, sizeof told) == sizeof told)
                        status = told;
                    fd_close(&zygote->children[slot].status);
                }
                if (keeper_tell(WIRE_EXITED, slot, zygote->children[slot].generation, status, 0, &usage) < 0)
                    _exit(1); /* the keeper reads nothing any more */
                break;
            }
}

/* Says that the zygote is warm, and follows orders. 0 in each worker; -errno in the zygote. */
static int orders_serve(struct zygote *zygote, struct fault *why)
{
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGCHLD);
    sigprocmask(SIG_BLOCK, &signals, NULL);
    int ended = signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK);
    if (ended < 0)
        return fault_set(why, errno, "signalfd", "zygote");
    int r = keeper_tell(WIRE_WARM, 0, 0, 0, 0, NULL);
    if (r < 0)
        return fault_set(why, -r, "sendmsg", "keeper");
    for (;;) {
        struct pollfd watched[] = { { .fd = ZYGOTE_KEEPER_FD, .events = POLLIN }, { .fd = ended, .events = POLLIN } };
        if (poll(watched, 2, -1) < 0 && errno != EINTR)
            return fault_set(why, errno, "poll", "zygote");
        struct signalfd_siginfo signal; /* many ends are one signal: signal(7) */
        if (watched[1].revents != 0 && read(ended, &signal, sizeof signal) == sizeof signal)
            children_reap(zygote);
        if (watched[0].revents != 0 && order_follow(zygote))
            return 0;
    }
}

int fork_loop(struct zygote *zygote, struct fault *why)
{
    if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0)
        return fault_set(why, errno, "prctl", "PR_SET_PDEATHSIG");
    /* What a worker's child processes leave behind is reaped here, as pid 1 of a namespace does: a zombie counts as one of its uid's. */
    if (zygote->plan->level == LEVEL_CONTAINED && prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) < 0)
        return fault_set(why, errno, "prctl", "PR_SET_CHILD_SUBREAPER");
    return orders_serve(zygote, why);
}
