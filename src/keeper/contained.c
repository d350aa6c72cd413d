/* What the keeper does at level contained, where nothing dies by itself: a sweeper for each slot whose worker has ended, and the reaping of
 * orphans. */
#include "keeper/keeper.h"

#include "base/clock.h"
#include "base/descriptor.h"
#include "base/log.h"
#include "cell/sweep.h"

#include <errno.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

enum { SWEEP_RETRY_MS = 500, SWEEPER_NICE = 10 };

bool slot_sweep(struct keeper *keeper, uint32_t number)
{
    struct slot *slot = &keeper->slots[number];
    if (slot->swept || slot->sweeper != 0 || clock_ns() < slot->sweep_ns)
        return slot->swept;
    struct fault why = { 0 };
    pid_t pid = fork();
    if (pid == 0) {
        setpriority(PRIO_PROCESS, 0, SWEEPER_NICE); /* what a bomb has left to clear up slows no other's run */
        if (slots_sweep(keeper->plan, number, 1, &why) == 0)
            _exit(0);
        log_fault("sweep_failed", &why);
        _exit(1);
    }
    if (pid > 0) {
        slot->sweeper = pid;
        return false;
    }
    fault_set(&why, errno, "fork", "sweeper");
    log_fault("sweep_failed", &why);
    slot->sweep_ns = clock_ns() + SWEEP_RETRY_MS * NS_PER_MS;
    return false;
}

static void sweeper_ended(struct slot *slot, int status)
{
    slot->sweeper = 0;
    slot->swept = status == 0;
    if (!slot->swept) /* it has said why; the slot stays shut until one succeeds */
        slot->sweep_ns = clock_ns() + SWEEP_RETRY_MS * NS_PER_MS;
}

void strays_reap(struct keeper *keeper)
{
    siginfo_t info;
    for (;;) {
        info.si_pid = 0;
        if (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) < 0 || info.si_pid == 0 || info.si_pid == keeper->zygotes[0].pid ||
            info.si_pid == keeper->zygotes[1].pid)
            return; /* a zygote is reaped elsewhere */
        int status = 0;
        if (waitpid(info.si_pid, &status, WNOHANG) != info.si_pid)
            return;
        for (uint32_t i = 0; i < keeper->plan->slots; i++)
            if (keeper->slots[i].sweeper == info.si_pid)
                sweeper_ended(&keeper->slots[i], status);
        if (info.si_pid == keeper->watcher_pid) {
            log_line("error", "watcher_died", "status=%d", status);
            keeper->stopping = true; /* nothing bounds the runs any more: the supervisor starts all anew */
        }
    }
}

int contained_prepare(struct keeper *keeper, struct fault *why)
{
    int r = slots_make(keeper->plan, why);
    if (r == 0)
        r = watcher_start(keeper, why);
    if (r < 0)
        return r;
    /* Orphans of a dead zygote come to this process. At the end of who started it, it is told, not killed: only it can end the runs. Set
     * here, since making the folders has cleared it. */
    if (prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) < 0 || prctl(PR_SET_PDEATHSIG, SIGTERM, 0, 0, 0) < 0)
        return fault_set(why, errno, "prctl", "keeper");
    return 0;
}

static void child_wait(pid_t pid)
{
    while (pid > 0 && waitpid(pid, NULL, 0) < 0 && errno == EINTR)
        continue;
}

void contained_stop(struct keeper *keeper)
{
    struct fault why;
    fd_close(&keeper->watcher); /* it ends with its socket */
    for (uint32_t i = 0; i < ZYGOTES; i++)
        child_wait(keeper->zygotes[i].pid); /* no worker is born after this */
    for (uint32_t i = 0; i < keeper->plan->slots; i++)
        child_wait(keeper->slots[i].sweeper); /* each has a limit of its own */
    /* The zygote's uid too: workers that were on their way have it still. */
    if (slots_sweep(keeper->plan, 0, keeper->plan->slots + 1, &why) < 0)
        log_fault("sweep_failed", &why);
    slots_remove(keeper->plan);
}
