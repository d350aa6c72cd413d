/* A zygote for level full: root of a user namespace that has nothing of the host's but the template's files. */
#include "keeper/keeper.h"

#include "base/descriptor.h"
#include "cell/ablation.h"
#include "cell/root.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define ZYGOTE_UIDS 65536U

static int map_write(pid_t pid, const char *file, const struct plan *plan, struct fault *why)
{
    char path[64], map[64];
    snprintf(path, sizeof path, ROOT_OLD "/proc/%d/%s", (int)pid, file);
    int length = snprintf(map, sizeof map, "0 %u %u", plan->uid_base, plan->uids ? ZYGOTE_UIDS : 1);
    OWN_FD fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return fault_set(why, errno, "open", file);
    return write(fd, map, (size_t)length) == length ? 0 : fault_set(why, errno, "write", file);
}

static int zygote_become(const struct plan *plan, bool quick, int socket, int plan_fd, int go, struct fault *why)
{
    char word;
    if (read(go, &word, 1) != 1)
        return fault_set(why, EPIPE, "read", "uid map");
    if (plan->uids && (syscall(SYS_setgroups, 0, NULL) < 0 || syscall(SYS_setresgid, 0, 0, 0) < 0 || syscall(SYS_setresuid, 0, 0, 0) < 0))
        return fault_set(why, errno, "setresuid", "zygote");
    if (!plan->pidfds && unshare((int)namespaces_of(plan, CLONE_NEWNS)) < 0)
        return fault_set(why, errno, "unshare", "zygote's mounts");
    int r = root_enter(why);
    if (r < 0)
        return r;
    if (!layer_left_out(plan, LAYER_UTS) && sethostname("vivary", 6) < 0)
        return fault_set(why, errno, "sethostname", "vivary");
    bool gains = layer_left_out(plan, LAYER_NO_NEW_PRIVS);
    if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0 || (!gains && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0))
        return fault_set(why, errno, "prctl", "zygote");

    return zygote_exec(plan, quick, socket, plan_fd, why);
}

/* Runs in a child of the keeper that ends when the zygote is on its way. */
int zygote_launch_full(const struct plan *plan, bool quick, int socket, int plan_fd, pid_t *ret_pid, struct fault *why)
{
    if (unshare(CLONE_NEWNS) < 0)
        return fault_set(why, errno, "unshare", "mount");
    int r = root_make(plan, why);
    if (r < 0)
        return r;
    int go[2];
    if (pipe2(go, O_CLOEXEC) < 0)
        return fault_set(why, errno, "pipe2", "go");
    /* CLONE_PARENT: the keeper's child, to be reaped by it. A fork but for the flags: this process has one thread and doesn't use its tid.
     */
    unsigned long kinds = CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS;
    /* In gVisor clone(2) doesn't know cgroup namespaces, and a mount namespace that is made with a user namespace belongs to the outer one.
     */
    kinds |= plan->pidfds ? CLONE_NEWNS | CLONE_NEWCGROUP : 0;
    long pid = syscall(SYS_clone, CLONE_PARENT | namespaces_of(plan, kinds) | SIGCHLD, NULL, NULL, NULL, NULL);
    if (pid < 0)
        return fault_set(why, errno, "clone", "zygote");
    if (pid == 0) {
        close(go[1]);
        if (zygote_become(plan, quick, socket, plan_fd, go[0], why) < 0) {
            dprintf(STDERR_FILENO, "level=error process=zygote event=zygote_failed call=%s object=%s errno=%s\n", why->call, why->object,
                    strerrorname_np(why->error));
            _exit(1);
        }
    }
    r = map_write((pid_t)pid, "uid_map", plan, why);
    if (r == 0)
        r = map_write((pid_t)pid, "gid_map", plan, why);
    if (r == 0 && write(go[1], "", 1) != 1)
        r = fault_set(why, errno, "write", "go");
    *ret_pid = (pid_t)pid; /* known to the keeper even on failure, to be killed */
    return r;
}
