/* landlock: which files may be written, whatever permissions say; no TCP, no abstract sockets or signals beyond the cell. Inherited by all
 * that the worker starts; can't be taken off. A second pair of eyes on what mounts and ownership already promise. */
#include "cell/cell.h"

#include "base/descriptor.h"
#include "kernel/landlock.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#define READ (LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR)
#define CHANGE                                                                                                                             \
    (LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_REMOVE_DIR | LANDLOCK_ACCESS_FS_REMOVE_FILE | LANDLOCK_ACCESS_FS_MAKE_DIR |        \
     LANDLOCK_ACCESS_FS_MAKE_REG | LANDLOCK_ACCESS_FS_MAKE_SOCK | LANDLOCK_ACCESS_FS_MAKE_FIFO | LANDLOCK_ACCESS_FS_MAKE_SYM |             \
     LANDLOCK_ACCESS_FS_REFER | LANDLOCK_ACCESS_FS_TRUNCATE)
#define NEVER (LANDLOCK_ACCESS_FS_MAKE_CHAR | LANDLOCK_ACCESS_FS_MAKE_BLOCK)

static const struct {
    const char *path;
    uint64_t rights;
} RULES[] = {
    { "/", READ }, /* all that is mounted in the cell is meant to be seen */
    { "/tmp", READ | CHANGE },
    { "/dev/shm", READ | CHANGE },
    { "/runtime", READ | CHANGE },
    { "/dev", READ | LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_IOCTL_DEV }, /* null and its like, its own terminals */
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

int landlock_enter(struct cell *cell, struct fault *why)
{
    uint32_t abi = cell->plan->landlock_abi;
    if (abi == 0)
        return 0; /* known at start-up and printed; uid, mounts and user namespace hold without it */
    uint64_t known = rights_known(abi);
    struct landlock_ruleset_attr_full attr = { .handled_access_fs = known };
    if (abi >= 4)
        attr.handled_access_net = LANDLOCK_ACCESS_NET_BIND_TCP | LANDLOCK_ACCESS_NET_CONNECT_TCP;
    if (abi >= 6)
        attr.scoped = LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET | LANDLOCK_SCOPE_SIGNAL;
    /* An older kernel refuses a longer struct unless its tail is zero, which it is: E2BIG, landlock_create_ruleset(2). */
    OWN_FD ruleset = landlock_create_ruleset(&attr, sizeof attr, 0);
    if (ruleset < 0)
        return fault_set(why, errno, "landlock_create", "ruleset");
    for (size_t i = 0; i < sizeof RULES / sizeof *RULES; i++) {
        OWN_FD folder = open(RULES[i].path, O_PATH | O_CLOEXEC);
        if (folder < 0)
            return fault_set(why, errno, "open", RULES[i].path);
        struct landlock_path_beneath_attr rule = { .allowed_access = RULES[i].rights & known, .parent_fd = folder };
        if (landlock_add_rule(ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0) < 0)
            return fault_set(why, errno, "landlock_add_rule", RULES[i].path);
    }
    if (landlock_restrict_self(ruleset, 0) < 0)
        return fault_set(why, errno, "landlock_restrict", "worker");
    return 0;
}
