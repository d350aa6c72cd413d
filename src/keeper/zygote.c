/* Starting a zygote: the operator's own Python, as root of a user namespace that has nothing of the host's but the template's files. */
#include "keeper/keeper.h"

#include "base/clock.h"
#include "base/descriptor.h"
#include "cell/ablation.h"
#include "cell/root.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define ZYGOTE_UIDS 65536U

struct report {
    pid_t pid;
    struct fault why;
};

static int map_write(pid_t pid, const char *file, uint32_t base, struct fault *why)
{
    char path[64], map[64];
    snprintf(path, sizeof path, ROOT_OLD "/proc/%d/%s", (int)pid, file);
    int length = snprintf(map, sizeof map, "0 %u %u", base, ZYGOTE_UIDS);
    OWN_FD fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return fault_set(why, errno, "open", file);
    return write(fd, map, (size_t)length) == length ? 0 : fault_set(why, errno, "write", file);
}

/* The environment is made up: nothing of the operator's reaches a script, but what makes numerics right on this processor. */
static char **environment_make(void)
{
    static const char *const KEPT[] = { "OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE", "NPY_DISABLE_CPU_FEATURES" };
    static char *made[16] = { "PATH=/usr/local/bin:/usr/bin:/bin",
                              "HOME=/tmp",
                              "LANG=C.UTF-8",
                              "USER=script",
                              "OPENBLAS_NUM_THREADS=1",
                              "OMP_NUM_THREADS=1",
                              "MKL_NUM_THREADS=1",
                              "MPLBACKEND=Agg",
                              "LD_BIND_NOW=1" /* once here, not in each worker at a function's first call; the zygote unsets it */ };
    size_t count = 9;
    for (size_t i = 0; i < sizeof KEPT / sizeof *KEPT; i++) {
        const char *value = getenv(KEPT[i]);
        char *entry;
        if (value != NULL && asprintf(&entry, "%s=%s", KEPT[i], value) > 0)
            made[count++] = entry;
    }
    return made;
}

static int zygote_become(const struct plan *plan, int socket, int plan_fd, int go, struct fault *why)
{
    char word;
    if (read(go, &word, 1) != 1)
        return fault_set(why, EPIPE, "read", "uid map");
    if (syscall(SYS_setgroups, 0, NULL) < 0 || syscall(SYS_setresgid, 0, 0, 0) < 0 || syscall(SYS_setresuid, 0, 0, 0) < 0)
        return fault_set(why, errno, "setresuid", "zygote");
    int r = root_enter(why);
    if (r < 0)
        return r;
    if (!layer_left_out(plan, LAYER_UTS) && sethostname("vivary", 6) < 0)
        return fault_set(why, errno, "sethostname", "vivary");
    bool gains = layer_left_out(plan, LAYER_NO_NEW_PRIVS);
    if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0 || (!gains && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0))
        return fault_set(why, errno, "prctl", "zygote");

    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    struct rlimit stack = { .rlim_cur = 8 << 20, .rlim_max = 8 << 20 };
    setrlimit(RLIMIT_STACK, &stack); /* lowering doesn't fail */

    OWN_FD empty = open("/dev/null", O_RDWR | O_CLOEXEC);
    int spare = fcntl(socket, F_DUPFD_CLOEXEC, 10), spare_plan = fcntl(plan_fd, F_DUPFD_CLOEXEC, 10);
    if (empty < 0 || spare < 0 || spare_plan < 0 || dup2(empty, 0) < 0 || dup2(empty, 1) < 0 || dup2(spare, ZYGOTE_KEEPER_FD) < 0 ||
        dup2(spare_plan, ZYGOTE_PLAN_FD) < 0)
        return fault_set(why, errno, "dup2", "zygote's descriptors");
    if (close_range(ZYGOTE_PLAN_FD + 1, ~0U, CLOSE_RANGE_CLOEXEC) < 0)
        return fault_set(why, errno, "close_range", "zygote");

    char *arguments[] = {
        (char *)plan->python, "-I", "-B", "-c", "import sys; sys.path.insert(0, '/vivary'); from vivary import zygote; zygote.main()", NULL
    };
    execve(plan->python, arguments, environment_make());
    return fault_set(why, errno, "execve", plan->python);
}

/* Runs in a child of the keeper that ends when the zygote is on its way. */
static int zygote_launch(const struct plan *plan, int socket, int plan_fd, pid_t *ret_pid, struct fault *why)
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
    unsigned long kinds = CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWCGROUP;
    long pid = syscall(SYS_clone, CLONE_PARENT | namespaces_of(plan, kinds) | SIGCHLD, NULL, NULL, NULL, NULL);
    if (pid < 0)
        return fault_set(why, errno, "clone", "zygote");
    if (pid == 0) {
        close(go[1]);
        if (zygote_become(plan, socket, plan_fd, go[0], why) < 0) {
            dprintf(STDERR_FILENO, "level=error process=zygote event=zygote_failed call=%s object=%s errno=%s\n", why->call, why->object,
                    strerrorname_np(why->error));
            _exit(1);
        }
    }
    r = map_write((pid_t)pid, "uid_map", plan->uid_base, why);
    if (r == 0)
        r = map_write((pid_t)pid, "gid_map", plan->uid_base, why);
    if (r == 0 && write(go[1], "", 1) != 1)
        r = fault_set(why, errno, "write", "go");
    *ret_pid = (pid_t)pid; /* known to the keeper even on failure, to be killed */
    return r;
}

int zygote_start(struct keeper *keeper, struct fault *why)
{
    int sockets[2], reports[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets) < 0)
        return fault_set(why, errno, "socketpair", "zygote");
    OWN_FD ours = sockets[0];
    OWN_FD theirs = sockets[1];
    if (pipe2(reports, O_CLOEXEC) < 0)
        return fault_set(why, errno, "pipe2", "zygote");
    OWN_FD report_read = reports[0];
    OWN_FD report_write = reports[1];

    pid_t launcher = fork();
    if (launcher < 0)
        return fault_set(why, errno, "fork", "zygote");
    if (launcher == 0) {
        struct report report = { 0 };
        if (zygote_launch(keeper->plan, theirs, KEEPER_PLAN_FD, &report.pid, &report.why) == 0)
            report.why.error = 0;
        _exit(write(report_write, &report, sizeof report) == sizeof report ? 0 : 1);
    }
    fd_close(&report_write);
    struct report report = { 0 };
    ssize_t got;
    do /* the zygote has the other end too until its exec, so this waits for one record, not for the end */
        got = read(report_read, &report, sizeof report);
    while (got < 0 && errno == EINTR);
    waitpid(launcher, NULL, 0);
    if (got != sizeof report)
        return fault_set(why, EPIPE, "read", "zygote's launcher");
    if (report.why.error != 0) {
        if (report.pid > 0) {
            kill(report.pid, SIGKILL);
            waitpid(report.pid, NULL, 0);
        }
        *why = report.why;
        return -report.why.error;
    }

    OWN_FD pidfd = pidfd_open(report.pid, 0);
    if (pidfd < 0)
        return fault_set(why, errno, "pidfd_open", "zygote");
    struct epoll_event event = { .events = EPOLLIN, .data.u64 = KEEPER_TAG_ZYGOTE };
    if (epoll_ctl(keeper->epoll, EPOLL_CTL_ADD, ours, &event) < 0)
        return fault_set(why, errno, "epoll_ctl", "zygote");
    keeper->zygote = fd_take(&ours);
    keeper->zygote_fd = fd_take(&pidfd);
    keeper->zygote_pid = report.pid;
    keeper->zygote_warm = false;
    keeper->zygote_born_ns = clock_ns();
    return 0;
}
