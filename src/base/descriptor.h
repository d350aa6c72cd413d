/* One owner for each descriptor: OWN_FD closes it on every path, fd_take hands it over. */
#ifndef VIVARY_BASE_DESCRIPTOR_H
#define VIVARY_BASE_DESCRIPTOR_H

#include <limits.h>
#include <unistd.h>

static inline void fd_close(int *fd)
{
    if (*fd >= 0)
        close(*fd); /* never retried: Linux frees the number even on EINTR, close(2) */
    *fd = -1;
}

static inline int fd_take(int *fd)
{
    int taken = *fd;
    *fd = -1;
    return taken;
}

/* For close_range(2): none is above. Not ~0U, which gVisor takes for a negative number and refuses. */
#define FD_LAST INT_MAX

#define OWN_FD __attribute__((cleanup(fd_close))) int

#endif
