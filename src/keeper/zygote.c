/* Starting a zygote: the operator's own Python. */
#include "keeper/keeper.h"

#include "base/clock.h"
#include "base/descriptor.h"
#include "cell/cell.h"

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

struct report {
    pid_t pid;
    struct fault why;
};

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

int zygote_exec(const struct plan *plan, bool quick, int socket, int plan_fd, struct fault *why)
{
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
    if (close_range(ZYGOTE_PLAN_FD + 1, CELL_TMP_FD - 1, CLOSE_RANGE_CLOEXEC) < 0 ||
        close_range(CELL_RUNTIME_FD + 1, FD_LAST, CLOSE_RANGE_CLOEXEC) < 0)
        return fault_set(why, errno, "close_range", "zygote");

    char program[PLAN_PATH_MAX + 128];
    snprintf(program, sizeof program, "import sys; sys.path.insert(0, '%s'); from vivary import zygote; zygote.main(quick=%s)",
             plan->level == LEVEL_FULL ? "/vivary" : plan->modules, quick ? "True" : "False");
    char *arguments[] = { (char *)plan->python, "-I", "-B", "-c", program, NULL };
    execve(plan->python, arguments, environment_make());
    return fault_set(why, errno, "execve", plan->python);
}

int zygote_start(struct keeper *keeper, uint32_t number, struct fault *why)
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

    bool quick = !keeper->zygotes[1 - number].warm;
    pid_t launcher = fork();
    if (launcher < 0)
        return fault_set(why, errno, "fork", "zygote");
    if (launcher == 0) {
        struct report report = { 0 };
        int r = keeper->plan->level == LEVEL_FULL
                    ? zygote_launch_full(keeper->plan, quick, theirs, KEEPER_PLAN_FD, &report.pid, &report.why)
                    : zygote_launch_contained(keeper->plan, quick, theirs, KEEPER_PLAN_FD, &report.pid, &report.why);
        if (r == 0)
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

    OWN_FD pidfd = keeper->plan->pidfds ? pidfd_open(report.pid, 0) : -1;
    if (pidfd < 0 && keeper->plan->pidfds)
        return fault_set(why, errno, "pidfd_open", "zygote");
    struct epoll_event event = { .events = EPOLLIN, .data.u64 = KEEPER_TAG_ZYGOTE + number };
    if (epoll_ctl(keeper->epoll, EPOLL_CTL_ADD, ours, &event) < 0)
        return fault_set(why, errno, "epoll_ctl", "zygote");
    keeper->zygotes[number] = (struct zygote_process) {
        .socket = fd_take(&ours), .pidfd = fd_take(&pidfd), .pid = report.pid, .quick = quick, .born_ns = clock_ns()
    };
    return 0;
}
