#include "front/request.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define COUNT(array) (sizeof(array) / sizeof *(array))

/* From an exact copy on the heap, so that a sanitizer sees a read past the end. */
static int parse(const char *body, size_t length, struct request *request, char error[static 256])
{
    char *copy = malloc(length ? length : 1);
    assert_non_null(copy);
    memcpy(copy, body, length);
    int status = request_parse(copy, length, request, error);
    free(copy);
    return status;
}

static void body_is_refused(const char *body, size_t length, const char *sentence)
{
    struct request request = { 0 };
    char error[256] = "";
    int status = parse(body, length, &request, error);
    if (status != 400 || strcmp(error, sentence) != 0)
        fail_msg("%.*s: %d %s", (int)length, body, status, error);
    assert_null(request.script);
}

static void script_is_read(const char *body, const char *script)
{
    struct request request = { 0 };
    char error[256] = "";
    if (parse(body, strlen(body), &request, error) != 0)
        fail_msg("%s: %s", body, error);
    assert_int_equal(request.length, strlen(script));
    assert_memory_equal(request.script, script, request.length);
    free(request.script);
}

static void a_script_is_read_decoded(void **state)
{
    (void)state;
    script_is_read("{\"script\": \"def main():\\n\\treturn \\\"\\u00e9\\ud83d\\ude00\\\"\"}",
                   "def main():\n\treturn \"\xc3\xa9\xf0\x9f\x98\x80\"");
    script_is_read(" {\"s\\u0063ript\":\"\xe2\x82\xac\"}\r\n", "\xe2\x82\xac");
    script_is_read("{\"script\":\" \\u00a0x \"}", " \xc2\xa0x "); /* nothing is stripped off */
}

static void other_fields_are_ignored(void **state)
{
    (void)state;
    script_is_read("{\"Script\":1,\"x\":{\"script\":2},\"script\":\"a\",\"y\":[{\"script\":[]}],\"script \":null}", "a");
}

static void a_body_that_is_no_request_is_told_what_is_wrong(void **state)
{
    (void)state;
    static const struct {
        const char *body, *sentence;
    } examples[] = {
        { "", "Request body is empty: a JSON object with a 'script' string is expected" },
        { "[]", "Request body must be a JSON object" },
        { "\"script\"", "Request body must be a JSON object" },
        { " null ", "Request body must be a JSON object" },
        { "[{\"script\":\"a\"}]", "Request body must be a JSON object" },
        { "{}", "'script' field is required" },
        { "{\"Script\":\"a\",\"x\":{\"script\":\"a\"}}", "'script' field is required" },
        { "{\"script\":1}", "'script' must be a string" },
        { "{\"script\":null}", "'script' must be a string" },
        { "{\"script\":[\"a\"]}", "'script' must be a string" },
        { "{\"script\":{\"script\":\"a\"}}", "'script' must be a string" },
        { "{\"script\":\"a\\u0000\"}", "'script' must not contain a NUL character" },
        { "  ", "Request body is not valid JSON: a value was expected at byte 2" },
        { "script=a", "Request body is not valid JSON: a value was expected at byte 0" },
        { "{\"script\":\"a\"", "Request body is not valid JSON: a comma or '}' was expected at byte 13" },
        { "{\"script\":\"a\"}x", "Request body is not valid JSON: the end of the text was expected at byte 14" },
        { "{\"script\":\"a\",\"x\":NaN}", "Request body is not valid JSON: a value was expected at byte 18" },
        { "{\"script\":\"a\xff\"}", "Request body is not valid UTF-8 (byte 12)" },
        { "{\"script\":\"a\",\"x\":\"\xc0\x80\"}", "Request body is not valid UTF-8 (byte 19)" },
        { "{\"script\":\"a\",\"script\":\"b\"}", "Request body repeats a key (byte 14)" },
        { "{\"script\":\"a\",\"\\u0073cript\":\"b\"}", "Request body repeats a key (byte 14)" },
        { "{\"script\":\"a\",\"x\":[{\"y\":1,\"y\":1}]}", "Request body repeats a key (byte 26)" },
        { "{\"script\":\"\\ud800\"}", "Request body holds a lone surrogate (byte 11)" },
        { "{\"script\":\"a\",\"x\":\"\\udc00\"}", "Request body holds a lone surrogate (byte 19)" },
    };
    for (size_t i = 0; i < COUNT(examples); i++)
        body_is_refused(examples[i].body, strlen(examples[i].body), examples[i].sentence);
    body_is_refused("{\"script\":\"a\0\"}", 15, "Request body is not valid JSON: a control character must be escaped at byte 12");
}

/* The spaces were printed by Python 3.11: every c for which chr(c).isspace(). */
static void a_script_of_nothing_but_white_space_is_empty(void **state)
{
    (void)state;
    static const unsigned spaces[] = { 0x09,   0x0a,   0x0b,   0x0c,   0x0d,   0x1c,   0x1d,   0x1e,   0x1f,   0x20,
                                       0x85,   0xa0,   0x1680, 0x2000, 0x2001, 0x2002, 0x2003, 0x2004, 0x2005, 0x2006,
                                       0x2007, 0x2008, 0x2009, 0x200a, 0x2028, 0x2029, 0x202f, 0x205f, 0x3000 };
    char body[64];
    for (unsigned point = 1; point <= 0xffff; point++) {
        bool space = false;
        for (size_t i = 0; i < COUNT(spaces); i++)
            space |= spaces[i] == point;
        if (point >= 0xd800 && point <= 0xdfff)
            continue;
        struct request request = { 0 };
        char error[256] = "";
        snprintf(body, sizeof body, "{\"script\":\" \\u%04x\\n\"}", point);
        int status = parse(body, strlen(body), &request, error);
        free(request.script);
        if (status != (space ? 400 : 0) || (space && strcmp(error, "'script' must not be empty") != 0))
            fail_msg("U+%04X: %d %s", point, status, error);
    }
    body_is_refused("{\"script\":\"\"}", 13, "'script' must not be empty");
    body_is_refused("{\"script\":\" \"}", 14, "'script' must not be empty");
}

static void a_body_may_be_nested_up_to_the_limit(void **state)
{
    (void)state;
    for (size_t depth = REQUEST_DEPTH_MAX - 1; depth <= REQUEST_DEPTH_MAX; depth++) { /* of arrays inside the one object */
        char body[512] = "{\"script\":\"a\",\"x\":";
        size_t used = strlen(body);
        memset(body + used, '[', depth);
        memset(body + used + depth, ']', depth);
        body[used + 2 * depth] = '}';
        if (depth < REQUEST_DEPTH_MAX)
            script_is_read(body, "a");
        else
            body_is_refused(body, strlen(body), "Request body is nested too deeply (at most 128 levels)");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_script_is_read_decoded),
        cmocka_unit_test(other_fields_are_ignored),
        cmocka_unit_test(a_body_that_is_no_request_is_told_what_is_wrong),
        cmocka_unit_test(a_script_of_nothing_but_white_space_is_empty),
        cmocka_unit_test(a_body_may_be_nested_up_to_the_limit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
