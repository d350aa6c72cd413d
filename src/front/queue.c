/* First come, first served: the call that has waited longest gets the worker that has waited longest. */
#include "base/clock.h"
#include "front/front.h"

void queue_add(struct front *front, struct call *call)
{
    call->state = CALL_QUEUED;
    call->next = NULL;
    call->queued_ns = clock_ns();
    /* Whoever is ahead takes at most a deadline's time each; past this, saying so is better than more waiting. */
    call->give_up_ns = call->queued_ns + ((uint64_t)front->plan.request_ms + front->plan.deadline_ms) * NS_PER_MS;
    if (front->queue_tail != NULL)
        front->queue_tail->next = call;
    else
        front->queue_head = call;
    front->queue_tail = call;
    front->queued++;
}

void queue_remove(struct front *front, struct call *call)
{
    struct call *before = NULL;
    for (struct call *at = front->queue_head; at != NULL; before = at, at = at->next) {
        if (at != call)
            continue;
        *(before != NULL ? &before->next : &front->queue_head) = at->next;
        if (front->queue_tail == at)
            front->queue_tail = before;
        at->next = NULL;
        front->queued--;
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

void queue_serve(struct front *front)
{
    struct worker *worker;
    while (front->queue_head != NULL && (worker = worker_longest(front)) != NULL) {
        struct call *call = front->queue_head;
        queue_remove(front, call);
        if (run_start(front, worker, call) < 0) {
            /* It ended while it waited, and has taken no byte of the script: the next worker may have it. */
            call->next = front->queue_head;
            front->queue_head = call;
            if (front->queue_tail == NULL)
                front->queue_tail = call;
            call->state = CALL_QUEUED;
            front->queued++;
        }
    }
}

void queue_expire(struct front *front, uint64_t now_ns)
{
    while (front->queue_head != NULL && now_ns >= front->queue_head->give_up_ns) {
        struct call *call = front->queue_head;
        queue_remove(front, call);
        call_fail(call, 503, "Service is busy: try again later");
        http_resume(call);
    }
}
