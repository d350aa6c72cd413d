/* The queue: first come, first served, on both sides. Runs and HTTP are stand-ins that note what they were told. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "base/clock.h"
#include "front/front.h"

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

enum { SLOTS = 4, CALLS = 4 };

struct bench {
    struct front front;
    struct worker workers[SLOTS];
    struct call calls[CALLS];
};

/* What run.c, route.c and http.c do to a call and a worker, as far as the queue sees it. A worker of generation 0 has ended while it
 * waited. */
int run_start(struct front *front, struct worker *worker, struct call *call)
{
    if (worker->generation == 0) {
        worker->state = WORKER_ENDING;
        return -1;
    }
    worker->state = WORKER_RUNNING;
    worker->call = call;
    call->worker = worker;
    call->state = CALL_RUNNING;
    front->running++;
    return 0;
}

void call_fail(struct call *call, unsigned status, const char *text)
{
    (void)text;
    call->status = status;
    call->state = CALL_ANSWERED;
}

void http_resume(struct call *call)
{
    assert_int_equal(call->state, CALL_ANSWERED); /* a call goes on with its answer alone */
    call->leaving = true;
}

static int bench_make(void **state)
{
    struct bench *bench = calloc(1, sizeof *bench);
    if (bench == NULL)
        return -1;
    bench->front.workers = bench->workers;
    bench->front.plan = (struct front_plan) { .slots = SLOTS, .request_ms = 1000, .deadline_ms = 2000 };
    *state = bench;
    return 0;
}

static int bench_free(void **state)
{
    free(*state);
    return 0;
}

static void worker_waits(struct bench *bench, uint32_t slot, uint64_t since_ns)
{
    bench->workers[slot] = (struct worker) { .state = WORKER_WAITING, .slot = slot, .generation = 1, .since_ns = since_ns };
}

static void a_call_waits_while_there_is_no_worker(void **state)
{
    struct bench *bench = *state;
    queue_add(&bench->front, &bench->calls[0]);
    queue_serve(&bench->front);
    assert_int_equal(bench->calls[0].state, CALL_QUEUED);
    assert_int_equal(bench->front.queued, 1);
}

static void calls_are_served_in_their_order(void **state)
{
    struct bench *bench = *state;
    for (int i = 0; i < 3; i++)
        queue_add(&bench->front, &bench->calls[i]);
    worker_waits(bench, 2, 7);
    queue_serve(&bench->front);
    assert_ptr_equal(bench->calls[0].worker, &bench->workers[2]);
    assert_int_equal(bench->calls[1].state, CALL_QUEUED);
    worker_waits(bench, 0, 9);
    queue_serve(&bench->front);
    assert_ptr_equal(bench->calls[1].worker, &bench->workers[0]);
    assert_int_equal(bench->front.queued, 1);
}

static void the_worker_that_waited_longest_is_taken(void **state)
{
    struct bench *bench = *state;
    worker_waits(bench, 0, 30);
    worker_waits(bench, 1, 10);
    worker_waits(bench, 3, 20);
    for (int i = 0; i < 3; i++)
        queue_add(&bench->front, &bench->calls[i]);
    queue_serve(&bench->front);
    assert_ptr_equal(bench->calls[0].worker, &bench->workers[1]);
    assert_ptr_equal(bench->calls[1].worker, &bench->workers[3]);
    assert_ptr_equal(bench->calls[2].worker, &bench->workers[0]);
    assert_int_equal(bench->front.queued, 0);
    assert_null(bench->front.queue_head);
    assert_null(bench->front.queue_tail);
}

static void a_worker_that_ended_while_it_waited_costs_a_call_nothing(void **state)
{
    struct bench *bench = *state;
    worker_waits(bench, 0, 1);
    worker_waits(bench, 1, 2);
    bench->workers[0].generation = 0;
    queue_add(&bench->front, &bench->calls[0]);
    queue_serve(&bench->front);
    assert_ptr_equal(bench->calls[0].worker, &bench->workers[1]);
    assert_int_equal(bench->front.queued, 0);
}

static void a_call_whose_worker_had_ended_keeps_its_place(void **state)
{
    struct bench *bench = *state;
    worker_waits(bench, 0, 1);
    bench->workers[0].generation = 0;
    queue_add(&bench->front, &bench->calls[0]);
    queue_add(&bench->front, &bench->calls[1]);
    uint64_t give_up_ns = bench->calls[0].give_up_ns;
    queue_serve(&bench->front);
    assert_int_equal(bench->calls[0].state, CALL_QUEUED);
    assert_int_equal(bench->front.queued, 2);
    assert_int_equal(bench->calls[0].give_up_ns, give_up_ns); /* nor does it get more time */
    worker_waits(bench, 1, 2);
    queue_serve(&bench->front);
    assert_ptr_equal(bench->calls[0].worker, &bench->workers[1]);
    queue_add(&bench->front, &bench->calls[2]); /* the tail is right still */
    worker_waits(bench, 2, 3);
    worker_waits(bench, 3, 4);
    queue_serve(&bench->front);
    assert_ptr_equal(bench->calls[1].worker, &bench->workers[2]);
    assert_ptr_equal(bench->calls[2].worker, &bench->workers[3]);
}

static void a_lone_call_whose_worker_had_ended_is_the_tail_too(void **state)
{
    struct bench *bench = *state;
    worker_waits(bench, 0, 1);
    bench->workers[0].generation = 0;
    queue_add(&bench->front, &bench->calls[0]);
    queue_serve(&bench->front);
    assert_ptr_equal(bench->front.queue_tail, &bench->calls[0]);
}

static void a_call_can_leave_from_anywhere(void **state)
{
    for (int gone = 0; gone < 3; gone++) {
        struct bench *bench = *state;
        memset(bench->workers, 0, sizeof bench->workers);
        memset(bench->calls, 0, sizeof bench->calls);
        for (int i = 0; i < 3; i++)
            queue_add(&bench->front, &bench->calls[i]);
        queue_remove(&bench->front, &bench->calls[gone]);
        assert_int_equal(bench->front.queued, 2);
        queue_remove(&bench->front, &bench->calls[gone]); /* twice is once */
        assert_int_equal(bench->front.queued, 2);
        queue_add(&bench->front, &bench->calls[3]);
        for (uint32_t slot = 0; slot < SLOTS; slot++)
            worker_waits(bench, slot, slot);
        queue_serve(&bench->front);
        uint32_t slot = 0;
        for (int i = 0; i < CALLS; i++) {
            if (i != gone)
                assert_ptr_equal(bench->calls[i].worker, &bench->workers[slot++]);
            else
                assert_null(bench->calls[i].worker);
        }
        assert_int_equal(bench->front.queued, 0);
        assert_null(bench->front.queue_tail);
    }
}

static void a_call_that_waited_too_long_is_told_so(void **state)
{
    struct bench *bench = *state;
    queue_add(&bench->front, &bench->calls[0]);
    queue_add(&bench->front, &bench->calls[1]);
    uint64_t first_ns = bench->calls[0].give_up_ns;
    uint64_t now_ns = clock_ns();
    assert_true(first_ns <= now_ns + 3000 * NS_PER_MS && first_ns > now_ns + 2000 * NS_PER_MS); /* request_ms and deadline_ms */
    bench->calls[1].give_up_ns = first_ns + 5;
    queue_expire(&bench->front, first_ns - 1);
    assert_int_equal(bench->front.queued, 2);
    queue_expire(&bench->front, first_ns);
    assert_int_equal(bench->calls[0].status, 503);
    assert_true(bench->calls[0].leaving);
    assert_int_equal(bench->calls[1].state, CALL_QUEUED);
    queue_expire(&bench->front, UINT64_MAX);
    assert_int_equal(bench->calls[1].status, 503);
    assert_int_equal(bench->front.queued, 0);
}

#define QUEUE_TEST(name) cmocka_unit_test_setup_teardown(name, bench_make, bench_free)

int main(void)
{
    const struct CMUnitTest tests[] = {
        QUEUE_TEST(a_call_waits_while_there_is_no_worker),
        QUEUE_TEST(calls_are_served_in_their_order),
        QUEUE_TEST(the_worker_that_waited_longest_is_taken),
        QUEUE_TEST(a_worker_that_ended_while_it_waited_costs_a_call_nothing),
        QUEUE_TEST(a_call_whose_worker_had_ended_keeps_its_place),
        QUEUE_TEST(a_lone_call_whose_worker_had_ended_is_the_tail_too),
        QUEUE_TEST(a_call_can_leave_from_anywhere),
        QUEUE_TEST(a_call_that_waited_too_long_is_told_so),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
