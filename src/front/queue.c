/* Who gets the next worker. Of one caller's calls, the one that has waited longest; between callers, turns by weight (stride scheduling:
 * Waldspurger and Weihl, 1995): each run moves its caller back by a step that is the smaller the more shares it has, and who is in front is
 * next. So a caller with a thousand calls takes one turn, and then it is the others'. */
#include "base/clock.h"
#include "front/front.h"

enum { STEP = 1 << 20 };

static bool caller_is_ready(const struct caller *caller)
{
    return caller->key.at_once == 0 || caller->running < caller->key.at_once;
}

static void waiting_remove(struct front *front, struct caller *caller)
{
    struct caller **at = &front->waiting;
    while (*at != caller)
        at = &(*at)->next_waiting;
    *at = caller->next_waiting;
    caller->next_waiting = NULL;
}

static void caller_append(struct front *front, struct caller *caller)
{
    struct caller **at = &front->waiting;
    while (*at != NULL)
        at = &(*at)->next_waiting;
    *at = caller;
    caller->next_waiting = NULL;
    if (caller->pass < front->pass) /* who had nothing to do has saved nothing up */
        caller->pass = front->pass;
}

void queue_add(struct front *front, struct call *call)
{
    struct caller *caller = call->caller;
    call->state = CALL_QUEUED;
    call->next = NULL;
    call->queued_ns = clock_ns();
    /* Whoever is ahead takes at most a deadline's time each; past this, saying so is better than more waiting. */
    call->give_up_ns = call->queued_ns + ((uint64_t)front->plan.request_ms + front->plan.deadline_ms) * NS_PER_MS;
    if (caller->queued == 0)
        caller_append(front, caller);
    if (caller->tail != NULL)
        caller->tail->next = call;
    else
        caller->head = call;
    caller->tail = call;
    caller->queued++;
    front->queued++;
}

void queue_remove(struct front *front, struct call *call)
{
    struct caller *caller = call->caller;
    struct call *before = NULL;
    for (struct call *at = caller->head; at != NULL; before = at, at = at->next) {
        if (at != call)
            continue;
        *(before != NULL ? &before->next : &caller->head) = at->next;
        if (caller->tail == at)
            caller->tail = before;
        at->next = NULL;
        front->queued--;
        if (--caller->queued == 0)
            waiting_remove(front, caller);
        return;
    }
}

static struct worker *worker_longest(struct front *front)
{
    struct worker *longest = NULL;
    for (uint32_t i = 0; i < front->plan.slots; i++) {
        struct worker *worker = &front->workers[i];
        if (worker->state == WORKER_WAITING && (longest == NULL || worker->since_ns < longest->since_ns))
            longest = worker;
    }
    return longest;
}

static struct caller *caller_next(const struct front *front)
{
    struct caller *next = NULL;
    for (struct caller *at = front->waiting; at != NULL; at = at->next_waiting)
        if (caller_is_ready(at) && (next == NULL || at->pass < next->pass))
            next = at;
    return next;
}

/* It ended while it waited, and has taken no byte of the script: the next worker may have the call, which is first again. */
static void call_return(struct front *front, struct call *call)
{
    struct caller *caller = call->caller;
    uint64_t queued_ns = call->queued_ns, give_up_ns = call->give_up_ns;
    if (caller->queued == 0) {
        queue_add(front, call);
    } else {
        call->next = caller->head;
        caller->head = call;
        call->state = CALL_QUEUED;
        caller->queued++;
        front->queued++;
    }
    call->queued_ns = queued_ns;
    call->give_up_ns = give_up_ns;
}

void queue_serve(struct front *front)
{
    struct worker *worker;
    struct caller *caller;
    while ((caller = caller_next(front)) != NULL && (worker = worker_longest(front)) != NULL) {
        struct call *call = caller->head;
        uint64_t pass = caller->pass;
        queue_remove(front, call);
        if (run_start(front, worker, call) < 0) {
            call_return(front, call);
            continue;
        }
        front->pass = pass;
        caller->pass = pass + STEP / (caller->key.share > 0 ? caller->key.share : 1);
    }
}

void queue_expire(struct front *front, uint64_t now_ns)
{
    for (struct caller *at = front->waiting, *next; at != NULL; at = next) {
        next = at->next_waiting;
        while (at->queued > 0 && now_ns >= at->head->give_up_ns) {
            struct call *call = at->head;
            queue_remove(front, call);
            call_fail(call, 503, "Service is busy: try again later");
            http_resume(call);
        }
    }
}
