/* capabilities: none, in any set, and none to be had: the bounding set is empty as well. */
#include "cell/ablation.h"
#include "cell/cell.h"

#include <errno.h>
#include <linux/capability.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

int bounding_drop(struct fault *why)
{
    for (int capability = 0; capability < 64; capability++)
        if (prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) < 0) {
            if (errno == EINVAL)
                break; /* past the last that this kernel knows */
            return fault_set(why, errno, "prctl", "PR_CAPBSET_DROP");
        }
    return 0;
}

int capabilities_clear(struct fault *why)
{
    if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0 && errno != EINVAL) /* EINVAL: gVisor has no such set */
        return fault_set(why, errno, "prctl", "PR_CAP_AMBIENT");
    struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
    struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = { 0 };
    if (syscall(SYS_capset, &header, none) < 0)
        return fault_set(why, errno, "capset", "none");
    return 0;
}

int capabilities_enter(struct cell *cell, struct fault *why)
{
    /* A user namespace just made gave the full bounding set back; without one, credentials_enter emptied it while it could. */
    int r = user_is_nested(cell->plan) ? bounding_drop(why) : 0;
    return r < 0 ? r : capabilities_clear(why);
}
