/* The watcher: adds up what the processes of each slot use, where no cgroup does, and tells the keeper who uses too much. A process of its
 * own, since a stranger decides how much there is to look at; it rests several times as long as a look took. What it can't see it doesn't
 * bound: files that are open but have no name, until the disk runs low. */
#include "keeper/keeper.h"

#include "base/clock.h"
#include "base/descriptor.h"
#include "base/log.h"
#include "kernel/process_list.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { LOOK_MS = 50, REST = 4, DEPTH_MAX = 64 };

/* Beside one file that is as large as RLIMIT_FSIZE lets it be, which its script is told, there are the script itself, folders, and what the
 * file system takes for itself. */
#define DISK_SLACK (UINT64_C(1) << 20)

#define FREE_LEAST (UINT64_C(256) << 20) /* bytes that runs together leave on the disk */

struct watched {
    _Atomic uint64_t generation;           /* of the run that is on; 0: none */
    _Atomic uint64_t memory_bytes, cpu_ms; /* that it may use */
};

struct verdict {
    uint32_t slot, why;
    uint64_t generation;
};

struct usage {
    uint64_t memory, cpu_ticks; /* bytes; of the kernel's clock */
    uint64_t shm_bytes, shm_files;
    uint64_t precise; /* bytes, with what is shared counted once */
};

struct watcher {
    const struct plan *plan;
    struct watched *watched;
    struct usage *usage;
    uint64_t *generations;
    uint64_t free_least;
    uint64_t warm; /* bytes of the zygote's: the more processes a run has, the more of these are counted as its own */
    int socket;
    bool precisely; /* this look reads what is dear to read */
    bool sees_all;  /* as root, into any folder */
};

static uid_t uid_first(const struct watcher *watcher)
{
    return watcher->plan->uid_base + UID_SLOT;
}

static void files_of(const struct watcher *watcher, uid_t uid)
{
    if (!watcher->plan->uids)
        return;
    syscall(SYS_setfsgid, uid); /* the group as well: it is asked for too where one process looks into another (ptrace(2)) */
    syscall(SYS_setfsuid, uid);
}

static ssize_t file_read(const struct process *process, const char *name, char *text, size_t size)
{
    char path[48];
    snprintf(path, sizeof path, "%.15s/%.24s", process->pid, name);
    OWN_FD file = openat(process->folder, path, O_RDONLY | O_CLOEXEC);
    ssize_t got = file < 0 ? -1 : read(file, text, size - 1);
    text[got > 0 ? got : 0] = '\0';
    return got;
}

static uint64_t cpu_read(const struct process *process)
{
    char text[1024];
    unsigned long user = 0, system = 0, of_children[2] = { 0 };
    if (file_read(process, "stat", text, sizeof text) <= 0)
        return 0;
    const char *after = strrchr(text, ')'); /* the name before it is the script's to choose */
    if (after != NULL)
        sscanf(after, ") %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu %lu %lu", &user, &system, &of_children[0], &of_children[1]);
    return user + system + of_children[0] + of_children[1];
}

static uint64_t rollup_number(const char *text, const char *name)
{
    const char *line = strstr(text, name);
    return line == NULL ? 0 : strtoull(line + strlen(name), NULL, 10) << 10;
}

/* A fork shares most of the warm interpreter, so the sum of what is resident says too much. The kernel divides what is shared, for those
 * who may look closer: the process's own uid. One that hides itself from that is counted in full. */
static uint64_t memory_precise(const struct watcher *watcher, const struct process *process)
{
    char text[2048];
    files_of(watcher, process->uid);
    ssize_t got = file_read(process, "smaps_rollup", text, sizeof text);
    bool hides = got < 0 && errno == EACCES;
    files_of(watcher, 0);
    if (hides)
        return process->anonymous + process->shared + process->swapped;
    if (got <= 0)
        return 0; /* it has ended meanwhile */
    return rollup_number(text, "\nPss_Anon:") + rollup_number(text, "\nPss_Shmem:") + rollup_number(text, "\nSwapPss:");
}

static bool process_add(void *argument, const struct process *process)
{
    struct watcher *watcher = argument;
    uint32_t slot = process->uid - uid_first(watcher);
    struct usage *usage = &watcher->usage[slot];
    if (slot == watcher->plan->slots) { /* the zygote, or a worker that isn't jailed yet */
        if (process->anonymous > watcher->warm)
            watcher->warm = process->anonymous;
        return true;
    }
    if (watcher->generations[slot] == 0)
        return true;
    if (watcher->precisely) {
        if (usage->memory > watcher->watched[slot].memory_bytes)
            usage->precise += memory_precise(watcher, process);
        return true;
    }
    usage->memory += process->anonymous + process->shared + process->swapped;
    usage->cpu_ticks += cpu_read(process);
    return true;
}

static void verdict_send(const struct watcher *watcher, uint32_t slot, enum died_why why)
{
    struct verdict verdict = { .slot = slot, .why = why, .generation = watcher->generations[slot] };
    if (send(watcher->socket, &verdict, sizeof verdict, MSG_NOSIGNAL) != sizeof verdict)
        _exit(0);                   /* the keeper is gone */
    watcher->generations[slot] = 0; /* said */
}

static void processes_look(struct watcher *watcher)
{
    const struct plan *plan = watcher->plan;
    const uint64_t ticks = (uint64_t)sysconf(_SC_CLK_TCK);
    bool any = false;
    watcher->precisely = false;
    process_list(uid_first(watcher), plan->slots + 1, process_add, watcher);
    for (uint32_t slot = 0; slot < plan->slots; slot++) {
        struct usage *usage = &watcher->usage[slot];
        if (watcher->generations[slot] != 0 && usage->cpu_ticks * 1000 / ticks > watcher->watched[slot].cpu_ms)
            verdict_send(watcher, slot, DIED_CPU);
        any |= watcher->generations[slot] != 0 && usage->memory > watcher->watched[slot].memory_bytes;
    }
    if (!any)
        return;
    watcher->precisely = true;
    process_list(uid_first(watcher), plan->slots + 1, process_add, watcher);
    for (uint32_t slot = 0; slot < plan->slots; slot++)
        if (watcher->generations[slot] != 0 && watcher->usage[slot].precise > watcher->watched[slot].memory_bytes + watcher->warm)
            verdict_send(watcher, slot, DIED_MEMORY);
}

/* Adds up a folder of a run's. False once there is too much, or it can't be looked into: it is too deep, or the script shut it, and the
 * container hasn't left its root the capability to look all the same. */
static bool folder_add(const struct watcher *watcher, int above, const char *name, int depth, uint64_t *files, uint64_t *bytes)
{
    const struct plan *plan = watcher->plan;
    int folder = openat(above, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (folder < 0)
        return errno != EACCES;
    DIR *entries = fdopendir(folder);
    if (entries == NULL) {
        close(folder);
        return true;
    }
    bool within = true;
    for (const struct dirent *entry; within && (entry = readdir(entries)) != NULL;) {
        struct stat there;
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        *files += 1;
        if (fstatat(folder, entry->d_name, &there, AT_SYMLINK_NOFOLLOW) < 0) {
            within = errno != EACCES;
            continue;
        }
        *bytes += (uint64_t)there.st_blocks * 512;
        within = *files <= plan->tmp_files && *bytes <= plan->tmp_bytes + DISK_SLACK;
        if (within && S_ISDIR(there.st_mode))
            within = depth < DEPTH_MAX && folder_add(watcher, folder, entry->d_name, depth + 1, files, bytes);
    }
    closedir(entries);
    return within;
}

static void shm_add(struct watcher *watcher)
{
    DIR *shm = watcher->plan->shm ? opendir("/dev/shm") : NULL;
    struct stat there;
    for (const struct dirent *entry; shm != NULL && (entry = readdir(shm)) != NULL;) {
        if (fstatat(dirfd(shm), entry->d_name, &there, AT_SYMLINK_NOFOLLOW) < 0 ||
            there.st_uid - uid_first(watcher) >= watcher->plan->slots)
            continue;
        struct usage *usage = &watcher->usage[there.st_uid - uid_first(watcher)];
        usage->shm_files++;
        usage->shm_bytes += (uint64_t)there.st_blocks * 512;
        if (S_ISDIR(there.st_mode)) {
            files_of(watcher, watcher->sees_all ? 0 : there.st_uid);
            if (!folder_add(watcher, dirfd(shm), entry->d_name, 0, &usage->shm_files, &usage->shm_bytes))
                usage->shm_bytes = UINT64_MAX;
            files_of(watcher, 0);
        }
    }
    if (shm != NULL)
        closedir(shm);
}

static uint64_t disk_free(const struct plan *plan)
{
    struct statvfs disk;
    return statvfs(plan->folder, &disk) < 0 ? UINT64_MAX : (uint64_t)disk.f_bavail * disk.f_frsize;
}

static void files_look(struct watcher *watcher)
{
    static const char *const KINDS[] = { "tmp", "runtime" };
    const struct plan *plan = watcher->plan;
    bool low = disk_free(plan) < watcher->free_least;
    shm_add(watcher);
    for (uint32_t slot = 0; slot < plan->slots; slot++) {
        if (watcher->generations[slot] == 0)
            continue;
        uint64_t files = 0, bytes = 0;
        bool within = !low && watcher->usage[slot].shm_bytes <= plan->tmp_bytes && watcher->usage[slot].shm_files <= plan->tmp_files;
        for (size_t kind = 0; within && kind < sizeof KINDS / sizeof *KINDS; kind++) {
            char path[PLAN_PATH_MAX + 32];
            snprintf(path, sizeof path, "%.1000s/%s-%u", plan->folder, KINDS[kind], slot);
            files_of(watcher, watcher->sees_all ? 0 : uid_first(watcher) + slot);
            within = folder_add(watcher, AT_FDCWD, path, 0, &files, &bytes);
            files_of(watcher, 0);
        }
        if (!within)
            verdict_send(watcher, slot, DIED_DISK);
    }
}

static bool runs_note(struct watcher *watcher)
{
    bool any = false;
    for (uint32_t slot = 0; slot < watcher->plan->slots; slot++) {
        watcher->generations[slot] = atomic_load(&watcher->watched[slot].generation);
        watcher->usage[slot] = (struct usage) { 0 };
        any |= watcher->generations[slot] != 0;
    }
    return any;
}

/* Waits for a word of the keeper's, at most so long; -1: for ever. Ends with the keeper. */
static void keeper_hear(const struct watcher *watcher, int ms)
{
    struct pollfd watched = { .fd = watcher->socket, .events = POLLIN };
    char words[64];
    poll(&watched, 1, ms);
    for (;;) {
        ssize_t got = recv(watcher->socket, words, sizeof words, MSG_DONTWAIT);
        if (got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR))
            _exit(0);
        if (got < 0)
            return;
    }
}

static bool overrides_permissions(void)
{
    struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
    struct __user_cap_data_struct sets[_LINUX_CAPABILITY_U32S_3];
    return syscall(SYS_capget, &header, sets) == 0 && (sets[0].effective >> CAP_DAC_OVERRIDE & 1) != 0;
}

static _Noreturn void watcher_run(struct watcher *watcher)
{
    for (;;) {
        if (!runs_note(watcher)) {
            keeper_hear(watcher, -1);
            continue;
        }
        uint64_t begun = clock_ns();
        bool grouped = watcher->plan->group[GROUP_MEMORY][0] != '\0' && watcher->plan->group[GROUP_CPU][0] != '\0';
        if (watcher->plan->uids && !grouped) /* without uids a run is one process, which RLIMIT_AS and RLIMIT_CPU bound */
            processes_look(watcher);
        files_look(watcher);
        uint64_t rest_ms = (clock_ns() - begun) * REST / NS_PER_MS;
        uint64_t until = clock_ns() + (rest_ms > LOOK_MS ? rest_ms : LOOK_MS) * NS_PER_MS;
        for (uint64_t now; (now = clock_ns()) < until;)
            keeper_hear(watcher, (int)((until - now) / NS_PER_MS) + 1);
    }
}

int watcher_start(struct keeper *keeper, struct fault *why)
{
    int sockets[2];
    size_t size = keeper->plan->slots * sizeof *keeper->watched;
    keeper->watched = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (keeper->watched == MAP_FAILED) {
        keeper->watched = NULL;
        return fault_set(why, errno, "mmap", "watched");
    }
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets) < 0)
        return fault_set(why, errno, "socketpair", "watcher");
    OWN_FD ours = sockets[0];
    OWN_FD theirs = sockets[1];
    pid_t pid = fork();
    if (pid < 0)
        return fault_set(why, errno, "fork", "watcher");
    if (pid == 0) {
        struct watcher watcher = { .plan = keeper->plan, .watched = keeper->watched, .socket = dup2(theirs, 3) };
        watcher.usage = calloc(keeper->plan->slots, sizeof *watcher.usage);
        watcher.generations = calloc(keeper->plan->slots, sizeof *watcher.generations);
        if (watcher.socket < 0 || watcher.usage == NULL || watcher.generations == NULL || close_range(4, FD_LAST, 0) < 0)
            _exit(1);
        log_start("watcher");
        watcher.sees_all = overrides_permissions();
        uint64_t free_now = disk_free(keeper->plan);
        watcher.free_least = free_now / 2 < FREE_LEAST ? free_now / 2 : FREE_LEAST;
        watcher_run(&watcher);
    }
    struct epoll_event event = { .events = EPOLLIN, .data.u64 = KEEPER_TAG_WATCHER };
    if (fcntl(ours, F_SETFL, O_NONBLOCK) < 0 || epoll_ctl(keeper->epoll, EPOLL_CTL_ADD, ours, &event) < 0)
        return fault_set(why, errno, "epoll_ctl", "watcher");
    keeper->watcher_pid = pid;
    keeper->watcher = fd_take(&ours);
    return 0;
}

void watcher_tell(const struct keeper *keeper, uint32_t number)
{
    const struct slot *slot = &keeper->slots[number];
    if (keeper->watched == NULL)
        return;
    bool running = slot->state == SLOT_RUNNING;
    atomic_store(&keeper->watched[number].memory_bytes, slot->memory_bytes);
    atomic_store(&keeper->watched[number].cpu_ms, slot->cpu_ms);
    atomic_store(&keeper->watched[number].generation, running ? slot->generation : 0);
    if (running)
        send(keeper->watcher, "r", 1, MSG_NOSIGNAL | MSG_DONTWAIT); /* one that is full of words is awake */
}

void watcher_read(struct keeper *keeper, void (*over)(struct keeper *keeper, uint32_t slot, enum died_why why))
{
    struct verdict verdict;
    while (keeper->watcher >= 0 && recv(keeper->watcher, &verdict, sizeof verdict, MSG_DONTWAIT) == sizeof verdict)
        if (verdict.slot < keeper->plan->slots && keeper->slots[verdict.slot].generation == verdict.generation &&
            keeper->slots[verdict.slot].state == SLOT_RUNNING)
            over(keeper, verdict.slot, (enum died_why)verdict.why);
}
