/* What the keeper gives up before it makes the first cell. */
#include "keeper/keeper.h"

#include "cell/ablation.h"
#include "cell/cell.h"

#include <errno.h>
#include <linux/capability.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

static const int KEPT_FULL[] = {
    CAP_SYS_ADMIN,       /* mounts of the template; namespaces; entering the zygote's */
    CAP_SYS_CHROOT,      /* setns(2) asks for it when a mount namespace is entered */
    CAP_SETUID,          /* a uid_map of more than its own uid */
    CAP_SETGID,          /* the same for groups, and the launcher's own */
    CAP_CHOWN,           /* a worker's pipes belong to its slot's uid */
    CAP_KILL,            /* the zygote has another uid */
    CAP_DAC_READ_SEARCH, /* an interpreter, or a folder to share, may lie in somebody's home */
    CAP_DAC_OVERRIDE,    /* cgroup folders that were delegated to another user */
};

/* Of a container's fourteen. */
static const int KEPT_CONTAINED[] = {
    CAP_SETUID,       /* uids of slots, zygote and killers; whose files are touched */
    CAP_SETGID,       /* their groups */
    CAP_KILL,         /* workers have other uids; so has the zygote, which is to die with the keeper */
    CAP_SETPCAP,      /* handed on: workers empty their bounding set */
    CAP_CHOWN,        /* a worker's pipes belong to its slot's uid */
    CAP_DAC_OVERRIDE, /* the watcher looks into folders that a script has shut */
};

static int capabilities_keep(const struct plan *plan, struct fault *why)
{
    bool full = plan->level == LEVEL_FULL;
    const int *list = full ? KEPT_FULL : KEPT_CONTAINED;
    size_t count = full ? sizeof KEPT_FULL / sizeof *KEPT_FULL : sizeof KEPT_CONTAINED / sizeof *KEPT_CONTAINED;
    uint64_t kept = 0;
    for (size_t i = 0; i < count && (full || plan->uids); i++) /* without uids of their own, everything is one user's */
        kept |= UINT64_C(1) << list[i];
    if (full && !plan->uids)
        kept |= UINT64_C(1) << CAP_SETFCAP; /* the zygote's uid is this process's, and to map one's own root asks for it: Linux 5.12 */
    for (int capability = 0; capability < 64; capability++)
        if ((kept >> capability & 1) == 0 && prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) < 0) {
            if (errno == EINVAL || (!full && errno == EPERM))
                break; /* past the last that this kernel knows; or the container kept CAP_SETPCAP, and no_new_privs has to do */
            return fault_set(why, errno, "prctl", "PR_CAPBSET_DROP");
        }
    struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
    struct __user_cap_data_struct sets[_LINUX_CAPABILITY_U32S_3];
    if (syscall(SYS_capget, &header, sets) < 0)
        return fault_set(why, errno, "capget", "keeper");
    for (int half = 0; half < _LINUX_CAPABILITY_U32S_3; half++) {
        uint32_t mask = (uint32_t)(kept >> 32 * half);
        sets[half].permitted &= mask; /* a container's root may have fewer to begin with */
        sets[half].effective = sets[half].permitted;
        sets[half].inheritable = 0;
    }
    return syscall(SYS_capset, &header, sets) < 0 ? fault_set(why, errno, "capset", "keeper") : 0;
}

int keeper_jail(const struct keeper *keeper, struct fault *why)
{
    int r = capabilities_keep(keeper->plan, why);
    if (r < 0)
        return r;
    if (!layer_left_out(keeper->plan, LAYER_NO_NEW_PRIVS) && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return fault_set(why, errno, "prctl", "PR_SET_NO_NEW_PRIVS");
    if (layer_left_out(keeper->plan, LAYER_SECCOMP) || keeper->plan->keeper_filter_length == 0)
        return 0; /* it would be on the workers too; and a sanitizer's runtime makes calls of its own */
    return seccomp_load(keeper->keeper_filter, keeper->plan->keeper_filter_length, NULL, why);
}
