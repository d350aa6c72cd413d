/* The zygotes that there are: what they say, their ends, and their renewal. */
#include "keeper/keeper.h"

#include "base/clock.h"
#include "base/descriptor.h"
#include "base/log.h"
#include "base/passing.h"
#include "wire/exited.h"

#include <errno.h>
#include <signal.h>
#include <sys/pidfd.h>
#include <sys/wait.h>

enum { WARM_MS_MAX = 120000 };

void zygote_kill(const struct zygote_process *zygote)
{
    if (zygote->pid != 0)
        kill(zygote->pid, SIGKILL); /* and with this pid 1 of theirs, all its workers */
}

static bool zygote_is_used(const struct keeper *keeper, uint32_t number)
{
    for (uint32_t i = 0; i < keeper->plan->slots; i++)
        if (keeper->slots[i].zygote == number && keeper->slots[i].state != SLOT_EMPTY)
            return true;
    return false;
}

void zygote_reap(struct keeper *keeper, uint32_t number)
{
    struct zygote_process *zygote = &keeper->zygotes[number];
    int status;
    if (zygote->pid == 0 || waitpid(zygote->pid, &status, WNOHANG) <= 0)
        return;
    zygote_read(keeper, number); /* what it said of workers comes before its own end, and that of their cells */
    bool dismissed = number != keeper->zygote && zygote->warm && !zygote_is_used(keeper, number);
    if (!keeper->stopping && !dismissed)
        log_line("error", "zygote_died", "status=%d warm=%d", status, zygote->warm);
    keeper->failures += zygote->warm ? 0 : 1;
    fd_close(&zygote->socket);
    fd_close(&zygote->pidfd);
    zygote->pid = 0;
    zygote->warm = false;
    for (uint32_t i = 0; i < keeper->plan->slots; i++) {
        held_drop(&keeper->slots[i], number);
        if (keeper->slots[i].zygote != number)
            continue;
        slot_kill(&keeper->slots[i], DIED_EXITED);
        keeper->slots[i].worker_forked = false; /* its pid namespace is gone, so is each worker */
        slot_settle(keeper, i);
    }
}

/* Takes the pidfd of a worker that is expected. */
static bool worker_born(struct keeper *keeper, const struct exited *born, int pidfd)
{
    struct slot *slot = &keeper->slots[born->slot];
    if (born->generation != slot->generation || !slot->worker_forked || slot->init_fd >= 0 || keeper->plan->level != LEVEL_CONTAINED)
        return false;
    slot->init_fd = pidfd;
    slot->init_dead = false;
    if (slot->state == SLOT_KILLING)
        pidfd_send_signal(pidfd, SIGKILL, NULL, 0);
    return true;
}

void zygote_read(struct keeper *keeper, uint32_t number)
{
    const struct wire_bounds bounds = { .slots = keeper->plan->slots };
    struct zygote_process *zygote = &keeper->zygotes[number];
    while (zygote->socket >= 0) {
        struct exited exited = { 0 }, message;
        int fds[PASSING_FDS_MAX];
        size_t count = 0;
        ssize_t got = passing_receive(zygote->socket, &message, sizeof message, fds, &count);
        if (got == -EAGAIN)
            return;
        bool valid = got > 0 && exited_valid(&message, (size_t)got, &bounds, &exited);
        if (valid && exited.kind == WIRE_BORN && count == 1 && worker_born(keeper, &exited, fds[0]))
            continue;
        for (size_t i = 0; got > 0 && i < count; i++)
            close(fds[i]);
        if (!valid || count > 0) {
            if (got > 0)
                log_line("error", "zygote_spoke_nonsense", "length=%zd", got);
            fd_close(&zygote->socket);
            zygote_kill(zygote); /* its end is reaped, and a new one started, like any */
            return;
        }
        if (exited.kind == WIRE_WARM) {
            zygote->warm = true;
            continue;
        }
        struct slot *slot = &keeper->slots[exited.slot];
        if (exited.generation != slot->generation || !slot->worker_forked || slot->zygote != number)
            continue;
        slot->worker_forked = false;
        slot->status = exited.failed ? 0 : exited.status;
        slot->of_worker = (struct run_usage) {
            .user_us = exited.user_us, .system_us = exited.system_us, .faults = exited.faults, .known = USAGE_CPU | USAGE_FAULTS
        };
        if (exited.failed) {
            struct fault why;
            fault_set(&why, -exited.status, "fork", "worker");
            cell_failed(keeper, &why);
        }
        slot_kill(slot, DIED_EXITED);
        slot_settle(keeper, exited.slot);
    }
}

/* Starts a zygote. Returns how long to wait before the next try, in ns. */
static uint64_t zygote_try(struct keeper *keeper, uint32_t number, uint64_t now)
{
    struct fault why;
    if (now < keeper->retry_ns)
        return keeper->retry_ns - now;
    keeper->retry_ns = now + RETRY_MS * NS_PER_MS; /* one that dies at once must not be started in a tight loop */
    if (zygote_start(keeper, number, &why) < 0)
        cell_failed(keeper, &why);
    else
        keeper->zygotes_started++;
    return RETRY_MS * NS_PER_MS;
}

/* Sees that there is a zygote, and that it is renewed in time: what a package leaks, and the seeds that its runs have in common, end with
 * it. The old one stays for the workers of it that wait; the front uses those that have waited longest, so they are used first. Returns how
 * long the loop may wait, in ns. */
uint64_t zygotes_tend(struct keeper *keeper, uint64_t now)
{
    const struct plan *plan = keeper->plan;
    struct zygote_process *zygotes = keeper->zygotes;
    uint32_t other = 1 - keeper->zygote;
    uint64_t wait_ns = 60 * NS_PER_S;
    for (uint32_t i = 0; i < ZYGOTES; i++)
        if (zygotes[i].pid != 0 && !zygotes[i].warm && now > zygotes[i].born_ns + WARM_MS_MAX * NS_PER_MS)
            zygote_kill(&zygotes[i]);
    if (zygotes[other].warm && (zygotes[keeper->zygote].pid == 0 || zygotes[other].born_ns > zygotes[keeper->zygote].born_ns)) {
        log_line("info", zygotes[keeper->zygote].quick ? "zygote_prepared" : "zygote_renewed", "cells=%llu",
                 (unsigned long long)zygotes[keeper->zygote].cells);
        keeper->zygote = other;
        other = 1 - other;
    }
    const struct zygote_process *current = &zygotes[keeper->zygote];
    if (current->pid == 0 && zygotes[other].pid == 0)
        wait_ns = zygote_try(keeper, keeper->zygote, now);
    if (zygotes[other].warm && zygotes[other].born_ns < current->born_ns && !zygote_is_used(keeper, other))
        zygote_kill(&zygotes[other]);
    bool old = (current->quick && !plan->once) || (plan->renew_runs > 0 && current->cells >= plan->renew_runs) ||
               (plan->renew_ms > 0 && now - current->born_ns >= plan->renew_ms * NS_PER_MS);
    if (current->warm && old && zygotes[other].pid == 0)
        wait_ns = zygote_try(keeper, other, now);
    return wait_ns;
}
