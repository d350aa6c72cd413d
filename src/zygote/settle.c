/* Bringing a warm interpreter's memory into the form that is to be forked, and learning what a worker is going to write to. */
#include "zygote/zygote.h"

#include "base/descriptor.h"
#include "zygote/ballast.h"
#include "zygote/huge.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

enum { THREAD_STACK = 2 << 20, THREAD_STACK_COUNTED = 1 << 20 };

int zygote_open(struct zygote *zygote, struct fault *why)
{
    struct stat file;
    if (fstat(ZYGOTE_PLAN_FD, &file) < 0)
        return fault_set(why, errno, "fstat", "plan");
    void *map = mmap(NULL, (size_t)file.st_size, PROT_READ, MAP_PRIVATE, ZYGOTE_PLAN_FD, 0);
    if (map == MAP_FAILED)
        return fault_set(why, errno, "mmap", "plan");
    zygote->plan = map;
    zygote->cell.plan = map;
    zygote->cell.listener = -1;
    zygote->cell.filter = (const struct sock_filter *)(zygote->plan + 1);
    return 0;
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

int zygote_settle(struct zygote *zygote, bool quick, struct fault *why)
{
    /* Each thread's arena and 8 MiB of stack would count against RLIMIT_DATA and RLIMIT_AS before anything is stored in them. */
    /* Without a memory cgroup RLIMIT_AS counts all of it: sixty threads take a gigabyte otherwise, and with these 76 MB. */
    bool counted = zygote->plan->group[GROUP_MEMORY][0] == '\0';
    mallopt(M_ARENA_MAX, counted ? 1 : 2);
    pthread_attr_t threads;
    pthread_attr_init(&threads);
    pthread_attr_setstacksize(&threads, counted ? THREAD_STACK_COUNTED : THREAD_STACK);
    pthread_setattr_default_np(&threads);
    pthread_attr_destroy(&threads);

    /* C code's stdout comes in order with Python's, which is unbuffered too. */
    setvbuf(stdout, NULL, _IONBF, 0);
    zygote->children = calloc(zygote->plan->slots, sizeof *zygote->children);
    if (zygote->children == NULL)
        return fault_set(why, ENOMEM, "calloc", "children");
    int r = threads_check(why);
    if (r < 0)
        return r;
    if (!quick) {
        r = huge_settle(why);
        if (r < 0)
            return r;
        ballast_load();
    }
    return sizes_read(&zygote->cell, why);
}

/* AHEAD_PAGES_MAX: so that a waiting worker has less than 2 MiB of its own. */
enum { REST_MS_A_SLOT = 5, AHEAD_PAGES_MAX = 280 };

struct rehearsal {
    const struct plan *plan;
    enum frame_type type;
    const char *script;
    size_t length;
    int (*work)(void *argument);
    void *argument;
};

/* In a child that stands for a worker: it has a worker's descriptors, and a /runtime to write the script into. */
static int rehearsal_play(void *argument)
{
    const struct rehearsal *rehearsal = argument;
    int sockets[2], pipes[2];
    bool full = rehearsal->plan->level == LEVEL_FULL; /* else the zygote has a place like a worker's */
    if (full && (unshare(CLONE_NEWNS) < 0 || mount("tmpfs", "/runtime", "tmpfs", 0, "size=1m") < 0 ||
                 mount("tmpfs", "/tmp", "tmpfs", 0, "size=1m") < 0))
        return -errno;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets) < 0 || pipe2(pipes, O_CLOEXEC) < 0)
        return -errno;
    struct frame_header header = { .type = rehearsal->type, .exchange = 1, .length = rehearsal->length };
    if (write(sockets[0], &header, sizeof header) != sizeof header ||
        write(sockets[0], rehearsal->script, rehearsal->length) != (ssize_t)rehearsal->length)
        return -EPROTO;
    if (dup2(sockets[1], CELL_SOCKET_FD) < 0 || dup2(pipes[1], CELL_STATUS_FD) < 0 || dup2(pipes[1], STDOUT_FILENO) < 0)
        return -errno;
    return rehearsal->work(rehearsal->argument);
}

void zygote_populate(struct zygote *zygote, size_t lesson)
{
    const struct pages *pages = &zygote->lessons[lesson];
    if ((zygote->had >> lesson & 1) != 0)
        return;
    zygote->had |= UINT32_C(1) << lesson;
    bool begun = lesson == zygote->ahead && zygote->rested.count > 0;
    pages_populate(pages, begun ? zygote->rested.count : 0);
    zygote->populated += pages->pages - (begun ? zygote->rested.pages : 0);
    zygote->calls++;
}

/* While workers are used as fast as they are made, one waits for its run as long as all slots take for theirs, some 2 ms each: then the
 * copying would take time from those. So only who waits longer has it done. */
void zygote_rest(struct zygote *zygote)
{
    struct pollfd run = { .fd = CELL_SOCKET_FD, .events = POLLIN };
    if (zygote->ahead == 0 || (zygote->had >> zygote->ahead & 1) != 0 || poll(&run, 1, REST_MS_A_SLOT * (int)zygote->plan->slots) != 0)
        return;
    zygote->rested = pages_part(&zygote->lessons[zygote->ahead], AHEAD_PAGES_MAX);
    pages_populate(&zygote->rested, 0);
    zygote->populated += zygote->rested.pages;
    zygote->calls++;
}

int zygote_learn(struct zygote *zygote, enum frame_type type, const char *script, size_t length, int (*work)(void *argument),
                 void *argument, struct fault *why)
{
    if (zygote->lesson_count == ZYGOTE_LESSONS_MAX)
        return fault_set(why, ENOSPC, "zygote_learn", "lessons");
    struct rehearsal rehearsal = { zygote->plan, type, script, length, work, argument };
    const struct pages *known = zygote->lesson_count > 0 ? &zygote->lessons[0] : NULL;
    int r = pages_learn(rehearsal_play, &rehearsal, known, &zygote->lessons[zygote->lesson_count], why);
    return r < 0 ? r : (int)zygote->lesson_count++;
}
