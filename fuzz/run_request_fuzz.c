/* The body of POST /v1/run, of any bytes: it gives limits within their bounds and files that stay below their folder, or a problem that can
 * be told. */
#include "front/json_check.h"
#include "front/run_request.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void promise(bool kept, const char *what)
{
    if (!kept) {
        fprintf(stderr, "broken: %s\n", what);
        abort();
    }
}

static bool within(uint64_t limit, uint64_t least, uint64_t most)
{
    return limit >= least && limit <= most;
}

static void path_judge(struct json_slice value)
{
    char *text = malloc(value.length + 3);
    if (text == NULL)
        return;
    text[0] = '/'; /* and one behind it: then each part has two */
    size_t length = 1 + json_string_decode((struct json_slice) { value.at + 1, value.length - 2 }, text + 1);
    promise(memchr(text, '\0', length) == NULL, "a path has no NUL");
    strcpy(text + length, "/");
    promise(length > 1 && length <= 1 + RUN_PATH_MAX, "a path has its length");
    promise(strstr(text, "//") == NULL && strstr(text, "/./") == NULL && strstr(text, "/../") == NULL, "a path goes down");
    free(text);
}

static void path_see(void *context, struct json_slice key, struct json_slice value)
{
    bool *seen = context;
    if (json_key_is(key, "path")) {
        promise(value.at[0] == '"' && !*seen, "a file has one path");
        *seen = true;
        path_judge(value);
    }
}

static void file_see(void *context, struct json_slice key, struct json_slice value)
{
    size_t *count = context;
    bool seen = false;
    (void)key;
    json_each(value, path_see, &seen);
    promise(seen, "a file has a path");
    promise(++*count <= RUN_FILES_MAX, "there are not too many files");
}

static void pattern_see(void *context, struct json_slice key, struct json_slice value)
{
    size_t *count = context;
    (void)key;
    path_judge(value);
    promise(++*count <= RUN_PATTERNS_MAX, "there are not too many patterns");
}

static void field_see(void *context, struct json_slice key, struct json_slice value)
{
    bool *source = context;
    size_t count = 0;
    if (json_key_is(key, "code") || json_key_is(key, "script")) {
        promise(value.at[0] == '"' && !*source, "a request has one code");
        *source = true;
    } else if (json_key_is(key, "files")) {
        json_each(value, file_see, &count);
    } else if (json_key_is(key, "fetch")) {
        json_each(value, pattern_see, &count);
    }
}

static void request_judge(const struct run_request *request, const struct run_limits *most, const char *body, size_t size)
{
    const struct run_limits *limits = &request->limits;
    bool source = false;
    promise(within(limits->wall_ms, 1, most->wall_ms) && within(limits->cpu_ms, 1, most->cpu_ms) &&
                within(limits->memory_mb, RUN_MEMORY_LEAST, most->memory_mb) && within(limits->output_kb, 1, most->output_kb) &&
                within(limits->files_mb, 1, most->files_mb) && within(limits->processes, 1, most->processes),
            "a limit is within its bounds");
    promise(request->runtime[0] != '\0' && memchr(request->runtime, '\0', sizeof request->runtime) != NULL, "a runtime has a name");
    json_each((struct json_slice) { body, size }, field_see, &source);
    promise(source, "a request has code");
}

static void problem_judge(const struct problem *problem)
{
    static const struct json_rules RULES = { .depth_max = 1, .repeated_keys_refused = true };
    struct json_error error;
    size_t length = 0;
    promise(problem->status == 400 || problem->status == 413 || problem->status == 422, "what is wrong with a body is the client's");
    promise(problem->detail[0] != '\0' && memchr(problem->detail, '\0', sizeof problem->detail) != NULL, "a problem says what is wrong");
    promise(memchr(problem->param, '\0', sizeof problem->param) != NULL, "a problem says where");
    char *body = problem_body(problem, &length);
    promise(body == NULL || json_check(body, length, &RULES, NULL, NULL, &error) == JSON_OK, "a problem is JSON");
    free(body);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct run_limits MOST = { 60000, 30000, 512, 1024, 1, 64 };
    struct run_request request = { 0 };
    struct problem problem = { 0 };
    char *body = malloc(size > 0 ? size : 1);
    if (body == NULL)
        return 0;
    if (size > 0)
        memcpy(body, data, size);
    unsigned status = run_request_parse(body, size, &MOST, &request, &problem);
    promise(status == problem.status, "the problem has the status");
    if (status == 0)
        request_judge(&request, &MOST, body, size);
    else
        problem_judge(&problem);
    free(body);
    return 0;
}
