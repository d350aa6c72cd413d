/* credentials: a uid that no other slot and nothing else on the host has; it owns no file outside the cell. */
#include "cell/ablation.h"
#include "cell/cell.h"

#include <errno.h>
#include <grp.h>
#include <linux/keyctl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

static int identity_change(uid_t uid, struct fault *why)
{
    /* Raw calls: glibc's wrappers signal all threads to change too (nptl(7)). This process has one, and a broken signal mask or a full
     * RLIMIT_SIGPENDING must not stand in the way. Groups, then gid, then uid: each needs what the next takes. */
    if (syscall(SYS_setgroups, 0, NULL) < 0)
        return fault_set(why, errno, "setgroups", "none");
    if (syscall(SYS_setresgid, uid, uid, uid) < 0)
        return fault_set(why, errno, "setresgid", "slot");
    if (syscall(SYS_setresuid, uid, uid, uid) < 0)
        return fault_set(why, errno, "setresuid", "slot");
    return 0;
}

/* The session keyring comes from who started the service, and a process may read what is in its own. Seccomp refuses the calls; were it
 * gone, there would be an empty one. A kernel without keys says ENOSYS, a container that keeps all from them EPERM. */
int keyring_leave(const struct plan *plan, struct fault *why)
{
    if (syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, NULL) < 0 && errno != ENOSYS &&
        !(plan->level == LEVEL_CONTAINED && errno == EPERM))
        return fault_set(why, errno, "keyctl", "session keyring");
    return 0;
}

int credentials_enter(struct cell *cell, struct fault *why)
{
    const struct plan *plan = cell->plan;
    bool contained = plan->level == LEVEL_CONTAINED;
    /* While there still is the right to; a user namespace of its own gives it once more, and the whole set with it. */
    int r = user_is_nested(plan) ? 0 : bounding_drop(why);
    if (contained && r == -EPERM)
        r = 0; /* a container may have kept that right: with no_new_privs no program brings any back */
    if (r == 0 && plan->uids)
        r = identity_change((contained ? plan->uid_base : 0) + UID_SLOT + cell->slot, why);
    if (r < 0)
        return r;
    r = plan->pidfds ? keyring_leave(plan, why) : 0; /* gVisor never frees one, and has room for few: all have the keeper's */
    if (r < 0)
        return r;
    /* The change made the process undumpable, and with that its own /proc/self belong to root: prctl(2). What may look at it now is its own
     * uid, so only itself; cores are off by RLIMIT_CORE. */
    if (prctl(PR_SET_DUMPABLE, 1, 0, 0, 0) < 0)
        return fault_set(why, errno, "prctl", "PR_SET_DUMPABLE");
    return 0;
}
