/* seccomp: the system calls that Python needs, and no others: most of the kernel is out of a script's reach. */
#include "cell/cell.h"

#include <errno.h>
#include <linux/seccomp.h>
#include <sys/syscall.h>
#include <unistd.h>

int seccomp_load(const struct sock_filter *filter, uint32_t length, struct fault *why)
{
    struct sock_fprog program = { .len = (unsigned short)length, .filter = (struct sock_filter *)filter };
    if (length == 0 || length > BPF_MAXINSNS)
        return fault_set(why, EINVAL, "seccomp", "no filter in the plan");
    if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) < 0)
        return fault_set(why, errno, "seccomp", "SECCOMP_SET_MODE_FILTER");
    return 0;
}

int seccomp_enter(struct cell *cell, struct fault *why)
{
    return seccomp_load(cell->filter, cell->plan->worker_filter_length, why);
}
