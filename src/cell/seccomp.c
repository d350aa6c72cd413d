/* seccomp: the system calls that Python needs, and no others: most of the kernel is out of a script's reach. */
#include "cell/cell.h"

#include <errno.h>
#include <linux/seccomp.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

int seccomp_load(const struct sock_filter *filter, uint32_t length, int *ret_listener, struct fault *why)
{
    struct sock_fprog program = { .len = (unsigned short)length, .filter = (struct sock_filter *)filter };
    if (length == 0 || length > BPF_MAXINSNS)
        return fault_set(why, EINVAL, "seccomp", "no filter in the plan");
    unsigned flags = ret_listener != NULL ? SECCOMP_FILTER_FLAG_NEW_LISTENER : 0;
    long listener = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &program); /* close-on-exec: seccomp(2) */
    if (listener < 0)
        return fault_set(why, errno, "seccomp", "SECCOMP_SET_MODE_FILTER");
    if (ret_listener != NULL)
        *ret_listener = (int)listener;
    return 0;
}

/* Without a pid namespace a run may ask about itself, and where all have one uid act on itself, alone. Its pid is known only now. */
static int seccomp_load_own(const struct cell *cell, int *ret_listener, struct fault *why)
{
    struct sock_filter filter[BPF_MAXINSNS];
    uint32_t length = cell->plan->worker_filter_length;
    if (length > BPF_MAXINSNS)
        return fault_set(why, EINVAL, "seccomp", "no filter in the plan");
    memcpy(filter, cell->filter, length * sizeof *filter);
    for (uint32_t i = 0; i < length; i++)
        if (filter[i].code == (BPF_JMP | BPF_JEQ | BPF_K) && filter[i].k == CELL_SELF_PID)
            filter[i].k = (uint32_t)getpid();
    return seccomp_load(filter, length, ret_listener, why);
}

int seccomp_enter(struct cell *cell, struct fault *why)
{
    int *listener = cell->plan->notify ? &cell->listener : NULL;
    if (cell->plan->level == LEVEL_CONTAINED)
        return seccomp_load_own(cell, listener, why);
    return seccomp_load(cell->filter, cell->plan->worker_filter_length, listener, why);
}
