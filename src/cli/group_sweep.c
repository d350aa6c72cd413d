#include "cli/group_sweep.h"

#include "base/descriptor.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/file.h>
#include <unistd.h>

enum { SWEPT_MAX = 256, SLOTS_MOST = 1024 + 64 /* spare ones */ };

/* Named after a process that isn't there. It may be there for others: a pid namespace hides it, and then its keeper's lock tells. */
static bool group_forsaken(int parent, const char *name, int *ret_group)
{
    int pid = 0, end = 0;
    if (sscanf(name, "vivary-%d%n", &pid, &end) != 1 || (name[end] != '\0' && name[end] != '-') || pid <= 0 || kill(pid, 0) == 0 ||
        errno != ESRCH)
        return false;
    *ret_group = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    return *ret_group >= 0 && flock(*ret_group, LOCK_EX | LOCK_NB) == 0;
}

void groups_sweep(const char *parent)
{
    DIR *folder = opendir(parent);
    struct dirent *entry;
    for (int swept = 0; folder != NULL && swept < SWEPT_MAX && (entry = readdir(folder)) != NULL;) {
        OWN_FD group = -1;
        if (!group_forsaken(dirfd(folder), entry->d_name, &group))
            continue;
        for (unsigned slot = 0; slot < SLOTS_MOST; slot++) {
            char name[24];
            snprintf(name, sizeof name, "slot-%u", slot);
            if (unlinkat(group, name, AT_REMOVEDIR) < 0 && errno == ENOENT)
                break;
        }
        unlinkat(dirfd(folder), entry->d_name, AT_REMOVEDIR); /* refused while processes are in it */
        swept++;
    }
    if (folder != NULL)
        closedir(folder);
}
