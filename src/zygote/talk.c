/* A worker's side of the frames. */
#include "zygote/zygote.h"

#include "base/descriptor.h"
#include "base/passing.h"
#include "cell/cell.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

enum { SCRIPT_MAX = 1 << 30 };

int worker_ready(struct zygote *zygote)
{
    struct fault none = { 0 };
    OWN_FD listener = zygote->cell.listener;
    zygote->cell.listener = -1;
    int r = listener < 0 ? 0 : passing_send(CELL_SOCKET_FD, "", 1, &listener, 1);
    if (r < 0)
        return r;
    ssize_t wrote = write(CELL_STATUS_FD, &none, sizeof none);
    int error = errno;
    close(CELL_STATUS_FD);
    return wrote == sizeof none ? 0 : -error;
}

static int bytes_receive(void *to, size_t length)
{
    for (size_t have = 0; have < length;) {
        ssize_t got = recv(CELL_SOCKET_FD, (char *)to + have, length - have, MSG_WAITALL);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return got < 0 ? -errno : -EPIPE;
        have += (size_t)got;
    }
    return 0;
}

int worker_receive(enum frame_type *ret_type, char **ret_payload, size_t *ret_length)
{
    struct frame_header header;
    int r = bytes_receive(&header, sizeof header);
    if (r < 0)
        return r;
    if ((header.type != FRAME_RUN && header.type != FRAME_REQUEST) || header.length > SCRIPT_MAX)
        return -EPROTO;
    char *payload = malloc(header.length + 1);
    if (payload == NULL)
        return -ENOMEM;
    r = bytes_receive(payload, header.length);
    if (r < 0) {
        free(payload);
        return r;
    }
    *ret_type = (enum frame_type)header.type;
    *ret_payload = payload;
    *ret_length = header.length;
    return 0;
}

static int bytes_send(const void *from, size_t length, int flags)
{
    for (size_t done = 0; done < length;) {
        ssize_t sent = send(CELL_SOCKET_FD, (const char *)from + done, length - done, MSG_NOSIGNAL | flags);
        if (sent < 0 && errno == EINTR)
            continue;
        if (sent < 0)
            return -errno;
        done += (size_t)sent;
    }
    return 0;
}

int worker_send(enum frame_type type, const void *payload, size_t length)
{
    struct frame_header header = { .type = type, .exchange = 1, .length = length };
    int r = bytes_send(&header, sizeof header, length > 0 ? MSG_MORE : 0);
    return r < 0 ? r : bytes_send(payload, length, 0);
}

int worker_limit(const struct zygote *zygote, uint64_t memory_bytes, uint64_t processes, uint64_t cpu_ms)
{
    const struct cell *cell = &zygote->cell;
    uint64_t room = memory_bytes - memory_bytes / 32; /* as rlimits.c leaves it */
    const struct {
        int resource;
        uint64_t most;
    } limits[] = {
        { RLIMIT_DATA, cell->zygote_data + room },
        { RLIMIT_AS, cell->zygote_size + room },
        { RLIMIT_NPROC, processes },
        { RLIMIT_CPU, (cpu_ms + 999) / 1000 },
    };
    for (size_t i = 0; i < sizeof limits / sizeof *limits; i++) {
        struct rlimit now, wanted = { .rlim_cur = limits[i].most, .rlim_max = limits[i].most };
        if (getrlimit(limits[i].resource, &now) < 0)
            return -errno;
        /* What isn't bounded at all is so on purpose: a cgroup does it, or the uid is everybody's. */
        if (now.rlim_cur != RLIM_INFINITY && wanted.rlim_cur < now.rlim_cur && setrlimit(limits[i].resource, &wanted) < 0)
            return -errno;
    }
    return 0;
}
