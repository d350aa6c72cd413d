/* Theory of operation. `vivary serve` starts one keeper and one front. The keeper starts a zygote, makes a cell for each slot and has the
 * zygote fork a worker into it; when the worker says that it is jailed, the front gets its descriptors (READY). The front says TAKEN when
 * it gives the worker its run, and DONE when it needs nothing more. The keeper kills the cell then, or at its deadline, or when the worker
 * ends; when nothing is left it says DIED, and makes the next cell. If the front's socket ends, all
 * cells do, for they talk to nobody; `vivary serve` sends the socket of another front, and zygote and keeper stay. */
#include "keeper/keeper.h"

#include "base/clock.h"
#include "base/descriptor.h"
#include "base/log.h"
#include "base/passing.h"
#include "cell/cell.h"
#include "wire/ready.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

enum { LEFT_BYTES_MAX = 16 << 20, LEFT_MS_MAX = 2000, LEFT_LOOK_MS = 5 };
enum { QUICK_CELLS = 2 };
enum { FAILURES_MAX = 5, CPU_LOOK_MS = 100, CPU_LOOK_MS_LEAST = 5, STOP_MS_MAX = 5000 };

void slot_kill(struct slot *slot, enum died_why why)
{
    if (slot->state == SLOT_EMPTY || slot->state == SLOT_KILLING)
        return;
    slot->why = why;
    slot->state = SLOT_KILLING;
    if (slot->init_fd >= 0 && !slot->init_dead)
        pidfd_send_signal(slot->init_fd, SIGKILL, NULL, 0); /* all of its pid namespace dies with it: pid_namespaces(7) */
}

/* Whether nothing of the cell is left: its init is reaped, and the worker, which is the zygote's child, too. At level contained a sweeper
 * sees to what that worker started. */
static bool slot_is_empty(struct keeper *keeper, uint32_t number)
{
    const struct slot *slot = &keeper->slots[number];
    if (slot->state != SLOT_KILLING || slot->worker_forked)
        return false;
    if (keeper->plan->level == LEVEL_CONTAINED)
        return slot_sweep(keeper, number);
    return slot->init_dead || !keeper->plan->pidfds; /* the zygote reports an init of its own, with which all of its cell ends */
}

void slot_settle(struct keeper *keeper, uint32_t number)
{
    struct slot *slot = &keeper->slots[number];
    if (!slot_is_empty(keeper, number))
        return;
    bool known = slot->given[0] < 0; /* the front was told of it */
    fd_close(&slot->init_fd);
    fd_close(&slot->status_fd);
    for (size_t i = 0; i < 3; i++)
        fd_close(&slot->given[i]);
    for (size_t i = 0; i < FORK_KEPT; i++)
        fd_close(&slot->worker[i]);
    slot->state = SLOT_EMPTY;
    watcher_tell(keeper, number);
    if (known && keeper->front >= 0) {
        struct died died = { .kind = WIRE_DIED, .slot = number, .generation = slot->generation, .why = slot->why, .status = slot->status };
        if (slot->wants_usage && slot->why != DIED_DONE) /* else the front has answered, by the meters that it has itself */
            usage_read(keeper, number, &died.usage);
        int r = passing_send(keeper->front, &died, sizeof died, NULL, 0);
        if (r < 0) { /* the socket's queue holds more records than there are slots: a front that reads none is broken */
            struct fault why;
            fault_set(&why, -r, "sendmsg", "front");
            if (r != -EPIPE) /* its end, which its socket tells as well */
                log_fault("front_lost", &why);
            front_lose(keeper);
        }
    }
}

static void init_reap(struct keeper *keeper, uint32_t number)
{
    struct slot *slot = &keeper->slots[number];
    siginfo_t info = { 0 };
    if (slot->init_fd < 0 || slot->init_dead || waitid(P_PIDFD, (id_t)slot->init_fd, &info, WEXITED | WNOHANG | __WALL) < 0 ||
        info.si_pid == 0)
        return;
    slot_kill(slot, DIED_EXITED);
    slot->init_dead = true;
    epoll_ctl(keeper->epoll, EPOLL_CTL_DEL, slot->init_fd, NULL);
    slot_settle(keeper, number);
}

void cell_failed(struct keeper *keeper, const struct fault *why)
{
    log_fault("cell_failed", why);
    keeper->failures++;
    keeper->retry_ns = clock_ns() + RETRY_MS * NS_PER_MS;
}

static void worker_announce(struct keeper *keeper, uint32_t number);

/* The word of an init that has made its cell, or of a worker that is jailed, or why not. No script has been near them. */
static void status_read(struct keeper *keeper, uint32_t number)
{
    struct slot *slot = &keeper->slots[number];
    struct fault why = { 0 };
    ssize_t got = read(slot->status_fd, &why, sizeof why);
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (got != sizeof why)
        fault_set(&why, EPIPE, "read", slot->state == SLOT_MAKING ? "init's status" : "worker's status");
    why.call[sizeof why.call - 1] = why.object[sizeof why.object - 1] = '\0';
    if (why.error == 0 && slot->state == SLOT_MAKING && cell_order(keeper, number, &why) == 0)
        return;
    fd_close(&slot->status_fd);
    if (slot->state != SLOT_JAILING && slot->state != SLOT_MAKING)
        return;
    if (why.error != 0) {
        cell_failed(keeper, &why);
        slot_kill(slot, DIED_EXITED);
        return;
    }
    worker_announce(keeper, number);
}

/* Tells the front of a worker that waits. What the run before has left may be freed a moment later (files without a name, in sockets that
 * were sent through themselves); until then it would be counted as this one's. */
static void worker_announce(struct keeper *keeper, uint32_t number)
{
    struct slot *slot = &keeper->slots[number];
    struct fault why;
    uint64_t now = clock_ns();
    if (keeper->front < 0) {
        slot_kill(slot, DIED_EXITED);
        return;
    }
    usage_begin(keeper, number); /* before its run can begin */
    if (slot->before.memory_peak > LEFT_BYTES_MAX && (slot->empty_by_ns == 0 || now < slot->empty_by_ns)) {
        slot->empty_by_ns = slot->empty_by_ns == 0 ? now + LEFT_MS_MAX * NS_PER_MS : slot->empty_by_ns;
        return;
    }
    slot->empty_by_ns = 0;
    struct ready ready = { .kind = WIRE_READY, .slot = number, .generation = slot->generation, .zygotes = keeper->zygotes_started };
    int fds[READY_FDS + METERS] = { slot->given[0], slot->given[1], slot->given[2] };
    size_t count = READY_FDS;
    for (size_t i = 0; i < METERS && !slot->meters_given; i++)
        if (slot->meters[i] >= 0) {
            ready.meters |= UINT32_C(1) << i;
            fds[count++] = slot->meters[i];
        }
    int r = passing_send(keeper->front, &ready, sizeof ready, fds, count);
    if (r < 0) {
        fault_set(&why, -r, "sendmsg", "front");
        cell_failed(keeper, &why);
        slot_kill(slot, DIED_EXITED);
        return;
    }
    for (size_t i = 0; i < 3; i++)
        fd_close(&slot->given[i]);
    slot->meters_given = true;
    slot->state = SLOT_WAITING;
    keeper->failures = 0;
    if (!keeper->told_ready) {
        keeper->told_ready = true;
        if (write(keeper->news, "R", 1) < 0)
            keeper->stopping = true; /* nobody started us any more */
    }
}

/* Ends what is over its time, and makes cells for empty slots. Returns how long the loop may wait, in ms. */
static int slots_tend(struct keeper *keeper)
{
    uint64_t now = clock_ns(), wait_ns = 60 * NS_PER_S;
    uint64_t look_ns = CPU_LOOK_MS * NS_PER_MS;
    bool running = false, look = now >= keeper->cpu_look_ns;
    for (uint32_t i = 0; i < keeper->plan->slots; i++) {
        struct slot *slot = &keeper->slots[i];
        if (slot->state == SLOT_JAILING && slot->empty_by_ns != 0) {
            worker_announce(keeper, i);
            wait_ns = wait_ns < LEFT_LOOK_MS * NS_PER_MS ? wait_ns : LEFT_LOOK_MS * NS_PER_MS;
        }
        if (slot->state == SLOT_KILLING && slot->sweep_ns > now && slot->sweep_ns - now < wait_ns)
            wait_ns = slot->sweep_ns - now; /* a sweeper that failed is followed by another */
        if (slot->state != SLOT_MAKING && slot->state != SLOT_JAILING && slot->state != SLOT_RUNNING)
            continue;
        if (now >= slot->deadline_ns) {
            if (slot->state != SLOT_RUNNING) {
                struct fault why;
                fault_set(&why, ETIMEDOUT, "cell_start", "worker");
                cell_failed(keeper, &why);
            }
            slot_kill(slot, DIED_DEADLINE);
            continue;
        }
        if (slot->deadline_ns - now < wait_ns)
            wait_ns = slot->deadline_ns - now;
        if (slot->state == SLOT_RUNNING) {
            /* RLIMIT_CPU bounds each process; this their sum. */
            uint64_t used = look ? group_cpu_ns(keeper, slot) : 0;
            uint64_t before = slot->before.time_us * 1000;
            uint64_t its_ns = used > before ? used - before : 0, most_ns = slot->cpu_ms * NS_PER_MS;
            if (its_ns > most_ns)
                slot_kill(slot, DIED_CPU);
            else if (look && most_ns - its_ns < look_ns)
                look_ns = most_ns - its_ns; /* one process can't have used it up before */
            running = true;
        }
    }
    if (look)
        keeper->cpu_look_ns = now + (look_ns > CPU_LOOK_MS_LEAST * NS_PER_MS ? look_ns : CPU_LOOK_MS_LEAST * NS_PER_MS);
    if (running && keeper->cpu_look_ns - now < wait_ns)
        wait_ns = keeper->cpu_look_ns - now;
    if (keeper->front < 0 && now >= keeper->front_by_ns)
        keeper->stopping = true;
    if (keeper->front < 0 && wait_ns > NS_PER_S)
        wait_ns = NS_PER_S;
    if (keeper->stopping)
        return 0;

    struct fault why;
    uint64_t zygote_wait_ns = zygotes_tend(keeper, now);
    wait_ns = zygote_wait_ns < wait_ns ? zygote_wait_ns : wait_ns;
    const struct zygote_process *zygote = &keeper->zygotes[keeper->zygote];
    uint32_t full = 0; /* slots */
    for (uint32_t i = 0; i < keeper->plan->slots && zygote->warm && zygote->socket >= 0 && keeper->front >= 0; i++) {
        if (keeper->slots[i].state != SLOT_EMPTY) {
            full++;
            continue;
        }
        if (zygote->quick && full >= QUICK_CELLS)
            break; /* soon there are better ones; and it stays as long as a worker of it waits */
        if (now < keeper->retry_ns && keeper->failures > 0) {
            wait_ns = keeper->retry_ns - now < wait_ns ? keeper->retry_ns - now : wait_ns;
            break;
        }
        if (cell_start(keeper, i, &why) < 0) {
            cell_failed(keeper, &why);
            slot_kill(&keeper->slots[i], DIED_EXITED);
            wait_ns = RETRY_MS * NS_PER_MS;
            break;
        }
        wait_ns = 0; /* one at a time: what the front and the clock want goes first */
        break;
    }
    return (int)((wait_ns + NS_PER_MS - 1) / NS_PER_MS);
}

static int plan_map(struct keeper *keeper, struct fault *why)
{
    struct stat file;
    if (fstat(KEEPER_PLAN_FD, &file) < 0)
        return fault_set(why, errno, "fstat", "plan");
    if ((size_t)file.st_size < sizeof *keeper->plan)
        return fault_set(why, EINVAL, "fstat", "plan");
    const struct plan *plan = mmap(NULL, (size_t)file.st_size, PROT_READ, MAP_PRIVATE, KEEPER_PLAN_FD, 0);
    if (plan == MAP_FAILED)
        return fault_set(why, errno, "mmap", "plan");
    size_t filters = (size_t)plan->worker_filter_length + plan->init_filter_length + plan->keeper_filter_length;
    if (plan->version != PLAN_VERSION || (size_t)file.st_size != sizeof *plan + filters * sizeof(struct sock_filter))
        return fault_set(why, EINVAL, "mmap", "plan");
    keeper->plan = plan;
    keeper->worker_filter = (const struct sock_filter *)(plan + 1);
    keeper->init_filter = keeper->worker_filter + plan->worker_filter_length;
    keeper->keeper_filter = keeper->init_filter + plan->init_filter_length;
    return 0;
}

static int keeper_prepare(struct keeper *keeper, struct fault *why)
{
    if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0) /* of `vivary serve`: no keeper outlives who started it */
        return fault_set(why, errno, "prctl", "PR_SET_PDEATHSIG");
    int r = plan_map(keeper, why);
    if (r < 0)
        return r;
    assert(keeper->plan != NULL);
    if (!keeper->plan->pidfds && (r = keyring_leave(keeper->plan, why)) < 0) /* else each worker does */
        return r;
    keeper->slots = calloc(keeper->plan->slots, sizeof *keeper->slots);
    if (keeper->slots == NULL)
        return fault_set(why, ENOMEM, "calloc", "slots");
    for (uint32_t i = 0; i < keeper->plan->slots; i++) {
        struct slot *slot = &keeper->slots[i];
        slot->init_fd = slot->status_fd = slot->cpu_usage = -1;
        for (size_t k = 0; k < METERS; k++)
            slot->meters[k] = -1;
        for (size_t k = 0; k < EVENTS; k++)
            slot->events[k] = -1;
        slot->memory_bytes = keeper->plan->memory_bytes;
        slot->processes = keeper->plan->processes;
        slot->given[0] = slot->given[1] = slot->given[2] = -1;
        for (size_t k = 0; k < (size_t)ZYGOTES * HELD_KINDS; k++)
            slot->held[k / HELD_KINDS][k % HELD_KINDS] = -1;
        for (size_t k = 0; k < FORK_KEPT; k++)
            slot->worker[k] = -1;
    }
    /* Some ten descriptors a slot; the hard limit may not be raised everywhere, so it is used as far as it goes. */
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files);
    }
    keeper->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (keeper->epoll < 0)
        return fault_set(why, errno, "epoll_create1", "keeper");
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGCHLD);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    sigprocmask(SIG_SETMASK, &signals, NULL);
    signal(SIGPIPE, SIG_IGN);
    keeper->signals = signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK);
    if (keeper->signals < 0)
        return fault_set(why, errno, "signalfd", "keeper");
    struct epoll_event of_news = { .events = EPOLLIN, .data.u64 = KEEPER_TAG_NEWS };
    struct epoll_event of_signals = { .events = EPOLLIN, .data.u64 = KEEPER_TAG_SIGNALS };
    if (front_watch(keeper) < 0 || epoll_ctl(keeper->epoll, EPOLL_CTL_ADD, keeper->news, &of_news) < 0 ||
        epoll_ctl(keeper->epoll, EPOLL_CTL_ADD, keeper->signals, &of_signals) < 0)
        return fault_set(why, errno, "epoll_ctl", "keeper");
    r = groups_make(keeper, why);
    if (r == 0)
        r = keeper_jail(keeper, why);
    return r < 0 || keeper->plan->level == LEVEL_FULL ? r : contained_prepare(keeper, why);
}

static void run_over(struct keeper *keeper, uint32_t number, enum died_why why)
{
    log_line("info", "run_over_limit", "slot=%u limit=%s", number, why == DIED_MEMORY ? "memory" : why == DIED_DISK ? "disk" : "cpu");
    slot_kill(&keeper->slots[number], why);
}

static void signals_read(struct keeper *keeper)
{
    struct signalfd_siginfo signal;
    while (read(keeper->signals, &signal, sizeof signal) == sizeof signal)
        if (signal.ssi_signo == SIGCHLD)
            keeper->children_ended = true;
        else
            keeper->stopping = true;
}

/* Of those whose end is told by a signal: all but the cells' inits. */
static void children_reap(struct keeper *keeper)
{
    if (!keeper->children_ended)
        return;
    keeper->children_ended = false;
    for (uint32_t i = 0; i < ZYGOTES; i++)
        zygote_reap(keeper, i);
    if (keeper->plan->level == LEVEL_CONTAINED)
        strays_reap(keeper);
}

/* Kills and reaps all that the keeper made. */
static void keeper_stop(struct keeper *keeper)
{
    fd_close(&keeper->front);
    for (uint32_t i = 0; i < ZYGOTES; i++)
        zygote_kill(&keeper->zygotes[i]);
    for (uint32_t i = 0; i < keeper->plan->slots; i++)
        slot_kill(&keeper->slots[i], DIED_DONE);
    uint64_t end = clock_ns() + STOP_MS_MAX * NS_PER_MS;
    if (keeper->plan->level == LEVEL_CONTAINED)
        contained_stop(keeper);
    while (clock_ns() < end) {
        int status;
        pid_t pid = waitpid(-1, &status, WNOHANG | __WALL);
        if (pid < 0)
            break; /* ECHILD: none left */
        if (pid == 0) {
            struct epoll_event event;
            epoll_wait(keeper->epoll, &event, 1, 10);
            signals_read(keeper);
        }
    }
    groups_remove(keeper->plan);
}

int main(void)
{
    struct keeper keeper = { .front = KEEPER_FRONT_FD, .news = KEEPER_NEWS_FD, .watcher = -1 };
    for (uint32_t i = 0; i < ZYGOTES; i++)
        keeper.zygotes[i].socket = keeper.zygotes[i].pidfd = -1;
    struct fault why = { 0 };
    log_start("keeper");
    if (keeper_prepare(&keeper, &why) < 0) {
        log_fault("keeper_failed", &why);
        if (keeper.plan != NULL)
            groups_remove(keeper.plan);
        free(keeper.slots);
        return 1;
    }
    assert(keeper.plan != NULL && keeper.slots != NULL);
    while (!keeper.stopping) {
        int wait_ms = slots_tend(&keeper);
        if (!keeper.told_ready && keeper.failures >= FAILURES_MAX) {
            log_line("error", "keeper_gave_up", "failures=%u", keeper.failures); /* fail closed: never serve without a cell that holds */
            keeper_stop(&keeper);
            return 1;
        }
        ends_order(&keeper);
        struct epoll_event events[64];
        int count = epoll_wait(keeper.epoll, events, 64, wait_ms);
        /* The front first: that a run has begun must be known before its end is. */
        for (int i = 0; i < count; i++)
            if (events[i].data.u64 == KEEPER_TAG_FRONT)
                front_read(&keeper);
        for (int i = 0; i < count; i++) {
            uint64_t tag = events[i].data.u64;
            uint32_t number = (uint32_t)tag;
            if (tag == KEEPER_TAG_FRONT)
                continue;
            if (tag == KEEPER_TAG_NEWS)
                news_read(&keeper);
            else if (tag == KEEPER_TAG_SIGNALS)
                signals_read(&keeper);
            else if (tag - number == KEEPER_TAG_ZYGOTE && number < ZYGOTES)
                zygote_read(&keeper, number);
            else if (tag == KEEPER_TAG_WATCHER)
                watcher_read(&keeper, run_over);
            else if (tag - number == KEEPER_TAG_INIT)
                init_reap(&keeper, number);
            else if (keeper.slots[number].status_fd >= 0)
                status_read(&keeper, number);
        }
        children_reap(&keeper);
        for (uint32_t i = 0; i < keeper.plan->slots; i++)
            slot_settle(&keeper, i);
    }
    keeper_stop(&keeper);
    return 0;
}
