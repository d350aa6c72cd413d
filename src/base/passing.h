/* Records with descriptors over Unix sockets (SCM_RIGHTS). */
#ifndef VIVARY_BASE_PASSING_H
#define VIVARY_BASE_PASSING_H

#include <stddef.h>
#include <sys/types.h>

enum { PASSING_FDS_MAX = 12 };

/* Sends one record with `count` descriptors, which stay the caller's. 0 or -errno (-EAGAIN when the peer's queue is full). */
int passing_send(int socket, const void *record, size_t length, const int *fds, size_t count);

/* Receives one record of at most `most` bytes; a longer one is -EMSGSIZE. Descriptors (close-on-exec) become the caller's: `ret_fds` has
 * room for PASSING_FDS_MAX, *ret_count says how many came. Returns the length, 0 at the peer's end, or -errno (-EAGAIN: nothing there). On
 * an error no descriptor is left open. */
ssize_t passing_receive(int socket, void *record, size_t most, int *ret_fds, size_t *ret_count);

#endif
