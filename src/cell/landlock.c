/* landlock: which files may be read or written, whatever permissions say; no TCP, no abstract sockets or signals beyond the cell. Inherited
 * by all that the worker starts; can't be taken off. In `full` a second pair of eyes on what mounts and ownership already promise; in
 * `contained`, where no mount hides anything, what keeps the container's files out of sight. */
#include "cell/cell.h"

#include "base/descriptor.h"
#include "kernel/landlock.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define READ (LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR)
#define CHANGE                                                                                                                             \
    (LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_REMOVE_DIR | LANDLOCK_ACCESS_FS_REMOVE_FILE | LANDLOCK_ACCESS_FS_MAKE_DIR |        \
     LANDLOCK_ACCESS_FS_MAKE_REG | LANDLOCK_ACCESS_FS_MAKE_SOCK | LANDLOCK_ACCESS_FS_MAKE_FIFO | LANDLOCK_ACCESS_FS_MAKE_SYM |             \
     LANDLOCK_ACCESS_FS_REFER | LANDLOCK_ACCESS_FS_TRUNCATE)
#define NEVER (LANDLOCK_ACCESS_FS_MAKE_CHAR | LANDLOCK_ACCESS_FS_MAKE_BLOCK)
#define DEVICE (LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_IOCTL_DEV)
/* What a plain file can be given; the kernel refuses the rights of folders for one. */
#define OF_FILES                                                                                                                           \
    (LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_TRUNCATE |             \
     LANDLOCK_ACCESS_FS_IOCTL_DEV)

struct rule {
    const char *path;
    uint64_t rights;
};

static const struct rule FULL[] = {
    { "/", READ }, /* all that is mounted in the cell is meant to be seen */
    { "/tmp", READ | CHANGE },
    { "/dev/shm", READ | CHANGE },
    { "/runtime", READ | CHANGE },
    { "/dev", READ | LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_IOCTL_DEV }, /* null and its like, its own terminals */
};

/* Here a path that isn't there is passed over. */
static const struct rule CONTAINED[] = {
    { "/usr", READ },
    { "/bin", READ },
    { "/sbin", READ },
    { "/lib", READ },
    { "/lib32", READ },
    { "/lib64", READ },
    { "/libx32", READ },
    /* Of /etc what programs look names up in; not the container's own name, addresses and passwords. */
    { "/etc/alternatives", READ },
    { "/etc/ld.so.cache", READ },
    { "/etc/localtime", READ },
    { "/etc/matplotlibrc", READ },
    { "/etc/mime.types", READ },
    { "/etc/nsswitch.conf", READ },
    { "/etc/passwd", READ },
    { "/etc/group", READ },
    { "/etc/protocols", READ },
    { "/etc/services", READ },
    { "/etc/timezone", READ },
    { "/dev/null", DEVICE },
    { "/dev/zero", DEVICE },
    { "/dev/full", DEVICE },
    { "/dev/random", DEVICE },
    { "/dev/urandom", DEVICE },
    /* The worker's own; its child processes have other ones, and no rule for them. Not its namespaces, mounts and network's sockets: these
     * are the container's. */
    { "/proc/self/auxv", READ },
    { "/proc/self/cmdline", READ },
    { "/proc/self/comm", READ },
    { "/proc/self/environ", READ },
    { "/proc/self/fd", READ },
    { "/proc/self/fdinfo", READ },
    { "/proc/self/io", READ },
    { "/proc/self/limits", READ },
    { "/proc/self/maps", READ },
    { "/proc/self/mem", READ },
    { "/proc/self/smaps", READ },
    { "/proc/self/smaps_rollup", READ },
    { "/proc/self/stat", READ },
    { "/proc/self/statm", READ },
    { "/proc/self/status", READ },
};

/* What this kernel knows of the rights that we handle: landlock(7), by ABI. */
static uint64_t rights_known(uint32_t abi)
{
    uint64_t rights = READ | CHANGE | NEVER | LANDLOCK_ACCESS_FS_IOCTL_DEV;
    if (abi < 2)
        rights &= ~(uint64_t)LANDLOCK_ACCESS_FS_REFER;
    if (abi < 3)
        rights &= ~(uint64_t)LANDLOCK_ACCESS_FS_TRUNCATE;
    if (abi < 5)
        rights &= ~(uint64_t)LANDLOCK_ACCESS_FS_IOCTL_DEV;
    return rights;
}

static int folder_allow(int ruleset, int folder, const char *name, uint64_t rights, struct fault *why)
{
    struct landlock_path_beneath_attr rule = { .allowed_access = rights, .parent_fd = folder };
    if (landlock_add_rule(ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0) < 0)
        return fault_set(why, errno, "landlock_add_rule", name);
    return 0;
}

static int path_allow(int ruleset, const char *path, uint64_t rights, struct fault *why)
{
    OWN_FD at = open(path, O_PATH | O_CLOEXEC);
    if (at < 0)
        return fault_set(why, errno, "open", path);
    struct stat there;
    if (fstat(at, &there) < 0)
        return fault_set(why, errno, "fstat", path);
    return folder_allow(ruleset, at, path, S_ISDIR(there.st_mode) ? rights : rights & OF_FILES, why);
}

/* One that a container may lack. */
static int path_allow_if_there(int ruleset, const char *path, uint64_t rights, struct fault *why)
{
    int r = path_allow(ruleset, path, rights, why);
    return r == -ENOENT || r == -EACCES ? 0 : r; /* what the worker can't reach needs no rule */
}

static int rules_contained(int ruleset, const struct plan *plan, uint64_t known, struct fault *why)
{
    int r = 0;
    for (size_t i = 0; r == 0 && i < sizeof CONTAINED / sizeof *CONTAINED; i++)
        r = path_allow_if_there(ruleset, CONTAINED[i].path, CONTAINED[i].rights & known, why);
    for (uint32_t i = 0; r == 0 && i < plan->prefixes; i++)
        r = path_allow_if_there(ruleset, plan->prefix[i], READ & known, why);
    /* Debian's own Python has its sitecustomize there, in a folder with the version in its name. */
    for (int version = 9; r == 0 && version < 40; version++) {
        char path[32];
        snprintf(path, sizeof path, "/etc/python3.%d", version);
        r = path_allow_if_there(ruleset, path, READ & known, why);
    }
    if (r == 0)
        r = path_allow_if_there(ruleset, plan->modules, READ & known, why);
    if (r == 0 && plan->share[0] != '\0')
        r = path_allow(ruleset, plan->share, READ & known, why);
    if (r == 0)
        r = folder_allow(ruleset, CELL_TMP_FD, "slot's /tmp", (READ | CHANGE) & known, why);
    if (r == 0)
        r = folder_allow(ruleset, CELL_RUNTIME_FD, "slot's /runtime", (READ | CHANGE) & known, why);
    /* One for all slots: each may use what it has the name of, and list nobody's. */
    if (r == 0 && plan->shm)
        r = path_allow(ruleset, "/dev/shm", (CHANGE | LANDLOCK_ACCESS_FS_READ_FILE) & ~(uint64_t)LANDLOCK_ACCESS_FS_REFER & known, why);
    return r;
}

int landlock_enter(struct cell *cell, struct fault *why)
{
    uint32_t abi = cell->plan->landlock_abi;
    if (abi == 0)
        return 0; /* known at start-up and printed; uid, mounts and user namespace hold without it */
    uint64_t known = rights_known(abi);
    struct landlock_ruleset_attr_full attr = { .handled_access_fs = known };
    if (abi >= 4)
        attr.handled_access_net = LANDLOCK_ACCESS_NET_BIND_TCP | LANDLOCK_ACCESS_NET_CONNECT_TCP;
    if (abi >= LANDLOCK_SCOPES)
        attr.scoped = LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET | LANDLOCK_SCOPE_SIGNAL;
    /* An older kernel refuses a longer struct unless its tail is zero, which it is: E2BIG, landlock_create_ruleset(2). */
    OWN_FD ruleset = landlock_create_ruleset(&attr, sizeof attr, 0);
    if (ruleset < 0)
        return fault_set(why, errno, "landlock_create", "ruleset");
    int r = 0;
    if (cell->plan->level == LEVEL_CONTAINED)
        r = rules_contained(ruleset, cell->plan, known, why);
    for (size_t i = 0; cell->plan->level == LEVEL_FULL && r == 0 && i < sizeof FULL / sizeof *FULL; i++)
        r = path_allow(ruleset, FULL[i].path, FULL[i].rights & known, why);
    if (r < 0)
        return r;
    if (landlock_restrict_self(ruleset, 0) < 0)
        return fault_set(why, errno, "landlock_restrict", "worker");
    return 0;
}
