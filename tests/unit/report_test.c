#include "base/clock.h"
#include "front/json_check.h"
#include "front/report.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include <cmocka.h>

#define COUNT(array) (sizeof(array) / sizeof *(array))

#define FILE_A "{\"path\":\"a\",\"type\":\"t\",\"size\":1,\"sha256\":\"\",\"content\":\"x\",\"encoding\":\"utf8\"}"
#define FRAME_F "{\"file\":\"f\",\"line\":1,\"function\":\"m\",\"code\":null}"
#define ERROR_OF(name) "{\"name\":\"" name "\",\"value\":\"\",\"line\":null,\"traceback\":\"\",\"frames\":[" FRAME_F "]}"

enum { MIB = 1 << 20, DEPTH_MOST = 100100 };

/* As of wait(2). */
enum { CORE = 0x80 };
#define EXITED(code) ((code) << 8)

static const char *const NAMES[] = { "id",     "status", "result", "stdout", "stderr", "truncated", "exit_code",
                                     "signal", "error",  "limit",  "denied", "files",  "usage",     "runtime" };

/* A body, and its members as they are written. */
struct answer {
    char *body;
    size_t length;
    enum run_status status;
    size_t count;
    struct json_slice members[COUNT(NAMES)];
};

/* A run as it is at its end. */
struct run {
    struct front front;
    struct worker worker;
    struct call call;
    struct ending ending;
};

static struct run run_made(const char *payload)
{
    struct run run = {
        .front.plan = { .tmp_bytes = 64 * MIB,
                        .result_max = 1 * MIB,
                        .runtimes = 1,
                        .runtime = { { .name = "default", .python = "3.11.2", .isolation = "full" } } },
        .call = { .id = "r-1", .limits = { 60000, 2000, 256, 64, 4, 16 } },
    };
    run.call.started_ns = clock_ns() - 7 * NS_PER_MS;
    run.call.queued_ns = run.call.started_ns - 1500000;
    if (payload != NULL) {
        run.worker.payload.at = (char *)payload;
        run.worker.payload.used = strlen(payload);
        run.worker.said = FRAME_REPORT;
    }
    return run;
}

/* Judged by the kind of end: one of enum died_why, or 0 where it ended by its own word. */
static struct run run_died_of(const char *payload, uint32_t why, int32_t status)
{
    struct run run = run_made(payload);
    run.ending.died = why != 0;
    run.ending.why = why;
    run.ending.status = status;
    return run;
}

static void member_keep(void *context, struct json_slice key, struct json_slice value)
{
    struct answer *answer = context;
    if (answer->count >= COUNT(NAMES) || !json_key_is(key, NAMES[answer->count]))
        fail_msg("member %zu is %.*s", answer->count, (int)key.length, key.at);
    answer->members[answer->count++] = value;
}

/* Every answer has each member once, in their order, and is JSON. The payload is a copy of its exact size, so that a sanitizer sees a read
 * past the end. */
static struct answer answer_of(const struct run *run)
{
    const struct json_rules rules = { .depth_max = DEPTH_MOST };
    struct json_error error;
    struct answer answer = { 0 };
    struct worker worker = run->worker;
    struct run_usage usage;
    worker.payload.at = malloc(worker.payload.used > 0 ? worker.payload.used : 1);
    assert_non_null(worker.payload.at);
    if (worker.payload.used > 0)
        memcpy(worker.payload.at, run->worker.payload.at, worker.payload.used);
    answer.body = report_make(&run->front, &worker, &run->call, &run->ending, &answer.status, &usage, &answer.length);
    free(worker.payload.at);
    assert_non_null(answer.body);
    if (json_check(answer.body, answer.length, &rules, member_keep, &answer, &error) != JSON_OK)
        fail_msg("%.*s: %s at byte %zu", answer.length < 2000 ? (int)answer.length : 2000, answer.body, error.what, error.offset);
    assert_int_equal(answer.count, COUNT(NAMES));
    return answer;
}

static struct json_slice member_of(const struct answer *answer, const char *name)
{
    for (size_t i = 0; i < COUNT(NAMES); i++)
        if (strcmp(NAMES[i], name) == 0)
            return answer->members[i];
    fail_msg("%s", name);
    return (struct json_slice) { 0 };
}

static void member_is(const struct answer *answer, const char *name, const char *text)
{
    struct json_slice value = member_of(answer, name);
    if (value.length != strlen(text) || memcmp(value.at, text, value.length) != 0)
        fail_msg("%s is %.*s, and not %s, in %.*s", name, (int)value.length, value.at, text, (int)answer->length, answer->body);
}

/* The statuses in `ret_status` and in the body are one. */
static void status_is(const struct answer *answer, enum run_status status)
{
    char text[32];
    snprintf(text, sizeof text, "\"%s\"", run_status_name(status));
    member_is(answer, "status", text);
    assert_int_equal(answer->status, status);
}

static void run_has(const struct run *run, const char *name, const char *text)
{
    struct answer answer = answer_of(run);
    member_is(&answer, name, text);
    free(answer.body);
}

/* What of it is text is as given; NULL isn't looked at. */
static void run_comes_to(const struct run *run, enum run_status status, const char *exit_code, const char *signal, const char *limit)
{
    struct answer answer = answer_of(run);
    status_is(&answer, status);
    if (exit_code != NULL)
        member_is(&answer, "exit_code", exit_code);
    if (signal != NULL)
        member_is(&answer, "signal", signal);
    if (limit != NULL)
        member_is(&answer, "limit", limit);
    free(answer.body);
}

static void usage_has(const struct run *run, const char *part)
{
    struct answer answer = answer_of(run);
    struct json_slice usage = member_of(&answer, "usage");
    if (memmem(usage.at, usage.length, part, strlen(part)) == NULL)
        fail_msg("%.*s has no %s", (int)usage.length, usage.at, part);
    free(answer.body);
}

static void a_run_that_went_well_is_told_as_it_was(void **state)
{
    (void)state;
    struct run run = run_made("{\"status\":\"ok\",\"result\": {\"a\": 1.50},\"exit_code\":0,\"error\":null,\"files\":[" FILE_A "]}");
    run.worker.out = (struct buffer) { .at = (char *)"out\n", .used = 4 };
    run.worker.err = (struct buffer) { .at = (char *)"\"err\"", .used = 5 };
    struct answer answer = answer_of(&run);
    status_is(&answer, RUN_OK);
    member_is(&answer, "id", "\"r-1\"");
    member_is(&answer, "result", "{\"a\": 1.50}"); /* as it was spelled */
    member_is(&answer, "stdout", "\"out\\n\"");
    member_is(&answer, "stderr", "\"\\\"err\\\"\"");
    member_is(&answer, "truncated", "[]");
    member_is(&answer, "exit_code", "0");
    member_is(&answer, "signal", "null");
    member_is(&answer, "error", "null");
    member_is(&answer, "limit", "null");
    member_is(&answer, "denied", "null");
    member_is(&answer, "files", "[" FILE_A "]");
    member_is(&answer, "runtime", "{\"name\": \"default\", \"python\": \"3.11.2\", \"isolation\": \"full\"}");
    free(answer.body);
}

static void the_status_is_what_the_worker_says_where_nobody_knows_better(void **state)
{
    (void)state;
    static const struct {
        const char *payload;
        enum run_status status;
        const char *exit_code, *limit;
    } examples[] = {
        { "{\"status\":\"ok\"}", RUN_OK, "0", "null" },
        { "{\"status\":\"exception\",\"exit_code\":1}", RUN_EXCEPTION, "1", "null" },
        { "{\"status\":\"exit\",\"exit_code\":3}", RUN_EXIT, "3", "null" },
        { "{\"status\":\"no_entry\",\"exit_code\":1}", RUN_NO_ENTRY, "1", "null" },
        { "{\"status\":\"not_json\",\"exit_code\":1}", RUN_NOT_JSON, "1", "null" },
        { "{\"st\\u0061tus\":\"\\u006fk\"}", RUN_OK, "0", "null" },
        { "{\"status\":\"memory_limit\",\"memory_kb\":1024}", RUN_MEMORY_LIMIT, "0",
          "{\"name\": \"memory_mb\", \"max\": 256, \"used\": 1.000}" },
        { "{\"status\":\"process_limit\"}", RUN_PROCESS_LIMIT, "0", "{\"name\": \"processes\", \"max\": 16, \"used\": 16.000}" },
        { "{\"status\":\"disk_limit\"}", RUN_DISK_LIMIT, "0", "{\"name\": \"disk_mb\", \"max\": 64, \"used\": 64.000}" },
        { "{\"status\":\"cpu_limit\",\"user_us\":1999000,\"system_us\":1500}", RUN_CPU_LIMIT, "0",
          "{\"name\": \"cpu_ms\", \"max\": 2000, \"used\": 2000.500}" },
        { "{\"status\":\"output_limit\",\"result_bytes\":2097152,\"files_bytes\":1}", RUN_OUTPUT_LIMIT, "0",
          "{\"name\": \"result_kb\", \"max\": 1024, \"used\": 2048.000}" },
        { "{\"status\":\"output_limit\",\"files_bytes\":5242880}", RUN_OUTPUT_LIMIT, "0",
          "{\"name\": \"files_mb\", \"max\": 4, \"used\": 5.000}" },
    };
    for (size_t i = 0; i < COUNT(examples); i++) {
        struct run run = run_made(examples[i].payload);
        run_comes_to(&run, examples[i].status, examples[i].exit_code, "null", examples[i].limit);
        /* Also when its cell ended after it. */
        run = run_died_of(examples[i].payload, DIED_DONE, 0);
        run_comes_to(&run, examples[i].status, examples[i].exit_code, "null", examples[i].limit);
        run = run_died_of(examples[i].payload, DIED_EXITED, EXITED(9));
        run_comes_to(&run, examples[i].status, examples[i].exit_code, "null", examples[i].limit);
    }
}

static void a_result_is_shown_only_of_a_run_that_came_to_one(void **state)
{
    (void)state;
    struct run run = run_made("{\"status\":\"ok\",\"result\":[1]}");
    run_has(&run, "result", "[1]");
    run = run_made("{\"status\":\"ok\"}");
    run_has(&run, "result", "null");
    run = run_made("{\"status\":\"exception\",\"result\":[1]}");
    run_has(&run, "result", "null");
    run = run_made("{\"status\":\"exit\",\"result\":[1]}");
    run_has(&run, "result", "null");
    run = run_made("{\"status\":\"output_limit\",\"files_bytes\":1,\"result\":[1]}"); /* its files were too much, not this */
    run_has(&run, "result", "[1]");
    run = run_died_of("{\"status\":\"ok\",\"result\":[1]}", DIED_DEADLINE, 0); /* in its exit handlers */
    run_has(&run, "result", "[1]");
}

static void a_worker_cannot_say_what_only_keeper_and_kernel_know(void **state)
{
    (void)state;
    static const char *const payloads[] = {
        "{\"status\":\"wall_limit\",\"exit_code\":2}",
        "{\"status\":\"signal\",\"exit_code\":2}",
        "{\"status\":\"cancelled\",\"exit_code\":2}",
        "{\"status\":\"internal\",\"exit_code\":2}",
        "{\"status\":\"si\\u0067nal\",\"exit_code\":2}",
        "{\"status\":\"OK\",\"exit_code\":2}",
        "{\"status\":\"ok \",\"exit_code\":2}",
        "{\"status\":\"\",\"exit_code\":2}",
        "{\"status\":\"\\u0000\",\"exit_code\":2}",
        "{\"status\":\"okay\",\"exit_code\":2}",
        "{\"status\":\"o\",\"exit_code\":2}",
        "{\"exit_code\":2}",
        "{\"status\":null,\"exit_code\":2}",
        "{\"status\":0,\"exit_code\":2}",
        "{\"status\":123,\"exit_code\":2}",
        "{\"status\":true,\"exit_code\":2}",
        "{\"status\":[\"ok\"],\"exit_code\":2}",
        "{\"status\":{\"ok\":\"ok\"},\"exit_code\":2}",
        "{\"status\":[],\"exit_code\":2}",
        "{\"status\":[\"\\\\\"],\"exit_code\":2}",
        "{\"status\":\"ok\\u0000\",\"exit_code\":2}",
    };
    for (size_t i = 0; i < COUNT(payloads); i++) {
        struct run run = run_made(payloads[i]);
        run_comes_to(&run, RUN_EXIT, "2", "null", "null");
    }
}

static void a_report_that_is_none_is_as_if_it_weren_t_there(void **state)
{
    (void)state;
    static const char *const payloads[] = {
        "",
        "{",
        "[]",
        "null",
        "\"ok\"",
        " {\"status\":\"ok\"}",
        "{\"status\":\"ok\"",
        "{\"status\":\"ok\"}}",
        "{\"status\":\"ok\",}",
        "{\"status\":\"ok\",\"result\":NaN}",
        "{\"status\":\"ok\",\"result\":\"\xff\"}",
        "{\"status\":\"ok\",\"result\":[1}",
        "{\"status\":\"ok\",\"exit_code\":7,\"files\":[1],\"error\":{},\"result\":1",
        "{\"status\":\"ok\",\"exit_code\":01}",
        "{\"status\":\"ok\"}\xff",
    };
    for (size_t i = 0; i < COUNT(payloads); i++) {
        struct run run = run_made(payloads[i]);
        struct answer answer = answer_of(&run);
        status_is(&answer, RUN_EXIT);
        member_is(&answer, "exit_code", "null");
        member_is(&answer, "result", "null");
        member_is(&answer, "error", "null");
        member_is(&answer, "files", "[]");
        free(answer.body);
        run = run_died_of(payloads[i], DIED_EXITED, EXITED(5));
        run_comes_to(&run, RUN_EXIT, "5", "null", "null");
    }
    /* Well said, but not by the protocol, or not as a report. */
    struct run run = run_made("{\"status\":\"ok\",\"result\":1}");
    run.worker.refused = true;
    run_comes_to(&run, RUN_EXIT, "null", "null", "null");
    run_has(&run, "result", "null");
    static const uint32_t said[] = { 0, FRAME_RUN, FRAME_RESULT, FRAME_ERROR, FRAME_END, FRAME_REQUEST, UINT32_MAX };
    for (size_t i = 0; i < COUNT(said); i++) {
        run = run_made("{\"status\":\"ok\",\"result\":1}");
        run.worker.said = said[i];
        run_comes_to(&run, RUN_EXIT, "null", "null", "null");
        run_has(&run, "result", "null");
    }
}

static void what_is_not_shaped_as_it_should_be_is_not_told(void **state)
{
    (void)state;
    static const char *const errors[] = { "{}",
                                          "{\"name\":\"E\"}",
                                          "{\"name\":\"E\",\"value\":1,\"line\":null,\"traceback\":\"\",\"frames\":[]}",
                                          "{\"name\":\"E\",\"value\":\"\",\"line\":null,\"traceback\":\"\",\"frames\":[1]}",
                                          "{\"name\":\"E\",\"value\":\"\",\"line\":null,\"traceback\":\"\",\"frames\":[],\"more\":1}",
                                          "{\"name\":\"E\",\"name\":\"E\",\"line\":null,\"traceback\":\"\",\"frames\":{}}" };
    for (size_t i = 0; i < sizeof errors / sizeof *errors; i++) {
        char text[512];
        snprintf(text, sizeof text, "{\"status\":\"exception\",\"error\":%s,\"files\":[{\"path\":\"a\"}]}", errors[i]);
        struct run run = run_made(text);
        run_has(&run, "error", "null");
        run_has(&run, "files", "[]");
    }
}

static void a_member_of_the_wrong_type_is_as_if_it_weren_t_there(void **state)
{
    (void)state;
    static const char *const errors[] = { "null", "1", "\"error\"", "[]", "true" }, *const files[] = { "null", "1", "\"a\"", "{}",
                                                                                                       "false" };
    char payload[128];
    for (size_t i = 0; i < COUNT(errors); i++) {
        snprintf(payload, sizeof payload, "{\"status\":\"exception\",\"error\":%s,\"files\":%s}", errors[i], files[i]);
        struct run run = run_made(payload);
        struct answer answer = answer_of(&run);
        status_is(&answer, RUN_EXCEPTION);
        member_is(&answer, "error", "null");
        member_is(&answer, "files", "[]");
        free(answer.body);
    }
    struct run run = run_made("{\"status\":\"exception\",\"error\":" ERROR_OF("E") ",\"files\":[]}");
    run_has(&run, "error", ERROR_OF("E"));
    run = run_made("{\"status\":\"ok\",\"exit_code\":\"3\",\"user_us\":[5],\"memory_kb\":{},\"faults\":null,\"system_us\":true}");
    run_comes_to(&run, RUN_OK, "0", "null", "null");
    usage_has(&run, "\"user_ms\": 0.000, \"system_ms\": 0.000, \"memory_peak_mb\": 0.000, \"faults\": 0}");
    run = run_made(
        "{\"x\":[],\"id\":\"mine\",\"limit\":{},\"denied\":1,\"stdout\":\"no\",\"usage\":{},\"signal\":\"SIGSEGV\",\"runtime\":{}}");
    run_comes_to(&run, RUN_EXIT, "0", "null", "null");
    run_has(&run, "id", "\"r-1\"");
    run_has(&run, "stdout", "\"\"");
}

static void repeated_keys_make_one_member(void **state)
{
    (void)state;
    struct run run = run_made("{\"status\":\"exit\",\"result\":1,\"status\":\"ok\",\"result\":2,\"exit_code\":1,\"exit_code\":4}");
    run_comes_to(&run, RUN_OK, "4", "null", "null");
    run_has(&run, "result", "2");
    run = run_made("{\"error\":" ERROR_OF("A") ",\"error\":" ERROR_OF("B") ",\"error\":3,\"files\":[" FILE_A "," FILE_A
                                                                           "],\"files\":[" FILE_A "],\"files\":{}}");
    run_has(&run, "error", ERROR_OF("B"));
    run_has(&run, "files", "[" FILE_A "]");
    run = run_made("{\"result\":{\"a\":1,\"a\":2},\"status\":\"ok\"}");
    run_has(&run, "result", "{\"a\":1,\"a\":2}");
}

static void numbers_of_a_worker_are_whole_and_bounded(void **state)
{
    (void)state;
    static const char *const nothing[] = { "-1", "-0", "0", "0.9", "0e9", "-99999999999999999999" };
    static const char *const huge[] = { "18446744073709551615", "18446744073709551616", "99999999999999999999999999",
                                        "999999999999999999" };
    static const char form[] = "{\"status\":\"%s\",\"exit_code\":%s,\"user_us\":%s,\"system_us\":%s,\"faults\":%s,\"memory_kb\":%s,"
                               "\"files_bytes\":%s,\"result_bytes\":%s}";
    static const char *const statuses[] = { "ok", "memory_limit", "output_limit", "cpu_limit", "disk_limit", "process_limit" };
    char payload[512];
    for (size_t i = 0; i < COUNT(nothing); i++) {
        const char *number = nothing[i];
        snprintf(payload, sizeof payload, form, "ok", number, number, number, number, number, number, number);
        struct run run = run_made(payload);
        run_comes_to(&run, RUN_OK, "0", "null", "null");
        usage_has(&run, "\"user_ms\": 0.000, \"system_ms\": 0.000, \"memory_peak_mb\": 0.000, \"faults\": 0}");
    }
    for (size_t i = 0; i < COUNT(huge) * COUNT(statuses); i++) { /* whatever comes out, it is JSON */
        const char *number = huge[i % COUNT(huge)];
        snprintf(payload, sizeof payload, form, statuses[i / COUNT(huge)], number, number, number, number, number, number, number);
        struct run run = run_made(payload);
        free(answer_of(&run).body);
    }
    struct run run = run_made("{\"status\":\"exit\",\"exit_code\":12.75}");
    run_comes_to(&run, RUN_EXIT, "12", "null", "null");
}

static void what_the_keeper_did_wins(void **state)
{
    (void)state;
    static const char *const payloads[] = { NULL, "{", "{\"status\":\"ok\",\"exit_code\":0}", "{\"status\":\"exit\",\"exit_code\":1}",
                                            "{\"status\":\"output_limit\"}" };
    for (size_t i = 0; i < COUNT(payloads); i++) {
        struct run run = run_died_of(payloads[i], DIED_DEADLINE, SIGKILL);
        run_comes_to(&run, RUN_WALL_LIMIT, "null", "\"SIGKILL\"", NULL);
        run = run_died_of(payloads[i], DIED_CPU, SIGKILL);
        run.ending.usage = (struct run_usage) { .user_us = 1990123, .system_us = 20000, .known = USAGE_CPU };
        run_comes_to(&run, RUN_CPU_LIMIT, "null", "\"SIGKILL\"", "{\"name\": \"cpu_ms\", \"max\": 2000, \"used\": 2010.123}");
        run = run_died_of(payloads[i], DIED_MEMORY, SIGKILL);
        run.ending.usage = (struct run_usage) { .memory_peak = 256 * MIB + MIB / 2, .known = USAGE_MEMORY };
        run_comes_to(&run, RUN_MEMORY_LIMIT, "null", "\"SIGKILL\"", "{\"name\": \"memory_mb\", \"max\": 256, \"used\": 256.500}");
        run = run_died_of(payloads[i], DIED_DISK, 0); /* it needn't have been a process of its own */
        run_comes_to(&run, RUN_DISK_LIMIT, "null", "\"SIGKILL\"", "{\"name\": \"disk_mb\", \"max\": 64, \"used\": 64.000}");
    }
}

static void the_wall_time_is_from_when_the_worker_was_taken(void **state)
{
    (void)state;
    struct run run = run_died_of(NULL, DIED_DEADLINE, SIGKILL);
    run.call.started_ns = clock_ns() - 60 * NS_PER_S;
    run.call.queued_ns = run.call.started_ns - 250 * NS_PER_MS;
    struct answer answer = answer_of(&run);
    struct json_slice limit = member_of(&answer, "limit");
    static const char begin[] = "{\"name\": \"wall_ms\", \"max\": 60000, \"used\": ";
    assert_memory_equal(limit.at, begin, sizeof begin - 1);
    assert_true(strtod(limit.at + sizeof begin - 1, NULL) >= 60000);
    free(answer.body);
    usage_has(&run, "{\"queue_ms\": 250.000, \"wall_ms\": 6");
}

static void what_the_kernel_did_is_told_of_a_run_without_a_report(void **state)
{
    (void)state;
    static const char memory[] = "{\"name\": \"memory_mb\", \"max\": 256, \"used\": 255.000}";
    static const char disk[] = "{\"name\": \"disk_mb\", \"max\": 64, \"used\": ";
    static const struct {
        int32_t status;
        uint32_t ooms;
        uint64_t user_us, system_us;
        enum run_status came_to;
        const char *exit_code, *signal, *limit;
    } examples[] = {
        { EXITED(0), 0, 0, 0, RUN_EXIT, "0", "null", "null" },
        { EXITED(1), 0, 0, 0, RUN_EXIT, "1", "null", "null" },
        { EXITED(255), 0, 0, 0, RUN_EXIT, "255", "null", "null" },
        { EXITED(137), 1, 9000000, 0, RUN_EXIT, "137", "null", "null" }, /* a code is no signal */
        { SIGSEGV, 0, 0, 0, RUN_SIGNAL, "null", "\"SIGSEGV\"", "null" },
        { SIGSEGV | CORE, 0, 0, 0, RUN_SIGNAL, "null", "\"SIGSEGV\"", "null" },
        { SIGABRT, 3, 9000000, 0, RUN_SIGNAL, "null", "\"SIGABRT\"", "null" }, /* nobody else sends that */
        { SIGSYS, 0, 0, 0, RUN_SIGNAL, "null", "\"SIGSYS\"", "null" },
        { SIGKILL, 0, 0, 0, RUN_SIGNAL, "null", "\"SIGKILL\"", "null" },
        { SIGTERM, 0, 0, 0, RUN_SIGNAL, "null", "\"SIGTERM\"", "null" },
        { 40, 0, 0, 0, RUN_SIGNAL, "null", "\"SIG40\"", "null" }, /* real-time signals have no names */
        { 64, 0, 0, 0, RUN_SIGNAL, "null", "\"SIG64\"", "null" },
        { SIGKILL, 1, 0, 0, RUN_MEMORY_LIMIT, "null", "\"SIGKILL\"", memory },
        { SIGKILL, UINT32_MAX, 9000000, 0, RUN_MEMORY_LIMIT, "null", "\"SIGKILL\"", memory },
        { SIGKILL, 0, 1900000, 0, RUN_CPU_LIMIT, "null", "\"SIGKILL\"", "{\"name\": \"cpu_ms\", \"max\": 2000, \"used\": 1900.000}" },
        { SIGKILL, 0, 1000000, 899989, RUN_SIGNAL, "null", "\"SIGKILL\"", "null" },
        { SIGXCPU, 0, 1000000, 1000000, RUN_CPU_LIMIT, "null", "\"SIGXCPU\"", "{\"name\": \"cpu_ms\", \"max\": 2000, \"used\": 2000.000}" },
        { SIGXCPU, 0, 5000, 0, RUN_SIGNAL, "null", "\"SIGXCPU\"", "null" }, /* it sent that to itself */
        { SIGXFSZ, 0, 0, 0, RUN_DISK_LIMIT, "null", "\"SIGXFSZ\"", NULL },
    };
    for (size_t i = 0; i < COUNT(examples); i++) {
        struct run run = run_died_of(i % 2 ? NULL : "{", DIED_EXITED, examples[i].status);
        run.ending.usage = (struct run_usage) { .user_us = examples[i].user_us,
                                                .system_us = examples[i].system_us,
                                                .memory_peak = 255 * MIB,
                                                .ooms = examples[i].ooms,
                                                .known = USAGE_CPU | USAGE_MEMORY };
        run_comes_to(&run, examples[i].came_to, examples[i].exit_code, examples[i].signal, examples[i].limit);
    }
    struct run run = run_died_of(NULL, DIED_EXITED, SIGXFSZ);
    struct answer answer = answer_of(&run);
    assert_memory_equal(member_of(&answer, "limit").at, disk, sizeof disk - 1);
    free(answer.body);
}

static void an_end_that_nobody_explains_has_no_exit_code(void **state)
{
    (void)state;
    struct run run = run_made(NULL); /* it was asked to end, and USED came */
    run.ending.usage.ooms = 1;
    run_comes_to(&run, RUN_EXIT, "null", "null", "null");
    run = run_died_of(NULL, DIED_DONE, 0);
    run_comes_to(&run, RUN_EXIT, "null", "null", "null");
    run = run_died_of(NULL, DIED_DONE, SIGKILL); /* which was the keeper's way to end it */
    run_comes_to(&run, RUN_EXIT, "null", "null", "null");
}

static void a_report_that_was_too_large_is_a_limit(void **state)
{
    (void)state;
    struct run run = run_made(NULL);
    run.worker.too_large = run.worker.refused = true;
    run.worker.header = (struct frame_header) { .type = FRAME_REPORT, .exchange = 1, .length = 16 * MIB };
    run_comes_to(&run, RUN_OUTPUT_LIMIT, "null", "null", "{\"name\": \"result_kb\", \"max\": 1024, \"used\": 16384.000}");
    run.ending = (struct ending) { .died = true, .why = DIED_DONE };
    run_comes_to(&run, RUN_OUTPUT_LIMIT, "null", "null", NULL);
    run.ending = (struct ending) { .died = true, .why = DIED_EXITED, .status = SIGSEGV }; /* which is more */
    run_comes_to(&run, RUN_SIGNAL, "null", "\"SIGSEGV\"", "null");
    run.ending = (struct ending) { .died = true, .why = DIED_DEADLINE };
    run_comes_to(&run, RUN_WALL_LIMIT, "null", "\"SIGKILL\"", NULL);
    run.ending = (struct ending) { 0 };
    run.worker.header.length = UINT64_MAX;
    run_comes_to(&run, RUN_OUTPUT_LIMIT, "null", "null", NULL);
}

static void usage_is_the_kernels_where_it_is_known(void **state)
{
    (void)state;
    static const char said[] = "{\"status\":\"ok\",\"user_us\":1001,\"system_us\":2002,\"memory_kb\":3072,\"faults\":4}";
    static const struct {
        uint32_t known;
        const char *usage;
    } examples[] = {
        { 0, "\"user_ms\": 1.001, \"system_ms\": 2.002, \"memory_peak_mb\": 3.000, \"faults\": 4}" },
        { USAGE_CPU, "\"user_ms\": 0.050, \"system_ms\": 0.060, \"memory_peak_mb\": 3.000, \"faults\": 4}" },
        { USAGE_MEMORY, "\"user_ms\": 1.001, \"system_ms\": 2.002, \"memory_peak_mb\": 7.000, \"faults\": 4}" },
        { USAGE_FAULTS, "\"user_ms\": 1.001, \"system_ms\": 2.002, \"memory_peak_mb\": 3.000, \"faults\": 80}" },
        { USAGE_CPU | USAGE_MEMORY | USAGE_FAULTS, "\"user_ms\": 0.050, \"system_ms\": 0.060, \"memory_peak_mb\": 7.000, \"faults\": 80}" },
    };
    for (size_t i = 0; i < COUNT(examples); i++) {
        struct run run = run_made(said);
        run.ending.usage = (struct run_usage) { 50, 60, 7 * MIB, 80, 0, 0, examples[i].known, 0 };
        usage_has(&run, examples[i].usage);
        usage_has(&run, "{\"queue_ms\": 1.500, \"wall_ms\": ");
    }
    /* Nobody knows it, and nobody says it. */
    struct run run = run_died_of(NULL, DIED_EXITED, SIGSEGV);
    usage_has(&run, "\"user_ms\": 0.000, \"system_ms\": 0.000, \"memory_peak_mb\": 0.000, \"faults\": 0}");
    run.ending.usage = (struct run_usage) { UINT64_MAX, UINT64_MAX, UINT64_MAX, UINT64_MAX, UINT32_MAX, UINT32_MAX, UINT32_MAX, 0 };
    usage_has(&run, "\"user_ms\": 18446744073709551.615, \"system_ms\": 18446744073709551.615, ");
}

static void output_is_any_bytes_and_its_cuts_are_named(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        bool cut;
        const char *text;
    } examples[] = {
        { "", false, "\"\"" },
        { "", true, "\"\"" }, /* a limit of nothing */
        { "\xe2\x82\xac", false, "\"\xe2\x82\xac\"" },
        { "\"\\\n\x01\x7f", false, "\"\\\"\\\\\\n\\u0001\x7f\"" },
        { "a\xff\xfe", false, "\"a\xef\xbf\xbd\xef\xbf\xbd\"" },
        { "a\xc0\x80\xed\xa0\x80", false, "\"a\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\"" },
        { "a\xe2\x82", false, "\"a\xef\xbf\xbd\"" },
        { "a\xe2\x82", true, "\"a\"" }, /* our limit split it */
        { "a\xe2\x82\xac", true, "\"a\xe2\x82\xac\"" },
        { "\", \"status\": \"ok", false, "\"\\\", \\\"status\\\": \\\"ok\"" },
    };
    for (size_t i = 0; i < COUNT(examples); i++) {
        struct run run = run_made(i % 2 ? "{\"status\":\"ok\"}" : NULL);
        const struct buffer buffer = { .at = (char *)examples[i].bytes, .used = strlen(examples[i].bytes), .cut = examples[i].cut };
        run.worker.out = buffer;
        run_has(&run, "stdout", examples[i].text);
        run_has(&run, "stderr", "\"\"");
        run_has(&run, "truncated", examples[i].cut ? "[\"stdout\"]" : "[]");
        run.worker.err = buffer;
        run_has(&run, "stderr", examples[i].text);
        run_has(&run, "truncated", examples[i].cut ? "[\"stdout\", \"stderr\"]" : "[]");
        run.worker.out = (struct buffer) { 0 };
        run_has(&run, "truncated", examples[i].cut ? "[\"stderr\"]" : "[]");
    }
    char every[256];
    for (size_t i = 0; i < sizeof every; i++)
        every[i] = (char)i;
    struct run run = run_made(NULL);
    run.worker.out = (struct buffer) { .at = every, .used = sizeof every };
    run.worker.err = (struct buffer) { .at = every, .used = sizeof every, .cut = true };
    free(answer_of(&run).body);
}

static void a_result_may_be_nested_deeply_and_no_deeper(void **state)
{
    (void)state;
    enum { DEPTH = 100000 };
    static char payload[2 * DEPTH + 100];
    for (size_t past = 0; past <= 8; past += 8) { /* of arrays inside the one object */
        size_t used = (size_t)sprintf(payload, "{\"status\":\"ok\",\"result\":");
        memset(payload + used, '[', DEPTH + past);
        memset(payload + used + DEPTH + past, ']', DEPTH + past);
        strcpy(payload + used + 2 * (DEPTH + past), "}");
        struct run run = run_made(payload);
        run_comes_to(&run, past ? RUN_EXIT : RUN_OK, past ? "null" : "0", "null", "null");
    }
}

static void refused_calls_are_told_where_they_are_heard_of(void **state)
{
    (void)state;
    struct run run = run_made("{\"status\":\"ok\",\"denied\":[1]}");
    run.worker.denied = (struct denied) { .kinds = { { SYS_socket, AF_INET, 2 } }, .used = 1, .sum = 2 };
    run_has(&run, "denied", "null"); /* on a host without listeners nobody knows */
    run.front.plan.runtime[0].notify = 1;
    struct answer answer = answer_of(&run);
    static const char begin[] = "[{\"call\": \"socket\", \"detail\": \"AF_INET\", \"count\": 2, \"hint\": \"";
    assert_memory_equal(member_of(&answer, "denied").at, begin, sizeof begin - 1);
    free(answer.body);
    run.worker.denied = (struct denied) { 0 };
    run_has(&run, "denied", "[]");
    /* As many as there may be: known and unknown calls, and values that no script has reason for. */
    for (uint32_t i = 0; i < DENIED_KINDS; i++)
        run.worker.denied.kinds[i] = (struct denied_kind) { i % 2 ? SYS_socket + (int)i : INT32_MIN + (int)i, UINT32_MAX, UINT64_MAX };
    run.worker.denied.used = DENIED_KINDS;
    run.worker.denied.others = UINT64_MAX;
    free(answer_of(&run).body);
}

static void every_status_has_a_name_of_its_own(void **state)
{
    (void)state;
    for (int i = 0; i < RUN_STATUSES; i++) {
        assert_non_null(run_status_name((enum run_status)i));
        for (int j = 0; j < i; j++)
            assert_string_not_equal(run_status_name((enum run_status)i), run_status_name((enum run_status)j));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_run_that_went_well_is_told_as_it_was),
        cmocka_unit_test(the_status_is_what_the_worker_says_where_nobody_knows_better),
        cmocka_unit_test(a_result_is_shown_only_of_a_run_that_came_to_one),
        cmocka_unit_test(a_worker_cannot_say_what_only_keeper_and_kernel_know),
        cmocka_unit_test(a_report_that_is_none_is_as_if_it_weren_t_there),
        cmocka_unit_test(a_member_of_the_wrong_type_is_as_if_it_weren_t_there),
        cmocka_unit_test(what_is_not_shaped_as_it_should_be_is_not_told),
        cmocka_unit_test(repeated_keys_make_one_member),
        cmocka_unit_test(numbers_of_a_worker_are_whole_and_bounded),
        cmocka_unit_test(what_the_keeper_did_wins),
        cmocka_unit_test(the_wall_time_is_from_when_the_worker_was_taken),
        cmocka_unit_test(what_the_kernel_did_is_told_of_a_run_without_a_report),
        cmocka_unit_test(an_end_that_nobody_explains_has_no_exit_code),
        cmocka_unit_test(a_report_that_was_too_large_is_a_limit),
        cmocka_unit_test(usage_is_the_kernels_where_it_is_known),
        cmocka_unit_test(output_is_any_bytes_and_its_cuts_are_named),
        cmocka_unit_test(a_result_may_be_nested_deeply_and_no_deeper),
        cmocka_unit_test(refused_calls_are_told_where_they_are_heard_of),
        cmocka_unit_test(every_status_has_a_name_of_its_own),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
