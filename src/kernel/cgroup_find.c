#include "kernel/cgroup_find.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Where the service itself is, beside the groups of its slots. */
#define OWN_PART "/vivary-main"

static bool list_has(const char *list, const char *word)
{
    size_t length = strlen(word);
    for (const char *at = list; (at = strstr(at, word)) != NULL; at += length)
        if ((at == list || at[-1] == ',' || at[-1] == ' ') && (at[length] == '\0' || strchr(", \n", at[length]) != NULL))
            return true;
    return false;
}

/* Where the hierarchy is mounted: a line of /proc/self/mountinfo is `id parent dev root mountpoint options … - type source super-options`.
 */
static bool mount_find(int version, const char *controller, char *ret_at, size_t size)
{
    FILE *file = fopen("/proc/self/mountinfo", "re");
    char *line = NULL;
    size_t room = 0;
    bool found = false;
    while (file != NULL && !found && getline(&line, &room, file) > 0) {
        char at[512], type[32], super[512];
        const char *tail = strstr(line, " - ");
        if (tail == NULL || sscanf(line, "%*s %*s %*s %*s %511s", at) != 1 || sscanf(tail, " - %31s %*s %511s", type, super) != 2)
            continue;
        found = version == 2 ? strcmp(type, "cgroup2") == 0 : strcmp(type, "cgroup") == 0 && list_has(super, controller);
        if (found)
            snprintf(ret_at, size, "%s", at);
    }
    free(line);
    if (file != NULL)
        fclose(file);
    return found;
}

/* This process's group in a v1 hierarchy: a line of /proc/self/cgroup is `number:controllers:path`. */
static bool group_find(const char *controller, char *ret_path, size_t size)
{
    FILE *file = fopen("/proc/self/cgroup", "re");
    char line[1024];
    bool found = false;
    while (file != NULL && !found && fgets(line, sizeof line, file) != NULL) {
        char *list = strchr(line, ':'), *path = list != NULL ? strchr(list + 1, ':') : NULL;
        if (path == NULL)
            continue;
        *path++ = '\0';
        path[strcspn(path, "\n")] = '\0';
        found = list_has(list + 1, controller);
        if (found)
            snprintf(ret_path, size, "%s", strcmp(path, "/") == 0 ? "" : path);
    }
    if (file != NULL)
        fclose(file);
    return found;
}

/* Whether a file of a v2 group names the controller. */
static bool controller_in(const char *folder, const char *name, const char *controller)
{
    char path[1200], text[256] = "";
    snprintf(path, sizeof path, "%.1100s/%s", folder, name);
    FILE *file = fopen(path, "re");
    bool read = file != NULL && fgets(text, sizeof text, file) != NULL;
    if (file != NULL)
        fclose(file);
    return read && list_has(text, strcmp(controller, "cpuacct") == 0 ? "cpu" : controller);
}

/* How many processes are in a v2 group itself, and whether this one is among them. */
static int processes_in(const char *folder, bool *ret_self)
{
    char path[1200];
    int count = 0, pid;
    snprintf(path, sizeof path, "%.1100s/cgroup.procs", folder);
    FILE *file = fopen(path, "re");
    *ret_self = false;
    while (file != NULL && fscanf(file, "%d", &pid) == 1) {
        count++;
        *ret_self |= pid == (int)getpid();
    }
    if (file != NULL)
        fclose(file);
    return count;
}

/* This process's group in the v2 hierarchy, without the part that cgroup_own() adds. */
static void own_find(const char *at, char *ret_folder, size_t size)
{
    FILE *file = fopen("/proc/self/cgroup", "re");
    char line[512], path[512] = "";
    while (file != NULL && fgets(line, sizeof line, file) != NULL)
        if (strncmp(line, "0::/", 4) == 0) {
            line[strcspn(line, "\n")] = '\0';
            snprintf(path, sizeof path, "%s", line[4] != '\0' ? line + 3 : "");
        }
    if (file != NULL)
        fclose(file);
    size_t length = strlen(path), tail = strlen(OWN_PART);
    if (length >= tail && strcmp(path + length - tail, OWN_PART) == 0)
        path[length - tail] = '\0';
    snprintf(ret_folder, size, "%s%s", at, path);
}

/* Whether groups in this one can have the controller. One that isn't the root hands controllers down only while no process is in itself,
 * the "no internal processes" rule of cgroups(7); where this process is the only one, cgroup_own() moves it away. */
static bool group_usable(const char *folder, const char *controller)
{
    char path[1200];
    bool self;
    snprintf(path, sizeof path, "%.1100s/cgroup.type", folder); /* the root has none */
    if (!controller_in(folder, "cgroup.controllers", controller))
        return false;
    if (access(path, F_OK) < 0 || controller_in(folder, "cgroup.subtree_control", controller))
        return true;
    int count = processes_in(folder, &self);
    return count == 0 || (count == 1 && self);
}

static bool folder_writable(const char *folder)
{
    /* Only the attempt tells: the mount may be read-only, or a security module object. */
    char probe[1200];
    snprintf(probe, sizeof probe, "%.1100s/vivary-probe-%d", folder, (int)getpid());
    return mkdir(probe, 0755) == 0 && rmdir(probe) == 0;
}

/* Where a service manager has delegated a group to this process alone, its limits hold for all that is in it; else the root's children. */
static int cgroup_find_v2(const char *at, const char *controller, char *ret_folder, size_t size)
{
    char own[1100];
    bool self;
    own_find(at, own, sizeof own);
    bool delegated = strcmp(own, at) != 0 && (processes_in(own, &self) == 0 || self);
    if (delegated && group_usable(own, controller) && folder_writable(own))
        return snprintf(ret_folder, size, "%s", own) < (int)size ? 0 : -1;
    if (!group_usable(at, controller) || !folder_writable(at))
        return -1;
    return snprintf(ret_folder, size, "%s", at) < (int)size ? 0 : -1;
}

int cgroup_find(int version, const char *controller, char *ret_folder, size_t size)
{
    char at[512], path[512] = "";
    if (!mount_find(version, controller, at, sizeof at))
        return -1;
    if (version == 2)
        return cgroup_find_v2(at, controller, ret_folder, size);
    if (!group_find(controller, path, sizeof path))
        return -1;
    /* In a container the path may be the host's, of which the mount shows only the end. */
    struct stat there;
    if (snprintf(ret_folder, size, "%s%s", at, path) >= (int)size)
        return -1;
    if (stat(ret_folder, &there) < 0)
        snprintf(ret_folder, size, "%s", at);
    return folder_writable(ret_folder) ? 0 : -1;
}

int cgroup_own(const char *folder)
{
    char path[1200], type[1200];
    bool self;
    snprintf(type, sizeof type, "%.1100s/cgroup.type", folder);
    if (access(type, F_OK) < 0 || processes_in(folder, &self) == 0 || !self)
        return 0;
    snprintf(path, sizeof path, "%.1100s" OWN_PART, folder);
    if (mkdir(path, 0755) < 0 && errno != EEXIST)
        return -1;
    snprintf(path, sizeof path, "%.1100s" OWN_PART "/cgroup.procs", folder);
    FILE *file = fopen(path, "we");
    if (file == NULL)
        return -1;
    bool wrote = fprintf(file, "0\n") > 0;
    return fclose(file) == 0 && wrote ? 0 : -1;
}
