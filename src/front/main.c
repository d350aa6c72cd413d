/* The front's life: prepare, jail, then one loop over keeper, clients and workers until it is told to stop. */
#include "front/front.h"

#include "base/clock.h"
#include "base/descriptor.h"
#include "base/log.h"
#include "base/passing.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <time.h>

enum { EVENTS_MAX = 64, STOP_GRACE_MS = 1000, LINGER_MS = 1000 /* for requests on connections that are there */, RECORDS_PER_SLOT = 8 };

static void meters_take(struct worker *worker, uint32_t which, const int *files)
{
    for (size_t i = 0; i < METERS; i++)
        if ((which >> i & 1) != 0) {
            fd_close(&worker->meters[i]);
            worker->meters[i] = *files++;
        }
}

static void keeper_read(struct front *front, const struct runtime *runtime)
{
    const struct wire_bounds bounds = { .slots = runtime->slots };
    struct worker *workers = front->workers + runtime->first;
    for (;;) {
        union {
            uint32_t kind;
            struct ready ready;
            struct died died;
            struct limited limited;
        } message;
        int fds[PASSING_FDS_MAX];
        size_t count = 0;
        ssize_t got = passing_receive(runtime->keeper, &message, sizeof message, fds, &count);
        if (got == -EAGAIN)
            return;
        struct ready ready;
        struct died died;
        struct limited limited;
        if (got > 0 && ready_valid(&message, (size_t)got, &bounds, &ready) &&
            count == READY_FDS + (size_t)__builtin_popcount(ready.meters)) {
            struct worker *worker = &workers[ready.slot];
            if (ready.generation > worker->generation) {
                run_died(front, worker, NULL); /* whoever was in this slot is no more */
                worker->state = WORKER_WAITING;
                worker->generation = ready.generation;
                worker->since_ns = clock_ns();
                front->metrics.workers++;
                front->worker_ns = clock_ns();
                front->metrics.zygotes[runtime - front->runtimes] = ready.zygotes;
                for (size_t i = 0; i < READY_FDS; i++)
                    worker->fds[i] = fds[i];
                meters_take(worker, ready.meters, fds + READY_FDS);
                continue;
            }
        } else if (got > 0 && count == 0 && died_valid(&message, (size_t)got, &bounds, &died)) {
            struct worker *worker = &workers[died.slot];
            if (worker->generation == died.generation)
                run_died(front, worker, &died);
            front->worker_ns = clock_ns();
            continue;
        } else if (got > 0 && count == 0 && limited_valid(&message, (size_t)got, &bounds, &limited)) {
            run_limited(front, &workers[limited.slot], limited.generation);
            continue;
        }
        if (got != 0 || !front->stopping)
            log_line("error", got == 0 ? "keeper_ended" : "keeper_spoke_nonsense", "length=%zd", got);
        exit(1); /* without it there are no workers: the supervisor starts both anew */
    }
}

/* A balancer still sends to a host until its next question to /readyz. Whoever connects in that time is told 503, which the balancer may
 * try on another host; one that waits in a listener's backlog when that closes is cut off. SIGUSR1 instead says that another front takes
 * from the same listeners: this one must leave them to it at once. */
static void stop_begin(struct front *front)
{
    struct signalfd_siginfo signal;
    uint32_t drain_ms = front->plan.drain_ms;
    while (read(front->signals, &signal, sizeof signal) == sizeof signal)
        if (signal.ssi_signo == SIGUSR1)
            drain_ms = 0;
    if (front->stopping)
        return;
    front->stopping = true;
    front->drain_by_ns = clock_ns() + drain_ms * NS_PER_MS;
    front->linger_by_ns = front->drain_by_ns + LINGER_MS * NS_PER_MS;
    front->stop_by_ns = front->drain_by_ns + (front->plan.deadline_ms + STOP_GRACE_MS) * NS_PER_MS;
}

static void drain_expire(struct front *front, uint64_t now_ns)
{
    if (front->drain_by_ns == 0 || now_ns < front->drain_by_ns)
        return;
    front->drain_by_ns = 0;
    http_close_listeners(front);
}

/* Nothing is left to do, or what is left has had its time. */
static bool stop_reached(const struct front *front)
{
    if (!front->stopping || front->drain_by_ns != 0)
        return false;
    uint64_t now_ns = clock_ns();
    if (front->running + front->queued + http_leaving(front) > 0)
        return now_ns >= front->stop_by_ns;
    return !http_expects(front) || now_ns >= front->linger_by_ns;
}

static void client_left(struct front *front, struct call *call)
{
    if (!call->watched)
        return;
    if (call->state == CALL_QUEUED)
        queue_remove(front, call);
    if (call->worker != NULL) {
        run_cancel(front, call->worker);
        call->worker = NULL;
    }
    call->broken = true;
    call_fail(call, 400, "The client has hung up");
    call->closes = true;
    http_resume(call);
}

/* Keys, from who started this process: it has judged them. */
static void keys_receive(struct front *front)
{
    char word;
    int fds[PASSING_FDS_MAX];
    size_t count = 0;
    ssize_t got = passing_receive(front->news, &word, 1, fds, &count);
    if (got == 0)
        epoll_ctl(front->epoll, EPOLL_CTL_DEL, front->news, NULL); /* nobody will send others; the end comes by a signal */
    if (got != 1 || word != 'K' || count != 1) {
        for (size_t i = 0; got > 0 && i < count; i++)
            close(fds[i]);
        return;
    }
    OWN_FD file = fds[0];
    struct keys keys = { 0 };
    off_t size = lseek(file, 0, SEEK_END);
    bool whole =
        size >= 0 && size % (off_t)sizeof *keys.at == 0 && size / (off_t)sizeof *keys.at <= KEYS_MAX && lseek(file, 0, SEEK_SET) == 0;
    if (whole && size > 0)
        keys.at = malloc((size_t)size);
    if (keys.at != NULL)
        whole = read(file, keys.at, (size_t)size) == size;
    keys.count = whole ? (uint32_t)(size / (off_t)sizeof *keys.at) : 0;
    if (!whole || (size > 0 && keys.at == NULL) || keyring_replace(&front->ring, &keys) < 0)
        log_line("error", "keys_lost", "bytes=%lld", (long long)size); /* those before stay */
    else
        log_line("notice", "keys_taken", "count=%u", front->ring.keys.count);
    keys_free(&keys);
}

/* The file of /proc that tells how much memory a runtime's keeper has: opened before the jail, and read behind it. Without it the number
 * is missing. */
static int keeper_statm_open(uint32_t number)
{
    char name[32], path[48];
    snprintf(name, sizeof name, "KEEPER_PID_%u", number);
    const char *keeper = getenv(name); /* of who started this process */
    if (keeper == NULL || strlen(keeper) > 10)
        return -1;
    snprintf(path, sizeof path, "/proc/%s/statm", keeper);
    return open(path, O_RDONLY | O_CLOEXEC);
}

static int runtimes_prepare(struct front *front, struct fault *why)
{
    uint32_t first = 0;
    for (uint32_t i = 0; i < front->plan.runtimes; i++) {
        struct runtime *runtime = &front->runtimes[i];
        *runtime =
            (struct runtime) { .plan = &front->plan.runtime[i], .keeper = FRONT_KEEPER_FD + (int)i, .watch = { WATCH_KEEPER, runtime } };
        runtime->first = first;
        runtime->slots = runtime->plan->slots;
        runtime->statm = keeper_statm_open(i);
        first += runtime->slots;
        if (runtime->slots == 0 || first > front->plan.slots)
            return fault_set(why, EINVAL, "pread", "plan");
        for (uint32_t slot = 0; slot < runtime->slots; slot++) {
            front->workers[runtime->first + slot].slot = slot;
            front->workers[runtime->first + slot].runtime = runtime;
        }
        /* A worker makes two records. A few can be on their way for each slot, while the keeper has already told of the next worker in it.
         */
        runtime->records_room = (size_t)runtime->slots * RECORDS_PER_SLOT;
        runtime->records = calloc(runtime->records_room, sizeof *runtime->records);
        if (runtime->records == NULL)
            return fault_set(why, ENOMEM, "calloc", "records");
        struct epoll_event event = { .events = EPOLLIN, .data.ptr = &runtime->watch };
        if (epoll_ctl(front->epoll, EPOLL_CTL_ADD, runtime->keeper, &event) < 0)
            return fault_set(why, errno, "epoll_ctl", "keeper");
    }
    return 0;
}

static int front_prepare(struct front *front, struct fault *why)
{
    if (pread(FRONT_PLAN_FD, &front->plan, sizeof front->plan, 0) != sizeof front->plan || front->plan.version != FRONT_PLAN_VERSION ||
        front->plan.listeners > FRONT_LISTEN_MAX || front->plan.runtimes == 0 || front->plan.runtimes > RUNTIMES_MAX)
        return fault_set(why, EINVAL, "pread", "plan");
    const struct front_plan *plan = &front->plan;
    front->most = (struct run_limits) {
        .wall_ms = plan->deadline_ms,
        .cpu_ms = plan->cpu_ms,
        .memory_mb = plan->memory_bytes >> 20,
        .output_kb = plan->stdout_max >> 10,
        .files_mb = plan->files_bytes >> 20,
        .processes = plan->processes,
    };
    if (getrandom(&front->id_base, sizeof front->id_base, 0) != sizeof front->id_base)
        return fault_set(why, errno, "getrandom", "id");
    size_t size = front->plan.filter_length * sizeof(struct sock_filter);
    front->filter = malloc(size + 1);
    front->workers = calloc(front->plan.slots, sizeof *front->workers);
    if (front->filter == NULL || front->workers == NULL)
        return fault_set(why, ENOMEM, "malloc", "front");
    if (pread(FRONT_PLAN_FD, front->filter, size, sizeof front->plan) != (ssize_t)size)
        return fault_set(why, EINVAL, "pread", "filter");
    close(FRONT_PLAN_FD);
    for (uint32_t i = 0; i < front->plan.slots; i++) {
        struct worker *worker = &front->workers[i];
        worker->listener = -1;
        memset(worker->meters, -1, sizeof worker->meters);
        worker->listener_watch = (struct watch) { WATCH_DENIED, worker };
        for (int k = 0; k < READY_FDS; k++) {
            worker->fds[k] = -1;
            worker->watches[k] = (struct watch) { (enum watch_kind)(WATCH_SOCKET + k), worker };
        }
    }
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files); /* as many as can be had; connections-max bounds what is used */
    }
    /* The library writes dates, and glibc would open /etc/localtime for the first. */
    if (setenv("TZ", "UTC0", 1) < 0)
        return fault_set(why, errno, "setenv", "TZ");
    tzset();
    front->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (front->epoll < 0)
        return fault_set(why, errno, "epoll_create1", "front");
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGUSR1);
    sigprocmask(SIG_SETMASK, &signals, NULL);
    signal(SIGPIPE, SIG_IGN);
    front->signals = signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK);
    if (front->signals < 0)
        return fault_set(why, errno, "signalfd", "front");
    front->signals_watch.kind = WATCH_SIGNALS;
    front->http_watch.kind = WATCH_HTTP;
    front->news_watch.kind = WATCH_NEWS;
    front->ring.asked = front->plan.keys != 0;
    struct epoll_event of_signals = { .events = EPOLLIN, .data.ptr = &front->signals_watch };
    struct epoll_event of_news = { .events = EPOLLIN, .data.ptr = &front->news_watch };
    if (epoll_ctl(front->epoll, EPOLL_CTL_ADD, front->news, &of_news) < 0 ||
        epoll_ctl(front->epoll, EPOLL_CTL_ADD, front->signals, &of_signals) < 0)
        return fault_set(why, errno, "epoll_ctl", "front");
    front->statm = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
    int r = runtimes_prepare(front, why);
    if (r == 0)
        r = http_start(front, why);
    return r < 0 ? r : jail_enter(front, why);
}

static void event_handle(struct front *front, const struct watch *watch, uint32_t events)
{
    switch (watch->kind) {
    case WATCH_KEEPER:
        keeper_flush(front, watch->owner);
        keeper_read(front, watch->owner);
        break;
    case WATCH_SIGNALS:
        stop_begin(front);
        break;
    case WATCH_NEWS:
        keys_receive(front);
        break;
    case WATCH_HTTP:
        http_wake(front);
        break;
    case WATCH_CLIENT:
        client_left(front, watch->owner);
        break;
    default:
        run_event(front, watch->owner, watch->kind, events);
    }
}

int main(void)
{
    struct front front = { .news = FRONT_NEWS_FD, .statm = -1 };
    struct fault why = { 0 };
    log_start("front");
    if (front_prepare(&front, &why) < 0) {
        log_fault("front_failed", &why);
        free(front.filter);
        free(front.workers);
        return 1;
    }
    while (!stop_reached(&front)) {
        struct epoll_event events[EVENTS_MAX];
        int wait_ms = http_wait_ms(&front);
        if ((front.running > 0 || front.queued > 0 || front.stopping) && wait_ms > 50)
            wait_ms = 50; /* exit grace, waiting time: to a twentieth of a second */
        int count = epoll_wait(front.epoll, events, EVENTS_MAX, wait_ms);
        if (count <= 0 || wait_ms == 0)
            http_wake(&front); /* a timeout of the library's, or more of what it had not come to */
        for (int i = 0; i < count; i++)
            event_handle(&front, events[i].data.ptr, events[i].events);
        uint64_t now_ns = clock_ns();
        drain_expire(&front, now_ns);
        run_expire(&front, now_ns);
        queue_expire(&front, now_ns);
        http_expire(&front, now_ns);
        stream_expire(&front, now_ns);
        queue_serve(&front);
        http_turn(&front);
        while (front.graves != NULL) {
            struct call *call = front.graves;
            front.graves = call->next;
            call_free(call);
        }
    }
    return 0;
}
