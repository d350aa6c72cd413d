#include "cli/level.h"

#include "cli/group_sweep.h"
#include "kernel/cgroup_find.h"
#include "kernel/landlock.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

const char *level_missing(const struct host *host, enum plan_level level)
{
    if (level == LEVEL_FULL) {
        if (geteuid() != 0)
            return "level full needs root, or user namespaces for everybody, which this host, or its container, doesn't allow";
        if (!host->user || !host->pid || !host->mnt || !host->net || !host->ipc || !host->uts || !host->cgroup || !host->proc_subset)
            return "level full needs namespaces, which this host, or its container, doesn't allow";
        /* In gVisor a run that owns the files it sees can change them: truncate(2) works on a read-only mount. */
        if (!host->pidfd && !host->own_range)
            return "level full in gVisor needs root, with CAP_SETUID and CAP_SETGID";
    } else {
        if (!host->pidfd)
            return "level contained needs pidfds, from a kernel from 5.4 on (gVisor has none)";
        if (host->landlock_abi == 0)
            return "level contained needs Landlock (a kernel from 5.13 on with landlock among its lsm= modules)";
        if (geteuid() == 0 && !host->other_uids)
            return "level contained needs CAP_SETUID, CAP_SETGID and CAP_KILL when it is started as root: give it these, or start it as "
                   "another user (docker run --user 1234)";
    }
    return host->seccomp_filter ? NULL : "seccomp filters are needed (a kernel with CONFIG_SECCOMP_FILTER)";
}

static bool full_enough(const struct host *host)
{
    return level_missing(host, LEVEL_FULL) == NULL && host->nested_user; /* else a worker would be root of its zygote's namespace */
}

void level_probe(const struct settings *settings, struct host *ret_host)
{
    *ret_host = (struct host) { 0 };
    host_probe(ret_host);
    if (level_missing(ret_host, LEVEL_FULL) == NULL || strcmp(settings->level, "contained") == 0 || !host_probe_user(full_enough) ||
        !host_enter_user(&ret_host->own_range))
        return;
    ret_host->own_user = true;
    host_probe(ret_host);
}

/* Where the slots' folders may lie. An operator who wants their sum bounded mounts a tmpfs on the first. */
static const char *folder_parent(void)
{
    static const char *const PARENTS[] = { "/run/vivary", "/run", "/var/tmp", "/dev/shm" };
    for (size_t i = 0; i < sizeof PARENTS / sizeof *PARENTS; i++) {
        char probe[64];
        snprintf(probe, sizeof probe, "%s/vivary-XXXXXX", PARENTS[i]);
        if (mkdtemp(probe) == NULL)
            continue;
        rmdir(probe);
        return PARENTS[i];
    }
    return NULL;
}

static bool link_leads(const char *path, const char *to)
{
    char target[PATH_MAX];
    ssize_t length = readlink(path, target, sizeof target - 1);
    if (length < 0)
        return false;
    target[length] = '\0';
    return strcmp(target, to) == 0;
}

/* Runs use /dev/shm under names that they choose, and must not see each other's. Landlock says so; in a container, its permissions can as
 * well. A host's is not ours to change. */
static uint32_t shm_choose(const struct launch *launch)
{
    struct stat there;
    if (stat("/dev/shm", &there) < 0 || !S_ISDIR(there.st_mode) || (there.st_mode & 01003) != 01003)
        return 0;
    return there.st_uid == geteuid() && level_missing(&launch->host, LEVEL_FULL) != NULL ? SHM_SHUT : 1;
}

static int contained_prepare(struct launch *launch)
{
    struct plan *plan = &launch->plan;
    plan->user_nested = plan->overlay = 0;
    plan->linked = link_leads("/tmp", "/proc/self/fd/1000") && link_leads("/runtime", "/proc/self/fd/1001");
    plan->shm = plan->uids ? shm_choose(launch) : 0;
    if (plan->share[0] != '\0' && strcmp(plan->share, "/app") != 0) {
        fprintf(stderr,
                "vivary: at level contained nothing can be mounted: --share takes /app itself there, not %s (docker run -v DIR:/app:ro)\n",
                plan->share);
        return 1;
    }
    const char *parent = folder_parent();
    uint32_t random[2];
    if (parent == NULL) {
        fprintf(stderr, "vivary: there is no folder to make the runs' own in: /run/vivary (docker run --tmpfs /run/vivary), /run, /var/tmp "
                        "or /dev/shm must be writable\n");
        return 1;
    }
    if (getrandom(random, sizeof random, 0) != sizeof random) {
        fprintf(stderr, "vivary: getrandom: %s\n", strerror(errno));
        return 1;
    }
    snprintf(plan->folder, sizeof plan->folder, "%s/vivary-%d-%08x%08x", parent, (int)getpid(), random[0], random[1]);
    return 0;
}

static void groups_choose(struct launch *launch)
{
    static const char *const NAMES[GROUP_KINDS] = {
        [GROUP_MEMORY] = "memory", [GROUP_PIDS] = "pids", [GROUP_CPU] = "cpuacct", [GROUP_SHARE] = "cpu"
    };
    struct plan *plan = &launch->plan;
    plan->cgroup_version = (uint32_t)launch->host.cgroup_version;
    for (int kind = 0; kind < GROUP_KINDS && plan->cgroup_version != 0; kind++) {
        char parent[PLAN_PATH_MAX];
        if (cgroup_find(launch->host.cgroup_version, NAMES[kind], parent, sizeof parent) != 0)
            continue;
        if (plan->cgroup_version == 2 && cgroup_own(parent) < 0)
            continue; /* there is no telling then; each process has limits */
        groups_sweep(parent);
        snprintf(plan->group[kind], sizeof plan->group[kind], "%.900s/vivary-%d%s%s%s", parent, (int)getpid(),
                 launch->generation > 0 ? "-b" : "", launch->number > 0 ? "-" : "", launch->number > 0 ? launch->name : "");
    }
}

int level_choose(struct launch *launch)
{
    launch->plan.landlock_abi = (uint32_t)launch->host.landlock_abi;
    launch->plan.notify = launch->host.notify && !launch->alone;
    launch->plan.user_nested = launch->host.nested_user;
    launch->plan.overlay = launch->host.overlay;
    launch->plan.pidfds = launch->host.pidfd;
    groups_choose(launch);
    const char *asked = launch->settings.level, *full = level_missing(&launch->host, LEVEL_FULL);
    const char *contained = level_missing(&launch->host, LEVEL_CONTAINED);
    launch->plan.level = 0;
    launch->plan.uids = geteuid() == 0 && (!launch->host.own_user || launch->host.own_range);
    if (launch->host.own_user)
        launch->plan.uid_base = launch->host.own_range ? HOST_RANGE_AT : 0;
    if (full == NULL && strcmp(asked, "contained") != 0)
        launch->plan.level = LEVEL_FULL;
    else if (contained == NULL && strcmp(asked, "full") != 0)
        launch->plan.level = LEVEL_CONTAINED;
    if (launch->plan.level == LEVEL_CONTAINED)
        return contained_prepare(launch);
    if (launch->plan.level == LEVEL_FULL)
        return 0;
    if (full != NULL && strcmp(asked, "contained") != 0)
        fprintf(stderr, "vivary: %s\n", full);
    if (contained != NULL && strcmp(asked, "full") != 0)
        fprintf(stderr, "vivary: %s\n", contained);
    fprintf(stderr, "vivary: so scripts won't be run here; `vivary doctor` says more\n");
    return 1;
}

const char *level_name(const struct plan *plan)
{
    return plan->level == LEVEL_FULL ? "full" : "contained";
}

static void list_add(char *list, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void list_add(char *list, const char *format, ...)
{
    size_t used = strlen(list);
    va_list arguments;
    va_start(arguments, format);
    if (used > 0)
        used += (size_t)snprintf(list + used, LEVEL_TEXT_MAX - used, ", ");
    if (used < LEVEL_TEXT_MAX)
        vsnprintf(list + used, LEVEL_TEXT_MAX - used, format, arguments);
    va_end(arguments);
}

void level_layers(const struct plan *plan, char ret_text[static LEVEL_TEXT_MAX])
{
    bool full = plan->level == LEVEL_FULL;
    ret_text[0] = '\0';
    if (full)
        list_add(ret_text, "namespaces, own mounts%s", plan->user_nested ? ", own user namespace" : "");
    if (plan->uids)
        list_add(ret_text, "own uid for each slot");
    else if (!full)
        list_add(ret_text, "one process for each run");
    if (plan->landlock_abi > 0)
        list_add(ret_text, "Landlock ABI %u", plan->landlock_abi);
    list_add(ret_text, "seccomp, no capabilities, no_new_privs, rlimits");
    if (plan->cgroup_version > 0)
        list_add(ret_text, "cgroup v%u limits", plan->cgroup_version);
    if (!full)
        list_add(ret_text, plan->cgroup_version > 0 || !plan->uids ? "a watcher for disk" : "a watcher for memory and time and disk");
    if (!full)
        list_add(ret_text, plan->linked ? "own /tmp" : "own TMPDIR");
}

void level_unbounded(const struct plan *plan, char ret_text[static LEVEL_TEXT_MAX])
{
    ret_text[0] = '\0';
    bool alone = plan->level == LEVEL_CONTAINED && !plan->uids; /* a run is one process, which rlimits bound */
    if (plan->group[GROUP_MEMORY][0] == '\0' && !alone)
        list_add(ret_text,
                 plan->level == LEVEL_FULL ? "memory of all processes of a run together" : "memory between two looks of the watcher");
    if (plan->group[GROUP_CPU][0] == '\0' && !alone)
        list_add(ret_text, plan->level == LEVEL_FULL ? "processor time of all processes of a run together"
                                                     : "processor time of processes that have ended");
    if (plan->group[GROUP_SHARE][0] == '\0')
        list_add(ret_text, "a run's share of the processors");
    if (alone)
        list_add(ret_text, "threads (but by memory)");
    if (plan->level == LEVEL_FULL && !plan->pidfds) {
        list_add(ret_text, "how many files are in /tmp");
        list_add(ret_text, "what gVisor tells of itself");
    }
    if (plan->level == LEVEL_FULL)
        return;
    list_add(ret_text, "disk under files without a name (until 256 MiB are left)");
    list_add(ret_text, "which pids there are and whose");
    if (plan->shm)
        list_add(ret_text, "room in /dev/shm");
    if (!plan->linked)
        list_add(ret_text, "/tmp itself (scripts have TMPDIR)");
}

static void array_write(FILE *to, const char *name, const char *list)
{
    fprintf(to, ", \"%s\": [", name);
    for (const char *at = list; *at != '\0';) {
        size_t length = strcspn(at, ",");
        fprintf(to, "%s\"%.*s\"", at == list ? "" : ", ", (int)length, at);
        at += length;
        at += strspn(at, ", ");
    }
    fputc(']', to);
}

int level_json(const struct launch *launch, char *ret_text, size_t size)
{
    char layers[LEVEL_TEXT_MAX], unbounded[LEVEL_TEXT_MAX];
    level_layers(&launch->plan, layers);
    level_unbounded(&launch->plan, unbounded);
    FILE *to = fmemopen(ret_text, size, "w");
    if (to == NULL)
        return -1;
    fprintf(to, "{\"status\": \"ready\", \"level\": \"%s\"", level_name(&launch->plan));
    array_write(to, "layers", layers);
    array_write(to, "not_bounded", unbounded);
    fprintf(to, ", \"python\": \"%s\", \"slots\": %u}", launch->python.version, (unsigned)launch->settings.slots);
    return fclose(to) == 0 && strlen(ret_text) + 1 < size ? 0 : -1;
}
