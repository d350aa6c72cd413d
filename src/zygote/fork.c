#include "zygote/zygote.h"

#include "base/descriptor.h"
#include "base/passing.h"
#include "cell/cell.h"
#include "wire/exited.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { THREAD_STACK = 2 << 20, MALLOC_SORTS = 100 << 10 /* below the threshold of mmap */ };

struct child {
    pid_t pid; /* 0: none */
    uint64_t generation;
};

const struct plan *plan_map(struct fault *why)
{
    struct stat file;
    if (fstat(ZYGOTE_PLAN_FD, &file) < 0) {
        fault_set(why, errno, "fstat", "plan");
        return NULL;
    }
    void *map = mmap(NULL, (size_t)file.st_size, PROT_READ, MAP_PRIVATE, ZYGOTE_PLAN_FD, 0);
    if (map == MAP_FAILED) {
        fault_set(why, errno, "mmap", "plan");
        return NULL;
    }
    return map;
}

/* A fork takes only the thread that calls it; locks that others held would stay locked in every worker. */
static int threads_check(struct fault *why)
{
    DIR *tasks = opendir("/proc/self/task");
    if (tasks == NULL)
        return fault_set(why, errno, "opendir", "/proc/self/task");
    int count = 0;
    for (const struct dirent *entry; (entry = readdir(tasks)) != NULL;)
        count += entry->d_name[0] != '.';
    closedir(tasks);
    return count == 1 ? 0 : fault_set(why, EBUSY, "fork_loop", "a preloaded package has threads");
}

static int sizes_read(struct cell *cell, struct fault *why)
{
    FILE *file = fopen("/proc/self/statm", "re");
    unsigned long pages, data;
    if (file == NULL)
        return fault_set(why, errno, "fopen", "/proc/self/statm");
    int got = fscanf(file, "%lu %*u %*u %*u %*u %lu", &pages, &data);
    fclose(file);
    if (got != 2)
        return fault_set(why, EPROTO, "fscanf", "/proc/self/statm");
    cell->zygote_size = pages * (uint64_t)sysconf(_SC_PAGESIZE);
    cell->zygote_data = data * (uint64_t)sysconf(_SC_PAGESIZE);
    return 0;
}

/* Jails the new worker. On failure it says why and ends. */
static void worker_begin(struct cell *cell)
{
    struct fault why = { 0 };
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    if (cell_enter(cell, &why) == 0)
        return;
    int status = fcntl(CELL_STATUS_FD, F_GETFD) >= 0 ? CELL_STATUS_FD : cell->fds[FORK_STATUS];
    _exit(write(status, &why, sizeof why) == sizeof why ? 1 : 2);
}

static int keeper_tell(uint32_t kind, uint32_t slot, uint64_t generation, int status, uint32_t failed)
{
    struct exited exited = { .kind = kind, .slot = slot, .generation = generation, .status = status, .failed = failed };
    return passing_send(ZYGOTE_KEEPER_FD, &exited, sizeof exited, NULL, 0);
}

/* Returns true in the worker. */
static bool order_follow(struct cell *cell, struct child *children)
{
    struct fork_order order = { 0 };
    int fds[PASSING_FDS_MAX];
    size_t count = 0;
    ssize_t got = passing_receive(ZYGOTE_KEEPER_FD, &order, sizeof order, fds, &count);
    if (got == -EAGAIN)
        return false;
    if (got != sizeof order || order.kind != WIRE_FORK || order.slot >= cell->plan->slots || count < FORK_FDS ||
        count > FORK_FDS + GROUP_KINDS)
        _exit(got == 0 ? 0 : 1); /* the keeper is gone, or not itself: either ends all workers, as this is pid 1 of theirs */

    cell->slot = order.slot;
    cell->group_count = (uint32_t)count - FORK_FDS;
    for (size_t i = 0; i < count; i++)
        *(i < FORK_FDS ? &cell->fds[i] : &cell->groups[i - FORK_FDS]) = fds[i];
    int error = 0;
    pid_t pid = -1;
    if (setns(cell->fds[FORK_INIT], CLONE_NEWPID) < 0) /* for children only: the worker is born next to the cell's init */
        error = errno;
    else if ((pid = _Fork()) < 0) /* no after-fork handlers: what they renew is done in worker.py, for less */
        error = errno;
    if (pid == 0) {
        worker_begin(cell);
        return true;
    }
    for (size_t i = 0; i < count; i++)
        close(fds[i]);
    if (error != 0) {
        keeper_tell(WIRE_EXITED, order.slot, order.generation, -error, 1);
    } else {
        children[order.slot].pid = pid;
        children[order.slot].generation = order.generation;
    }
    return false;
}

static void children_reap(const struct plan *plan, struct child *children)
{
    int status;
    pid_t pid;
    while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
        for (uint32_t slot = 0; slot < plan->slots; slot++)
            if (children[slot].pid == pid) {
                children[slot].pid = 0;
                if (keeper_tell(WIRE_EXITED, slot, children[slot].generation, status, 0) < 0)
                    _exit(1); /* the keeper reads nothing any more */
                break;
            }
}

/* Says that the zygote is warm, and follows orders. 0 in each worker; -errno in the zygote. */
static int orders_serve(struct cell *cell, struct child *children, struct fault *why)
{
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGCHLD);
    sigprocmask(SIG_BLOCK, &signals, NULL);
    int ended = signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK);
    if (ended < 0)
        return fault_set(why, errno, "signalfd", "zygote");
    int r = keeper_tell(WIRE_WARM, 0, 0, 0, 0);
    if (r < 0)
        return fault_set(why, -r, "sendmsg", "keeper");
    for (;;) {
        struct pollfd watched[] = { { .fd = ZYGOTE_KEEPER_FD, .events = POLLIN }, { .fd = ended, .events = POLLIN } };
        if (poll(watched, 2, -1) < 0 && errno != EINTR)
            return fault_set(why, errno, "poll", "zygote");
        struct signalfd_siginfo signal;
        while (read(ended, &signal, sizeof signal) == sizeof signal)
            continue;
        children_reap(cell->plan, children);
        if (watched[0].revents != 0 && order_follow(cell, children))
            return 0;
    }
}

int fork_loop(const struct plan *plan, struct fault *why)
{
    struct cell cell = { .plan = plan, .filter = (const struct sock_filter *)(plan + 1) };
    /* Each thread's arena and 8 MiB of stack would count against RLIMIT_DATA and RLIMIT_AS before anything is stored in them. */
    mallopt(M_ARENA_MAX, 2);
    pthread_attr_t threads;
    pthread_attr_init(&threads);
    pthread_attr_setstacksize(&threads, THREAD_STACK);
    pthread_setattr_default_np(&threads);
    pthread_attr_destroy(&threads);

    /* C code's stdout comes in order with Python's, which is unbuffered too. */
    setvbuf(stdout, NULL, _IONBF, 0);
    /* Freed chunks wait unsorted until a larger request sorts them, which writes to each: here, not in every worker. */
    malloc_trim(0);
    void *volatile large = malloc(MALLOC_SORTS);
    free(large);
    int r = threads_check(why);
    if (r == 0)
        r = sizes_read(&cell, why);
    if (r < 0)
        return r;
    if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0)
        return fault_set(why, errno, "prctl", "PR_SET_PDEATHSIG");

    struct child *children = calloc(plan->slots, sizeof *children);
    if (children == NULL)
        return fault_set(why, ENOMEM, "calloc", "children");
    r = orders_serve(&cell, children, why);
    free(children);
    return r;
}
