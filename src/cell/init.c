#include "cell/init.h"

#include "base/descriptor.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

static int identity_set(const struct plan *plan, uid_t uid, struct fault *why)
{
    if (!plan->uids)
        return 0; /* there is no other */
    if (syscall(SYS_setgroups, 0, NULL) < 0)
        return fault_set(why, errno, "setgroups", "init");
    if (syscall(SYS_setresgid, uid, uid, uid) < 0 || syscall(SYS_setresuid, uid, uid, uid) < 0)
        return fault_set(why, errno, "setresuid", "init");
    return 0;
}

int init_drop(const struct plan *plan, const struct sock_filter *filter, struct fault *why)
{
    int r = bounding_drop(why);
    if (r == 0)
        r = identity_set(plan, UID_INIT, why);
    if (r == 0)
        r = capabilities_clear(why);
    if (r < 0)
        return r;
    /* Dumpable, so that the zygote's setns(2), which asks ptrace's permission, finds it; the worker has another uid and no capability.
     * Death signal only now: a change of uid clears it (prctl(2)). */
    if (prctl(PR_SET_DUMPABLE, plan->pidfds, 0, 0, 0) < 0 || prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0)
        return fault_set(why, errno, "prctl", "init");
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return fault_set(why, errno, "prctl", "PR_SET_NO_NEW_PRIVS");
    return seccomp_load(filter, plan->init_filter_length, NULL, why);
}

static int init_prepare(const struct plan *plan, const struct sock_filter *filter, struct fault *why)
{
    /* The keeper's uid has no number in the zygote's user namespace; files made by it would have no owner. */
    int r = identity_set(plan, 0, why);
    if (r == 0)
        r = mounts_make(plan, why);
    if (r == 0 && signal(SIGCHLD, SIG_IGN) == SIG_ERR)
        r = fault_set(why, errno, "sigaction", "SIGCHLD");
    return r < 0 ? r : init_drop(plan, filter, why);
}

_Noreturn void init_run(const struct plan *plan, const struct sock_filter *filter, int made)
{
    struct fault why = { 0 };
    /* The keeper's descriptors are in this process too: one is needed. */
    if (dup3(made, 0, O_CLOEXEC) < 0 || close_range(1, FD_LAST, 0) < 0)
        _exit(1);
    int r = init_prepare(plan, filter, &why);
    ssize_t told = write(0, &why, sizeof why);
    if (r < 0 || told != sizeof why)
        _exit(1);
    close(0);
    /* Orphans of the cell become this process's children; as it ignores SIGCHLD, the kernel reaps them: wait(2). */
    for (;;)
        pause();
}
