#include "cli/launch.h"
#include "cli/launch_parts.h"

#include "base/descriptor.h"
#include "base/log.h"
#include "cell/ablation.h"
#include "cell/cell.h"
#include "cell/sweep.h"
#include "cli/filter.h"
#include "cli/level.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

/* Where slots' uids may lie: far from those of people and packages, below the 2^31 that old programs stumble over, an own random place for
 * each instance, since the kernel counts processes by uid over all containers of a host. */
enum { UID_BASE_LEAST = 1 << 30, UID_RANGE = 65536, UID_RANGES = 14000 };

/* A worker's socket lies at 1000 and up, out of a script's way; the keeper holds up to fourteen descriptors for each slot. */
enum { DESCRIPTORS_LEAST = 1024, DESCRIPTORS_SLOT = 23, DESCRIPTORS_OTHER = 64 };

int launch_fail(const char *what)
{
    fprintf(stderr, "vivary: %s\n", what);
    return 1;
}

int errno_fail(const char *call, const char *object)
{
    fprintf(stderr, "vivary: %s(%s): %s\n", call, object, strerror(errno));
    return 1;
}

/* A memory file with the parts one after another. -1 with a message printed. */
int memory_file(const char *name, const struct iovec *parts, size_t count)
{
    OWN_FD fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0)
        return errno_fail("memfd_create", name), -1;
    for (size_t i = 0; i < count; i++)
        for (size_t done = 0; done < parts[i].iov_len;) {
            ssize_t wrote = write(fd, (const char *)parts[i].iov_base + done, parts[i].iov_len - done);
            if (wrote < 0)
                return errno_fail("write", name), -1;
            done += (size_t)wrote;
        }
    if (fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL) < 0)
        return errno_fail("fcntl", name), -1;
    return fd_take(&fd);
}

int launch_folders(struct launch *launch)
{
    char self[PATH_MAX], beside[PATH_MAX + 32];
    ssize_t length = readlink("/proc/self/exe", self, sizeof self - 1);
    if (length < 0)
        return errno_fail("readlink", "/proc/self/exe");
    self[length] = '\0';
    *strrchr(self, '/') = '\0';
    /* In a build tree all lies beside this program; installed, where meson put it. */
    snprintf(beside, sizeof beside, "%s/vivary-keeper", self);
    bool built = access(beside, X_OK) == 0;
    int binaries = snprintf(launch->binaries, sizeof launch->binaries, "%s", built ? self : LIBEXEC);
    int library = snprintf(launch->plan.modules, sizeof launch->plan.modules, "%s%s", built ? self : LIBRARY, built ? "/python" : "");
    if (binaries >= (int)sizeof launch->binaries || library >= (int)sizeof launch->plan.modules)
        return launch_fail("the path of this program is too long");
    snprintf(beside, sizeof beside, "%.*s/_vivary.abi3.so", PATH_MAX - 1, launch->plan.modules);
    if (access(beside, R_OK) < 0)
        return errno_fail("access", beside);
    return 0;
}

static int share_resolve(struct plan *plan, const char *share)
{
    if (share[0] == '\0')
        return 0;
    char resolved[PATH_MAX];
    struct stat there;
    if (realpath(share, resolved) == NULL || stat(resolved, &there) < 0)
        return errno_fail("--share", share);
    if (!S_ISDIR(there.st_mode) || strlen(resolved) >= sizeof plan->share)
        return launch_fail("--share takes a folder, which scripts see as /app");
    snprintf(plan->share, sizeof plan->share, "%s", resolved);
    return 0;
}

#ifdef VIVARY_ABLATION
static int layers_leave_out(struct plan *plan)
{
    static const char *const NAMES[LAYERS] = LAYER_NAMES;
    const char *names = getenv("WITHOUT_LAYER");
    char *list = strdup(names == NULL ? "" : names), *rest = list;
    int status = list == NULL;
    for (const char *name; status == 0 && (name = strsep(&rest, ",")) != NULL && names != NULL;) {
        int layer = 0;
        while (layer < LAYERS && strcmp(name, NAMES[layer]) != 0)
            layer++;
        if (layer == LAYERS)
            status = launch_fail("WITHOUT_LAYER names no layer");
        else
            plan->without |= 1U << layer;
    }
    free(list);
    if (layer_left_out(plan, LAYER_SECCOMP))
        plan->notify = 0; /* no filter, no listener on it */
    if (layer_left_out(plan, LAYER_USER))
        plan->user_nested = 0; /* as on a host that has no nested ones */
    return status;
}
#endif

static int plan_make(struct launch *launch)
{
    const struct settings *s = &launch->settings;
    struct plan *plan = &launch->plan;
    plan->version = PLAN_VERSION;
    plan->slots = (uint32_t)(s->slots + s->spare);
    plan->once = launch->alone;
    plan->memory_bytes = s->memory_mb << 20;
    plan->tmp_bytes = s->tmp_mb << 20;
    plan->tmp_files = s->tmp_files;
    plan->processes = s->processes;
    plan->descriptors = s->descriptors;
    plan->cpu_ms = s->cpu_ms;
    plan->deadline_ms = s->deadline_ms;
    plan->result_max = s->result_max;
    plan->files_bytes = s->files_mb << 20;
    plan->renew_runs = s->renew_runs;
    plan->renew_ms = s->renew_s * 1000;
    snprintf(plan->python, sizeof plan->python, "%s", launch->python.executable);
    snprintf(plan->preload, sizeof plan->preload, "%s", s->preload);
    memcpy(plan->prefix, launch->python.prefix, sizeof plan->prefix);
    plan->prefixes = launch->python.prefixes;
    uint32_t random;
    if (getrandom(&random, sizeof random, 0) != sizeof random)
        return errno_fail("getrandom", "uid");
    bool chosen = launch->number > 0 || launch->uid_range > 0;
    launch->uid_range = (chosen ? launch->uid_range + launch->number : random) % UID_RANGES;
    plan->uid_base = UID_BASE_LEAST + launch->uid_range * UID_RANGE;
    if (launch_folders(launch) != 0 || share_resolve(plan, s->share) != 0 || level_choose(launch) != 0)
        return 1;
    /* gVisor's tmpfs doesn't count files. */
    int length = snprintf(plan->tmp_options, sizeof plan->tmp_options, "mode=1777,size=%llu", (unsigned long long)plan->tmp_bytes);
    if (plan->pidfds)
        snprintf(plan->tmp_options + length, sizeof plan->tmp_options - (size_t)length, ",nr_inodes=%llu",
                 (unsigned long long)plan->tmp_files);
#ifdef VIVARY_ABLATION
    return layers_leave_out(plan);
#else
    return 0;
#endif
}

int filters_make(const struct plan *plan, struct sock_filter *filters[static FILTER_KINDS], size_t lengths[static FILTER_KINDS])
{
    for (int kind = 0; kind < FILTER_KINDS; kind++) {
        struct fault why;
        if (filter_compile((enum filter_for)kind, plan, &filters[kind], &lengths[kind], &why) < 0) {
            errno = why.error;
            return errno_fail(why.call, why.object);
        }
    }
#ifdef VIVARY_ABLATION
    if (layer_left_out(plan, LAYER_SECCOMP))
        lengths[FILTER_FRONT] = 0;
#endif
#ifdef __SANITIZE_ADDRESS__
    lengths[FILTER_FRONT] = lengths[FILTER_KEEPER] = 0; /* the sanitizer's runtime makes calls of its own */
#endif
    return 0;
}

void filters_free(struct sock_filter *filters[static FILTER_KINDS])
{
    for (int kind = 0; kind < FILTER_KINDS; kind++)
        free(filters[kind]);
}

static int plan_write(struct launch *launch)
{
    struct plan *plan = &launch->plan;
    struct sock_filter *filters[FILTER_KINDS] = { NULL };
    size_t lengths[FILTER_KINDS] = { 0 };
    int status = filters_make(plan, filters, lengths);
    if (status == 0) {
        plan->worker_filter_length = (uint32_t)lengths[FILTER_WORKER];
        plan->init_filter_length = (uint32_t)lengths[FILTER_INIT];
        plan->keeper_filter_length = (uint32_t)lengths[FILTER_KEEPER];
        struct iovec parts[] = { { plan, sizeof *plan },
                                 { filters[FILTER_WORKER], lengths[FILTER_WORKER] * sizeof **filters },
                                 { filters[FILTER_INIT], lengths[FILTER_INIT] * sizeof **filters },
                                 { filters[FILTER_KEEPER], lengths[FILTER_KEEPER] * sizeof **filters } };
        launch->plan_fd = memory_file("keeper's plan", parts, 4);
        status = launch->plan_fd < 0;
    }
    filters_free(filters);
    return status;
}

static int descriptors_check(const struct settings *settings)
{
    struct rlimit files;
    uint64_t needed = DESCRIPTORS_OTHER + (settings->slots + settings->spare) * DESCRIPTORS_SLOT;
    if (needed < DESCRIPTORS_LEAST)
        needed = DESCRIPTORS_LEAST;
    if (getrlimit(RLIMIT_NOFILE, &files) < 0)
        return errno_fail("getrlimit", "NOFILE");
    if (files.rlim_max >= needed)
        return 0;
    fprintf(stderr,
            "vivary: %llu slots and %llu spare ones need %llu open files at once, and the hard limit is %llu: raise it (ulimit -Hn, "
            "LimitNOFILE=, docker run "
            "--ulimit nofile=%llu), or take fewer slots\n",
            (unsigned long long)settings->slots, (unsigned long long)settings->spare, (unsigned long long)needed,
            (unsigned long long)files.rlim_max, (unsigned long long)needed);
    return 1;
}

int launch_prepare(struct launch *launch)
{
    launch->plan_fd = -1;
    if (descriptors_check(&launch->settings) != 0)
        return 1;
    /* Podman leaves capabilities to a user that isn't root. None is used there, and what is probed must hold without. */
    struct fault why;
    if (geteuid() != 0 && capabilities_clear(&why) < 0) {
        errno = why.error;
        return errno_fail(why.call, why.object);
    }
    char error[512];
    if (python_ask(&launch->settings, &launch->python, error) < 0)
        return launch_fail(error);
    if (launch->python.missing[0] != '\0') {
        fprintf(stderr, "vivary: %s can't import %s: install it (apt-get install python3-NAME), or name others with --preload\n",
                launch->python.executable, launch->python.missing);
        return 1;
    }
    if (launch->host.kernel[0] == '\0') /* else it is as for the first */
        level_probe(&launch->settings, &launch->host);
    return plan_make(launch) || plan_write(launch);
}

/* Runs `program` in a child with the descriptors at 3 and up, in this order, and nothing else but 0, 1 and 2. */
int program_start(const struct launch *launch, const char *program, const int *fds, uint32_t count, pid_t *ret_pid)
{
    char path[SETTINGS_PATH_MAX + 32];
    snprintf(path, sizeof path, "%s/%s", launch->binaries, program);
    pid_t pid = fork();
    if (pid < 0)
        return errno_fail("fork", program);
    if (pid > 0) {
        *ret_pid = pid;
        return 0;
    }
    setpgid(0, 0); /* Ctrl-C at a terminal is for `vivary serve` alone: it ends the others in order */
    /* What this process was started with must not reach scripts: a shell's `&` ignores SIGINT, and ignored signals stay so over exec(2). */
    for (int signal_number = 1; signal_number < NSIG; signal_number++)
        signal(signal_number, SIG_DFL);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    umask(022);
    int moved[32];
    for (uint32_t i = 0; i < count; i++)
        moved[i] = fcntl(fds[i], F_DUPFD_CLOEXEC, 64);
    close_range(3, 63, 0);
    for (uint32_t i = 0; i < count; i++)
        if (moved[i] < 0 || dup2(moved[i], (int)(3 + i)) < 0)
            _exit(errno_fail("dup2", program));
    int empty = open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (empty < 0 || dup2(empty, STDIN_FILENO) < 0 || dup2(STDERR_FILENO, STDOUT_FILENO) < 0)
        _exit(errno_fail("dup2", program));
    execl(path, program, (char *)NULL);
    _exit(errno_fail("execl", path));
}

int launch_keeper(const struct launch *launch, pid_t *ret_pid, int *ret_front, int *ret_news)
{
    int sockets[2], news[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets) < 0)
        return errno_fail("socketpair", "keeper");
    OWN_FD of_front = sockets[0];
    OWN_FD of_keeper = sockets[1];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, news) < 0)
        return errno_fail("socketpair", "news");
    OWN_FD news_ours = news[0];
    OWN_FD news_its = news[1];
    const int fds[] = { of_keeper, launch->plan_fd, news_its };
    if (program_start(launch, "vivary-keeper", fds, 3, ret_pid) != 0)
        return 1;
    *ret_front = fd_take(&of_front);
    *ret_news = fd_take(&news_ours);
    return 0;
}

/* Runs that a killed keeper has left: no namespace ended them. */
static void runs_clear(const struct plan *plan)
{
    if (plan->level != LEVEL_CONTAINED || access(plan->folder, F_OK) < 0)
        return;
    pid_t pid = fork();
    if (pid == 0) {
        struct fault why = { 0 };
        if (slots_sweep(plan, 0, plan->slots + 1, &why) < 0)
            log_fault("sweep_failed", &why);
        slots_remove(plan);
        _exit(0);
    }
    while (pid > 0 && waitpid(pid, NULL, 0) < 0 && errno == EINTR)
        continue;
}

void launch_clear(const struct launch *launch)
{
    runs_clear(&launch->plan);
    for (int kind = 0; kind < GROUP_KINDS; kind++) {
        const char *group = launch->plan.group[kind];
        if (group[0] == '\0')
            continue;
        /* A killed keeper's cells die by themselves; their last processes may be leaving still. */
        for (int tries = 0; tries < 200 && access(group, F_OK) == 0; tries++) {
            for (uint32_t slot = 0; slot < launch->plan.slots; slot++) {
                char folder[PLAN_PATH_MAX + 24];
                snprintf(folder, sizeof folder, "%s/slot-%u", group, slot);
                rmdir(folder);
            }
            if (rmdir(group) == 0 || errno == ENOENT)
                break;
            usleep(10000);
        }
    }
}
