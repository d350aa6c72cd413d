/* What the front says of runs, its end, and the one that takes its place. */
#include "keeper/keeper.h"

#include "base/clock.h"
#include "base/descriptor.h"
#include "base/log.h"
#include "base/passing.h"
#include "wire/done.h"
#include "wire/limited.h"
#include "wire/taken.h"

#include <errno.h>
#include <sys/epoll.h>
#include <unistd.h>

enum { FRONT_MS_MAX = 10000 };

/* The front is gone, or not itself: closing its socket ends it. Those who start it send another. */
void front_lose(struct keeper *keeper)
{
    fd_close(&keeper->front);
    keeper->front_by_ns = clock_ns() + FRONT_MS_MAX * NS_PER_MS;
    for (uint32_t i = 0; i < keeper->plan->slots; i++)
        slot_kill(&keeper->slots[i], DIED_EXITED);
}

/* A request may ask for less than the plan grants, never for more: what the front says is capped. */
static void run_limit(struct keeper *keeper, const struct taken *taken)
{
    const struct plan *plan = keeper->plan;
    struct slot *slot = &keeper->slots[taken->slot];
    struct fault why;
    uint64_t memory = taken->memory_bytes, processes = taken->processes;
    memory = memory == 0 || memory > plan->memory_bytes ? plan->memory_bytes : memory;
    processes = processes == 0 || processes > plan->processes ? plan->processes : processes;
    slot->cpu_ms = taken->cpu_ms == 0 || taken->cpu_ms > plan->cpu_ms ? plan->cpu_ms : taken->cpu_ms;
    if (slot->wants_usage)
        events_begin(keeper, taken->slot);
    if (slot_limit(keeper, taken->slot, memory, processes, &why) < 0) {
        log_fault("limit_failed", &why);
        if (taken->wants_limited)
            slot_kill(slot, DIED_EXITED); /* it was promised that they hold */
        return;
    }
    struct limited limited = { .kind = WIRE_LIMITED, .slot = taken->slot, .generation = taken->generation };
    if (taken->wants_limited && passing_send(keeper->front, &limited, sizeof limited, NULL, 0) < 0)
        slot_kill(slot, DIED_EXITED); /* a front that reads nothing: the run would wait for ever */
}

void front_read(struct keeper *keeper)
{
    const struct wire_bounds bounds = { .slots = keeper->plan->slots };
    while (keeper->front >= 0) {
        union {
            uint32_t kind;
            struct taken taken;
            struct done done;
        } message;
        int fds[PASSING_FDS_MAX];
        size_t count = 0;
        ssize_t got = passing_receive(keeper->front, &message, sizeof message, fds, &count);
        if (got == -EAGAIN)
            return;
        bool valid = false;
        if (got > 0 && count == 0 && (size_t)got >= sizeof message.kind) {
            struct taken taken;
            struct done done;
            if (message.kind == WIRE_TAKEN && taken_valid(&message, (size_t)got, &bounds, &taken)) {
                struct slot *slot = &keeper->slots[taken.slot];
                /* A worker that ended in this moment is no fault of the front's: then the generation is past, or the state is. */
                valid = taken.generation <= slot->generation && !(taken.generation == slot->generation && slot->state == SLOT_RUNNING);
                if (taken.generation == slot->generation && slot->state == SLOT_WAITING) {
                    slot->state = SLOT_RUNNING;
                    /* The front says when it began; how long it may last isn't its to say: it might be in a stranger's hands. */
                    uint64_t latest = clock_ns() + keeper->plan->deadline_ms * NS_PER_MS;
                    slot->deadline_ns = taken.deadline_ns < latest ? taken.deadline_ns : latest;
                    slot->wants_usage = (taken.uses & USES_REQUEST) != 0;
                    uses_note(keeper, taken.uses);
                    run_limit(keeper, &taken);
                    watcher_tell(keeper, taken.slot);
                }
            } else if (message.kind == WIRE_DONE && done_valid(&message, (size_t)got, &bounds, &done)) {
                struct slot *slot = &keeper->slots[done.slot];
                valid = done.generation <= slot->generation;
                if (done.generation == slot->generation && (slot->state == SLOT_WAITING || slot->state == SLOT_RUNNING))
                    slot_kill(slot, DIED_DONE);
            }
        }
        for (size_t i = 0; got > 0 && i < count; i++)
            close(fds[i]);
        if (!valid) {
            if (got > 0) /* else it is gone */
                log_line("error", "front_spoke_nonsense", "length=%zd", got);
            front_lose(keeper);
            return;
        }
    }
}

int front_watch(struct keeper *keeper)
{
    struct epoll_event of_front = { .events = EPOLLIN, .data.u64 = KEEPER_TAG_FRONT };
    return epoll_ctl(keeper->epoll, EPOLL_CTL_ADD, keeper->front, &of_front);
}

/* `vivary serve` sends the keeper's end of another front's socket. */
void news_read(struct keeper *keeper)
{
    char word;
    int fds[PASSING_FDS_MAX];
    size_t count = 0;
    ssize_t got = passing_receive(keeper->news, &word, sizeof word, fds, &count);
    if (got == -EAGAIN)
        return;
    if (got != sizeof word || count != 1 || keeper->front >= 0) {
        for (size_t i = 0; got > 0 && i < count; i++)
            close(fds[i]);
        if (got <= 0) /* who started this is gone */
            keeper->stopping = true;
        return;
    }
    keeper->front = fds[0];
    for (uint32_t i = 0; i < keeper->plan->slots; i++)
        keeper->slots[i].meters_given = false;
    if (front_watch(keeper) < 0)
        front_lose(keeper);
}
