#include "wire/died.h"
#include "wire/done.h"
#include "wire/exited.h"
#include "wire/ready.h"
#include "wire/taken.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static const struct wire_bounds BOUNDS = { .slots = 4 };

static void a_message_of_the_right_kind_and_size_is_taken(void **state)
{
    (void)state;
    struct taken taken = { WIRE_TAKEN, 3, 7, 99 }, got_taken;
    struct done done = { WIRE_DONE, 0, 1 }, got_done;
    struct ready ready = { WIRE_READY, 2, 5 }, got_ready;
    struct died died = { WIRE_DIED, 1, 2, DIED_DEADLINE, 9 }, got_died;
    struct exited exited = { WIRE_EXITED, 1, 2, 9, 0 }, got_exited;
    assert_true(taken_valid(&taken, sizeof taken, &BOUNDS, &got_taken));
    assert_int_equal(got_taken.deadline_ns, 99);
    assert_true(done_valid(&done, sizeof done, &BOUNDS, &got_done));
    assert_true(ready_valid(&ready, sizeof ready, &BOUNDS, &got_ready));
    assert_true(died_valid(&died, sizeof died, &BOUNDS, &got_died));
    assert_true(exited_valid(&exited, sizeof exited, &BOUNDS, &got_exited));
}

static void a_message_that_is_shorter_or_longer_is_refused(void **state)
{
    (void)state;
    char bytes[128] = { 0 };
    struct taken taken = { WIRE_TAKEN, 0, 1, 0 };
    struct died died = { WIRE_DIED, 0, 1, DIED_DONE, 0 };
    memcpy(bytes, &taken, sizeof taken);
    for (size_t length = 0; length < sizeof bytes; length++)
        assert_int_equal(taken_valid(bytes, length, &BOUNDS, &taken), length == sizeof taken);
    memcpy(bytes, &died, sizeof died);
    for (size_t length = 0; length < sizeof bytes; length++)
        assert_int_equal(died_valid(bytes, length, &BOUNDS, &died), length == sizeof died);
}

static void a_slot_past_the_last_is_refused(void **state)
{
    (void)state;
    struct taken taken = { WIRE_TAKEN, 4, 1, 0 };
    struct done done = { WIRE_DONE, 4, 1 };
    struct ready ready = { WIRE_READY, UINT32_MAX, 1 };
    struct died died = { WIRE_DIED, 4, 1, DIED_DONE, 0 };
    struct exited exited = { WIRE_EXITED, 4, 1, 0, 0 };
    assert_false(taken_valid(&taken, sizeof taken, &BOUNDS, &taken));
    assert_false(done_valid(&done, sizeof done, &BOUNDS, &done));
    assert_false(ready_valid(&ready, sizeof ready, &BOUNDS, &ready));
    assert_false(died_valid(&died, sizeof died, &BOUNDS, &died));
    assert_false(exited_valid(&exited, sizeof exited, &BOUNDS, &exited));
}

static void another_kind_generation_zero_and_an_unknown_reason_are_refused(void **state)
{
    (void)state;
    struct taken kind = { WIRE_DONE, 0, 1, 0 }, generation = { WIRE_TAKEN, 0, 0, 0 };
    struct died reason = { WIRE_DIED, 0, 1, DIED_WHYS, 0 }, none = { WIRE_DIED, 0, 1, 0, 0 };
    struct taken use = { .kind = WIRE_TAKEN, .generation = 1, .uses = USES_ALL + 1 }, taken;
    struct died died;
    assert_false(taken_valid(&use, sizeof use, &BOUNDS, &taken));
    assert_false(taken_valid(&kind, sizeof kind, &BOUNDS, &taken));
    assert_false(taken_valid(&generation, sizeof generation, &BOUNDS, &taken));
    assert_false(died_valid(&reason, sizeof reason, &BOUNDS, &died));
    assert_false(died_valid(&none, sizeof none, &BOUNDS, &died));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_message_of_the_right_kind_and_size_is_taken),
        cmocka_unit_test(a_message_that_is_shorter_or_longer_is_refused),
        cmocka_unit_test(a_slot_past_the_last_is_refused),
        cmocka_unit_test(another_kind_generation_zero_and_an_unknown_reason_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
