#include "base/passing.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

int passing_send(int socket, const void *record, size_t length, const int *fds, size_t count)
{
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(PASSING_FDS_MAX * sizeof(int))];
    } control = { 0 };
    if (count > PASSING_FDS_MAX)
        return -EINVAL;
    struct iovec part = { .iov_base = (void *)record, .iov_len = length };
    struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1 };
    if (count > 0) {
        message.msg_control = control.space;
        message.msg_controllen = CMSG_SPACE(count * sizeof(int));
        control.header.cmsg_level = SOL_SOCKET;
        control.header.cmsg_type = SCM_RIGHTS;
        control.header.cmsg_len = CMSG_LEN(count * sizeof(int));
        memcpy(CMSG_DATA(&control.header), fds, count * sizeof(int));
    }
    ssize_t sent;
    do
        sent = sendmsg(socket, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    while (sent < 0 && errno == EINTR);
    return sent < 0 ? -errno : 0; /* a record goes whole or not at all: unix(7), SOCK_SEQPACKET */
}

ssize_t passing_receive(int socket, void *record, size_t most, int *ret_fds, size_t *ret_count)
{
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(PASSING_FDS_MAX * sizeof(int))];
    } control;
    struct iovec part = { .iov_base = record, .iov_len = most };
    struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1, .msg_control = control.space, .msg_controllen = sizeof control };
    ssize_t got;
    do
        got = recvmsg(socket, &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
    while (got < 0 && errno == EINTR);
    if (got < 0)
        return -errno;

    size_t count = 0;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(&message); c != NULL; c = CMSG_NXTHDR(&message, c))
        if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS) {
            count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
            memcpy(ret_fds, CMSG_DATA(c), count * sizeof(int));
        }
    if ((message.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) != 0) {
        for (size_t i = 0; i < count; i++)
            close(ret_fds[i]);
        return -EMSGSIZE;
    }
    *ret_count = count;
    return got;
}
