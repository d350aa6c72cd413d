#include "cli/generation.h"

#include "base/clock.h"
#include "base/descriptor.h"
#include "base/passing.h"

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>

enum { KEEPER_STOP_MS = 6000 };

void generation_clear(struct generation *generation, uint32_t number)
{
    memset(generation, 0, sizeof *generation);
    generation->front_plan = generation->front_news = generation->keys = -1;
    memset(generation->news, -1, sizeof generation->news);
    for (uint32_t i = 0; i < RUNTIMES_MAX; i++)
        generation->launches[i].generation = number, generation->launches[i].plan_fd = -1;
    snprintf(generation->launches[0].name, sizeof generation->launches[0].name, "default");
}

/* Takes the keys as the file has them now. One that is wrong changes nothing. */
static int keys_read(struct generation *generation)
{
    int file = -1;
    if (launch_keys(&generation->launches[0], &file) != 0)
        return 1;
    fd_close(&generation->keys);
    generation->keys = file;
    return 0;
}

static int keys_send(const struct generation *generation)
{
    return generation->keys >= 0 && passing_send(generation->front_news, "K", 1, &generation->keys, 1) < 0;
}

int generation_keys(struct generation *generation)
{
    return keys_read(generation) != 0 || keys_send(generation) != 0;
}

int generation_prepare(struct generation *generation)
{
    struct launch *launches = generation->launches;
    return keys_read(generation) != 0 || launch_prepare(&launches[0]) != 0 || launch_runtimes(launches, &generation->runtimes) != 0 ||
           launch_front_plan(launches, generation->runtimes, &generation->front_plan) != 0;
}

/* `keepers`: the front's ends of their sockets, which it has then alone. */
static int front_launch(struct generation *generation, int keepers[static RUNTIMES_MAX], const int *listeners)
{
    for (uint32_t i = 0; i < generation->runtimes; i++) {
        char name[32], pid[16];
        snprintf(name, sizeof name, "KEEPER_PID_%u", i);
        snprintf(pid, sizeof pid, "%d", (int)generation->keepers[i]);
        setenv(name, pid, 1); /* the front tells how much memory it has */
    }
    fd_close(&generation->front_news);
    int r = launch_front(&generation->launches[0], generation->front_plan, keepers, generation->runtimes, listeners,
                         generation->launches[0].settings.listen_count, &generation->front, &generation->front_news);
    for (uint32_t i = 0; i < generation->runtimes; i++)
        fd_close(&keepers[i]);
    return r != 0 || keys_send(generation) != 0;
}

int generation_start(struct generation *generation, const int *listeners)
{
    int keepers[RUNTIMES_MAX], r = 0;
    memset(keepers, -1, sizeof keepers);
    for (uint32_t i = 0; i < generation->runtimes && r == 0; i++) {
        generation->ready[i] = false;
        r = launch_keeper(&generation->launches[i], &generation->keepers[i], &keepers[i], &generation->news[i]);
    }
    if (r == 0)
        return front_launch(generation, keepers, listeners);
    for (uint32_t i = 0; i < generation->runtimes; i++)
        fd_close(&keepers[i]);
    return r;
}

int generation_front(struct generation *generation, const int *listeners)
{
    int keepers[RUNTIMES_MAX];
    memset(keepers, -1, sizeof keepers);
    for (uint32_t i = 0; i < generation->runtimes; i++) {
        int sockets[2];
        bool made = socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets) == 0;
        OWN_FD of_keeper = made ? sockets[1] : -1;
        keepers[i] = made ? sockets[0] : -1;
        if (made && passing_send(generation->news[i], "F", 1, &of_keeper, 1) == 0)
            continue;
        for (uint32_t given = 0; given <= i; given++)
            fd_close(&keepers[given]);
        return 1;
    }
    return front_launch(generation, keepers, listeners);
}

/* Waits until `pid` is reaped, at most so long; then kills it. */
static int child_wait(int signals, pid_t pid, int ms)
{
    uint64_t end = clock_ns() + (uint64_t)ms * NS_PER_MS;
    int status = 0;
    for (;;) {
        pid_t got = waitpid(pid, &status, WNOHANG);
        if (got != 0)
            return status;
        uint64_t now = clock_ns();
        if (now >= end) {
            kill(pid, SIGKILL);
            waitpid(pid, &status, 0);
            return status;
        }
        struct pollfd watched = { .fd = signals, .events = POLLIN };
        struct signalfd_siginfo signal;
        if (poll(&watched, 1, 20) > 0 && read(signals, &signal, sizeof signal) > 0)
            continue; /* SIGCHLD, mostly */
    }
}

void generation_stop(struct generation *generation, int grace_ms, int signals)
{
    if (generation->front > 0) {
        kill(generation->front, grace_ms > 0 ? SIGTERM : SIGKILL);
        child_wait(signals, generation->front, grace_ms);
    }
    for (uint32_t i = 0; i < generation->runtimes; i++)
        if (generation->keepers[i] > 0)
            kill(generation->keepers[i], SIGTERM);
    for (uint32_t i = 0; i < generation->runtimes; i++) {
        if (generation->keepers[i] > 0)
            child_wait(signals, generation->keepers[i], KEEPER_STOP_MS);
        generation->keepers[i] = 0;
        fd_close(&generation->news[i]);
        launch_clear(&generation->launches[i]);
    }
    generation->front = 0;
}

void generation_free(struct generation *generation)
{
    fd_close(&generation->front_plan);
    fd_close(&generation->front_news);
    fd_close(&generation->keys);
    for (uint32_t i = 0; i < RUNTIMES_MAX; i++)
        fd_close(&generation->launches[i].plan_fd);
}

bool generation_ready(const struct generation *generation)
{
    bool all = generation->runtimes > 0;
    for (uint32_t i = 0; i < generation->runtimes; i++)
        all &= generation->ready[i];
    return all;
}

bool generation_lose(struct generation *generation, pid_t pid, bool *ret_keeper)
{
    *ret_keeper = false;
    if (pid == generation->front) {
        generation->front = 0;
        return true;
    }
    for (uint32_t i = 0; i < generation->runtimes; i++)
        if (pid == generation->keepers[i]) {
            generation->keepers[i] = 0;
            *ret_keeper = true;
        }
    return *ret_keeper;
}
