/* `vivary serve`: starts keeper and front, prints one line when the first worker waits, and starts them anew when one of them ends. */
#include "cli/serve.h"

#include "base/clock.h"
#include "base/descriptor.h"
#include "base/log.h"
#include "base/passing.h"
#include "cli/generation.h"
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

enum { RESTART_MS = 100, RESTARTS_MAX = 50, STEADY_MS = 10000, STOP_GRACE_MS = 2000 };

struct supervisor {
    struct generation generations[2];
    struct generation *now;  /* it serves */
    struct generation *next; /* it gets ready to; NULL: there is none */
    struct generation *past; /* it finishes what it has begun; NULL: there is none */
    uint64_t past_by_ns;     /* and by then it is ended */
    int argc;
    char **argv; /* of the command: with them settings are read again */
    int listeners[SETTINGS_LISTEN_MAX];
    char shown[SETTINGS_LISTEN_MAX][SETTINGS_PATH_MAX + 16];
    uint32_t listener_count;
    int signals;
    bool announced, stopping;
    bool adopted; /* the sockets are a service manager's */
    uint32_t watchdog_ms;
};

static void announce(struct supervisor *supervisor)
{
    const struct launch *launch = &supervisor->now->launches[0];
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

/* Sockets that a service manager opened take the place of `listen`: it keeps them while this process is replaced, so nobody is refused. */
static int listeners_adopt(struct supervisor *supervisor, uint32_t count)
{
    struct settings *settings = &supervisor->now->launches[0].settings;
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
    settings->listen_count = supervisor->listener_count = count;
    supervisor->adopted = true;
    return 0;
}

static int listeners_open(struct supervisor *supervisor)
{
    struct settings *settings = &supervisor->now->launches[0].settings;
    uint32_t given = manager_sockets();
    if (given > 0)
        return listeners_adopt(supervisor, given);
    supervisor->listener_count = settings->listen_count;
    for (uint32_t i = 0; i < settings->listen_count; i++) {
        char error[256];
        if (address_listen(settings->listen[i], &supervisor->listeners[i], supervisor->shown[i], sizeof supervisor->shown[i], error) < 0) {
            fprintf(stderr, "vivary: %s\n", error);
            return 1;
        }
    }
    return 0;
}

/* Each keeper says once that its first worker waits. */
static void keepers_hear(struct generation *generation, const struct pollfd *watched)
{
    char word;
    for (uint32_t i = 0; i < generation->runtimes; i++)
        if (watched[i].fd >= 0 && watched[i].revents != 0) {
            generation->ready[i] = read(generation->news[i], &word, 1) == 1;
            if (!generation->ready[i])
                fd_close(&generation->news[i]); /* the keeper's end follows as SIGCHLD */
        }
}

static uint32_t keepers_watch(const struct generation *generation, struct pollfd *watched)
{
    for (uint32_t i = 0; i < generation->runtimes; i++)
        watched[i] = (struct pollfd) { .fd = generation->ready[i] ? -1 : generation->news[i], .events = POLLIN };
    return generation->runtimes;
}

static void next_drop(struct supervisor *supervisor, const char *why)
{
    log_line("error", "reload", "kept=before why=%s", why);
    generation_stop(supervisor->next, 0, supervisor->signals);
    generation_free(supervisor->next);
    supervisor->next = NULL;
}

/* Settings are read again. Other keys are taken at once. Else a second generation gets ready beside the one that serves, on the same
 * sockets; what is wrong with it changes nothing. */
static void settings_reload(struct supervisor *supervisor)
{
    struct generation *other = &supervisor->generations[supervisor->now == supervisor->generations];
    struct settings *before = &supervisor->now->launches[0].settings, *settings = &other->launches[0].settings;
    if (supervisor->next != NULL || supervisor->past != NULL) {
        log_line("warning", "reload", "kept=before why=another_reload_goes_on");
        return;
    }
    generation_clear(other, (uint32_t)(other - supervisor->generations));
    char error[OPTION_ERROR_MAX];
    if (settings_read(settings, supervisor->argc, supervisor->argv, error) != 0) {
        fprintf(stderr, "vivary: %s\n", error);
        log_line("error", "reload", "kept=before why=settings");
        return;
    }
    bool moved = settings->listen_count != before->listen_count || memcmp(settings->listen, before->listen, sizeof settings->listen) != 0;
    if (moved && !supervisor->adopted)
        log_line("warning", "reload", "kept=listen why=sockets_stay_until_a_restart");
    settings->listen_count = before->listen_count; /* a service manager's may be more, or fewer */
    memcpy(settings->listen, before->listen, sizeof settings->listen);
    if (memcmp(settings, before, sizeof *settings) == 0) {
        log_line(generation_keys(supervisor->now) == 0 ? "notice" : "error", "reload", "keys=%.200s", settings->keys);
        return;
    }
    supervisor->next = other;
    other->launches[0].host = supervisor->now->launches[0].host; /* it is the same, and may have been entered: host_enter_user */
    other->launches[0].uid_range = supervisor->now->launches[0].uid_range + RUNTIMES_MAX;
    setenv("LOG_OF_VIVARY", settings->log_format, 1);
    if (generation_prepare(other) != 0 || generation_start(other, supervisor->listeners) != 0)
        next_drop(supervisor, "it_can't_start");
}

/* The next generation has a worker for each runtime: it serves from now on, and the one before takes nothing new. */
static void generations_turn(struct supervisor *supervisor)
{
    supervisor->past = supervisor->now;
    supervisor->now = supervisor->next;
    supervisor->next = NULL;
    supervisor->past_by_ns = clock_ns() + (supervisor->past->launches[0].settings.deadline_ms + STOP_GRACE_MS) * NS_PER_MS;
    if (supervisor->past->front > 0)
        kill(supervisor->past->front, SIGUSR1); /* the listeners are another's now */
    log_start("vivary");
    log_line("notice", "reload", "settings=taken");
}

/* What the past generation had begun is done, or it has had its time. */
static void past_settle(struct supervisor *supervisor)
{
    if (supervisor->past->front > 0 && clock_ns() < supervisor->past_by_ns)
        return;
    generation_stop(supervisor->past, 0, supervisor->signals);
    generation_free(supervisor->past);
    supervisor->past = NULL;
}

static void signals_read(struct supervisor *supervisor)
{
    struct signalfd_siginfo signal;
    bool reload = false;
    while (read(supervisor->signals, &signal, sizeof signal) == sizeof signal) {
        supervisor->stopping |= signal.ssi_signo != SIGCHLD && signal.ssi_signo != SIGHUP;
        reload |= signal.ssi_signo == SIGHUP;
    }
    if (reload && !supervisor->stopping && supervisor->announced)
        settings_reload(supervisor);
}

/* Reaps. True when a part of the generation that serves is lost; *ret_keeper: a keeper. */
static bool children_reap(struct supervisor *supervisor, bool *ret_keeper)
{
    int status;
    pid_t pid;
    bool lost = false, keeper;
    *ret_keeper = false;
    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
        if (generation_lose(supervisor->now, pid, &keeper)) {
            lost = true;
            *ret_keeper |= keeper;
            if (!supervisor->stopping)
                log_line("error", keeper ? "keeper_ended" : "front_ended", "status=%d", status);
        } else if (supervisor->next != NULL && generation_lose(supervisor->next, pid, &keeper)) {
            next_drop(supervisor, keeper ? "keeper_ended" : "front_ended");
        } else if (supervisor->past != NULL) {
            generation_lose(supervisor->past, pid, &keeper);
        }
    }
    return lost;
}

static int poll_ms(const struct supervisor *supervisor)
{
    int ms = supervisor->watchdog_ms > 0 ? (int)supervisor->watchdog_ms : -1;
    return supervisor->past != NULL && (ms < 0 || ms > 100) ? 100 : ms;
}

static int supervise(struct supervisor *supervisor)
{
    uint64_t started = 0;
    unsigned restarts = 0;
    while (!supervisor->stopping) {
        if (supervisor->now->keepers[0] == 0) {
            started = clock_ns();
            if (generation_start(supervisor->now, supervisor->listeners) != 0)
                return 1;
        }
        struct pollfd watched[1 + 2 * RUNTIMES_MAX] = { { .fd = supervisor->signals, .events = POLLIN } };
        uint32_t of_now = keepers_watch(supervisor->now, watched + 1);
        uint32_t of_next = supervisor->next != NULL ? keepers_watch(supervisor->next, watched + 1 + of_now) : 0;
        if (poll(watched, 1 + of_now + of_next, poll_ms(supervisor)) < 0 && errno != EINTR)
            return 1;
        if (supervisor->watchdog_ms > 0)
            manager_tell("WATCHDOG=1");
        keepers_hear(supervisor->now, watched + 1);
        if (supervisor->next != NULL)
            keepers_hear(supervisor->next, watched + 1 + of_now);
        if (!supervisor->announced && generation_ready(supervisor->now))
            announce(supervisor);
        if (supervisor->next != NULL && generation_ready(supervisor->next))
            generations_turn(supervisor);
        signals_read(supervisor);
        bool keeper_lost, lost = children_reap(supervisor, &keeper_lost);
        if (supervisor->past != NULL)
            past_settle(supervisor);
        if (!lost || supervisor->stopping)
            continue;
        bool front_alone = supervisor->announced && supervisor->now->front == 0 && !keeper_lost;
        if (!front_alone || generation_front(supervisor->now, supervisor->listeners) != 0)
            generation_stop(supervisor->now, 0, supervisor->signals);
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
    const struct settings *settings = &supervisor->now->launches[0].settings;
    generation_stop(supervisor->now, (int)(settings->drain_ms + settings->deadline_ms) + STOP_GRACE_MS, supervisor->signals);
    return 0;
}

/* Without keys, an address beyond this machine serves whoever reaches it. */
static void open_warn(const struct supervisor *supervisor)
{
    const struct settings *settings = &supervisor->now->launches[0].settings;
    for (uint32_t i = 0; i < supervisor->listener_count && settings->keys[0] == '\0'; i++) {
        const char *shown = supervisor->shown[i];
        if (strncmp(shown, "unix:", 5) != 0 && strncmp(shown, "127.", 4) != 0 && strncmp(shown, "[::1]", 5) != 0)
            log_line("warning", "open_to_everybody", "listen=%s mend=--keys", shown);
    }
}

int serve_main(int argc, char **argv)
{
    static struct supervisor supervisor; /* large, and one for the process */
    supervisor.now = &supervisor.generations[0];
    supervisor.argc = argc;
    supervisor.argv = argv;
    generation_clear(supervisor.now, 0);
    struct launch *launch = &supervisor.now->launches[0];
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
    setenv("LOG_OF_VIVARY", launch->settings.log_format, 1); /* for the processes that are started, too: log.h */
    log_start("vivary");
    if (listeners_open(&supervisor) != 0 || generation_prepare(supervisor.now) != 0)
        return 1;
    open_warn(&supervisor);
    supervisor.watchdog_ms = manager_watchdog_ms();
    int status = supervise(&supervisor);
    struct generation *all[] = { supervisor.now, supervisor.next, supervisor.past };
    for (size_t i = 0; i < 3; i++)
        if (all[i] != NULL && (all[i]->keepers[0] != 0 || all[i]->front != 0))
            generation_stop(all[i], 0, supervisor.signals);
    for (uint32_t i = 0; i < supervisor.listener_count; i++)
        if (strncmp(supervisor.shown[i], "unix:", 5) == 0 && !supervisor.adopted)
            unlink(supervisor.shown[i] + 5);
    return status;
}
