#include "kernel/cgroup_find.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

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

static bool controller_on(const char *folder, const char *controller)
{
    char path[600], text[256] = "";
    snprintf(path, sizeof path, "%s/cgroup.controllers", folder);
    FILE *file = fopen(path, "re");
    bool read = file != NULL && fgets(text, sizeof text, file) != NULL;
    if (file != NULL)
        fclose(file);
    return read && list_has(text, strcmp(controller, "cpuacct") == 0 ? "cpu" : controller);
}

int cgroup_find(int version, const char *controller, char *ret_folder, size_t size)
{
    char at[512], path[512] = "";
    if (!mount_find(version, controller, at, sizeof at))
        return -1;
    if (version == 2 ? !controller_on(at, controller) : !group_find(controller, path, sizeof path))
        return -1;
    /* In a container the path may be the host's, of which the mount shows only the end. */
    struct stat there;
    if (snprintf(ret_folder, size, "%s%s", at, path) >= (int)size)
        return -1;
    if (stat(ret_folder, &there) < 0)
        snprintf(ret_folder, size, "%s", at);
    /* Only the attempt tells: the mount may be read-only, or a security module object. */
    char probe[1100];
    snprintf(probe, sizeof probe, "%.1000s/vivary-probe-%d", ret_folder, (int)getpid());
    if (mkdir(probe, 0755) < 0)
        return -1;
    rmdir(probe);
    return 0;
}
