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
    struct caller other;
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
    call->caller->running++;
    worker->runtime->running++;
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
    bench->front.plan.runtimes = 1;
    bench->front.plan.runtime[0].at_once = SLOTS;
    bench->front.runtimes[0].plan = &bench->front.plan.runtime[0];
    bench->front.runtimes[0].slots = SLOTS;
    for (int i = 0; i < CALLS; i++)
        bench->calls[i].caller = &bench->front.ring.everybody;
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
    bench->workers[slot] = (struct worker) {
        .state = WORKER_WAITING, .slot = slot, .runtime = &bench->front.runtimes[0], .generation = 1, .since_ns = since_ns
    };
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
    assert_null(bench->front.runtimes[0].waiting);
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
    assert_ptr_equal(bench->front.ring.everybody.lanes[0].tail, &bench->calls[0]);
}

static void no_more_run_than_may_at_once(void **state)
{
    struct bench *bench = *state;
    struct front *front = &bench->front;
    front->plan.runtime[0].at_once = 2;
    for (uint32_t slot = 0; slot < SLOTS; slot++)
        worker_waits(bench, slot, slot);
    for (int i = 0; i < 3; i++)
        queue_add(front, &bench->calls[i]);
    queue_serve(front);
    assert_int_equal(front->runtimes[0].running, 2);
    assert_int_equal(bench->calls[2].state, CALL_QUEUED);
    front->runtimes[0].running--; /* one is over; what it leaves is still being cleared up */
    queue_serve(front);
    assert_ptr_equal(bench->calls[2].worker, &bench->workers[2]);
}

static void a_call_can_leave_from_anywhere(void **state)
{
    for (int gone = 0; gone < 3; gone++) {
        struct bench *bench = *state;
        memset(bench->workers, 0, sizeof bench->workers);
        memset(bench->calls, 0, sizeof bench->calls);
        bench->front.runtimes[0].running = 0;
        for (int i = 0; i < CALLS; i++)
            bench->calls[i].caller = &bench->front.ring.everybody;
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
        assert_null(bench->front.ring.everybody.lanes[0].tail);
        assert_null(bench->front.runtimes[0].waiting);
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

/* Each of four rounds has one free worker; who gets it? */
static void turns_take(struct bench *bench, int rounds)
{
    for (int i = 0; i < rounds; i++) {
        worker_waits(bench, 0, 1);
        queue_serve(&bench->front);
        struct call *call = bench->workers[0].call;
        if (call == NULL)
            abort(); /* assert_non_null() is no word to gcc's analyzer */
        call->caller->running--;
        bench->front.runtimes[0].running--;
        bench->front.running--;
    }
}

static void a_caller_with_many_calls_delays_another_by_one_run_at_most(void **state)
{
    struct bench *bench = *state;
    enum { MANY = 1000 };
    struct call *many = calloc(MANY, sizeof *many);
    assert_non_null(many);
    for (int i = 0; i < MANY; i++) {
        many[i].caller = &bench->front.ring.everybody;
        queue_add(&bench->front, &many[i]);
    }
    turns_take(bench, 3); /* it has had its turns before the other comes, and gains nothing by that */
    bench->calls[0].caller = bench->calls[1].caller = &bench->other;
    queue_add(&bench->front, &bench->calls[0]);
    queue_add(&bench->front, &bench->calls[1]);
    turns_take(bench, 2);
    assert_int_equal(bench->calls[0].state, CALL_RUNNING);
    turns_take(bench, 2);
    assert_int_equal(bench->calls[1].state, CALL_RUNNING);
    assert_int_equal(bench->front.queued, MANY - 5);
    free(many);
}

static void turns_are_by_share(void **state)
{
    struct bench *bench = *state;
    enum { EACH = 40 };
    struct call *calls = calloc(2 * EACH, sizeof *calls);
    assert_non_null(calls);
    bench->other.key.share = 3;
    bench->front.ring.everybody.key.share = 1;
    for (int i = 0; i < 2 * EACH; i++) {
        calls[i].caller = i < EACH ? &bench->front.ring.everybody : &bench->other;
        queue_add(&bench->front, &calls[i]);
    }
    turns_take(bench, 40);
    assert_in_range(EACH - bench->other.queued, 29, 31);
    assert_int_equal(bench->front.queued, 2 * EACH - 40);
    free(calls);
}

static void a_caller_at_its_bound_lets_others_go_first(void **state)
{
    struct bench *bench = *state;
    bench->front.ring.everybody.key.at_once = 1;
    bench->calls[2].caller = &bench->other;
    for (int i = 0; i < 3; i++)
        queue_add(&bench->front, &bench->calls[i]);
    for (uint32_t slot = 0; slot < 3; slot++)
        worker_waits(bench, slot, slot);
    queue_serve(&bench->front);
    assert_int_equal(bench->calls[0].state, CALL_RUNNING);
    assert_int_equal(bench->calls[1].state, CALL_QUEUED);
    assert_int_equal(bench->calls[2].state, CALL_RUNNING);
}

static void a_call_for_another_runtime_waits_for_its_workers_alone(void **state)
{
    struct bench *bench = *state;
    bench->front.plan.runtimes = 2;
    bench->front.runtimes[0].slots = 1;
    bench->front.plan.runtime[1].at_once = SLOTS - 1;
    bench->front.runtimes[1].plan = &bench->front.plan.runtime[1];
    bench->front.runtimes[1].first = 1;
    bench->front.runtimes[1].slots = SLOTS - 1;
    for (int i = 0; i < 3; i++) {
        bench->calls[i].runtime = i == 2;
        queue_add(&bench->front, &bench->calls[i]);
    }
    worker_waits(bench, 2, 1);
    queue_serve(&bench->front);
    assert_ptr_equal(bench->calls[2].worker, &bench->workers[2]); /* those before it wait for the other */
    assert_int_equal(bench->front.queued, 2);
    worker_waits(bench, 3, 1);
    queue_serve(&bench->front);
    assert_int_equal(bench->front.queued, 2);
    worker_waits(bench, 0, 1);
    queue_serve(&bench->front);
    assert_ptr_equal(bench->calls[0].worker, &bench->workers[0]);
}

static struct keys keys_of(const char *text)
{
    struct keys keys = { 0 };
    char error[KEYS_ERROR_ROOM];
    assert_int_equal(keys_parse(text, strlen(text), &keys, error), 0);
    return keys;
}

/* SHA-256 of "a" and of "b". */
#define KEY_A "a ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb "
#define KEY_B "b 3e23e8160039594a33894f6564e1b1348bbd7a0088d42c4acb73eeaed59c009d "

static void other_keys_take_the_place_of_those_before(void **state)
{
    struct bench *bench = *state;
    struct keyring *ring = &bench->front.ring;
    ring->asked = true;
    assert_null(keyring_find(ring, "Bearer a")); /* no keys yet: nobody */
    struct keys keys = keys_of(KEY_A "\n" KEY_B "at-once=7\n");
    assert_int_equal(keyring_replace(ring, &keys), 0);
    struct caller *a = keyring_find(ring, "Bearer a"), *b = keyring_find(ring, "bearer  b");
    assert_non_null(a);
    assert_string_equal(b->key.name, "b");
    assert_null(keyring_find(ring, NULL));
    assert_null(keyring_find(ring, "Basic a"));
    assert_null(keyring_find(ring, "Bearer c"));
    a->calls = 1; /* one of its calls is still here */
    keys = keys_of(KEY_B "at-once=8\n");
    assert_int_equal(keyring_replace(ring, &keys), 0);
    assert_null(keyring_find(ring, "Bearer a"));
    assert_ptr_equal(keyring_find(ring, "Bearer b"), b);
    assert_int_equal(b->key.at_once, 8);
    assert_true(a->gone);
    a->calls = 0;
    caller_settle(a);
    keys = (struct keys) { 0 };
    assert_int_equal(keyring_replace(ring, &keys), 0);
    assert_null(keyring_find(ring, "Bearer b"));
    free(ring->callers);
}

static void a_bucket_gives_its_burst_and_then_its_rate(void **state)
{
    (void)state;
    struct caller caller = { .key = { .rate_milli = 2000, .burst = 3 }, .tokens = 3, .tokens_ns = 0 };
    for (int i = 0; i < 3; i++)
        assert_int_equal(caller_admit(&caller, 0), 0);
    assert_int_equal(caller_admit(&caller, 0), 1);
    assert_int_equal(caller_admit(&caller, 500 * NS_PER_MS), 0);
    assert_int_equal(caller_admit(&caller, 500 * NS_PER_MS), 1);
    for (int i = 0; i < 3; i++)
        assert_int_equal(caller_admit(&caller, 3600 * NS_PER_S), 0);
    assert_int_equal(caller_admit(&caller, 3600 * NS_PER_S), 1);
    struct caller slow = { .key = { .rate_milli = 100, .burst = 1 }, .tokens = 0, .tokens_ns = 0 };
    assert_int_equal(caller_admit(&slow, 0), 11);
}

#define QUEUE_TEST(name) cmocka_unit_test_setup_teardown(name, bench_make, bench_free)

int main(void)
{
    const struct CMUnitTest tests[] = {
        QUEUE_TEST(a_call_waits_while_there_is_no_worker),
        QUEUE_TEST(a_caller_with_many_calls_delays_another_by_one_run_at_most),
        QUEUE_TEST(turns_are_by_share),
        QUEUE_TEST(a_call_for_another_runtime_waits_for_its_workers_alone),
        QUEUE_TEST(a_caller_at_its_bound_lets_others_go_first),
        QUEUE_TEST(other_keys_take_the_place_of_those_before),
        QUEUE_TEST(a_bucket_gives_its_burst_and_then_its_rate),
        QUEUE_TEST(calls_are_served_in_their_order),
        QUEUE_TEST(the_worker_that_waited_longest_is_taken),
        QUEUE_TEST(a_worker_that_ended_while_it_waited_costs_a_call_nothing),
        QUEUE_TEST(a_call_whose_worker_had_ended_keeps_its_place),
        QUEUE_TEST(a_lone_call_whose_worker_had_ended_is_the_tail_too),
        QUEUE_TEST(no_more_run_than_may_at_once),
        QUEUE_TEST(a_call_can_leave_from_anywhere),
        QUEUE_TEST(a_call_that_waited_too_long_is_told_so),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
