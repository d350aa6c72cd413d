#include "front/json_check.h"
#include "front/request.h"
#include "front/run_request.h"

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
#define WITH(fields) "{\"code\":\"x\"," fields "}"
#define FILE_OF(member) WITH("\"files\":[{" member "}]")
#define PATH_OF(path) FILE_OF("\"path\":\"" path "\",\"content\":\"\"")

enum { MIB = 1 << 20 };

static const struct run_limits MOST = { 60000, 30000, 512, 1024, 2, 64 };

/* A body that is written part by part. It stays where it is: the stream has its address. */
struct text {
    FILE *to;
    char *at;
    size_t length;
};

static struct text text_begin(void)
{
    return (struct text) { 0 };
}

static void text_add(struct text *text, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void text_add(struct text *text, const char *format, ...)
{
    va_list arguments;
    if (text->to == NULL)
        text->to = open_memstream(&text->at, &text->length);
    assert_non_null(text->to);
    va_start(arguments, format);
    vfprintf(text->to, format, arguments);
    va_end(arguments);
}

static void text_repeat(struct text *text, const char *part, size_t times)
{
    while (times-- > 0)
        text_add(text, "%s", part);
}

/* From an exact copy on the heap, so that a sanitizer sees a read past the end. */
static unsigned parse(const char *body, size_t length, struct run_request *request, struct problem *problem)
{
    char *copy = malloc(length > 0 ? length : 1);
    assert_non_null(copy);
    memcpy(copy, body, length);
    unsigned status = run_request_parse(copy, length, &MOST, request, problem);
    free(copy);
    return status;
}

/* What is told to the client is JSON, whatever of the request it repeats. */
static void problem_is_json(const struct problem *problem)
{
    const struct json_rules rules = { .depth_max = 1, .repeated_keys_refused = true };
    struct json_error error;
    size_t length = 0;
    char *body = problem_body(problem, &length);
    assert_non_null(body);
    if (json_check(body, length, &rules, NULL, NULL, &error) != JSON_OK)
        fail_msg("%.*s: %s", (int)length, body, error.what);
    free(body);
}

static void bytes_are_refused(const char *body, size_t length, unsigned status, const char *code, const char *param, const char *detail)
{
    struct run_request request;
    struct problem problem = { 0 };
    unsigned got = parse(body, length, &request, &problem);
    if (got != status || problem.status != status || strcmp(problem.code, code) != 0 || strcmp(problem.param, param) != 0 ||
        strcmp(problem.detail, detail) != 0)
        fail_msg("%.200s: %u %s '%s' '%s'", body, got, problem.code != NULL ? problem.code : "", problem.param, problem.detail);
    problem_is_json(&problem);
}

static void is_refused(const char *body, const char *param, const char *detail)
{
    bytes_are_refused(body, strlen(body), 400, "bad_request", param, detail);
}

static struct run_request is_taken(const char *body)
{
    struct run_request request = { 0 };
    struct problem problem = { 0 };
    if (parse(body, strlen(body), &request, &problem) != 0)
        fail_msg("%.200s: '%s' '%s'", body, problem.param, problem.detail);
    assert_int_equal(problem.status, 0);
    return request;
}

static void text_is_taken(struct text *text)
{
    fclose(text->to);
    is_taken(text->at);
    free(text->at);
}

static void text_is_refused(struct text *text, const char *param, const char *detail)
{
    fclose(text->to);
    is_refused(text->at, param, detail);
    free(text->at);
}

struct refusal {
    const char *body, *param, *detail;
};

static void all_are_refused(const struct refusal *refusals, size_t count)
{
    for (size_t i = 0; i < count; i++)
        is_refused(refusals[i].body, refusals[i].param, refusals[i].detail);
}

static void all_are_taken(const char *const *bodies, size_t count)
{
    for (size_t i = 0; i < count; i++)
        is_taken(bodies[i]);
}

static void a_request_of_code_alone_gets_the_most_of_everything(void **state)
{
    (void)state;
    struct run_request request = is_taken("{\"code\":\"x\"}");
    assert_memory_equal(&request.limits, &MOST, sizeof MOST);
    assert_string_equal(request.runtime, "default");
    assert_false(request.stream);
}

static void a_request_of_every_field_is_taken(void **state)
{
    (void)state;
    struct run_request request = is_taken(
        " {\"c\\u006fde\":\"\\u0078\",\"entry\":\"main\",\"input\":{\"a\":[1,{\"b\":null}]},\"stdin\":\"\\u0000\",\"argv\":[\"a\",\"\"],"
        "\"env\":{\"A\":\"\",\"B\":\"=\"},\"files\":[{\"path\":\"a/b\",\"content\":\"\",\"encoding\":\"utf8\"},"
        "{\"encoding\":\"b\\u0061se64\",\"content\":\"QQ==\",\"path\":\"c\"}],\"fetch\":[\"*.csv\",\"out/**\"],"
        "\"limits\":{\"wall_ms\":1,\"cpu_ms\":2,\"memory_mb\":16,\"output_kb\":3,\"files_mb\":1,\"processes\":4},"
        "\"runtime\":\"sci\\u0065nce\",\"stream\":true}\n");
    const struct run_limits limits = { 1, 2, 16, 3, 1, 4 };
    assert_memory_equal(&request.limits, &limits, sizeof limits);
    assert_string_equal(request.runtime, "science");
    assert_true(request.stream);
}

static void null_is_as_good_as_no_field_where_a_field_is_optional(void **state)
{
    (void)state;
    struct run_request request =
        is_taken(WITH("\"entry\":null,\"input\":null,\"stdin\":null,\"argv\":null,\"env\":null,\"files\":null,\"fetch\":null,"
                      "\"limits\":null,\"runtime\":null,\"stream\":null"));
    assert_memory_equal(&request.limits, &MOST, sizeof MOST);
    assert_string_equal(request.runtime, "default");
    assert_false(request.stream);
}

static void code_has_two_names_and_is_told_what_is_wrong_with_it(void **state)
{
    (void)state;
    static const char *const taken[] = { "{\"code\":\"x\"}", "{\"script\":\"x\"}", "{\"code\":\" \\u00a0x\"}" };
    static const struct refusal refusals[] = {
        { "{}", "code", "code is required: the Python to run" },
        { "{\"argv\":[]}", "code", "code is required: the Python to run" },
        { "{\"code\":\"x\",\"script\":\"x\"}", "script", "script is another name of code: only one of them may be given" },
        { "{\"script\":null,\"code\":\"x\"}", "script", "script is another name of code: only one of them may be given" },
        { "{\"code\":1}", "code", "code must be a string" },
        { "{\"code\":null}", "code", "code must be a string" },
        { "{\"code\":[\"x\"]}", "code", "code must be a string" },
        { "{\"script\":{}}", "script", "script must be a string" },
        { "{\"code\":\"\"}", "code", "code must not be empty" },
        { "{\"code\":\" \\n\\u3000\"}", "code", "code must not be empty" },
        { "{\"script\":\"\\t\"}", "script", "script must not be empty" },
        { "{\"code\":\"a\\u0000\"}", "code", "code must not contain a NUL character" },
        { "{\"script\":\"\\u0000\"}", "script", "script must not contain a NUL character" },
    };
    all_are_taken(taken, COUNT(taken));
    all_are_refused(refusals, COUNT(refusals));
}

static void a_body_that_is_no_json_object_is_told_what_is_wrong(void **state)
{
    (void)state;
    static const struct refusal refusals[] = {
        { "", "", "Request body is empty: a JSON object with code is expected" },
        { " ", "", "Request body is not valid JSON: a value was expected at byte 1" },
        { "[]", "", "Request body must be a JSON object" },
        { "[1]", "", "Request body must be a JSON object" }, /* an element has no key */
        { "\"code\"", "", "Request body must be a JSON object" },
        { "null", "", "Request body must be a JSON object" },
        { "code=x", "", "Request body is not valid JSON: a value was expected at byte 0" },
        { "{\"code\":\"x\"", "", "Request body is not valid JSON: a comma or '}' was expected at byte 11" },
        { "{\"code\":\"x\"}{}", "", "Request body is not valid JSON: the end of the text was expected at byte 12" },
        { "{\"code\":\"\xff\"}", "code", "Request body is not valid UTF-8 (byte 9)" },
        { "{\"code\":\"x\",\"code\":\"y\"}", "", "Request body repeats a key (byte 12)" },
        { "{\"code\":\"x\",\"c\\u006fde\":\"y\"}", "", "Request body repeats a key (byte 12)" },
        { WITH("\"env\":{\"A\":\"1\",\"A\":\"2\"}"), "env", "Request body repeats a key (byte 27)" },
        { WITH("\"files\":[],\"files\":[]"), "", "Request body repeats a key (byte 23)" },
        { WITH("\"limits\":{\"cpu_ms\":1,\"cpu_ms\":2}"), "limits", "Request body repeats a key (byte 33)" },
        { WITH("\"input\":{\"a\":1,\"a\":1}"), "input", "Request body repeats a key (byte 27)" },
        { "{\"code\":\"\\ud800\"}", "code", "Request body holds a lone surrogate (byte 9)" },
        { PATH_OF("\\udc00"), "files", "Request body holds a lone surrogate (byte 30)" },
        /* Wrong fields count only in what is JSON. */
        { "{\"code\":1,\"x\":2,\"limits\":{\"cpu_ms\":0}", "", "Request body is not valid JSON: a comma or '}' was expected at byte 37" },
        { "{\"files\":[{\"path\":\"/\",\"content\":\"\"}],", "", "Request body is not valid JSON: a key was expected at byte 37" },
    };
    all_are_refused(refusals, COUNT(refusals));
    bytes_are_refused("{\"code\":\"a\0\"}", 13, 400, "bad_request", "code",
                      "Request body is not valid JSON: a control character must be escaped at byte 10");
}

static void a_body_may_be_nested_up_to_the_limit(void **state)
{
    (void)state;
    for (size_t depth = REQUEST_DEPTH_MAX - 1; depth <= REQUEST_DEPTH_MAX; depth++) { /* of arrays inside the one object */
        struct text text = text_begin();
        text_add(&text, "{\"code\":\"x\",\"input\":");
        text_repeat(&text, "[", depth);
        text_repeat(&text, "]", depth);
        text_add(&text, "}");
        if (depth < REQUEST_DEPTH_MAX)
            text_is_taken(&text);
        else
            text_is_refused(&text, "input", "Request body is nested too deeply (at most 128 levels)");
    }
    struct text text = text_begin(); /* nobody's stack is as deep as this */
    text_repeat(&text, "{\"files\":[", 100000);
    text_is_refused(&text, "files", "Request body is nested too deeply (at most 128 levels)");
}

static void an_unknown_field_is_named_with_those_that_there_are(void **state)
{
    (void)state;
#define FIELDS_KNOWN "code, entry, input, stdin, argv, env, files, fetch, limits, runtime and stream"
#define LETTERS_60 "abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyzabcdefgh"
    static const struct refusal refusals[] = {
        { WITH("\"Code\":1"), "Code", "There is no field 'Code' in the request; there are " FIELDS_KNOWN },
        { WITH("\"\":1"), "", "There is no field '' in the request; there are " FIELDS_KNOWN },
        { WITH("\"code \":1"), "code ", "There is no field 'code ' in the request; there are " FIELDS_KNOWN },
        { WITH("\"%n%s\":1"), "%n%s", "There is no field '%n%s' in the request; there are " FIELDS_KNOWN },
        { WITH("\"x\":null,\"y\":null"), "x", "There is no field 'x' in the request; there are " FIELDS_KNOWN },
        { WITH("\"" LETTERS_60 "\":1"), LETTERS_60, "There is no field '" LETTERS_60 "' in the request; there are " FIELDS_KNOWN },
        { WITH("\"" LETTERS_60 "i\":1"), LETTERS_60 "...",
          "There is no field '" LETTERS_60 "...' in the request; there are " FIELDS_KNOWN },
        { FILE_OF("\"path\":\"a\",\"content\":\"\",\"mode\":1"), "files[0].mode",
          "There is no field 'mode' in files[0]; there are path, content and encoding" },
        { WITH("\"files\":[{\"path\":\"a\",\"content\":\"\"},{\"data\":\"\"}]"), "files[1].data",
          "There is no field 'data' in files[1]; there are path, content and encoding" },
        { WITH("\"limits\":{\"wall\":1}"), "limits.wall",
          "There is no field 'wall' in limits; there are wall_ms, cpu_ms, memory_mb, output_kb, files_mb and processes" },
    };
    all_are_refused(refusals, COUNT(refusals));
    /* Where a long name is cut, and in the middle of what: what is told is JSON all the same. */
    for (size_t before = 50; before <= 60; before++) {
        struct text text = text_begin();
        struct run_request request;
        struct problem problem = { 0 };
        text_add(&text, "{\"code\":\"x\",\"%.*s\xf0\x9f\x98\x80\\u00e9\\\\\":1}", (int)before, LETTERS_60);
        fclose(text.to);
        assert_int_equal(parse(text.at, text.length, &request, &problem), 400);
        problem_is_json(&problem);
        free(text.at);
    }
}

static void the_first_of_several_problems_is_told(void **state)
{
    (void)state;
    is_refused("{\"entry\":1,\"code\":1,\"x\":2}", "entry", "entry must be the name of a function, or null");
    is_refused("{\"x\":2,\"entry\":1,\"code\":1}", "x", "There is no field 'x' in the request; there are " FIELDS_KNOWN);
    is_refused(WITH("\"env\":{\"=\":1,\"B\":2},\"argv\":[1]"), "env.=", "env.= has a name that is empty, or holds '=' or a NUL character");
    is_refused("{\"argv\":[1]}", "argv[0]", "argv[0] must be a string"); /* and code is missing */
}

static void entry_is_the_name_of_a_function(void **state)
{
    (void)state;
    static const char detail[] = "entry must be the name of a function, or null";
    static const char *const taken[] = {
        WITH("\"entry\":\"main\""), WITH("\"entry\":\"_\""),        WITH("\"entry\":\"aZ_09\""),
        WITH("\"entry\":null"),     WITH("\"entry\":\"\xc3\xa9\""), WITH("\"entry\":\"\\u00e9t\\u00e92\""),
    };
    static const char *const refused[] = {
        WITH("\"entry\":\"\""),   WITH("\"entry\":\"a b\""), WITH("\"entry\":\" a\""),  WITH("\"entry\":\"a.b\""),
        WITH("\"entry\":\"1a\""), WITH("\"entry\":\"a()\""), WITH("\"entry\":\"a-b\""), WITH("\"entry\":\"a\\u0000\""),
        WITH("\"entry\":\"@\""),  WITH("\"entry\":\"[\""),   WITH("\"entry\":\"`\""),   WITH("\"entry\":\"{\""),
        WITH("\"entry\":1"),      WITH("\"entry\":true"),    WITH("\"entry\":[\"a\"]"), WITH("\"entry\":\"a\\n\""),
        WITH("\"entry\":\"/\""),  WITH("\"entry\":\":\""),   WITH("\"entry\":{}"),
    };
    all_are_taken(taken, COUNT(taken));
    for (size_t i = 0; i < COUNT(refused); i++)
        is_refused(refused[i], "entry", detail);
    for (size_t length = 256; length <= 257; length++) {
        struct text text = text_begin();
        text_add(&text, "{\"code\":\"x\",\"entry\":\"");
        text_repeat(&text, "a", length);
        text_add(&text, "\"}");
        if (length == 256)
            text_is_taken(&text);
        else
            text_is_refused(&text, "entry", detail);
    }
}

static void input_stdin_runtime_and_stream_are_of_their_types(void **state)
{
    (void)state;
    static const char input[] = "input must be an object (of named arguments) or an array (of arguments)";
    static const char runtime[] = "runtime must be the name of a runtime: a string";
    static const char *const taken[] = { WITH("\"input\":{}"), WITH("\"input\":[]"), WITH("\"input\":[1e999,\"\\u0000\"]"),
                                         WITH("\"stdin\":\"\""), WITH("\"stdin\":\"\\u0000\"") };
    static const struct refusal refusals[] = {
        { WITH("\"input\":1"), "input", input },
        { WITH("\"input\":\"{}\""), "input", input },
        { WITH("\"input\":true"), "input", input },
        { WITH("\"input\":false"), "input", input },
        { WITH("\"input\":-1"), "input", input },
        { WITH("\"stdin\":1"), "stdin", "stdin must be a string" },
        { WITH("\"stdin\":[\"a\"]"), "stdin", "stdin must be a string" },
        { WITH("\"stdin\":{}"), "stdin", "stdin must be a string" },
        { WITH("\"runtime\":1"), "runtime", runtime },
        { WITH("\"runtime\":\"\""), "runtime", runtime },
        { WITH("\"runtime\":[]"), "runtime", runtime },
        { WITH("\"runtime\":\"default\\u0000x\""), "runtime", runtime },
        { WITH("\"runtime\":\"" LETTERS_60 "abcd\""), "runtime", runtime }, /* 64 bytes: no room for its end */
        { WITH("\"stream\":1"), "stream", "stream must be true or false" },
        { WITH("\"stream\":\"true\""), "stream", "stream must be true or false" },
        { WITH("\"stream\":[]"), "stream", "stream must be true or false" },
    };
    all_are_taken(taken, COUNT(taken));
    all_are_refused(refusals, COUNT(refusals));
    assert_string_equal(is_taken(WITH("\"runtime\":\"" LETTERS_60 "abc\"")).runtime, LETTERS_60 "abc");
    assert_false(is_taken(WITH("\"stream\":false")).stream);
    assert_true(is_taken(WITH("\"stream\":true")).stream);
}

static const struct {
    const char *name;
    size_t field;
    unsigned least, most;
} LIMITS[] = {
    { "wall_ms", offsetof(struct run_limits, wall_ms), 1, 60000 },    { "cpu_ms", offsetof(struct run_limits, cpu_ms), 1, 30000 },
    { "memory_mb", offsetof(struct run_limits, memory_mb), 16, 512 }, { "output_kb", offsetof(struct run_limits, output_kb), 1, 1024 },
    { "files_mb", offsetof(struct run_limits, files_mb), 1, 2 },      { "processes", offsetof(struct run_limits, processes), 1, 64 },
};

static void a_limit_is_a_whole_number_within_its_bounds(void **state)
{
    (void)state;
    static const char *const wrong[] = { "0",
                                         "-1",
                                         "-0",
                                         "1.5",
                                         "20.0",
                                         "2e1",
                                         "2E1",
                                         "20e0",
                                         "0.5",
                                         "-1e-1",
                                         "1e400",
                                         "\"20\"",
                                         "\"\"",
                                         "null",
                                         "true",
                                         "false",
                                         "[20]",
                                         "[]",
                                         "{}",
                                         "{\"a\":20}",
                                         "-99999999999999999999",
                                         "20.00000000000000000000",
                                         "\"99999999999999999999999\"",
                                         "[99999999999999999999]" };
    static const char *const huge[] = { "999999999999999999",   "1000000000000000000",  "18446744073709551615",
                                        "18446744073709551616", "18446744073709551636", "340282366920938463463374607431768211476" };
    char body[256], param[64], detail[128], number[32];
    for (size_t i = 0; i < COUNT(LIMITS); i++) {
        snprintf(param, sizeof param, "limits.%s", LIMITS[i].name);
        snprintf(detail, sizeof detail, "%s must be a whole number from %u to %u", param, LIMITS[i].least, LIMITS[i].most);
        for (int past = 0; past <= 1; past++) {
            snprintf(body, sizeof body, WITH("\"limits\":{\"%s\":%u}"), LIMITS[i].name, LIMITS[i].most + past);
            if (past)
                bytes_are_refused(body, strlen(body), 422, "limit_above_maximum", param, detail);
            else
                is_taken(body);
        }
        struct run_limits expected = MOST;
        memcpy((char *)&expected + LIMITS[i].field, &(uint64_t) { LIMITS[i].least }, sizeof(uint64_t));
        snprintf(body, sizeof body, WITH("\"limits\":{\"%s\" : %u }"), LIMITS[i].name, LIMITS[i].least);
        struct run_request request = is_taken(body);
        assert_memory_equal(&request.limits, &expected, sizeof expected); /* that one, and no other */
        snprintf(number, sizeof number, "%u", LIMITS[i].least - 1);
        snprintf(body, sizeof body, WITH("\"limits\":{\"%s\":%s}"), LIMITS[i].name, number);
        is_refused(body, param, detail);
        for (size_t j = 0; j < COUNT(wrong); j++) {
            snprintf(body, sizeof body, WITH("\"limits\":{\"%s\":%s}"), LIMITS[i].name, wrong[j]);
            is_refused(body, param, detail);
        }
        for (size_t j = 0; j < COUNT(huge); j++) {
            snprintf(body, sizeof body, WITH("\"limits\":{\"%s\":%s}"), LIMITS[i].name, huge[j]);
            bytes_are_refused(body, strlen(body), 422, "limit_above_maximum", param, detail);
        }
    }
    is_taken(WITH("\"limits\":{}"));
    is_refused(WITH("\"limits\":[]"), "limits", "limits must be an object of whole numbers");
    is_refused(WITH("\"limits\":1"), "limits", "limits must be an object of whole numbers");
    is_refused(WITH("\"limits\":\"\""), "limits", "limits must be an object of whole numbers");
}

static void files_are_objects_of_path_content_and_encoding(void **state)
{
    (void)state;
    static const char *const taken[] = {
        WITH("\"files\":[]"),
        PATH_OF("a"),
        FILE_OF("\"content\":\"\\u0000\\n\",\"path\":\"a\""),
        FILE_OF("\"path\":\"a\",\"content\":\"\",\"encoding\":\"utf8\""),
        FILE_OF("\"path\":\"a\",\"content\":\"\",\"encoding\":\"base64\""),
        FILE_OF("\"p\\u0061th\":\"a\",\"content\":\"\",\"encoding\":\"utf\\u0038\""),
    };
    static const struct refusal refusals[] = {
        { WITH("\"files\":{}"), "files", "files must be an array of objects with path and content" },
        { WITH("\"files\":\"a\""), "files", "files must be an array of objects with path and content" },
        { WITH("\"files\":[1]"), "files[0]", "files[0] must be an object with path and content" },
        { WITH("\"files\":[[]]"), "files[0]", "files[0] must be an object with path and content" },
        { WITH("\"files\":[null]"), "files[0]", "files[0] must be an object with path and content" },
        { WITH("\"files\":[{}]"), "files[0].path", "files[0].path must be a string" },
        { FILE_OF("\"content\":\"\""), "files[0].path", "files[0].path must be a string" },
        { FILE_OF("\"path\":1,\"content\":\"\""), "files[0].path", "files[0].path must be a string" },
        { FILE_OF("\"path\":null,\"content\":\"\""), "files[0].path", "files[0].path must be a string" },
        { FILE_OF("\"path\":\"a\""), "files[0].content", "files[0].content must be a string" },
        { FILE_OF("\"path\":\"a\",\"content\":{}"), "files[0].content", "files[0].content must be a string" },
        { FILE_OF("\"path\":\"a\",\"content\":null"), "files[0].content", "files[0].content must be a string" },
        { FILE_OF("\"path\":\"a\",\"content\":\"\",\"encoding\":1"), "files[0].encoding",
          "files[0].encoding must be \"utf8\" or \"base64\"" },
        { FILE_OF("\"path\":\"a\",\"content\":\"\",\"encoding\":\"\""), "files[0].encoding",
          "files[0].encoding must be \"utf8\" or \"base64\"" },
        { FILE_OF("\"path\":\"a\",\"content\":\"\",\"encoding\":\"utf-8\""), "files[0].encoding",
          "files[0].encoding must be \"utf8\" or \"base64\"" },
        { FILE_OF("\"path\":\"a\",\"content\":\"\",\"encoding\":\"BASE64\""), "files[0].encoding",
          "files[0].encoding must be \"utf8\" or \"base64\"" },
        { FILE_OF("\"path\":\"a\",\"content\":\"\",\"encoding\":[\"utf8\"]"), "files[0].encoding",
          "files[0].encoding must be \"utf8\" or \"base64\"" },
        /* What one file has is not lent to the next. */
        { WITH("\"files\":[{\"path\":\"a\",\"content\":\"\"},{\"path\":\"b\"}]"), "files[1].content", "files[1].content must be a string" },
        { WITH("\"files\":[{\"path\":\"a\",\"content\":\"\"},{\"content\":\"\"}]"), "files[1].path", "files[1].path must be a string" },
    };
    all_are_taken(taken, COUNT(taken));
    all_are_refused(refusals, COUNT(refusals));
    is_taken(WITH("\"files\":[{\"path\":\"a\",\"content\":\"QQ==\",\"encoding\":\"base64\"},{\"path\":\"b\",\"content\":\"!\"}]"));
}

static void a_path_names_something_below_the_working_folder(void **state)
{
    (void)state;
#define PATH_DETAIL(what) "files[0].path", "files[0].path " what
#define PARTS_WRONG PATH_DETAIL("must have no empty parts, and none that are '.' or '..'")
    static const char *const taken[] = {
        PATH_OF("a"),        PATH_OF("a/b"),          PATH_OF(".a"),     PATH_OF("..a"),     PATH_OF("..."),
        PATH_OF("a."),       PATH_OF("a.."),          PATH_OF(".a/..b"), PATH_OF("a\\/b"),   PATH_OF("a b"),
        PATH_OF("\\\\"),     PATH_OF("\xe2\x82\xac"), PATH_OF("\\n"),    PATH_OF("..\\\\a"), PATH_OF("\\ud83d\\ude00"),
        PATH_OF("%2e%2e/a"),
    };
    static const struct refusal refusals[] = {
        { PATH_OF(""), PATH_DETAIL("must not be empty") },
        { PATH_OF("/"), PATH_DETAIL("must be relative to the working folder") },
        { PATH_OF("/a"), PATH_DETAIL("must be relative to the working folder") },
        { PATH_OF("\\/a"), PATH_DETAIL("must be relative to the working folder") },
        { PATH_OF("\\u002fa"), PATH_DETAIL("must be relative to the working folder") },
        { PATH_OF("//a"), PATH_DETAIL("must be relative to the working folder") },
        { PATH_OF("."), PARTS_WRONG },
        { PATH_OF(".."), PARTS_WRONG },
        { PATH_OF("../a"), PARTS_WRONG },
        { PATH_OF("a/.."), PARTS_WRONG },
        { PATH_OF("a/../b"), PARTS_WRONG },
        { PATH_OF("a/\\u002e\\u002e/b"), PARTS_WRONG },
        { PATH_OF("a\\/..\\/b"), PARTS_WRONG },
        { PATH_OF("./a"), PARTS_WRONG },
        { PATH_OF("a/."), PARTS_WRONG },
        { PATH_OF("a/./b"), PARTS_WRONG },
        { PATH_OF("a/"), PARTS_WRONG },
        { PATH_OF("a//b"), PARTS_WRONG },
        { PATH_OF("\\u0000"), PATH_DETAIL("must not contain a NUL character") },
        { PATH_OF("a\\u0000"), PATH_DETAIL("must not contain a NUL character") },
        { PATH_OF("a\\u0000/../b"), PATH_DETAIL("must not contain a NUL character") },
    };
    all_are_taken(taken, COUNT(taken));
    all_are_refused(refusals, COUNT(refusals));
}

/* A file whose path has parts of these lengths. */
static void path_add(struct text *text, size_t part, size_t parts, size_t last)
{
    text_add(text, "{\"code\":\"x\",\"files\":[{\"path\":\"");
    for (size_t i = 0; i < parts; i++) {
        text_repeat(text, "a", part);
        text_add(text, "/");
    }
    text_repeat(text, "b", last);
    text_add(text, "\",\"content\":\"\"}]}");
}

static void a_path_is_bounded_in_bytes_and_parts(void **state)
{
    (void)state;
    struct text text = text_begin();
    path_add(&text, 0, 0, 255);
    text_is_taken(&text);
    text = text_begin();
    path_add(&text, 0, 0, 256);
    text_is_refused(&text, PATH_DETAIL("has a part of more than 255 bytes"));
    text = text_begin();
    path_add(&text, 256, 1, 1);
    text_is_refused(&text, PATH_DETAIL("has a part of more than 255 bytes"));
    text = text_begin();
    path_add(&text, 1, 15, 1);
    text_is_taken(&text);
    text = text_begin();
    path_add(&text, 1, 16, 1);
    text_is_refused(&text, PATH_DETAIL("has more than 16 parts"));
    text = text_begin();
    path_add(&text, 203, 5, 4); /* 1024 bytes */
    text_is_taken(&text);
    text = text_begin();
    path_add(&text, 203, 5, 5);
    text_is_refused(&text, PATH_DETAIL("is too long"));
    /* Bytes count as decoded: six for each of these escapes, but two of UTF-8. */
    for (size_t times = 127; times <= 128; times++) {
        text = text_begin();
        text_add(&text, "{\"code\":\"x\",\"files\":[{\"path\":\"");
        text_repeat(&text, "\\u00e9", times);
        text_add(&text, "\",\"content\":\"\"}]}");
        if (times == 127)
            text_is_taken(&text);
        else
            text_is_refused(&text, PATH_DETAIL("has a part of more than 255 bytes"));
    }
}

/* Files of these paths and no content; up to a NULL. */
static void files_add(struct text *text, const char *const *paths)
{
    text_add(text, "{\"code\":\"x\",\"files\":[");
    for (size_t i = 0; paths[i] != NULL; i++)
        text_add(text, "%s{\"path\":\"%s\",\"content\":\"\"}", i > 0 ? "," : "", paths[i]);
    text_add(text, "]}");
}

static void no_path_is_there_twice_or_a_folder_of_another(void **state)
{
    (void)state;
    static const char *const taken[][5] = {
        { "a/b.csv" },    { "a/b", "a/c" }, { "a", "a.b" },
        { "a", "A" },     { "a/b", "a.b" }, { "a", "aa/b", "a.b/c" },
        { "a/b", "b/a" }, { "b", "a/b" },   { "a/b", "a/b.c", "a/b-c/d" },
    };
    static const struct {
        const char *paths[5], *detail;
    } refused[] = {
        { { "a", "a" }, "files has the path 'a' twice" },
        { { "a/b", "c", "a/b" }, "files has the path 'a/b' twice" },
        { { "a/b", "a\\/b" }, "files has the path 'a/b' twice" },
        { { "\\u0061", "a" }, "files has the path 'a' twice" },
        { { "a", "a/b" }, "files has 'a' as a file and as a folder" },
        { { "a/b", "a" }, "files has 'a' as a file and as a folder" },
        { { "a", "a.b", "a/b" }, "files has 'a' as a file and as a folder" }, /* '.' sorts between them */
        { { "a/b", "a.b", "a-", "a" }, "files has 'a' as a file and as a folder" },
        { { "a/b/c/d", "a/b" }, "files has 'a/b' as a file and as a folder" },
        { { "\xc3\xa9/b", "\xc3\xa9!", "\xc3\xa9" }, "files has '\xc3\xa9' as a file and as a folder" },
    };
    for (size_t i = 0; i < COUNT(taken); i++) {
        struct text text = text_begin();
        files_add(&text, taken[i]);
        text_is_taken(&text);
    }
    for (size_t i = 0; i < COUNT(refused); i++) {
        struct text text = text_begin();
        files_add(&text, refused[i].paths);
        text_is_refused(&text, "files", refused[i].detail);
    }
    /* A long path is clipped where it is told. */
    char path[120], detail[160];
    memset(path, 'p', sizeof path - 1);
    path[sizeof path - 1] = '\0';
    snprintf(detail, sizeof detail, "files has the path '%.100s' twice", path);
    struct text text = text_begin();
    files_add(&text, (const char *const[]) { path, path, NULL });
    text_is_refused(&text, "files", detail);
}

static void there_may_be_a_thousand_files(void **state)
{
    (void)state;
    for (size_t files = 1000; files <= 1001; files++) {
        struct text text = text_begin();
        text_add(&text, "{\"code\":\"x\",\"files\":[");
        for (size_t i = 0; i < files; i++)
            text_add(&text, "%s{\"path\":\"%zu\",\"content\":\"\"}", i > 0 ? "," : "", i);
        text_add(&text, "]}");
        if (files == 1000)
            text_is_taken(&text);
        else
            text_is_refused(&text, "files", "files holds more than 1000 files");
    }
}

static void base64_is_padded_and_without_white_space(void **state)
{
    (void)state;
    static const char *const right[] = { "", "AAAA", "AAA=", "AA==", "QUJDREVG", "+/09", "+\\/09", "az\\u0041Z", "\\u0041AAA", "AAAAAA==" };
    static const char *const wrong[] = {
        "A",    "AA",         "AAA",        "AAAAA",      "====",           "=",      "==",        "===",  "A===", "AA=A",
        "=AAA", "A=AA",       "AA==AAAA",   "AAAA====",   "AAA=\\n",        "AA AA ", "AAA\\n",    " AAA", "AAA-", "AAA_",
        "A,AA", "AAA\\u0000", "\\u0000AAA", "AA\xc3\xa9", "\\ud83d\\ude00", "AAAA=",  "AA\\u003d",
    };
    char body[256];
    for (size_t i = 0; i < COUNT(right); i++) {
        snprintf(body, sizeof body, FILE_OF("\"path\":\"a\",\"encoding\":\"base64\",\"content\":\"%s\""), right[i]);
        is_taken(body);
    }
    for (size_t i = 0; i < COUNT(wrong); i++) {
        snprintf(body, sizeof body, FILE_OF("\"path\":\"a\",\"content\":\"%s\",\"encoding\":\"base64\""), wrong[i]);
        is_refused(body, "files[0].content",
                   "files[0].content is no base64: groups of four of A-Z, a-z, 0-9, + and /, padded with =, are expected");
        snprintf(body, sizeof body, FILE_OF("\"path\":\"a\",\"content\":\"%s\""), wrong[i]);
        is_taken(body); /* as text */
    }
}

/* One file of `bytes` bytes, beside one of `beside`, in either encoding. */
static void bytes_are_judged(size_t bytes, size_t beside, bool base64, bool taken)
{
    struct text text = text_begin();
    text_add(&text, "{\"code\":\"x\",\"files\":[{\"path\":\"a\",\"content\":\"");
    text_repeat(&text, "0123456789abcdef", beside / 16);
    text_repeat(&text, "\\n", beside % 16); /* counted as decoded */
    text_add(&text, "\"},{\"path\":\"b\",\"encoding\":\"%s\",\"content\":\"", base64 ? "base64" : "utf8");
    if (base64) {
        text_repeat(&text, "AAAA", bytes / 3);
        text_add(&text, "%s", bytes % 3 == 2 ? "AAA=" : bytes % 3 == 1 ? "AA==" : "");
    } else {
        text_repeat(&text, "\xc3\xa9", bytes / 2);
        text_repeat(&text, "x", bytes % 2);
    }
    text_add(&text, "\"}]}");
    fclose(text.to);
    if (taken)
        is_taken(text.at);
    else
        bytes_are_refused(text.at, text.length, 413, "too_large", "files", "files hold more than 2 MiB");
    free(text.at);
}

static void files_hold_as_many_bytes_as_they_may_in_sum(void **state)
{
    (void)state;
    for (int base64 = 0; base64 <= 1; base64++) {
        bytes_are_judged(2 * MIB, 0, base64, true);
        bytes_are_judged(2 * MIB + 1, 0, base64, false);
        bytes_are_judged(2 * MIB - 1001, 1001, base64, true);
        bytes_are_judged(2 * MIB - 1000, 1001, base64, false);
        bytes_are_judged(0, 2 * MIB, base64, true);
        bytes_are_judged(1, 2 * MIB, base64, false);
    }
}

static void argv_and_env_are_strings_that_the_kernel_takes(void **state)
{
    (void)state;
#define NAME_WRONG " has a name that is empty, or holds '=' or a NUL character"
    static const char *const taken[] = {
        WITH("\"argv\":[]"),          WITH("\"argv\":[\"\",\"a b\",\"-\",\"=\",\"\xc3\xa9\"]"), WITH("\"env\":{}"),
        WITH("\"env\":{\"A\":\"\"}"), WITH("\"env\":{\"a b\":\"=\",\"\xc3\xa9\":\"\\n\"}"),
    };
    static const struct refusal refusals[] = {
        { WITH("\"argv\":{}"), "argv", "argv must be an array of strings" },
        { WITH("\"argv\":\"a\""), "argv", "argv must be an array of strings" },
        { WITH("\"argv\":[1]"), "argv[0]", "argv[0] must be a string" },
        { WITH("\"argv\":[\"a\",null]"), "argv[1]", "argv[1] must be a string" },
        { WITH("\"argv\":[[\"a\"]]"), "argv[0]", "argv[0] must be a string" },
        { WITH("\"argv\":[\"a\",\"b\",\"\\u0000\"]"), "argv[2]", "argv[2] must not contain a NUL character" },
        { WITH("\"env\":[]"), "env", "env must be an object of strings" },
        { WITH("\"env\":[\"A=1\"]"), "env", "env must be an object of strings" },
        { WITH("\"env\":1"), "env", "env must be an object of strings" },
        { WITH("\"env\":{\"A\":1}"), "env.A", "env.A must be a string" },
        { WITH("\"env\":{\"A\":null}"), "env.A", "env.A must be a string" },
        { WITH("\"env\":{\"A\":\"a\\u0000\"}"), "env.A", "env.A must not contain a NUL character" },
        { WITH("\"env\":{\"\":\"a\"}"), "env.", "env." NAME_WRONG },
        { WITH("\"env\":{\"A=\":\"a\"}"), "env.A=", "env.A=" NAME_WRONG },
        { WITH("\"env\":{\"=A\":\"a\"}"), "env.=A", "env.=A" NAME_WRONG },
        { WITH("\"env\":{\"A\\u003dB\":\"a\"}"), "env.A\\u003dB", "env.A\\u003dB" NAME_WRONG },
        { WITH("\"env\":{\"A\\u0000\":\"a\"}"), "env.A\\u0000", "env.A\\u0000" NAME_WRONG },
        { WITH("\"env\":{\"B\":\"\",\"" LETTERS_60 "i=\":\"a\"}"), "env." LETTERS_60 "...", "env." LETTERS_60 "..." NAME_WRONG },
    };
    all_are_taken(taken, COUNT(taken));
    all_are_refused(refusals, COUNT(refusals));
}

static void argv_and_env_are_bounded_in_entries(void **state)
{
    (void)state;
    for (size_t entries = 256; entries <= 257; entries++) {
        struct text argv = text_begin(), env = text_begin();
        text_add(&argv, "{\"code\":\"x\",\"argv\":[");
        text_add(&env, "{\"code\":\"x\",\"env\":{");
        for (size_t i = 0; i < entries; i++) {
            text_add(&argv, "%s\"\"", i > 0 ? "," : "");
            text_add(&env, "%s\"A%zu\":\"\"", i > 0 ? "," : "", i);
        }
        text_add(&argv, "]}");
        text_add(&env, "}}");
        if (entries == 256) {
            text_is_taken(&argv);
            text_is_taken(&env);
        } else {
            text_is_refused(&argv, "argv", "argv has more than 256 entries");
            text_is_refused(&env, "env", "env has more than 256 entries");
        }
    }
}

/* Names count as values do, and all of it as decoded. */
static void argv_and_env_are_bounded_in_bytes(void **state)
{
    (void)state;
    for (size_t bytes = 65536; bytes <= 65537; bytes++) {
        struct text argv = text_begin(), env = text_begin();
        text_add(&argv, "{\"code\":\"x\",\"argv\":[\"\\u00e9\",\"");
        text_repeat(&argv, "a", bytes - 2);
        text_add(&argv, "\"],\"env\":{\"A\":\"1\"}}"); /* each has its own sum */
        text_add(&env, "{\"code\":\"x\",\"argv\":[\"a\"],\"env\":{\"N\\u0041ME\":\"\",\"B\":\"");
        text_repeat(&env, "a", bytes - 5);
        text_add(&env, "\"}}");
        if (bytes == 65536) {
            text_is_taken(&argv);
            text_is_taken(&env);
        } else {
            text_is_refused(&argv, "argv", "argv is larger than 64 KiB");
            text_is_refused(&env, "env", "env is larger than 64 KiB");
        }
    }
}

static void fetch_is_patterns_below_the_working_folder(void **state)
{
    (void)state;
#define FETCH_OF(pattern) WITH("\"fetch\":[\"" pattern "\"]")
#define FETCH_DETAIL(what) "fetch[0]", "fetch[0] " what
#define FETCH_PARTS FETCH_DETAIL("must have no empty parts, and none that are '.' or '..'")
    static const char *const taken[] = {
        WITH("\"fetch\":[]"), FETCH_OF("*"),        FETCH_OF("**"),        FETCH_OF("a/**/b/*.csv"), FETCH_OF("**/**/**/**"),
        FETCH_OF("[a-z]?"),   FETCH_OF("********"), FETCH_OF("*/*/*/*/*"), FETCH_OF("a***"),         WITH("\"fetch\":[\"a\",\"a\"]"),
    };
    static const struct refusal refusals[] = {
        { WITH("\"fetch\":\"*\""), "fetch", "fetch must be an array of patterns" },
        { WITH("\"fetch\":{}"), "fetch", "fetch must be an array of patterns" },
        { WITH("\"fetch\":[1]"), "fetch[0]", "fetch[0] must be a string" },
        { WITH("\"fetch\":[\"a\",null]"), "fetch[1]", "fetch[1] must be a string" },
        { WITH("\"fetch\":[\"a\",\"/b\"]"), "fetch[1]", "fetch[1] must be relative to the working folder" },
        { FETCH_OF(""), FETCH_DETAIL("must not be empty") },
        { FETCH_OF("a\\u0000"), FETCH_DETAIL("must not contain a NUL character") },
        { FETCH_OF("/**"), FETCH_DETAIL("must be relative to the working folder") },
        { FETCH_OF("../*"), FETCH_PARTS },
        { FETCH_OF("*/.."), FETCH_PARTS },
        { FETCH_OF("."), FETCH_PARTS },
        { FETCH_OF("**/"), FETCH_PARTS },
        { FETCH_OF("*//*"), FETCH_PARTS },
        { FETCH_OF("1/2/3/4/5/6/7/8/9/10/11/12/13/14/15/16/*"), FETCH_DETAIL("has more than 16 parts") },
        { FETCH_OF("**/**/**/**/**"), FETCH_DETAIL("has '**' more than four times") },
        { FETCH_OF("a**b**c**d**e**"), FETCH_DETAIL("has '**' more than four times") },
        { FETCH_OF("**********"), FETCH_DETAIL("has '**' more than four times") },
    };
    all_are_taken(taken, COUNT(taken));
    all_are_refused(refusals, COUNT(refusals));
    for (size_t length = 256; length <= 257; length++) {
        struct text text = text_begin();
        text_add(&text, "{\"code\":\"x\",\"fetch\":[\"a/");
        text_repeat(&text, "b", length - 2);
        text_add(&text, "\"]}");
        if (length == 256)
            text_is_taken(&text);
        else
            text_is_refused(&text, FETCH_DETAIL("is too long"));
    }
    for (size_t patterns = 32; patterns <= 33; patterns++) {
        struct text text = text_begin();
        text_add(&text, "{\"code\":\"x\",\"fetch\":[\"a\"");
        text_repeat(&text, ",\"b\"", patterns - 1);
        text_add(&text, "]}");
        if (patterns == 32)
            text_is_taken(&text);
        else
            text_is_refused(&text, "fetch", "fetch has more than 32 patterns");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_request_of_code_alone_gets_the_most_of_everything),
        cmocka_unit_test(a_request_of_every_field_is_taken),
        cmocka_unit_test(null_is_as_good_as_no_field_where_a_field_is_optional),
        cmocka_unit_test(code_has_two_names_and_is_told_what_is_wrong_with_it),
        cmocka_unit_test(a_body_that_is_no_json_object_is_told_what_is_wrong),
        cmocka_unit_test(a_body_may_be_nested_up_to_the_limit),
        cmocka_unit_test(an_unknown_field_is_named_with_those_that_there_are),
        cmocka_unit_test(the_first_of_several_problems_is_told),
        cmocka_unit_test(entry_is_the_name_of_a_function),
        cmocka_unit_test(input_stdin_runtime_and_stream_are_of_their_types),
        cmocka_unit_test(a_limit_is_a_whole_number_within_its_bounds),
        cmocka_unit_test(files_are_objects_of_path_content_and_encoding),
        cmocka_unit_test(a_path_names_something_below_the_working_folder),
        cmocka_unit_test(a_path_is_bounded_in_bytes_and_parts),
        cmocka_unit_test(no_path_is_there_twice_or_a_folder_of_another),
        cmocka_unit_test(there_may_be_a_thousand_files),
        cmocka_unit_test(base64_is_padded_and_without_white_space),
        cmocka_unit_test(files_hold_as_many_bytes_as_they_may_in_sum),
        cmocka_unit_test(argv_and_env_are_strings_that_the_kernel_takes),
        cmocka_unit_test(argv_and_env_are_bounded_in_entries),
        cmocka_unit_test(argv_and_env_are_bounded_in_bytes),
        cmocka_unit_test(fetch_is_patterns_below_the_working_folder),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
