/* A zygote for level contained: an uid of its own, with the capabilities that give its workers theirs. */
#include "keeper/keeper.h"

#include "cell/cell.h"
#include "cell/sweep.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

static const int KEPT[] = {
    CAP_SETUID,              /* a worker's change to its slot's uid */
    CAP_SETGID, CAP_SETPCAP, /* emptying the worker's bounding set; a container may not have it, and then no_new_privs has to do */
};

/* Ambient capabilities are the ones that an uid which isn't root keeps over execve(2): capabilities(7). */
static int capabilities_hand_on(struct fault *why)
{
    struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
    struct __user_cap_data_struct sets[_LINUX_CAPABILITY_U32S_3];
    if (syscall(SYS_capget, &header, sets) < 0)
        return fault_set(why, errno, "capget", "zygote");
    uint32_t kept = 0;
    for (size_t i = 0; i < sizeof KEPT / sizeof *KEPT; i++)
        kept |= sets[0].permitted & (UINT32_C(1) << KEPT[i]);
    sets[0].permitted = sets[0].effective = sets[0].inheritable = kept;
    sets[1] = (struct __user_cap_data_struct) { 0 };
    if (syscall(SYS_capset, &header, sets) < 0)
        return fault_set(why, errno, "capset", "zygote");
    for (size_t i = 0; i < sizeof KEPT / sizeof *KEPT; i++)
        if ((kept >> KEPT[i] & 1) != 0 && prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, KEPT[i], 0, 0) < 0)
            return fault_set(why, errno, "prctl", "PR_CAP_AMBIENT");
    return 0;
}

static int zygote_become(const struct plan *plan, bool quick, int socket, int plan_fd, struct fault *why)
{
    uid_t uid = slot_uid(plan, plan->slots);
    int tmp, runtime;
    int r = slot_open(plan, plan->slots, &tmp, &runtime, why);
    if (r < 0)
        return r;
    if (dup2(tmp, CELL_TMP_FD) < 0 || dup2(runtime, CELL_RUNTIME_FD) < 0)
        return fault_set(why, errno, "dup2", "zygote's folders");
    if (plan->uids) {
        if (prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) < 0)
            return fault_set(why, errno, "prctl", "PR_SET_KEEPCAPS");
        if (syscall(SYS_setgroups, 0, NULL) < 0 || syscall(SYS_setresgid, uid, uid, uid) < 0 || syscall(SYS_setresuid, uid, uid, uid) < 0)
            return fault_set(why, errno, "setresuid", "zygote");
        r = capabilities_hand_on(why);
        if (r < 0)
            return r;
    }
    if (fchdir(CELL_TMP_FD) < 0)
        return fault_set(why, errno, "fchdir", "zygote's folder");
    if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0)
        return fault_set(why, errno, "prctl", "PR_SET_PDEATHSIG");
    return zygote_exec(plan, quick, socket, plan_fd, why);
}

int zygote_launch_contained(const struct plan *plan, bool quick, int socket, int plan_fd, pid_t *ret_pid, struct fault *why)
{
    long pid = syscall(SYS_clone, CLONE_PARENT | SIGCHLD, NULL, NULL, NULL, NULL);
    if (pid < 0)
        return fault_set(why, errno, "clone", "zygote");
    if (pid == 0 && zygote_become(plan, quick, socket, plan_fd, why) < 0) {
        dprintf(STDERR_FILENO, "level=error process=zygote event=zygote_failed call=%s object=%s errno=%s\n", why->call, why->object,
                strerrorname_np(why->error));
        _exit(1);
    }
    *ret_pid = (pid_t)pid;
    return 0;
}
