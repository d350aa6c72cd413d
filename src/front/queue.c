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

static void waiting_remove(struct front *front, uint32_t runtime, struct caller *caller)
{
    struct caller **at = &front->runtimes[runtime].waiting;
    while (*at != caller)
        at = &(*at)->lanes[runtime].next_waiting;
    *at = caller->lanes[runtime].next_waiting;
    caller->lanes[runtime].next_waiting = NULL;
}

static void caller_append(struct front *front, uint32_t runtime, struct caller *caller)
{
    struct caller **at = &front->runtimes[runtime].waiting;
    while (*at != NULL)
        at = &(*at)->lanes[runtime].next_waiting;
    *at = caller;
    caller->lanes[runtime].next_waiting = NULL;
    if (caller->pass < front->pass) /* who had nothing to do has saved nothing up */
        caller->pass = front->pass;
}

void queue_add(struct front *front, struct call *call)
{
    struct caller *caller = call->caller;
    struct lane *lane = &caller->lanes[call->runtime];
    call->state = CALL_QUEUED;
    call->next = NULL;
    call->queued_ns = clock_ns();
    /* Whoever is ahead takes at most a deadline's time each; past this, saying so is better than more waiting. */
    call->give_up_ns = call->queued_ns + ((uint64_t)front->plan.request_ms + front->plan.deadline_ms) * NS_PER_MS;
    if (lane->queued == 0)
        caller_append(front, call->runtime, caller);
    if (lane->tail != NULL)
        lane->tail->next = call;
    else
        lane->head = call;
    lane->tail = call;
    lane->queued++;
    caller->queued++;
    front->queued++;
}

void queue_remove(struct front *front, struct call *call)
{
    struct caller *caller = call->caller;
    struct lane *lane = &caller->lanes[call->runtime];
    struct call *before = NULL;
    for (struct call *at = lane->head; at != NULL; before = at, at = at->next) {
        if (at != call)
            continue;
        *(before != NULL ? &before->next : &lane->head) = at->next;
        if (lane->tail == at)
            lane->tail = before;
        at->next = NULL;
        front->queued--;
        caller->queued--;
        if (--lane->queued == 0)
            waiting_remove(front, call->runtime, caller);
        return;
    }
}

static struct worker *worker_longest(struct front *front, const struct runtime *runtime)
{
    struct worker *longest = NULL;
    for (uint32_t i = 0; i < runtime->slots; i++) {
        struct worker *worker = &front->workers[runtime->first + i];
        if (worker->state == WORKER_WAITING && (longest == NULL || worker->since_ns < longest->since_ns))
            longest = worker;
    }
    return longest;
}

static struct caller *caller_next(const struct front *front, uint32_t runtime)
{
    struct caller *next = NULL;
    for (struct caller *at = front->runtimes[runtime].waiting; at != NULL; at = at->lanes[runtime].next_waiting)
        if (caller_is_ready(at) && (next == NULL || at->pass < next->pass))
            next = at;
    return next;
}

/* It ended while it waited, and has taken no byte of the script: the next worker may have the call, which is first again. */
static void call_return(struct front *front, struct call *call)
{
    struct caller *caller = call->caller;
    struct lane *lane = &caller->lanes[call->runtime];
    uint64_t queued_ns = call->queued_ns, give_up_ns = call->give_up_ns;
    if (lane->queued == 0) {
        queue_add(front, call);
    } else {
        call->next = lane->head;
        lane->head = call;
        call->state = CALL_QUEUED;
        lane->queued++;
        caller->queued++;
        front->queued++;
    }
    call->queued_ns = queued_ns;
    call->give_up_ns = give_up_ns;
}

static void runtime_serve(struct front *front, uint32_t runtime)
{
    const struct runtime *at = &front->runtimes[runtime];
    struct worker *worker;
    struct caller *caller;
    while (at->running < at->plan->at_once && (caller = caller_next(front, runtime)) != NULL &&
           (worker = worker_longest(front, at)) != NULL) {
        struct call *call = caller->lanes[runtime].head;
        /* Who was held back by its own bound has an old turn, and no claim to those that went by. */
        uint64_t pass = caller->pass > front->pass ? caller->pass : front->pass;
        queue_remove(front, call);
        if (run_start(front, worker, call) < 0) {
            call_return(front, call);
            continue;
        }
        front->pass = pass;
        caller->pass = pass + STEP / (caller->key.share > 0 ? caller->key.share : 1);
    }
}

void queue_serve(struct front *front)
{
    for (uint32_t i = 0; i < front->plan.runtimes; i++)
        runtime_serve(front, i);
}

static void runtime_expire(struct front *front, uint32_t runtime, uint64_t now_ns)
{
    for (struct caller *at = front->runtimes[runtime].waiting, *next; at != NULL; at = next) {
        const struct lane *lane = &at->lanes[runtime];
        next = lane->next_waiting;
        while (lane->queued > 0 && now_ns >= lane->head->give_up_ns) {
            struct call *call = lane->head;
            queue_remove(front, call);
            call_fail(call, 503, "Service is busy: try again later");
            http_resume(call);
        }
    }
}

void queue_expire(struct front *front, uint64_t now_ns)
{
    for (uint32_t i = 0; i < front->plan.runtimes; i++)
        runtime_expire(front, i, now_ns);
}
