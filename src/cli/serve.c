/* `vivary serve`: starts keeper and front, prints one line when the first worker waits, and starts them anew when one of them ends. */
#include "cli/serve.h"

#include "base/clock.h"
#include "base/descriptor.h"
#include "base/log.h"
#include "base/passing.h"
#include "cli/launch.h"
#include "cli/level.h"
#include "cli/manager.h"
#include "settings/address.h"
#include "settings/option.h"
#include "wire/front_plan.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

enum { RESTART_MS = 100, RESTARTS_MAX = 50, STEADY_MS = 10000, STOP_GRACE_MS = 2000, KEEPER_STOP_MS = 6000 };

struct supervisor {
    struct launch launches[RUNTIMES_MAX]; /* the first has the settings of all */
    uint32_t runtimes;
    int front_plan;
    int listeners[SETTINGS_LISTEN_MAX];
    char shown[SETTINGS_LISTEN_MAX][SETTINGS_PATH_MAX + 16];
    pid_t keepers[RUNTIMES_MAX], front;
    int keys; /* a memory file, as they were last right; -1: none are asked for */
    int news[RUNTIMES_MAX], front_news;
    bool ready[RUNTIMES_MAX]; /* its first worker waits */
    int signals;
    bool announced, stopping;
    bool adopted; /* the sockets are a service manager's */
    uint32_t watchdog_ms;
};

static void announce(struct supervisor *supervisor)
{
    const struct launch *launch = &supervisor->launches[0];
    const char *shown = supervisor->shown[0];
    char address[SETTINGS_PATH_MAX + 64], curl[SETTINGS_PATH_MAX + 64];
    if (strncmp(shown, "unix:", 5) == 0) {
        snprintf(address, sizeof address, "%s", shown);
        snprintf(curl, sizeof curl, "--unix-socket %s http://localhost", shown + 5);
    } else {
        snprintf(address, sizeof address, "http://%s", shown);
        snprintf(curl, sizeof curl, "http://%s", shown);
    }
    char layers[LEVEL_TEXT_MAX], unbounded[LEVEL_TEXT_MAX];
    level_layers(&launch->plan, layers);
    level_unbounded(&launch->plan, unbounded);
    printf("Vivary serves on %s (Python %s, preloaded: %s, isolation: %s: %s%s%s). "
           "Try: curl %s/execute -d '{\"script\": \"def main(): return {\\\"answer\\\": 42}\"}'\n",
           address, launch->python.version, launch->python.packages[0] != '\0' ? launch->python.packages : "nothing",
           level_name(&launch->plan), layers, unbounded[0] != '\0' ? "; not bounded: " : "", unbounded, curl);
    fflush(stdout);
    supervisor->announced = true;
    manager_tell("READY=1");
}

/* Takes the keys as the file has them now. One that is wrong changes nothing. */
static int keys_read(struct supervisor *supervisor)
{
    int file = -1;
    if (launch_keys(&supervisor->launches[0], &file) != 0)
        return 1;
    fd_close(&supervisor->keys);
    supervisor->keys = file;
    return 0;
}

static int keys_send(const struct supervisor *supervisor)
{
    return supervisor->keys >= 0 && passing_send(supervisor->front_news, "K", 1, &supervisor->keys, 1) < 0;
}

/* `keepers`: the front's ends of their sockets, which it has then alone. */
static int front_launch(struct supervisor *supervisor, int keepers[static RUNTIMES_MAX])
{
    for (uint32_t i = 0; i < supervisor->runtimes; i++) {
        char name[32], pid[16];
        snprintf(name, sizeof name, "VIVARY_KEEPER_PID_%u", i);
        snprintf(pid, sizeof pid, "%d", (int)supervisor->keepers[i]);
        setenv(name, pid, 1); /* the front tells how much memory it has */
    }
    fd_close(&supervisor->front_news);
    int r = launch_front(&supervisor->launches[0], supervisor->front_plan, keepers, supervisor->runtimes, supervisor->listeners,
                         supervisor->launches[0].settings.listen_count, &supervisor->front, &supervisor->front_news);
    for (uint32_t i = 0; i < supervisor->runtimes; i++)
        fd_close(&keepers[i]);
    return r != 0 || keys_send(supervisor) != 0;
}

static int all_start(struct supervisor *supervisor)
{
    int keepers[RUNTIMES_MAX], r = 0;
    memset(keepers, -1, sizeof keepers);
    for (uint32_t i = 0; i < supervisor->runtimes && r == 0; i++) {
        supervisor->ready[i] = false;
        r = launch_keeper(&supervisor->launches[i], &supervisor->keepers[i], &keepers[i], &supervisor->news[i]);
    }
    if (r == 0)
        return front_launch(supervisor, keepers);
    for (uint32_t i = 0; i < supervisor->runtimes; i++)
        fd_close(&keepers[i]);
    return r;
}

/* Another front for the keepers that there are: their zygotes stay warm, so this takes no longer than a front's start. */
static int front_start(struct supervisor *supervisor)
{
    int keepers[RUNTIMES_MAX];
    memset(keepers, -1, sizeof keepers);
    for (uint32_t i = 0; i < supervisor->runtimes; i++) {
        int sockets[2];
        bool made = socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets) == 0;
        OWN_FD of_keeper = made ? sockets[1] : -1;
        keepers[i] = made ? sockets[0] : -1;
        if (made && passing_send(supervisor->news[i], "F", 1, &of_keeper, 1) == 0)
            continue;
        for (uint32_t given = 0; given <= i; given++)
            fd_close(&keepers[given]);
        return 1;
    }
    return front_launch(supervisor, keepers);
}

/* Waits until `pid` is reaped, at most so long; then kills it. */
static int child_wait(struct supervisor *supervisor, pid_t pid, int ms)
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
        struct pollfd watched = { .fd = supervisor->signals, .events = POLLIN };
        struct signalfd_siginfo signal;
        if (poll(&watched, 1, 20) > 0 && read(supervisor->signals, &signal, sizeof signal) > 0)
            continue; /* SIGCHLD, mostly */
    }
}

/* Ends what is left, the front first: it finishes the runs in flight while the keepers still live. */
static void all_stop(struct supervisor *supervisor, int grace_ms)
{
    if (supervisor->front > 0) {
        kill(supervisor->front, grace_ms > 0 ? SIGTERM : SIGKILL);
        child_wait(supervisor, supervisor->front, grace_ms);
    }
    for (uint32_t i = 0; i < supervisor->runtimes; i++)
        if (supervisor->keepers[i] > 0)
            kill(supervisor->keepers[i], SIGTERM);
    for (uint32_t i = 0; i < supervisor->runtimes; i++) {
        if (supervisor->keepers[i] > 0)
            child_wait(supervisor, supervisor->keepers[i], KEEPER_STOP_MS);
        supervisor->keepers[i] = 0;
        fd_close(&supervisor->news[i]);
        launch_clear(&supervisor->launches[i]);
    }
    supervisor->front = 0;
}

/* Sockets that a service manager opened take the place of `listen`: it keeps them while this process is replaced, so nobody is refused. */
static int listeners_adopt(struct supervisor *supervisor, uint32_t count)
{
    struct settings *settings = &supervisor->launches[0].settings;
    char error[256];
    if (count > SETTINGS_LISTEN_MAX) {
        fprintf(stderr, "vivary: at most %d sockets are taken from a service manager, and there are %u\n", SETTINGS_LISTEN_MAX, count);
        return 1;
    }
    for (uint32_t i = 0; i < count; i++) {
        supervisor->listeners[i] = (int)(3 + i);
        if (address_adopt(supervisor->listeners[i], supervisor->shown[i], sizeof supervisor->shown[i], error) < 0) {
            fprintf(stderr, "vivary: %s\n", error);
            return 1;
        }
    }
    settings->listen_count = count;
    supervisor->adopted = true;
    return 0;
}

static int listeners_open(struct supervisor *supervisor)
{
    struct settings *settings = &supervisor->launches[0].settings;
    uint32_t given = manager_sockets();
    if (given > 0)
        return listeners_adopt(supervisor, given);
    for (uint32_t i = 0; i < settings->listen_count; i++) {
        char error[256];
        if (address_listen(settings->listen[i], &supervisor->listeners[i], supervisor->shown[i], sizeof supervisor->shown[i], error) < 0) {
            fprintf(stderr, "vivary: %s\n", error);
            return 1;
        }
    }
    return 0;
}

static pid_t *keeper_of(struct supervisor *supervisor, pid_t pid)
{
    for (uint32_t i = 0; i < supervisor->runtimes; i++)
        if (supervisor->keepers[i] == pid)
            return &supervisor->keepers[i];
    return NULL;
}

/* Each says once that its first worker waits; when all have, the service is there. */
static void keepers_hear(struct supervisor *supervisor, const struct pollfd *watched)
{
    bool all = true;
    char word;
    for (uint32_t i = 0; i < supervisor->runtimes; i++) {
        if (watched[i].fd >= 0 && watched[i].revents != 0) {
            supervisor->ready[i] = read(supervisor->news[i], &word, 1) == 1;
            if (!supervisor->ready[i])
                fd_close(&supervisor->news[i]); /* the keeper's end follows as SIGCHLD */
        }
        all &= supervisor->ready[i];
    }
    if (all && !supervisor->announced)
        announce(supervisor);
}

static int supervise(struct supervisor *supervisor)
{
    uint64_t started = 0;
    unsigned restarts = 0;
    while (!supervisor->stopping) {
        if (supervisor->keepers[0] == 0) {
            started = clock_ns();
            if (all_start(supervisor) != 0)
                return 1;
        }
        struct pollfd watched[1 + RUNTIMES_MAX] = { { .fd = supervisor->signals, .events = POLLIN } };
        for (uint32_t i = 0; i < supervisor->runtimes; i++)
            watched[1 + i] =
                (struct pollfd) { .fd = supervisor->announced || supervisor->ready[i] ? -1 : supervisor->news[i], .events = POLLIN };
        if (poll(watched, 1 + supervisor->runtimes, supervisor->watchdog_ms > 0 ? (int)supervisor->watchdog_ms : -1) < 0 && errno != EINTR)
            return 1;
        if (supervisor->watchdog_ms > 0)
            manager_tell("WATCHDOG=1");
        keepers_hear(supervisor, watched + 1);
        struct signalfd_siginfo signal;
        while (read(supervisor->signals, &signal, sizeof signal) == sizeof signal) {
            supervisor->stopping |= signal.ssi_signo != SIGCHLD && signal.ssi_signo != SIGHUP;
            if (signal.ssi_signo == SIGHUP)
                log_line(keys_read(supervisor) == 0 && keys_send(supervisor) == 0 ? "notice" : "error", "reload", "keys=%.200s",
                         supervisor->launches[0].settings.keys);
        }

        int status;
        pid_t pid;
        bool lost = false, keeper_lost = false;
        while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
            bool was_front = pid == supervisor->front;
            pid_t *whose = was_front ? &supervisor->front : keeper_of(supervisor, pid);
            if (whose == NULL)
                continue;
            *whose = 0;
            lost = true;
            keeper_lost |= !was_front;
            if (!supervisor->stopping)
                log_line("error", was_front ? "front_ended" : "keeper_ended", "status=%d", status);
        }
        if (!lost || supervisor->stopping)
            continue;
        bool front_alone = supervisor->announced && supervisor->front == 0 && !keeper_lost;
        if (!front_alone || front_start(supervisor) != 0)
            all_stop(supervisor, 0);
        if (!supervisor->announced)
            return 1; /* it never worked: say so rather than try for ever. The keeper has logged why */
        restarts = clock_ns() - started > STEADY_MS * NS_PER_MS ? 0 : restarts + 1;
        if (restarts > RESTARTS_MAX) {
            log_line("error", "gave_up", "restarts=%u", restarts);
            return 1;
        }
        usleep(restarts > 1 ? RESTART_MS * 1000 : 0);
    }
    manager_tell("STOPPING=1");
    all_stop(supervisor, (int)supervisor->launches[0].settings.deadline_ms + STOP_GRACE_MS);
    return 0;
}

/* Without keys, an address beyond this machine serves whoever reaches it. */
static void open_warn(const struct supervisor *supervisor)
{
    const struct settings *settings = &supervisor->launches[0].settings;
    for (uint32_t i = 0; i < settings->listen_count && settings->keys[0] == '\0'; i++) {
        const char *shown = supervisor->shown[i];
        if (strncmp(shown, "unix:", 5) != 0 && strncmp(shown, "127.", 4) != 0 && strncmp(shown, "[::1]", 5) != 0)
            log_line("warning", "open_to_everybody", "listen=%s mend=--keys", shown);
    }
}

int serve_main(int argc, char **argv)
{
    static struct supervisor supervisor; /* large, and one for the process */
    struct launch *launch = &supervisor.launches[0];
    supervisor.front_news = supervisor.front_plan = -1;
    memset(supervisor.news, -1, sizeof supervisor.news);
    snprintf(launch->name, sizeof launch->name, "default");
    int r = settings_from_arguments(&launch->settings, argc, argv);
    if (r != 0)
        return r < 0 ? 0 : r; /* --help was answered, or an error was printed */
    /* Of ours from now on: a signal that comes while things start is kept, and heeded once they stand. */
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGCHLD);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGHUP);
    sigaddset(&signals, SIGINT);
    sigprocmask(SIG_BLOCK, &signals, NULL);
    supervisor.signals = signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK);
    if (supervisor.signals < 0) {
        perror("vivary: signalfd");
        return 1;
    }
    supervisor.keys = -1;
    if (keys_read(&supervisor) != 0)
        return 1;                                                /* the file is wrong: said before anything is started */
    setenv("VIVARY_LOG_FORMAT", launch->settings.log_format, 1); /* for the processes that are started, too: log.h */
    log_start("vivary");
    if (listeners_open(&supervisor) != 0 || launch_prepare(launch) != 0 ||
        launch_runtimes(supervisor.launches, &supervisor.runtimes) != 0 ||
        launch_front_plan(supervisor.launches, supervisor.runtimes, &supervisor.front_plan) != 0)
        return 1;
    open_warn(&supervisor);
    supervisor.watchdog_ms = manager_watchdog_ms();
    int status = supervise(&supervisor);
    if (supervisor.keepers[0] != 0 || supervisor.front != 0)
        all_stop(&supervisor, 0);
    for (uint32_t i = 0; i < launch->settings.listen_count; i++)
        if (strncmp(supervisor.shown[i], "unix:", 5) == 0 && !supervisor.adopted)
            unlink(supervisor.shown[i] + 5);
    return status;
}
