#include "front/report.h"

#include "base/clock.h"
#include "front/json_check.h"
#include "front/json_write.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

enum { REPORT_DEPTH_MAX = 100000 + 8, NEARLY_PERCENT = 95, ERROR_SIZE_MAX = 1 << 20, FILES_ROOM = 2 << 20 };

#define MIB (UINT64_C(1) << 20)

static const char *const STATUSES[RUN_STATUSES] = {
    [RUN_OK] = "ok",
    [RUN_EXCEPTION] = "exception",
    [RUN_EXIT] = "exit",
    [RUN_NO_ENTRY] = "no_entry",
    [RUN_NOT_JSON] = "not_json",
    [RUN_WALL_LIMIT] = "wall_limit",
    [RUN_CPU_LIMIT] = "cpu_limit",
    [RUN_MEMORY_LIMIT] = "memory_limit",
    [RUN_OUTPUT_LIMIT] = "output_limit",
    [RUN_PROCESS_LIMIT] = "process_limit",
    [RUN_DISK_LIMIT] = "disk_limit",
    [RUN_SIGNAL] = "signal",
    [RUN_CANCELLED] = "cancelled",
    [RUN_INTERNAL] = "internal",
};

uint64_t report_files_most(const struct call *call)
{
    return ((call->limits.files_mb << 20) / 3 + 1) * 6 + FILES_ROOM; /* base64, or text with an escape for each other byte */
}

const char *run_status_name(enum run_status status)
{
    return STATUSES[status];
}

/* What the worker said: a stranger's word, so each member is of its type, or as if it weren't there. */
struct words {
    enum run_status status;
    struct json_slice result, error, files; /* `at` NULL: null, null and [] */
    uint64_t result_most, files_most;       /* bytes */
    uint64_t exit_code, user_us, system_us, faults, memory_kb, files_bytes, files_count, disk_files, result_bytes;
};

struct report {
    const struct front *front;
    const struct worker *worker;
    const struct call *call;
    struct words words;
    enum run_status status;
    bool has_code;
    int signal; /* 0: none */
    const char *limit;
    uint64_t limit_most, limit_used; /* in thousandths */
    struct run_usage usage;
    uint64_t wall_us, queue_us;
};

static enum run_status status_read(struct json_slice value)
{
    for (int i = 0; i < RUN_STATUSES; i++)
        if (value.length > 2 && json_key_is((struct json_slice) { value.at + 1, value.length - 2 }, STATUSES[i]))
            /* What only keeper and kernel know, it can't say. */
            return i == RUN_WALL_LIMIT || i == RUN_SIGNAL || i >= RUN_CANCELLED ? RUN_EXIT : (enum run_status)i;
    return RUN_EXIT;
}

static uint64_t number_read(struct json_slice value)
{
    uint64_t number = 0;
    for (size_t i = 0; i < value.length && i < 15 && /* so that no unit makes it overflow */ value.at[i] >= '0' && value.at[i] <= '9'; i++)
        number = number * 10 + (uint64_t)(value.at[i] - '0');
    return number;
}

/* What the parts of a worker's report look like: clients are written for that, whoever wrote the script. */
struct member {
    const char *name, *kinds; /* first characters of its value: " a string, 0 a number, n null, [ an array */
};

static const struct member ERROR_MEMBERS[] = {
    { "name", "\"" }, { "value", "\"" }, { "line", "0n" }, { "traceback", "\"" }, { "frames", "[" }
};
static const struct member FRAME_MEMBERS[] = { { "file", "\"" }, { "line", "0n" }, { "function", "\"" }, { "code", "\"n" } };
static const struct member FILE_MEMBERS[] = { { "path", "\"" },   { "type", "\"" },    { "size", "0" },
                                              { "sha256", "\"" }, { "content", "\"" }, { "encoding", "\"" } };

#define COUNT(array) (sizeof(array) / sizeof *(array))

struct shape {
    const struct member *members;
    size_t count, elements;
    uint32_t seen; /* a bit for each */
    bool wrong;
    struct json_slice frames;
};

static bool number_is_whole(struct json_slice value)
{
    size_t digits = 0;
    while (digits < value.length && value.at[digits] >= '0' && value.at[digits] <= '9')
        digits++;
    return digits == value.length && digits < 16;
}

/* As the worker sends them: what a client does with a path is its own affair, but none is to lead it out of a folder. */
static bool path_is_below(struct json_slice value)
{
    char text[16 << 10];
    if (value.length < 2 || value.at[0] != '"' || value.length > sizeof text)
        return false;
    size_t length = json_string_decode((struct json_slice) { value.at + 1, value.length - 2 }, text), part = 0;
    for (size_t at = 0; at <= length; at++) {
        if (at < length && text[at] != '/') {
            part++;
            continue;
        }
        if (part == 0 || (part == 2 && text[at - 1] == '.' && text[at - 2] == '.'))
            return false; /* absolute, or upwards */
        part = 0;
    }
    return memchr(text, '\0', length) == NULL;
}

static void member_judge(void *context, struct json_slice key, struct json_slice value)
{
    struct shape *shape = context;
    char kind = number_is_whole(value) ? '0' : value.at[0];
    for (size_t i = 0; i < shape->count; i++)
        if (json_key_is(key, shape->members[i].name)) {
            shape->wrong |= (shape->seen >> i & 1) != 0 || strchr(shape->members[i].kinds, kind) == NULL;
            shape->seen |= UINT32_C(1) << i;
            shape->wrong |= strcmp(shape->members[i].name, "path") == 0 && !path_is_below(value);
            if (kind == '[')
                shape->frames = value;
            return;
        }
    shape->wrong = true;
}

static bool members_fit(struct json_slice value, const struct member *members, size_t count, struct json_slice *ret_frames)
{
    struct shape shape = { .members = members, .count = count };
    if (value.at[0] != '{' || json_each(value, member_judge, &shape) != JSON_OK || shape.wrong || shape.seen != (UINT32_C(1) << count) - 1)
        return false;
    if (ret_frames != NULL)
        *ret_frames = shape.frames;
    return true;
}

static void element_judge(void *context, struct json_slice key, struct json_slice value)
{
    struct shape *shape = context;
    (void)key;
    shape->wrong |= ++shape->elements > RUN_FILES_MAX || (!shape->wrong && !members_fit(value, shape->members, shape->count, NULL));
}

static bool elements_have(struct json_slice value, const struct member *members, size_t count)
{
    struct shape shape = { .members = members, .count = count };
    return value.at[0] == '[' && json_each(value, element_judge, &shape) == JSON_OK && !shape.wrong;
}

static bool error_is_whole(struct json_slice value)
{
    struct json_slice frames = { 0 };
    return members_fit(value, ERROR_MEMBERS, COUNT(ERROR_MEMBERS), &frames) && frames.at != NULL &&
           elements_have(frames, FRAME_MEMBERS, COUNT(FRAME_MEMBERS));
}

static void word_keep(void *context, struct json_slice key, struct json_slice value)
{
    struct words *words = context;
    const struct {
        const char *name;
        uint64_t *to;
    } numbers[] = {
        { "exit_code", &words->exit_code },     { "user_us", &words->user_us },       { "system_us", &words->system_us },
        { "faults", &words->faults },           { "memory_kb", &words->memory_kb },   { "files_bytes", &words->files_bytes },
        { "files_count", &words->files_count }, { "disk_files", &words->disk_files }, { "result_bytes", &words->result_bytes },
    };
    if (json_key_is(key, "status"))
        words->status = status_read(value);
    else if (json_key_is(key, "result") && value.length <= words->result_most)
        words->result = value;
    else if (json_key_is(key, "error") && value.length <= ERROR_SIZE_MAX && error_is_whole(value))
        words->error = value;
    else if (json_key_is(key, "files") && value.length <= words->files_most && elements_have(value, FILE_MEMBERS, COUNT(FILE_MEMBERS)))
        words->files = value;
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        if (json_key_is(key, numbers[i].name))
            *numbers[i].to = number_read(value);
}

static bool words_read(const struct front *front, const struct worker *worker, const struct call *call, struct words *ret_words)
{
    const struct json_rules rules = { .depth_max = REPORT_DEPTH_MAX };
    const struct buffer *said = &worker->payload;
    struct json_error ignored;
    const struct words none = { .status = RUN_EXIT, .result_most = front->plan.result_max, .files_most = report_files_most(call) };
    *ret_words = none;
    if (worker->said != FRAME_REPORT || worker->refused || said->used == 0 || said->at[0] != '{' ||
        json_check(said->at, said->used, &rules, word_keep, ret_words, &ignored) != JSON_OK) {
        *ret_words = none;
        return false;
    }
    return true;
}

static void limit_set(struct report *r, enum run_status status, const char *name, uint64_t most, uint64_t used)
{
    r->status = status;
    r->limit = name;
    r->limit_most = most * 1000;
    r->limit_used = used;
}

/* The first cause that is known wins: what the keeper did, what the worker says of a script that has ended, what the kernel did to one that
 * hasn't. A process that is killed after its report was whole has done its work; its signal is told. */
static void cause_find(struct report *r, const struct ending *ending, bool told)
{
    const struct run_limits *limits = &r->call->limits;
    uint64_t cpu_us = r->usage.user_us + r->usage.system_us, memory = r->usage.memory_peak * 1000 / MIB;
    bool signalled = ending->died && ending->why == DIED_EXITED && WIFSIGNALED(ending->status);
    r->signal = signalled ? WTERMSIG(ending->status) : 0;
    if (ending->died && ending->why != DIED_EXITED && ending->why != DIED_DONE)
        r->signal = SIGKILL;
    if (ending->died && ending->why == DIED_DEADLINE)
        limit_set(r, RUN_WALL_LIMIT, "wall_ms", limits->wall_ms, r->wall_us);
    else if (ending->died && ending->why == DIED_CPU)
        limit_set(r, RUN_CPU_LIMIT, "cpu_ms", limits->cpu_ms, cpu_us);
    else if (ending->died && ending->why == DIED_MEMORY)
        limit_set(r, RUN_MEMORY_LIMIT, "memory_mb", limits->memory_mb, memory);
    else if (ending->died && ending->why == DIED_DISK)
        limit_set(r, RUN_DISK_LIMIT, "disk_mb", r->front->plan.tmp_bytes / MIB, r->front->plan.tmp_bytes * 1000 / MIB);
    else if (told)
        r->status = r->words.status;
    else if (ending->died && ending->why == 0)
        r->status = RUN_INTERNAL;
    else if (signalled && r->signal == SIGKILL && r->usage.ooms > 0)
        limit_set(r, RUN_MEMORY_LIMIT, "memory_mb", limits->memory_mb, memory);
    else if (signalled && (r->signal == SIGKILL || r->signal == SIGXCPU) && cpu_us / 10 >= limits->cpu_ms * NEARLY_PERCENT)
        limit_set(r, RUN_CPU_LIMIT, "cpu_ms", limits->cpu_ms, cpu_us); /* RLIMIT_CPU */
    else if (signalled && r->signal == SIGXFSZ)
        limit_set(r, RUN_DISK_LIMIT, "disk_mb", r->front->plan.tmp_bytes / MIB, r->front->plan.tmp_bytes * 1000 / MIB);
    else if (signalled)
        r->status = RUN_SIGNAL;
    else if (r->worker->too_large)
        limit_set(r, RUN_OUTPUT_LIMIT, "result_kb", r->front->plan.result_max >> 10, (r->worker->header.length >> 10) * 1000);
    else
        r->status = RUN_EXIT;
    r->words.exit_code &= 0xff;
    r->has_code = r->signal == 0 && (told || (ending->died && ending->why == DIED_EXITED && WIFEXITED(ending->status)));
    if (!told && r->has_code)
        r->words.exit_code = (uint64_t)WEXITSTATUS(ending->status);
    if (!told || r->limit != NULL)
        return;
    /* Limits that a script runs into as an exception, which it says itself. */
    if (r->status == RUN_MEMORY_LIMIT)
        limit_set(r, RUN_MEMORY_LIMIT, "memory_mb", limits->memory_mb, memory);
    else if (r->status == RUN_PROCESS_LIMIT)
        limit_set(r, RUN_PROCESS_LIMIT, "processes", limits->processes, limits->processes * 1000);
    else if (r->status == RUN_DISK_LIMIT && r->words.disk_files > 0)
        limit_set(r, RUN_DISK_LIMIT, "disk_files", r->front->plan.tmp_files, r->words.disk_files * 1000);
    else if (r->status == RUN_DISK_LIMIT)
        limit_set(r, RUN_DISK_LIMIT, "disk_mb", r->front->plan.tmp_bytes / MIB, r->front->plan.tmp_bytes * 1000 / MIB);
    else if (r->status == RUN_CPU_LIMIT)
        limit_set(r, RUN_CPU_LIMIT, "cpu_ms", limits->cpu_ms, cpu_us);
    else if (r->status == RUN_OUTPUT_LIMIT && r->words.result_bytes > 0)
        limit_set(r, RUN_OUTPUT_LIMIT, "result_kb", r->front->plan.result_max >> 10, r->words.result_bytes * 1000 >> 10);
    else if (r->status == RUN_OUTPUT_LIMIT && r->words.files_count > RUN_FILES_MAX)
        limit_set(r, RUN_OUTPUT_LIMIT, "files", RUN_FILES_MAX, r->words.files_count * 1000);
    else if (r->status == RUN_OUTPUT_LIMIT)
        limit_set(r, RUN_OUTPUT_LIMIT, "files_mb", limits->files_mb, r->words.files_bytes * 1000 / MIB);
}

/* What the kernel counted; where it has no group to count in, what the worker was told by it. */
static void usage_find(struct report *r, const struct ending *ending, bool told)
{
    r->usage = ending->usage;
    if (!told)
        return;
    if ((r->usage.known & USAGE_CPU) == 0) {
        r->usage.user_us = r->words.user_us;
        r->usage.system_us = r->words.system_us;
    }
    if ((r->usage.known & USAGE_MEMORY) == 0)
        r->usage.memory_peak = r->words.memory_kb << 10;
    if ((r->usage.known & USAGE_FAULTS) == 0)
        r->usage.faults = r->words.faults;
}

static void slice_write(struct writer *w, const char *name, struct json_slice value, const char *absent)
{
    write_literal(w, name);
    if (value.at != NULL)
        write_bytes(w, value.at, value.length);
    else
        write_literal(w, absent);
}

static void output_write(struct writer *w, const char *name, const struct buffer *buffer)
{
    write_literal(w, name);
    write_text(w, buffer->at, buffer->used, buffer->cut);
    write_literal(w, "\"");
}

static void limit_write(struct writer *w, const struct report *r)
{
    write_literal(w, ", \"limit\": ");
    if (r->limit == NULL) {
        write_literal(w, "null");
        return;
    }
    write_literal(w, "{\"name\": ");
    write_string(w, r->limit);
    write_literal(w, ", \"max\": ");
    write_number(w, r->limit_most / 1000);
    write_literal(w, ", \"used\": ");
    write_thousandths(w, r->limit_used);
    write_literal(w, "}");
}

static void usage_write(struct writer *w, const struct report *r)
{
    write_literal(w, ", \"usage\": {\"queue_ms\": ");
    write_thousandths(w, r->queue_us);
    write_literal(w, ", \"wall_ms\": ");
    write_thousandths(w, r->wall_us);
    write_literal(w, ", \"user_ms\": ");
    write_thousandths(w, r->usage.user_us);
    write_literal(w, ", \"system_ms\": ");
    write_thousandths(w, r->usage.system_us);
    write_literal(w, ", \"memory_peak_mb\": ");
    write_thousandths(w, r->usage.memory_peak * 1000 / MIB);
    write_literal(w, ", \"faults\": ");
    write_number(w, r->usage.faults);
    write_literal(w, "}");
}

static void body_write(struct writer *w, const void *argument)
{
    const struct report *r = argument;
    const struct buffer *out = &r->worker->out, *err = &r->worker->err;
    char name[16];
    write_literal(w, "{\"id\": ");
    write_string(w, r->call->id);
    write_literal(w, ", \"status\": ");
    write_string(w, STATUSES[r->status]);
    slice_write(w, ", \"result\": ", r->status == RUN_OK || r->limit != NULL ? r->words.result : (struct json_slice) { 0 }, "null");
    output_write(w, ", \"stdout\": \"", out);
    output_write(w, ", \"stderr\": \"", err);
    write_literal(w, ", \"truncated\": [");
    write_literal(w, out->cut ? "\"stdout\"" : "");
    write_literal(w, out->cut && err->cut ? ", " : "");
    write_literal(w, err->cut ? "\"stderr\"" : "");
    write_literal(w, "], \"exit_code\": ");
    if (r->has_code)
        write_number(w, r->words.exit_code);
    else
        write_literal(w, "null");
    const char *signal = r->signal != 0 ? sigabbrev_np(r->signal) : NULL;
    snprintf(name, sizeof name, signal != NULL ? "SIG%s" : "%s%d", signal != NULL ? signal : "SIG", r->signal);
    write_literal(w, ", \"signal\": ");
    write_string(w, r->signal != 0 ? name : NULL);
    slice_write(w, ", \"error\": ", r->words.error, "null");
    limit_write(w, r);
    write_literal(w, ", \"denied\": ");
    const struct front_runtime *runtime = &r->front->plan.runtime[r->call->runtime];
    if (runtime->notify)
        denied_write(w, &r->worker->denied);
    else
        write_literal(w, "null");
    slice_write(w, ", \"files\": ", r->words.files, "[]");
    usage_write(w, r);
    write_literal(w, ", \"runtime\": {\"name\": ");
    write_string(w, runtime->name);
    write_literal(w, ", \"python\": ");
    write_string(w, runtime->python);
    write_literal(w, ", \"isolation\": ");
    write_string(w, runtime->isolation);
    write_literal(w, "}}");
}

char *report_make(const struct front *front, const struct worker *worker, const struct call *call, const struct ending *ending,
                  enum run_status *ret_status, struct run_usage *ret_usage, size_t *ret_length)
{
    struct report r = { .front = front, .worker = worker, .call = call };
    bool told = words_read(front, worker, call, &r.words);
    r.wall_us = (clock_ns() - call->started_ns) / 1000;
    r.queue_us = (call->started_ns - call->queued_ns) / 1000;
    usage_find(&r, ending, told);
    cause_find(&r, ending, told);
    *ret_status = r.status;
    *ret_usage = r.usage;
    return write_make(body_write, &r, ret_length);
}
