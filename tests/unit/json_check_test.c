#include "front/json_check.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define COUNT(array) (sizeof(array) / sizeof *(array))

static const struct json_rules STRICT = { .depth_max = 128, .repeated_keys_refused = true, .lone_surrogates_refused = true };
static const struct json_rules LENIENT = { .depth_max = 128 };

struct example {
    const char *text;
    enum json_verdict verdict;
    size_t offset;
};

/* From an exact copy on the heap, so that a sanitizer sees a read past the end. */
static enum json_verdict check(const char *text, size_t length, const struct json_rules *rules, struct json_error *error)
{
    char *copy = malloc(length + 1);
    assert_non_null(copy);
    memcpy(copy + 1, text, length); /* and unaligned */
    enum json_verdict verdict = json_check(copy + 1, length, rules, NULL, NULL, error);
    free(copy);
    return verdict;
}

static void examples_hold(const struct example *examples, size_t count, const struct json_rules *rules)
{
    for (size_t i = 0; i < count; i++) {
        struct json_error error = { 0 };
        enum json_verdict verdict = check(examples[i].text, strlen(examples[i].text), rules, &error);
        if (verdict != examples[i].verdict || error.offset != examples[i].offset)
            fail_msg("%s: verdict %d at %zu (%s)", examples[i].text, (int)verdict, error.offset, error.what ? error.what : "");
        if (verdict != JSON_OK)
            assert_non_null(error.what);
    }
}

static void every_kind_of_value_is_accepted(void **state)
{
    (void)state;
    static const struct example examples[] = {
        { "null", JSON_OK, 0 },
        { "true", JSON_OK, 0 },
        { " false\r\n\t ", JSON_OK, 0 },
        { "0", JSON_OK, 0 },
        { "-0", JSON_OK, 0 },
        { "-12.50e+400", JSON_OK, 0 },
        { "1E5", JSON_OK, 0 },
        { "0e-0", JSON_OK, 0 },
        { "123456789012345678901234567890", JSON_OK, 0 },
        { "\"\"", JSON_OK, 0 },
        { "\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u0000\\uAbCd\x7f\"", JSON_OK, 0 },
        { "\"\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\"", JSON_OK, 0 },
        { "[]", JSON_OK, 0 },
        { "{}", JSON_OK, 0 },
        { " [ 1 , [ ] , { \"a\" : { } , \"b\" : [ \"x\" ] } ] ", JSON_OK, 0 },
    };
    examples_hold(examples, COUNT(examples), &STRICT);
}

static void what_the_grammar_does_not_know_is_refused_where_it_stands(void **state)
{
    (void)state;
    static const struct example examples[] = {
        { "", JSON_NOT_JSON, 0 },
        { "  ", JSON_NOT_JSON, 2 },
        { "nul", JSON_NOT_JSON, 0 },
        { "True", JSON_NOT_JSON, 0 },
        { "NaN", JSON_NOT_JSON, 0 },
        { "[Infinity]", JSON_NOT_JSON, 1 },
        { "[-Infinity]", JSON_NOT_JSON, 2 },
        { "nullx", JSON_NOT_JSON, 4 },
        { "[1] x", JSON_NOT_JSON, 4 },
        { "1 2", JSON_NOT_JSON, 2 },
        { "+1", JSON_NOT_JSON, 0 },
        { "01", JSON_NOT_JSON, 0 },
        { "-01", JSON_NOT_JSON, 1 },
        { "-", JSON_NOT_JSON, 1 },
        { ".5", JSON_NOT_JSON, 0 },
        { "1.", JSON_NOT_JSON, 2 },
        { "1.e5", JSON_NOT_JSON, 2 },
        { "1e", JSON_NOT_JSON, 2 },
        { "1e+", JSON_NOT_JSON, 3 },
        { "0x10", JSON_NOT_JSON, 1 },
        { "1_000", JSON_NOT_JSON, 1 },
        { "\v1", JSON_NOT_JSON, 0 },
        { "\f1", JSON_NOT_JSON, 0 },
        { "\xc2\xa0"
          "1",
          JSON_NOT_JSON, 0 },
        { "\xef\xbb\xbf{}", JSON_NOT_JSON, 0 },
        { "[", JSON_NOT_JSON, 1 },
        { "[1,]", JSON_NOT_JSON, 3 },
        { "[,1]", JSON_NOT_JSON, 1 },
        { "[1 2]", JSON_NOT_JSON, 3 },
        { "[1}", JSON_NOT_JSON, 2 },
        { "]", JSON_NOT_JSON, 0 },
        { "{\"a\":1]", JSON_NOT_JSON, 6 },
        { "{\"a\":1,}", JSON_NOT_JSON, 7 },
        { "{\"a\" 1}", JSON_NOT_JSON, 5 },
        { "{\"a\":}", JSON_NOT_JSON, 5 },
        { "{a:1}", JSON_NOT_JSON, 1 },
        { "{'a':1}", JSON_NOT_JSON, 1 },
        { "{1:1}", JSON_NOT_JSON, 1 },
        { "[1] // why", JSON_NOT_JSON, 4 },
    };
    examples_hold(examples, COUNT(examples), &STRICT);
}

static void a_string_holds_no_control_character_and_no_unknown_escape(void **state)
{
    (void)state;
    static const struct example examples[] = {
        { "\"", JSON_NOT_JSON, 1 },
        { "\"abcdefghijkl", JSON_NOT_JSON, 13 },
        { "\"a\nb\"", JSON_NOT_JSON, 2 },
        { "\"\t\"", JSON_NOT_JSON, 1 },
        { "\"\x1f\"", JSON_NOT_JSON, 1 },
        { "\"0123456\x01"
          "89abcdef\"",
          JSON_NOT_JSON, 8 },
        { "\"\\\"", JSON_NOT_JSON, 3 },
        { "\"\\", JSON_NOT_JSON, 2 },
        { "\"\\x41\"", JSON_NOT_JSON, 2 },
        { "\"\\'\"", JSON_NOT_JSON, 2 },
        { "\"\\u\"", JSON_NOT_JSON, 3 },
        { "\"\\u12g4\"", JSON_NOT_JSON, 5 },
        { "\"\\u123", JSON_NOT_JSON, 6 },
        { "\"\\U0041\"", JSON_NOT_JSON, 2 },
        { "\"\\u+123\"", JSON_NOT_JSON, 3 },
        { "\"\\u00 1\"", JSON_NOT_JSON, 5 },
    };
    examples_hold(examples, COUNT(examples), &STRICT);
    struct json_error error;
    assert_int_equal(check("\"a\0b\"", 5, &STRICT, &error), JSON_NOT_JSON);
    assert_int_equal(error.offset, 2);
    assert_int_equal(check("1\0", 2, &STRICT, &error), JSON_NOT_JSON);
    assert_int_equal(error.offset, 1);
}

static void each_special_byte_is_seen_at_each_place_in_a_word(void **state)
{
    (void)state;
    char text[42];
    for (size_t place = 1; place < sizeof text - 1; place++)
        for (int byte = 0; byte < 256; byte++) {
            memset(text, 'x', sizeof text);
            text[0] = text[sizeof text - 1] = '"';
            text[place] = (char)byte;
            struct json_error error;
            enum json_verdict verdict = check(text, sizeof text, &STRICT, &error), wanted = JSON_OK;
            if (byte >= 0x80)
                wanted = JSON_NOT_UTF8;
            else if (byte < 0x20 || byte == '"' || byte == '\\')
                wanted = JSON_NOT_JSON;
            if (place == sizeof text - 2 && byte == '"')
                wanted = JSON_NOT_JSON; /* the last quote is one too many */
            if (verdict != wanted)
                fail_msg("byte %d at %zu: verdict %d", byte, place, (int)verdict);
        }
}

static void bytes_that_are_not_utf8_are_refused(void **state)
{
    (void)state;
    static const struct example examples[] = {
        { "\"\xff\"", JSON_NOT_UTF8, 1 },
        { "\"\x80\"", JSON_NOT_UTF8, 1 },
        { "\"a\xc3\"", JSON_NOT_UTF8, 2 },
        { "\"a\xe2\x82\"", JSON_NOT_UTF8, 2 },
        { "\"\xc0\xaf\"", JSON_NOT_UTF8, 1 },         /* overlong '/' */
        { "\"\xc1\xbf\"", JSON_NOT_UTF8, 1 },         /* overlong U+007F */
        { "\"\xe0\x9f\xbf\"", JSON_NOT_UTF8, 1 },     /* overlong U+07FF */
        { "\"\xf0\x8f\xbf\xbf\"", JSON_NOT_UTF8, 1 }, /* overlong U+FFFF */
        { "\"\xed\xa0\x80\"", JSON_NOT_UTF8, 1 },     /* U+D800 */
        { "\"\xed\xbf\xbf\"", JSON_NOT_UTF8, 1 },     /* U+DFFF */
        { "\"\xf4\x90\x80\x80\"", JSON_NOT_UTF8, 1 }, /* U+110000 */
        { "\"\xf5\x80\x80\x80\"", JSON_NOT_UTF8, 1 },
        { "\"\xf0\x9f\x98", JSON_NOT_UTF8, 1 }, /* cut off by the end */
        { "{\"\xff\":1}", JSON_NOT_UTF8, 2 },
        { "[1,\xff]", JSON_NOT_UTF8, 3 }, /* outside of a string too */
        { "\"\\\xff\"", JSON_NOT_UTF8, 2 },
        { "\"\xc2\x80\xdf\xbf\xe0\xa0\x80\xed\x9f\xbf\xee\x80\x80\xef\xbf\xbf\xf0\x90\x80\x80\xf4\x8f\xbf\xbf\"", JSON_OK, 0 },
    };
    examples_hold(examples, COUNT(examples), &STRICT);
    examples_hold(examples, COUNT(examples), &LENIENT);
}

static void a_lone_surrogate_is_refused_only_on_demand(void **state)
{
    (void)state;
    static const struct example examples[] = {
        { "\"\\ud83d\\ude00\"", JSON_OK, 0 },
        { "\"\\ud83d\\ud83d\\ude00\"", JSON_LONE_SURROGATE, 1 },
        { "\"ab\\uD800\"", JSON_LONE_SURROGATE, 3 },
        { "\"\\udc00\"", JSON_LONE_SURROGATE, 1 },
        { "\"\\ud83d\\ude00\\ude00\"", JSON_LONE_SURROGATE, 13 },
        { "\"\\ud800x\\udc00\"", JSON_LONE_SURROGATE, 1 },
        { "\"\\ud800\\n\"", JSON_LONE_SURROGATE, 1 },
        { "{\"\\udfff\":0}", JSON_LONE_SURROGATE, 2 },
    };
    examples_hold(examples, COUNT(examples), &STRICT);
    for (size_t i = 0; i < COUNT(examples); i++) {
        struct json_error error;
        assert_int_equal(check(examples[i].text, strlen(examples[i].text), &LENIENT, &error), JSON_OK);
    }
}

static void a_repeated_key_is_refused_however_it_is_spelled(void **state)
{
    (void)state;
    static const struct example examples[] = {
        { "{\"a\":1,\"a\":1}", JSON_REPEATED_KEY, 7 },
        { "{\"a\":1,\"\\u0061\":1}", JSON_REPEATED_KEY, 7 },
        { "{\"\":1,\"\":1}", JSON_REPEATED_KEY, 6 },
        { "{\"/\":1,\"\\/\":1}", JSON_REPEATED_KEY, 7 },
        { "{\"\\n\":1,\"\\u000A\":1}", JSON_REPEATED_KEY, 8 },
        { "{\"\\\"x\":1,\"\\u0022x\":1}", JSON_REPEATED_KEY, 9 },
        { "{\"x\xc3\xa9\":1,\"x\\u00e9\":1}", JSON_REPEATED_KEY, 9 },
        { "{\"\xe2\x82\xac\":1,\"\\u20ac\":1}", JSON_REPEATED_KEY, 9 },
        { "{\"\xf0\x9f\x98\x80\":1,\"\\ud83d\\ude00\":1}", JSON_REPEATED_KEY, 10 },
        { "[{\"k\":{\"x\":1,\"y\":2,\"x\":3}}]", JSON_REPEATED_KEY, 19 },
        { "{\"b\":1,\"a\":1,\"b\":1,\"a\":1,\"b\":1}", JSON_REPEATED_KEY, 13 }, /* the first of three */
        { "{\"a\":{\"a\":{}},\"b\":[{\"a\":1},{\"a\":2}],\"c\":{\"b\":1}}", JSON_OK, 0 },
        { "{\"a\":{\"b\":1},\"b\":{},\"a\":2}", JSON_REPEATED_KEY, 20 }, /* an inner object doesn't make the outer one forget */
        { "{\"a\":1,\"A\":1,\"aa\":1,\"\":1,\"a\\u0000\":1}", JSON_OK, 0 },
        { "{\"\xc3\xa9\":1,\"\xc3\xa8\":1,\"\\u00ea\":1,\"\xc4\xa9\":1}", JSON_OK, 0 },
    };
    examples_hold(examples, COUNT(examples), &STRICT);
    for (size_t i = 0; i < COUNT(examples); i++) {
        struct json_error error;
        assert_int_equal(check(examples[i].text, strlen(examples[i].text), &LENIENT, &error), JSON_OK);
    }
    const struct json_rules keys_only = { .depth_max = 8, .repeated_keys_refused = true };
    static const struct example halves[] = {
        { "{\"\\ud83d\":1,\"\\ude00\":1,\"\\ud83d\\ude00\":1}", JSON_OK, 0 },
        { "{\"\\ud83d\":1,\"\\uD83D\":1}", JSON_REPEATED_KEY, 12 },
    };
    examples_hold(halves, COUNT(halves), &keys_only);
}

static void many_keys_are_told_apart(void **state)
{
    (void)state;
    enum { KEYS = 100000, ROOM = KEYS * 12 + 32 };
    char *text = malloc(ROOM);
    assert_non_null(text);
    size_t used = 0;
    text[used++] = '{';
    for (int i = 0; i < KEYS; i++)
        used += (size_t)snprintf(text + used, ROOM - used, "\"%d\":0,", i ^ 0x5555);
    size_t last = used;
    struct json_error error;
    used = last + (size_t)snprintf(text + last, ROOM - last, "\"x\":0}");
    assert_int_equal(check(text, used, &STRICT, &error), JSON_OK);
    used = last + (size_t)snprintf(text + last, ROOM - last, "\"777\":0}");
    assert_int_equal(check(text, used, &STRICT, &error), JSON_REPEATED_KEY);
    assert_int_equal(error.offset, last);
    free(text);
}

/* Keys are kept and sorted until their object closes: their number and their bytes have an end. */
static void more_keys_than_are_kept_are_refused(void **state)
{
    (void)state;
    enum { ROOM = (JSON_KEYS_MAX + 2) * 12, LONG = JSON_KEY_BYTES_MAX + 32 };
    char *text = malloc(ROOM > LONG ? ROOM : LONG);
    assert_non_null(text);
    struct json_error error;
    for (int more = 0; more <= 1; more++) {
        size_t used = 0;
        text[used++] = '{';
        for (int i = 0; i < JSON_KEYS_MAX + more; i++)
            used += (size_t)snprintf(text + used, ROOM - used, "%s\"%x\":0", i > 0 ? "," : "", (unsigned)i);
        text[used++] = '}';
        assert_int_equal(check(text, used, &STRICT, &error), more == 0 ? JSON_OK : JSON_TOO_MANY_KEYS);
    }
    memset(text, 'k', LONG);
    memcpy(text, "{\"", 2);
    memcpy(text + JSON_KEY_BYTES_MAX + 3, "\":0}", 5);
    assert_int_equal(check(text, JSON_KEY_BYTES_MAX + 8, &STRICT, &error), JSON_TOO_MANY_KEYS);
    free(text);
}

/* `depth` arrays and objects, by turns, in each other. */
static enum json_verdict nest_check(uint32_t depth, const struct json_rules *rules, struct json_error *error)
{
    size_t used = 0;
    char *text = malloc((size_t)depth * 6 + 2);
    assert_non_null(text);
    for (uint32_t i = 0; i < depth; i++) {
        memcpy(text + used, i % 2 ? "[" : "{\"a\":", i % 2 ? 1 : 5);
        used += i % 2 ? 1 : 5;
    }
    text[used++] = '0';
    for (uint32_t i = depth; i-- > 0;)
        text[used++] = i % 2 ? ']' : '}';
    enum json_verdict verdict = check(text, used, rules, error);
    free(text);
    return verdict;
}

static void nesting_ends_exactly_at_its_limit(void **state)
{
    (void)state;
    static const uint32_t limits[] = { 1, 2, 63, 64, 65, 128, 255, 256, 257, 512, 513, 100000 };
    struct json_error error;
    for (size_t i = 0; i < COUNT(limits); i++) {
        const struct json_rules rules = { .depth_max = limits[i], .repeated_keys_refused = true };
        assert_int_equal(nest_check(limits[i], &rules, &error), JSON_OK);
        assert_int_equal(nest_check(limits[i] + 1, &rules, &error), JSON_TOO_DEEP);
        assert_int_equal(error.offset, limits[i] / 2 * 6 + (limits[i] % 2 ? 5 : 0));
    }
    const struct json_rules flat = { .depth_max = 0 };
    assert_int_equal(check("1", 1, &flat, &error), JSON_OK);
    assert_int_equal(check("[]", 2, &flat, &error), JSON_TOO_DEEP);
}

struct seen {
    char text[256];
    size_t used;
};

static void member_note(void *context, struct json_slice key, struct json_slice value)
{
    struct seen *seen = context;
    seen->used += (size_t)snprintf(seen->text + seen->used, sizeof seen->text - seen->used, "%.*s=%.*s;", (int)key.length, key.at,
                                   (int)value.length, value.at);
}

static void the_members_of_the_top_level_object_are_shown_as_they_stand(void **state)
{
    (void)state;
    static const char text[] = " { \"a\" : 1.10 , \"\\u0062\":[ {\"x\" : 1}, 2 ] ,\"c\":{\"y\":{} } , \"\": \"s \\n\" ,\"n\":null\n}\n";
    struct seen seen = { 0 };
    struct json_error error;
    assert_int_equal(json_check(text, strlen(text), &STRICT, member_note, &seen, &error), JSON_OK);
    assert_string_equal(seen.text, "a=1.10;\\u0062=[ {\"x\" : 1}, 2 ];c={\"y\":{} };=\"s \\n\";n=null;");
}

static void a_top_level_array_shows_its_elements_without_keys(void **state)
{
    (void)state;
    static const char text[] = "[{\"a\":1},2,{\"b\":{}}]";
    struct seen seen = { 0 };
    struct json_error error;
    assert_int_equal(json_check(text, strlen(text), &STRICT, member_note, &seen, &error), JSON_OK);
    assert_string_equal(seen.text, "={\"a\":1};=2;={\"b\":{}};");
}

static bool key_is(const char *key, const char *name)
{
    size_t length = strlen(key);
    char *copy = malloc(length + 1);
    assert_non_null(copy);
    memcpy(copy + 1, key, length);
    bool is = json_key_is((struct json_slice) { .at = copy + 1, .length = length }, name);
    free(copy);
    return is;
}

static void a_key_is_compared_decoded(void **state)
{
    (void)state;
    assert_true(key_is("script", "script"));
    assert_true(key_is("\\u0073cr\\u0069pt", "script"));
    assert_true(key_is("a\\/b", "a/b"));
    assert_true(key_is("", ""));
    assert_false(key_is("scrip", "script"));
    assert_false(key_is("scripts", "script"));
    assert_false(key_is("script\\u0000", "script"));
    assert_false(key_is("Script", "script"));
    assert_false(key_is("", "script"));
    assert_false(key_is("script", ""));
    assert_false(key_is("\xc3\xa9", "script"));
    assert_false(key_is("\\ud83d\\ude00", "script"));
    assert_false(key_is("\\ud83d", "script"));
}

static void a_string_is_decoded_to_utf8(void **state)
{
    (void)state;
    static const struct {
        const char *inside, *decoded;
        size_t length;
    } examples[] = {
        { "", "", 0 },
        { "plain", "plain", 5 },
        { "\\\"\\\\\\/\\b\\f\\n\\r\\t", "\"\\/\b\f\n\r\t", 8 },
        { "a\\u0041\\u00e9\\u20AC\\ud83d\\ude00z", "aA\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80z", 12 },
        { "\\u0000", "\0", 1 },
        { "\\u007f\\u0080\\u07ff\\u0800\\uffff", "\x7f\xc2\x80\xdf\xbf\xe0\xa0\x80\xef\xbf\xbf", 11 },
        { "\\ud800\\udc00\\udbff\\udfff", "\xf0\x90\x80\x80\xf4\x8f\xbf\xbf", 8 },
        { "\xc3\xa9\\n\xf0\x9f\x98\x80", "\xc3\xa9\n\xf0\x9f\x98\x80", 7 },
    };
    for (size_t i = 0; i < COUNT(examples); i++) {
        struct json_slice inside = { .at = examples[i].inside, .length = strlen(examples[i].inside) };
        char *to = malloc(inside.length ? inside.length : 1);
        assert_non_null(to);
        assert_int_equal(json_string_decode(inside, to), examples[i].length);
        assert_memory_equal(to, examples[i].decoded, examples[i].length);
        free(to);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_kind_of_value_is_accepted),
        cmocka_unit_test(what_the_grammar_does_not_know_is_refused_where_it_stands),
        cmocka_unit_test(a_string_holds_no_control_character_and_no_unknown_escape),
        cmocka_unit_test(each_special_byte_is_seen_at_each_place_in_a_word),
        cmocka_unit_test(bytes_that_are_not_utf8_are_refused),
        cmocka_unit_test(a_lone_surrogate_is_refused_only_on_demand),
        cmocka_unit_test(a_repeated_key_is_refused_however_it_is_spelled),
        cmocka_unit_test(many_keys_are_told_apart),
        cmocka_unit_test(more_keys_than_are_kept_are_refused),
        cmocka_unit_test(nesting_ends_exactly_at_its_limit),
        cmocka_unit_test(the_members_of_the_top_level_object_are_shown_as_they_stand),
        cmocka_unit_test(a_top_level_array_shows_its_elements_without_keys),
        cmocka_unit_test(a_key_is_compared_decoded),
        cmocka_unit_test(a_string_is_decoded_to_utf8),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
