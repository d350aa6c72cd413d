#include "kernel/process_list.h"

#include "base/descriptor.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* A line of /proc/PID/status: its name, a colon, white space, a number. */
static uint64_t line_number(const char *text, const char *name)
{
    const char *line = strstr(text, name);
    return line == NULL ? 0 : strtoull(line + strlen(name), NULL, 10);
}

/* False when it is none of those that are looked for, or gone. */
static bool process_read(int folder, const char *pid, uid_t first, uint32_t count, struct process *ret_process)
{
    struct stat owner;
    /* The owner is the process's effective uid, or root for one that hides itself (proc(5)); that is asked for its real one. */
    if (fstatat(folder, pid, &owner, 0) < 0 || (owner.st_uid - first >= count && owner.st_uid != 0))
        return false;
    char path[32], text[4096];
    snprintf(path, sizeof path, "%.15s/status", pid);
    OWN_FD file = openat(folder, path, O_RDONLY | O_CLOEXEC);
    ssize_t got = file < 0 ? -1 : read(file, text, sizeof text - 1);
    if (got <= 0)
        return false;
    text[got] = '\0';
    const char *uid = strstr(text, "\nUid:\t"), *state = strstr(text, "\nState:\t");
    if (uid == NULL || state == NULL)
        return false;
    struct process found = { .folder = folder, .uid = (uid_t)strtoul(uid + 6, NULL, 10) };
    if (found.uid - first >= count)
        return false;
    snprintf(found.pid, sizeof found.pid, "%.15s", pid);
    /* One whose first thread has ended looks like a zombie while others run. */
    found.dead = (state[8] == 'Z' || state[8] == 'X') && line_number(text, "\nThreads:\t") <= 1;
    found.anonymous = line_number(text, "\nRssAnon:\t") << 10;
    found.shared = line_number(text, "\nRssShmem:\t") << 10;
    found.swapped = line_number(text, "\nVmSwap:\t") << 10;
    *ret_process = found;
    return true;
}

int process_list(uid_t first, uint32_t count, bool (*visit)(void *argument, const struct process *process), void *argument)
{
    DIR *proc = opendir("/proc");
    if (proc == NULL)
        return -errno;
    struct process process;
    for (const struct dirent *entry; (entry = readdir(proc)) != NULL;)
        if (entry->d_name[0] >= '1' && entry->d_name[0] <= '9' && process_read(dirfd(proc), entry->d_name, first, count, &process) &&
            !visit(argument, &process))
            break;
    closedir(proc);
    return 0;
}
