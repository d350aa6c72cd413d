#include "kernel/probe.h"

#include "kernel/cgroup_find.h"
#include "kernel/landlock.h"
#include "kernel/notify.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <time.h>

enum { PROBE_SECONDS_MAX = 5 };

typedef bool probe_try(int flags);

/* Runs `attempt` in a child; true if it said so in time. */
static bool probe_run(probe_try *attempt, int flags)
{
    pid_t pid = fork();
    if (pid < 0)
        return false;
    if (pid == 0) {
        /* An alarm, not a pidfd: gVisor has none, and there a probe that hangs would have no limit. */
        sigset_t clock;
        sigemptyset(&clock);
        sigaddset(&clock, SIGALRM);
        signal(SIGALRM, SIG_DFL);
        sigprocmask(SIG_UNBLOCK, &clock, NULL);
        alarm(PROBE_SECONDS_MAX);
        _exit(attempt(flags) ? 0 : 1);
    }
    int status = 0;
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        continue;
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static bool unshare_try(int flags)
{
    return unshare(flags) == 0;
}

static bool text_write(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    bool wrote = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);
    if (fd >= 0)
        close(fd);
    return wrote;
}

static bool map_write(const char *map)
{
    return text_write("/proc/self/uid_map", map) && text_write("/proc/self/gid_map", map);
}

/* In a user namespace whose uid 0 is somebody without privileges, as the zygote's is, an unprivileged uid makes another, as a worker does.
 * A child with the host's rights writes the outer map. */
enum { NESTED_HOST, NESTED_SINGLE, NESTED_RANGE };

static bool nested_try(int flags)
{
    int ready[2], mapped[2];
    char word;
    if (pipe2(ready, O_CLOEXEC) < 0 || pipe2(mapped, O_CLOEXEC) < 0)
        return false;
    bool single = flags == NESTED_SINGLE;
    const char *outer_map = single ? "0 0 1" : flags == NESTED_RANGE ? "0 65536 65536" : "0 1073741824 65536";
    pid_t inner = getpid(), writer = fork();
    if (writer == 0) {
        close(ready[1]); /* else it would wait for a word from itself when the other end gives up */
        alarm(PROBE_SECONDS_MAX);
        char path[64];
        bool done = read(ready[0], &word, 1) == 1;
        snprintf(path, sizeof path, "/proc/%d/uid_map", (int)inner);
        done = done && text_write(path, outer_map);
        snprintf(path, sizeof path, "/proc/%d/gid_map", (int)inner);
        done = done && text_write(path, outer_map);
        _exit(done && write(mapped[1], "", 1) == 1 ? 0 : 1);
    }
    close(mapped[1]);
    if (writer < 0 || unshare(CLONE_NEWUSER) < 0 || write(ready[1], "", 1) != 1 || read(mapped[0], &word, 1) != 1)
        return false;
    if (!single && (syscall(SYS_setresgid, 1000, 1000, 1000) < 0 || syscall(SYS_setresuid, 1000, 1000, 1000) < 0))
        return false;
    prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
    if (unshare(CLONE_NEWUSER) < 0)
        return false;
    text_write("/proc/self/setgroups", "deny"); /* where it is demanded and wasn't to be had, the map says so */
    return map_write(single ? "1000 0 1" : "1000 1000 1");
}

/* gVisor's overlay goes on writing when the mount that its upper folder lies in has become read-only. */
static bool overlay_try(int flags)
{
    (void)flags;
    bool laid = unshare(CLONE_NEWNS) == 0 && mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
                mount("tmpfs", "/run", "tmpfs", 0, "size=1m") == 0 && mkdir("/run/u", 0755) == 0 &&
                mount("tmpfs", "/run/u", "tmpfs", 0, "size=1m") == 0 && mkdir("/run/u/u", 0755) == 0 && mkdir("/run/u/w", 0755) == 0 &&
                mkdir("/run/o", 0755) == 0 &&
                mount("overlay", "/run/o", "overlay", 0, "lowerdir=/usr,upperdir=/run/u/u,workdir=/run/u/w") == 0 &&
                mount(NULL, "/run/u", NULL, MS_REMOUNT | MS_RDONLY, NULL) == 0;
    return laid && mkdir("/run/o/written", 0755) < 0;
}

static bool proc_try(int flags)
{
    (void)flags;
    if (unshare(CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNS) < 0)
        return false;
    pid_t pid = fork();
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
        _exit(mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, "subset=pid,hidepid=invisible") == 0 ? 0 : 1);
    }
    int status = 1;
    return pid > 0 && waitpid(pid, &status, 0) == pid && status == 0;
}

static bool pidfd_try(int flags)
{
    (void)flags;
    int fd = -1;
    long pid = syscall(SYS_clone, CLONE_PIDFD | SIGCHLD, NULL, &fd, NULL, NULL);
    if (pid == 0)
        _exit(0);
    siginfo_t info = { 0 };
    return pid > 0 && fd >= 0 && waitid(P_PIDFD, (id_t)fd, &info, WEXITED) == 0 && info.si_pid == pid;
}

static bool seccomp_try(int flags)
{
    (void)flags;
    struct sock_filter allow = BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    struct sock_fprog program = { .len = 1, .filter = &allow };
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) == 0;
}

static bool notify_try(int flags)
{
    (void)flags;
    struct sock_filter allow = BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    struct sock_fprog program = { .len = 1, .filter = &allow };
    return notify_fits() && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
           syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER, &program) >= 0;
}

static bool uids_try(int flags)
{
    (void)flags;
    const long other = 1 << 30;
    pid_t pid = fork();
    if (pid == 0) { /* of another uid, waiting to be ended by root */
        if (syscall(SYS_setgroups, 0, NULL) < 0 || syscall(SYS_setresgid, other, other, other) < 0 ||
            syscall(SYS_setresuid, other, other, other) < 0)
            _exit(1);
        prctl(PR_SET_PDEATHSIG, SIGKILL); /* else it stays, should the alarm end the probe. After the change of uid, which clears it */
        for (;;)
            pause();
    }
    int status = 0;
    char path[32];
    snprintf(path, sizeof path, "/proc/%d", (int)pid);
    struct stat owner;
    /* It has another uid in a moment; the alarm bounds this. A process that is a zombie has failed. */
    while (pid > 0 && waitpid(pid, &status, WNOHANG) == 0 && (stat(path, &owner) < 0 || owner.st_uid != (uid_t)other)) {
        const struct timespec moment = { .tv_nsec = 200000 };
        nanosleep(&moment, NULL);
    }
    return pid > 0 && kill(pid, SIGKILL) == 0 && waitpid(pid, &status, 0) == pid && WIFSIGNALED(status);
}

void host_probe(struct host *ret_host)
{
    *ret_host = (struct host) { .own_user = ret_host->own_user, .own_range = ret_host->own_range };
    struct utsname name;
    if (uname(&name) == 0)
        snprintf(ret_host->kernel, sizeof ret_host->kernel, "%.60s %.40s", name.release, name.machine);
    ret_host->user = probe_run(unshare_try, CLONE_NEWUSER);
    ret_host->pid = probe_run(unshare_try, CLONE_NEWPID);
    ret_host->mnt = probe_run(unshare_try, CLONE_NEWNS);
    ret_host->net = probe_run(unshare_try, CLONE_NEWNET);
    ret_host->ipc = probe_run(unshare_try, CLONE_NEWIPC);
    ret_host->uts = probe_run(unshare_try, CLONE_NEWUTS);
    ret_host->cgroup = probe_run(unshare_try, CLONE_NEWCGROUP);
    ret_host->nested_user = probe_run(nested_try, !ret_host->own_user ? NESTED_HOST : ret_host->own_range ? NESTED_RANGE : NESTED_SINGLE);
    ret_host->overlay = probe_run(overlay_try, 0);
    ret_host->proc_subset = probe_run(proc_try, 0);
    ret_host->pidfd = probe_run(pidfd_try, 0);
    ret_host->seccomp_filter = probe_run(seccomp_try, 0);
    ret_host->notify = probe_run(notify_try, 0);
    ret_host->other_uids = probe_run(uids_try, 0);
    long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
    ret_host->landlock_abi = abi > 0 ? (int)abi : 0;

    char folder[1024];
    for (int version = 1; version <= 2 && ret_host->cgroup_version == 0; version++) {
        ret_host->memory = cgroup_find(version, "memory", folder, sizeof folder) == 0;
        ret_host->pids = cgroup_find(version, "pids", folder, sizeof folder) == 0;
        ret_host->cpu = cgroup_find(version, "cpuacct", folder, sizeof folder) == 0;
        if (ret_host->memory || ret_host->pids || ret_host->cpu)
            ret_host->cgroup_version = version;
    }
}

/* In a child, which stays outside: waits until its parent is in a user namespace, and gives it root and the uids that the runs get. */
static bool range_write(pid_t inside, int ready)
{
    char path[64], map[64], word;
    uint32_t random;
    if (read(ready, &word, 1) != 1 || getrandom(&random, sizeof random, 0) != sizeof random)
        return false;
    uint32_t base = (1U << 30) + random % 14000 * HOST_RANGE_AT;
    snprintf(map, sizeof map, "0 0 1\n%d %u %d\n", HOST_RANGE_AT, base, HOST_RANGE_AT);
    for (int i = 0; i < 2; i++) {
        snprintf(path, sizeof path, "/proc/%d/%s", (int)inside, i == 0 ? "uid_map" : "gid_map");
        if (!text_write(path, map))
            return false;
    }
    return true;
}

bool host_enter_user(bool *ret_range)
{
    char uids[48], gids[48];
    int ready[2];
    *ret_range = false;
    snprintf(uids, sizeof uids, "0 %u 1", geteuid());
    snprintf(gids, sizeof gids, "0 %u 1", getegid());
    if (pipe2(ready, O_CLOEXEC) < 0)
        return false;
    pid_t inside = getpid(), writer = geteuid() == 0 ? fork() : -1;
    if (writer == 0) {
        close(ready[1]);
        alarm(PROBE_SECONDS_MAX);
        _exit(range_write(inside, ready[0]) ? 0 : 1);
    }
    bool entered = unshare(CLONE_NEWUSER) == 0;
    int status = 1;
    ssize_t told = entered ? write(ready[1], "", 1) : 0;
    close(ready[0]);
    close(ready[1]); /* the writer gives up then */
    while (writer > 0 && waitpid(writer, &status, 0) < 0 && errno == EINTR)
        continue;
    *ret_range = told == 1 && writer > 0 && status == 0;
    if (!entered || *ret_range)
        return entered;
    text_write("/proc/self/setgroups", "deny"); /* demanded before a gid_map, user_namespaces(7); gVisor has no such file */
    return text_write("/proc/self/uid_map", uids) && text_write("/proc/self/gid_map", gids);
}

bool host_probe_user(bool (*enough)(const struct host *host))
{
    pid_t pid = fork();
    if (pid == 0) {
        struct host host = { .own_user = true };
        if (!host_enter_user(&host.own_range))
            _exit(1);
        host_probe(&host);
        _exit(enough(&host) ? 0 : 1);
    }
    int status = 1;
    while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
        continue;
    return pid > 0 && status == 0;
}
