#include "cell/sweep.h"

#include "base/clock.h"
#include "base/descriptor.h"
#include "cell/cell.h"
#include "kernel/process_list.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

enum { KILLER_STACK = 16 * 1024, EMPTY_MS_MAX = 10000, LOOK_AGAIN_NS = 1000000, NAME_MAX_LENGTH = 24 };

struct killer {
    const struct plan *plan;
    uint32_t slot;
    struct fault why;
    _Alignas(16) char stack[KILLER_STACK];
};

uid_t slot_uid(const struct plan *plan, uint32_t slot)
{
    return plan->uid_base + UID_SLOT + slot;
}

static void folder_path(const struct plan *plan, const char *kind, uint32_t slot, char *ret_path, size_t size)
{
    snprintf(ret_path, size, "%.1000s/%s-%u", plan->folder, kind, slot);
}

/* Whose files this process may touch; capabilities over others' go and come with it: capabilities(7). */
static void files_of(const struct plan *plan, uid_t uid)
{
    if (plan->uids)
        syscall(SYS_setfsuid, uid);
}

/* The kernel asks whether the sender's real or effective uid is the target's real or saved one (kill(2)). With the slot's as the effective
 * one alone, this process may end all of the slot's, and they can't end it: one that changed to the slot's uid wholly was dead first in 96
 * of 100 tries against a loop of kill(-1). With a capability left, kill(-1) would end the whole container. */
static int killer_run(void *argument)
{
    struct killer *killer = argument;
    uid_t own = killer->plan->uid_base + UID_KILLER + killer->slot;
    if (syscall(SYS_setgroups, 0, NULL) < 0 || syscall(SYS_setresgid, own, own, own) < 0 ||
        syscall(SYS_setresuid, own, slot_uid(killer->plan, killer->slot), own) < 0)
        fault_set(&killer->why, errno, "setresuid", "killer");
    else if (capabilities_clear(&killer->why) == 0 && kill(-1, SIGKILL) < 0 && errno != ESRCH)
        fault_set(&killer->why, errno, "kill", "slot");
    return 0;
}

/* One call is enough: the kernel signals under the lock that a fork takes to add its child, and a fork with a signal pending starts over.
 */
static int slot_kill(const struct plan *plan, uint32_t slot, struct fault *why)
{
    struct killer killer = { .plan = plan, .slot = slot };
    /* On this process's memory, while it stands still: nothing is copied. */
    pid_t pid = clone(killer_run, killer.stack + KILLER_STACK, CLONE_VM | CLONE_VFORK | SIGCHLD, &killer);
    if (pid < 0)
        return fault_set(why, errno, "clone", "killer");
    int status = 0;
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        continue;
    if (status != 0 && killer.why.error == 0)
        fault_set(&killer.why, EINTR, "kill", "killer"); /* it may not have come to it */
    if (killer.why.error != 0) {
        *why = killer.why;
        return -why->error;
    }
    return 0;
}

static bool process_look(void *argument, const struct process *process)
{
    bool *empty = argument;
    *empty = process->dead;
    return *empty;
}

static int processes_end(const struct plan *plan, uint32_t first, uint32_t count, struct fault *why)
{
    uint64_t end = clock_ns() + EMPTY_MS_MAX * NS_PER_MS;
    for (;;) {
        int r = 0;
        for (uint32_t slot = first; r == 0 && slot < first + count; slot++)
            r = slot_kill(plan, slot, why);
        bool empty = true;
        int looked = r < 0 ? 0 : process_list(slot_uid(plan, first), count, process_look, &empty);
        if (looked < 0)
            r = fault_set(why, -looked, "opendir", "/proc");
        if (r < 0 || empty)
            return r;
        if (clock_ns() > end)
            return fault_set(why, ETIMEDOUT, "kill", "a process that doesn't end");
        const struct timespec pause = { .tv_nsec = LOOK_AGAIN_NS };
        nanosleep(&pause, NULL);
    }
}

/* Removes what is in `folder` of `top`. Folders in it are moved up, to be emptied in their turn: however deep a script has nested them,
 * this takes one descriptor and no long path. Nobody else is at work here, so names stay what they are. */
static int folder_flatten(int top, const char *name, unsigned *moved, struct fault *why)
{
    if (fchmodat(top, name, 0700, 0) < 0) /* its owner may have shut it */
        return fault_set(why, errno, "fchmodat", "a slot's folder");
    int folder = openat(top, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    DIR *entries = folder < 0 ? NULL : fdopendir(folder);
    if (entries == NULL)
        return fault_set(why, errno, "openat", "a slot's folder");
    int r = 0;
    for (const struct dirent *entry; r == 0 && (entry = readdir(entries)) != NULL;) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0 || unlinkat(folder, entry->d_name, 0) == 0 ||
            unlinkat(folder, entry->d_name, AT_REMOVEDIR) == 0)
            continue;
        char up[NAME_MAX_LENGTH];
        do
            snprintf(up, sizeof up, "swept-%u", (*moved)++);
        while (faccessat(top, up, F_OK, AT_SYMLINK_NOFOLLOW) == 0);
        /* To move a folder is to write to it. */
        if (fchmodat(folder, entry->d_name, 0700, 0) < 0 || renameat(folder, entry->d_name, top, up) < 0)
            r = fault_set(why, errno, "renameat", "a slot's folder");
    }
    closedir(entries);
    if (r == 0 && unlinkat(top, name, AT_REMOVEDIR) < 0)
        r = fault_set(why, errno, "unlinkat", "a slot's folder");
    return r;
}

static int folder_empty(const char *path, struct fault *why)
{
    if (chmod(path, 0700) < 0)
        return fault_set(why, errno, "chmod", "a slot's folder");
    OWN_FD top = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (top < 0)
        return fault_set(why, errno, "open", "a slot's folder");
    unsigned moved = 0;
    for (bool more = true; more;) {
        /* Read anew each time: what is moved here while a folder is read may be passed over (readdir(3)). */
        int again = openat(top, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        DIR *entries = again < 0 ? NULL : fdopendir(again);
        if (entries == NULL)
            return fault_set(why, errno, "openat", "a slot's folder");
        int r = 0;
        more = false;
        for (const struct dirent *entry; r == 0 && (entry = readdir(entries)) != NULL;) {
            if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
                continue;
            more = true;
            if (unlinkat(top, entry->d_name, 0) < 0)
                r = folder_flatten(top, entry->d_name, &moved, why);
        }
        closedir(entries);
        if (r < 0)
            return r;
    }
    return 0;
}

/* What runs have left in /dev/shm, by its owner. The folder is root's, and nobody but root may list it. */
static void shm_clear(const struct plan *plan, uint32_t first, uint32_t count)
{
    DIR *shm = plan->shm ? opendir("/dev/shm") : NULL;
    if (shm == NULL)
        return;
    struct stat there;
    for (const struct dirent *entry; (entry = readdir(shm)) != NULL;) {
        struct fault why;
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0 ||
            fstatat(dirfd(shm), entry->d_name, &there, AT_SYMLINK_NOFOLLOW) < 0 || there.st_uid - slot_uid(plan, first) >= count)
            continue;
        if (S_ISDIR(there.st_mode)) { /* its owner's rights, to look into it; then it is empty, and root's to remove */
            files_of(plan, there.st_uid);
            char path[300];
            snprintf(path, sizeof path, "/dev/shm/%s", entry->d_name);
            folder_empty(path, &why);
            files_of(plan, 0);
            unlinkat(dirfd(shm), entry->d_name, AT_REMOVEDIR);
        } else {
            unlinkat(dirfd(shm), entry->d_name, 0);
        }
    }
    closedir(shm);
}

int slots_sweep(const struct plan *plan, uint32_t first, uint32_t count, struct fault *why)
{
    int r = plan->uids ? processes_end(plan, first, count, why) : 0; /* else a run is one process, and that has been reaped */
    if (r == 0)
        shm_clear(plan, first, count);
    for (uint32_t slot = first; r == 0 && slot < first + count; slot++) {
        char tmp[PLAN_PATH_MAX + 32], runtime[PLAN_PATH_MAX + 32];
        folder_path(plan, "tmp", slot, tmp, sizeof tmp);
        folder_path(plan, "runtime", slot, runtime, sizeof runtime);
        files_of(plan, slot_uid(plan, slot));
        r = folder_empty(tmp, why);
        if (r == 0)
            r = folder_empty(runtime, why);
        files_of(plan, 0);
    }
    return r;
}

int slots_make(const struct plan *plan, struct fault *why)
{
    static const char *const KINDS[] = { "tmp", "runtime" };
    int r = 0;
    struct stat there;
    if (mkdir(plan->folder, 0700) < 0 &&
        (errno != EEXIST || lstat(plan->folder, &there) < 0 || !S_ISDIR(there.st_mode) || there.st_uid != geteuid()))
        return fault_set(why, errno, "mkdir", plan->folder);
    /* Writable by this process's group, which no other has: as a slot's uid it has no right but that one. Others may go through. */
    if (plan->uids && chmod(plan->folder, 0771) < 0)
        return fault_set(why, errno, "chmod", plan->folder);
    if (plan->shm == SHM_SHUT && chmod("/dev/shm", 01733) < 0)
        return fault_set(why, errno, "chmod", "/dev/shm");
    for (uint32_t slot = 0; r == 0 && slot <= plan->slots; slot++)
        for (size_t kind = 0; r == 0 && kind < sizeof KINDS / sizeof *KINDS; kind++) {
            char path[PLAN_PATH_MAX + 32];
            folder_path(plan, KINDS[kind], slot, path, sizeof path);
            files_of(plan, slot_uid(plan, slot)); /* so that it is the owner; CAP_CHOWN may not be there */
            if (mkdir(path, 0700) < 0 && errno != EEXIST)
                r = fault_set(why, errno, "mkdir", "a slot's folder");
            files_of(plan, 0);
        }
    return r;
}

int slot_open(const struct plan *plan, uint32_t slot, int *ret_tmp, int *ret_runtime, struct fault *why)
{
    char path[PLAN_PATH_MAX + 32];
    folder_path(plan, "tmp", slot, path, sizeof path);
    OWN_FD tmp = open(path, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    folder_path(plan, "runtime", slot, path, sizeof path);
    OWN_FD runtime = open(path, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (tmp < 0 || runtime < 0)
        return fault_set(why, errno, "open", "a slot's folder");
    *ret_tmp = fd_take(&tmp);
    *ret_runtime = fd_take(&runtime);
    return 0;
}

void slots_remove(const struct plan *plan)
{
    static const char *const KINDS[] = { "tmp", "runtime" };
    char path[PLAN_PATH_MAX + 32];
    for (uint32_t slot = 0; slot <= plan->slots; slot++)
        for (size_t kind = 0; kind < sizeof KINDS / sizeof *KINDS; kind++) {
            folder_path(plan, KINDS[kind], slot, path, sizeof path);
            rmdir(path);
        }
    rmdir(plan->folder);
}
