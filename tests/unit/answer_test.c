#include "front/answer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define COUNT(array) (sizeof(array) / sizeof *(array))

/* Both from exact copies on the heap, so that a sanitizer sees a read past the end. */
static void result_becomes(const char *result, const char *out, size_t out_length, bool cut, const char *wanted)
{
    char *copy = out_length ? malloc(out_length) : NULL;
    if (copy)
        memcpy(copy, out, out_length);
    size_t length;
    char *body = answer_result(result, strlen(result), copy, out_length, cut, &length);
    assert_non_null(body);
    if (length != strlen(wanted) || memcmp(body, wanted, length) != 0)
        fail_msg("%.*s instead of %s", (int)length, body, wanted);
    free(body);
    free(copy);
}

/* The text of an error, as it stands between the quotes of the body. */
static void text_becomes(const char *text, size_t text_length, const char *wanted)
{
    static const char before[] = "{\"error\": \"", behind[] = "\"}";
    char *copy = malloc(text_length ? text_length : 1);
    assert_non_null(copy);
    memcpy(copy, text, text_length);
    size_t length, around = strlen(before) + strlen(behind);
    char *body = answer_error(copy, text_length, &length);
    assert_non_null(body);
    assert_in_range(length, around, SIZE_MAX);
    assert_memory_equal(body, before, strlen(before));
    assert_memory_equal(body + length - strlen(behind), behind, strlen(behind));
    if (length - around != strlen(wanted) || memcmp(body + strlen(before), wanted, length - around) != 0)
        fail_msg("%.*s instead of %s", (int)length, body, wanted);
    free(body);
    free(copy);
}

static void a_result_keeps_its_spelling(void **state)
{
    (void)state;
    result_becomes("1.10", "", 0, false, "{\"result\": 1.10, \"stdout\": \"\"}");
    result_becomes("{\"a\":  [1e400]}", "hi", 2, false, "{\"result\": {\"a\":  [1e400]}, \"stdout\": \"hi\"}");
}

static void a_cut_output_says_so(void **state)
{
    (void)state;
    result_becomes("null", "abc", 3, true, "{\"result\": null, \"stdout\": \"abc\", \"stdout_truncated\": true}");
    result_becomes("null", "", 0, true, "{\"result\": null, \"stdout\": \"\", \"stdout_truncated\": true}");
}

static void an_error_is_an_object_with_its_text(void **state)
{
    (void)state;
    text_becomes("", 0, "");
    text_becomes("'script' field is required", 26, "'script' field is required");
}

static void what_json_does_not_take_raw_is_escaped(void **state)
{
    (void)state;
    static const char text[] = "\"\\/\b\f\n\r\t\0\x01\x1b\x1f\x7f";
    text_becomes(text, sizeof text - 1, "\\\"\\\\/\\b\\f\\n\\r\\t\\u0000\\u0001\\u001b\\u001f\x7f");
    text_becomes("\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80", 9, "\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80");
}

static void bytes_that_are_not_utf8_become_what_python_makes_of_them(void **state)
{
    (void)state;
    /* The right side was printed by Python 3.11: bytes.decode("utf-8", "replace").encode(). */
    static const struct {
        const char *bytes, *decoded;
    } examples[] = {
        { "\xff", "\xef\xbf\xbd" },
        { "\x80", "\xef\xbf\xbd" },
        { "\xbf\x80", "\xef\xbf\xbd\xef\xbf\xbd" },
        { "\xc0\xaf", "\xef\xbf\xbd\xef\xbf\xbd" },
        { "\xc1\xbf", "\xef\xbf\xbd\xef\xbf\xbd" },
        { "\xc2", "\xef\xbf\xbd" },
        { "\xc2z", "\xef\xbf\xbdz" },
        { "\xc2\xc2\x80", "\xef\xbf\xbd\xc2\x80" },
        { "\xdf\xbf\xbf", "\xdf\xbf\xef\xbf\xbd" },
        { "\xe0\x80\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd" },
        { "\xe0\x9f\xbf", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd" },
        { "\xe0\xa0", "\xef\xbf\xbd" },
        { "\xe0\xa0\x80", "\xe0\xa0\x80" },
        { "\xe1\x80z", "\xef\xbf\xbdz" },
        { "\xe1\xa0\xc0", "\xef\xbf\xbd\xef\xbf\xbd" },
        { "\xe2\x82", "\xef\xbf\xbd" },
        { "\xe2\x82\xe2\x82\xac", "\xef\xbf\xbd\xe2\x82\xac" },
        { "\xed\x9f\xbf", "\xed\x9f\xbf" },
        { "\xed\xa0\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd" },
        { "\xed\xbf\xbf", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd" },
        { "\xed\x80", "\xef\xbf\xbd" },
        { "\xef\xbf", "\xef\xbf\xbd" },
        { "\xf0\x80\x80\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd" },
        { "\xf0\x8f\xbf\xbf", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd" },
        { "\xf0\x90", "\xef\xbf\xbd" },
        { "\xf0\x90\x80", "\xef\xbf\xbd" },
        { "\xf0\x9f\x98", "\xef\xbf\xbd" },
        { "\xf0\x9f\x98z", "\xef\xbf\xbdz" },
        { "\xf0\x9f\x98\xf0\x9f\x98\x80", "\xef\xbf\xbd\xf0\x9f\x98\x80" },
        { "\xf0\x9fz", "\xef\xbf\xbdz" },
        { "\xf1\x80\x80\x80", "\xf1\x80\x80\x80" },
        { "\xf4\x8f\xbf\xbf", "\xf4\x8f\xbf\xbf" },
        { "\xf4\x90\x80\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd" },
        { "\xf4\x8f\xbf", "\xef\xbf\xbd" },
        { "\xf5\x80\x80\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd" },
        { "\xf8\x88\x80\x80\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd" },
        { "\xfe\xff", "\xef\xbf\xbd\xef\xbf\xbd" },
        { "z\xf1\x80\x80\xe1\x80\xc2y\x80x\x80\xbfw", "z\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbdy\xef\xbf\xbdx\xef\xbf\xbd\xef\xbf\xbdw" },
        { "\xc2\xe2\x82\xf0\x9f\x98\xff", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd" },
    };
    for (size_t i = 0; i < COUNT(examples); i++)
        text_becomes(examples[i].bytes, strlen(examples[i].bytes), examples[i].decoded);
}

static void a_character_split_by_the_cut_is_dropped(void **state)
{
    (void)state;
    static const struct {
        const char *out, *kept;
    } examples[] = {
        { "a\xc3", "a" },
        { "a\xe2", "a" },
        { "a\xe2\x82", "a" },
        { "a\xf0\x9f\x98", "a" },
        { "\xf4\x8f", "" },
        { "a\xc3\xa9", "a\xc3\xa9" },
        { "a\xff", "a\xef\xbf\xbd" }, /* never was a character */
        { "a\x80", "a\xef\xbf\xbd" },
        { "a\xe0\x80", "a\xef\xbf\xbd\xef\xbf\xbd" }, /* nor could this have become one */
        { "\xe2\x82z", "\xef\xbf\xbdz" },             /* split by the script */
        { "\xe2\x82\xe2\x82", "\xef\xbf\xbd" },
    };
    for (size_t i = 0; i < COUNT(examples); i++) {
        char wanted[128];
        snprintf(wanted, sizeof wanted, "{\"result\": 0, \"stdout\": \"%s\", \"stdout_truncated\": true}", examples[i].kept);
        result_becomes("0", examples[i].out, strlen(examples[i].out), true, wanted);
    }
    result_becomes("0", "a\xe2\x82", 3, false, "{\"result\": 0, \"stdout\": \"a\xef\xbf\xbd\"}");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_result_keeps_its_spelling),
        cmocka_unit_test(a_cut_output_says_so),
        cmocka_unit_test(an_error_is_an_object_with_its_text),
        cmocka_unit_test(what_json_does_not_take_raw_is_escaped),
        cmocka_unit_test(bytes_that_are_not_utf8_become_what_python_makes_of_them),
        cmocka_unit_test(a_character_split_by_the_cut_is_dropped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
