/* Telling a runtime's keeper of a run's beginning and end. */
#include "front/front.h"

#include "base/log.h"
#include "base/passing.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

static void keeper_lost(int error)
{
    struct fault why;
    fault_set(&why, error, "sendmsg", "keeper");
    log_fault("keeper_lost", &why);
    exit(1); /* the supervisor starts another front, and another keeper if that is gone */
}

static void keeper_watch(struct front *front, struct runtime *runtime, uint32_t events)
{
    struct epoll_event event = { .events = events, .data.ptr = &runtime->watch };
    if (epoll_ctl(front->epoll, EPOLL_CTL_MOD, runtime->keeper, &event) < 0)
        keeper_lost(errno);
}

/* Its socket holds some 250 records, which hundreds of slots can fill while it makes a cell: what doesn't fit waits, and the order stays.
 */
void keeper_tell(struct front *front, struct runtime *runtime, const void *bytes, uint32_t length)
{
    int r = runtime->records_used > 0 ? -EAGAIN : passing_send(runtime->keeper, bytes, length, NULL, 0);
    if (r == 0)
        return;
    struct record record = { .length = length };
    if (r != -EAGAIN || runtime->records_used == runtime->records_room || length > sizeof record.bytes)
        keeper_lost(-r);
    memcpy(record.bytes, bytes, length);
    runtime->records[runtime->records_used++] = record;
    if (runtime->records_used == 1)
        keeper_watch(front, runtime, EPOLLIN | EPOLLOUT);
}

void keeper_flush(struct front *front, struct runtime *runtime)
{
    size_t sent = 0;
    int r = 0;
    while (sent < runtime->records_used && r == 0) {
        const struct record *record = &runtime->records[sent];
        r = passing_send(runtime->keeper, record->bytes, record->length, NULL, 0);
        sent += r == 0;
    }
    if (r < 0 && r != -EAGAIN)
        keeper_lost(-r);
    if (sent == 0)
        return;
    runtime->records_used -= sent;
    memmove(runtime->records, runtime->records + sent, runtime->records_used * sizeof *runtime->records);
    if (runtime->records_used == 0)
        keeper_watch(front, runtime, EPOLLIN);
}
