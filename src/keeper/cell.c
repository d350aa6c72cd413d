/* Making a cell: its init, which the keeper forks into the zygote's user namespace, and the order to the zygote to fork a worker into it.
 */
#include "base/clock.h"
#include "base/descriptor.h"
#include "base/log.h"
#include "base/passing.h"
#include "cell/ablation.h"
#include "cell/init.h"
#include "cell/sweep.h"
#include "keeper/keeper.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { JAILING_MS_MAX = 10000 };

enum { BIRTH_STACK = 32 * 1024, USES_HALF = 4 /* of eight runs */ };

/* Apart from struct birth, which is set to zero: that cost 16 page faults a run, for the init before shares these pages. */
struct birth_stacks {
    _Alignas(16) char outer[BIRTH_STACK], middle[BIRTH_STACK];
};

/* Three clones make an init. The keeper can't enter the zygote's namespaces itself, for it would not come back; a pid namespace is entered
 * only by a child; and a new one is made only by a process that is in its parent (EINVAL else, copy_pid_ns in kernel/pid_namespace.c). So:
 * `outer` enters, `middle` is born inside, and it makes the init. Both run on the keeper's memory and descriptors (CLONE_VM, CLONE_FILES)
 * while it stands still (CLONE_VFORK): nothing is copied, and the init's pidfd appears among the keeper's own. CLONE_PARENT makes all of
 * them the keeper's children. No signal tells of their ends, which would wake it three times a run: two are waited for at once, and the
 * init's pidfd is watched. So they are reaped with __WALL: wait(2). */
struct birth {
    const struct keeper *keeper;
    struct slot *slot;
    int (*inside)(struct birth *birth); /* what `middle` is for */
    int made;
    pid_t middle;
    int pidfd;
    bool done;
    struct fault why;
    struct birth_stacks *stacks;
};

static const struct {
    int kind;
    const char *file;
} HELD[HELD_KINDS] = {
    [HELD_NET] = { CLONE_NEWNET, "/proc/self/ns/net" },
    [HELD_UTS] = { CLONE_NEWUTS, "/proc/self/ns/uts" },
    [HELD_CGROUP] = { CLONE_NEWCGROUP, "/proc/self/ns/cgroup" },
};

/* Makes what the slot holds. A cgroup namespace's root is where its maker is: in the slot's groups, so that the host's paths are out of
 * sight. */
static int held_make(struct birth *birth)
{
    const struct keeper *keeper = birth->keeper;
    struct slot *slot = birth->slot;
    unsigned long kinds = 0;
    for (int i = 0; i < HELD_KINDS; i++)
        kinds |= (unsigned long)HELD[i].kind;
    for (uint32_t i = 0; i < keeper->group_count && !layer_left_out(keeper->plan, LAYER_GROUPS); i++)
        if (write(slot->groups[i], "0", 1) != 1)
            return fault_set(&birth->why, errno, "write", "cgroup.procs");
    if (unshare((int)namespaces_of(keeper->plan, kinds)) < 0)
        return fault_set(&birth->why, errno, "unshare", "slot's namespaces");
    if (!layer_left_out(keeper->plan, LAYER_UTS) && sethostname("vivary", 6) < 0)
        return fault_set(&birth->why, errno, "sethostname", "vivary");
    for (int i = 0; i < HELD_KINDS; i++) {
        int fd = open(HELD[i].file, O_RDONLY | O_CLOEXEC);
        if (fd < 0)
            return fault_set(&birth->why, errno, "open", HELD[i].file);
        slot->held[slot->zygote][i] = fd;
    }
    return 0;
}

void held_drop(struct slot *slot, uint32_t zygote)
{
    for (int i = 0; i < HELD_KINDS; i++)
        fd_close(&slot->held[zygote][i]);
}

static int init_make(struct birth *birth)
{
    const struct keeper *keeper = birth->keeper;
    for (int i = 0; i < HELD_KINDS; i++)
        if (namespaces_of(keeper->plan, (unsigned long)HELD[i].kind) != 0 &&
            setns(birth->slot->held[birth->slot->zygote][i], HELD[i].kind) < 0)
            return fault_set(&birth->why, errno, "setns", HELD[i].file);
    unsigned long kinds = CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWIPC;
    long pid = syscall(SYS_clone, CLONE_PARENT | CLONE_PIDFD | namespaces_of(keeper->plan, kinds), NULL, &birth->pidfd, NULL, NULL);
    if (pid == 0)
        init_run(keeper->plan, keeper->init_filter, birth->made);
    birth->done = pid > 0;
    return pid < 0 ? fault_set(&birth->why, errno, "clone", "cell's init") : 0;
}

static int middle_run(void *argument)
{
    struct birth *birth = argument;
    birth->inside(birth); /* what fails is told in birth->why */
    return 0;
}

static int outer_run(void *argument)
{
    struct birth *birth = argument;
    if (setns(birth->keeper->zygotes[birth->slot->zygote].pidfd, CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID) < 0) {
        fault_set(&birth->why, errno, "setns", "zygote");
        return 1;
    }
    birth->middle = clone(middle_run, birth->stacks->middle + BIRTH_STACK, CLONE_VM | CLONE_VFORK | CLONE_FILES | CLONE_PARENT, birth);
    if (birth->middle < 0)
        fault_set(&birth->why, errno, "clone", "middle");
    return 0;
}

static void child_reap(pid_t pid)
{
    while (pid > 0 && waitpid(pid, NULL, __WALL) < 0 && errno == EINTR)
        continue;
}

/* Calls `birth->inside` in the namespaces of the slot's zygote. */
static int birth_run(struct birth *birth, struct fault *why)
{
    pid_t outer = clone(outer_run, birth->stacks->outer + BIRTH_STACK, CLONE_VM | CLONE_VFORK | CLONE_FILES, birth);
    if (outer < 0)
        return fault_set(why, errno, "clone", "outer");
    child_reap(outer);
    child_reap(birth->middle);
    if (birth->why.error == 0)
        return 0;
    *why = birth->why;
    return -why->error;
}

static int init_start(struct keeper *keeper, struct slot *slot, int made, struct fault *why)
{
    struct birth_stacks stacks;
    if (slot->held[slot->zygote][HELD_KINDS - 1] < 0) {
        held_drop(slot, slot->zygote); /* of a try that failed */
        struct birth first = { .keeper = keeper, .slot = slot, .inside = held_make, .stacks = &stacks };
        int r = birth_run(&first, why);
        if (r < 0)
            return r;
    }
    struct birth birth = { .keeper = keeper, .slot = slot, .inside = init_make, .made = made, .pidfd = -1, .stacks = &stacks };
    int r = birth_run(&birth, why);
    if (r < 0)
        return r;
    /* If the zygote is killed in this moment, `middle` is, with its pid namespace, and says nothing. The kernel may have told a number for
     * a pidfd even so, and let go of it (copy_process in kernel/fork.c); or the init was there already. */
    siginfo_t info;
    if (!birth.done && (birth.pidfd < 0 || waitid(P_PIDFD, (id_t)birth.pidfd, &info, WEXITED | WNOHANG | WNOWAIT | __WALL) < 0))
        return fault_set(why, ESRCH, "clone", "cell's init");
    slot->init_fd = birth.pidfd;
    slot->init_dead = false;
    return 0;
}

static int pipe_make(int *ret_read, int *ret_write, struct fault *why)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) < 0)
        return fault_set(why, errno, "pipe2", "cell");
    *ret_read = ends[0];
    *ret_write = ends[1];
    return 0;
}

int cell_start(struct keeper *keeper, uint32_t number, struct fault *why)
{
    struct slot *slot = &keeper->slots[number];
    uid_t uid = keeper->plan->uid_base + UID_SLOT + number;
    OWN_FD worker_socket = -1;
    OWN_FD front_socket = -1;
    OWN_FD out_read = -1;
    OWN_FD out_write = -1;
    OWN_FD err_read = -1;
    OWN_FD err_write = -1;
    OWN_FD status_read = -1;
    OWN_FD status_write = -1;

    int sockets[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets) < 0)
        return fault_set(why, errno, "socketpair", "worker");
    front_socket = sockets[0];
    worker_socket = sockets[1];
    int r = pipe_make(&out_read, &out_write, why);
    if (r == 0)
        r = pipe_make(&err_read, &err_write, why);
    if (r == 0)
        r = pipe_make(&status_read, &status_write, why);
    if (r < 0)
        return r;
    /* A script may open /dev/stdout, and the pipe asks its uid like a file. Without CAP_CHOWN, which a container may not have, the pipe is
     * open to all who have a name for it: those that hold it. */
    if (keeper->plan->uids && (fchown(out_write, uid, uid) < 0 || fchown(err_write, uid, uid) < 0) &&
        (fchmod(out_write, 0622) < 0 || fchmod(err_write, 0622) < 0))
        return fault_set(why, errno, "fchown", "stdout");
    if (fcntl(out_read, F_SETFL, O_NONBLOCK) < 0 || fcntl(err_read, F_SETFL, O_NONBLOCK) < 0)
        return fault_set(why, errno, "fcntl", "O_NONBLOCK");

    slot->generation++;
    slot->zygote = keeper->zygote;
    keeper->zygotes[slot->zygote].cells++;
    slot->why = DIED_EXITED;
    slot->status = 0;
    slot->worker_forked = slot->end_ordered = false;
    slot->wants_usage = false;
    slot->empty_by_ns = 0;
    slot->cpu_ms = keeper->plan->cpu_ms;
    r = slot_limit(keeper, number, keeper->plan->memory_bytes, keeper->plan->processes, why); /* what its last run may have lowered */
    if (r < 0)
        return r;
    slot->deadline_ns = clock_ns() + JAILING_MS_MAX * NS_PER_MS;
    struct epoll_event of_status = { .events = EPOLLIN, .data.u64 = number };
    struct epoll_event of_init = { .events = EPOLLIN, .data.u64 = KEEPER_TAG_INIT + number };
    if (epoll_ctl(keeper->epoll, EPOLL_CTL_ADD, status_read, &of_status) < 0)
        return fault_set(why, errno, "epoll_ctl", "cell");
    slot->swept = false;
    bool init_first = keeper->plan->level == LEVEL_FULL && keeper->plan->pidfds;
    if (init_first) {
        r = init_start(keeper, slot, status_write, why);
        if (r < 0)
            return r;
        /* From here on there is something to kill: the slot is no longer empty, whatever fails. */
        slot->state = SLOT_KILLING;
        if (epoll_ctl(keeper->epoll, EPOLL_CTL_ADD, slot->init_fd, &of_init) < 0) {
            r = fault_set(why, errno, "epoll_ctl", "cell");
            pidfd_send_signal(slot->init_fd, SIGKILL, NULL, 0);
            return r;
        }
    }
    slot->state = SLOT_MAKING;
    slot->worker[FORK_SOCKET] = fd_take(&worker_socket);
    slot->worker[FORK_STDOUT] = fd_take(&out_write);
    slot->worker[FORK_STDERR] = fd_take(&err_write);
    slot->worker[FORK_STATUS] = fd_take(&status_write);
    slot->status_fd = fd_take(&status_read);
    slot->given[0] = fd_take(&front_socket);
    slot->given[1] = fd_take(&out_read);
    slot->given[2] = fd_take(&err_read);
    return init_first ? 0 : cell_order(keeper, number, why); /* its init says when */
}

void uses_note(struct keeper *keeper, uint32_t uses)
{
    for (size_t i = 0; i < USES_KINDS; i++)
        keeper->uses[i] = (uint8_t)(keeper->uses[i] << 1 | (uses >> i & 1));
}

static uint32_t uses_of_late(const struct keeper *keeper)
{
    uint32_t uses = 0;
    for (size_t i = 0; i < USES_KINDS; i++)
        if (__builtin_popcount(keeper->uses[i]) > USES_HALF)
            uses |= UINT32_C(1) << i;
    return uses;
}

int cell_order(struct keeper *keeper, uint32_t number, struct fault *why)
{
    struct slot *slot = &keeper->slots[number];
    uint32_t count = fork_fds(keeper->plan);
    int fds[FORK_FDS_MAX + GROUP_KINDS];
    OWN_FD tmp = -1;
    OWN_FD runtime = -1;
    for (size_t i = 0; i < FORK_KEPT; i++)
        fds[i] = slot->worker[i];
    if (keeper->plan->level == LEVEL_FULL && keeper->plan->pidfds) {
        fds[FORK_INIT] = slot->init_fd;
    } else if (keeper->plan->level == LEVEL_CONTAINED) {
        int r = slot_open(keeper->plan, number, &tmp, &runtime, why);
        if (r < 0)
            return r;
        fds[FORK_TMP] = tmp;
        fds[FORK_RUNTIME] = runtime;
    }
    for (uint32_t i = 0; i < keeper->group_count; i++)
        fds[count + i] = slot->groups[i];
    struct fork_order order = { .kind = WIRE_FORK, .slot = number, .generation = slot->generation, .uses = uses_of_late(keeper) };
    int r = passing_send(keeper->zygotes[slot->zygote].socket, &order, sizeof order, fds, count + keeper->group_count);
    if (r < 0)
        return fault_set(why, -r, "sendmsg", "zygote");
    for (size_t i = 0; i < FORK_KEPT; i++)
        fd_close(&slot->worker[i]); /* so that the worker's end is seen: nobody else holds its pipes */
    slot->worker_forked = true;
    slot->state = SLOT_JAILING;
    return 0;
}

void ends_order(struct keeper *keeper)
{
    const struct plan *plan = keeper->plan;
    for (uint32_t i = 0; i < plan->slots && plan->level == LEVEL_FULL && !plan->pidfds; i++) {
        struct slot *slot = &keeper->slots[i];
        if (slot->state != SLOT_KILLING || !slot->worker_forked || slot->end_ordered)
            continue;
        struct fork_order order = { .kind = WIRE_END, .slot = i, .generation = slot->generation };
        int r = passing_send(keeper->zygotes[slot->zygote].socket, &order, sizeof order, NULL, 0);
        slot->end_ordered = true;
        if (r < 0) { /* it doesn't listen; without it nothing of its cells stays */
            struct fault why;
            fault_set(&why, -r, "sendmsg", "zygote");
            log_fault("zygote_lost", &why);
            zygote_kill(&keeper->zygotes[slot->zygote]);
        }
    }
}
