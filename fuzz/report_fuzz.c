/* What a worker reports of its run, of any bytes, beside any end that the keeper tells and any output: the answer is JSON with each member
 * once, and its status is none that only keeper and kernel know, unless they say so. Six bytes say how it ended; the rest is the report. */
#include "base/clock.h"
#include "front/json_check.h"
#include "front/report.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

enum { HEAD = 6, MIB = 1 << 20 };
enum { DIED = 1, REFUSED = 2, TOO_LARGE = 4, UNSAID = 8, OUT_CUT = 16, ERR_CUT = 32, NOTIFIES = 64 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void promise(bool kept, const char *what)
{
    if (!kept) {
        fprintf(stderr, "broken: %s\n", what);
        abort();
    }
}

struct seen {
    size_t count;
    enum run_status status;
};

static void member_see(void *context, struct json_slice key, struct json_slice value)
{
    static const char *const names[] = { "id",     "status", "result", "stdout", "stderr", "truncated", "exit_code",
                                         "signal", "error",  "limit",  "denied", "files",  "usage",     "runtime" };
    struct seen *seen = context;
    promise(seen->count < sizeof names / sizeof *names && json_key_is(key, names[seen->count]), "each member is there, in its order");
    if (json_key_is(key, "status"))
        promise(json_key_is((struct json_slice) { value.at + 1, value.length - 2 }, run_status_name(seen->status)),
                "the status is the one that is returned");
    else if (json_key_is(key, "error"))
        promise(value.at[0] == '{' || value.at[0] == 'n', "an error is an object, or null");
    else if (json_key_is(key, "files") || json_key_is(key, "truncated"))
        promise(value.at[0] == '[', "files and truncated are arrays");
    else if (json_key_is(key, "exit_code"))
        promise(value.at[0] == 'n' || (value.at[0] >= '0' && value.at[0] <= '9'), "an exit code is a number, or null");
    seen->count++;
}

static void status_judge(enum run_status status, const struct ending *ending)
{
    bool exited = ending->died && ending->why == DIED_EXITED;
    promise((status == RUN_WALL_LIMIT) == (ending->died && ending->why == DIED_DEADLINE), "only the keeper knows that the time was over");
    promise(status != RUN_SIGNAL || (exited && WIFSIGNALED(ending->status)), "only the kernel knows of a signal");
    promise(status != RUN_CANCELLED && status != RUN_INTERNAL && status < RUN_STATUSES, "no worker says what only the front knows");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct json_rules RULES = { .depth_max = 100100 };
    static struct front front = {
        .plan = { .tmp_bytes = 64 * MIB, .result_max = MIB, .runtime[0] = { .python = "3.11.2", .isolation = "full" } }
    };
    struct call call = { .id = "r-1", .limits = { 60000, 2000, 256, 64, 4, 16 } };
    if (size < HEAD)
        return 0;
    size_t length = size - HEAD;
    char *payload = malloc(length > 0 ? length : 1);
    if (payload == NULL)
        return 0;
    if (length > 0)
        memcpy(payload, data + HEAD, length);
    struct worker worker = {
        .refused = data[0] & REFUSED,
        .too_large = data[0] & TOO_LARGE,
        .said = data[0] & UNSAID ? FRAME_RESULT : FRAME_REPORT,
        .header.length = length * MIB,
        .payload = { .at = payload, .used = length },
        .out = { .at = payload, .used = length, .cut = data[0] & OUT_CUT },
        .err = { .at = payload, .used = length / 2, .cut = data[0] & ERR_CUT },
    };
    /* As died_valid() lets it through: no other why, any status. */
    struct ending ending = { .died = data[0] & DIED };
    if (ending.died) {
        ending.why = DIED_DONE + data[1] % (DIED_WHYS - DIED_DONE);
        ending.status = (int32_t)(data[2] | (uint32_t)data[3] << 8);
    }
    ending.usage = (struct run_usage) { .user_us = data[4] * UINT64_C(10000), .ooms = data[5] >> 7, .known = data[5] & 7 };
    front.plan.runtime[0].notify = (data[0] & NOTIFIES) != 0;
    call.started_ns = clock_ns();
    call.queued_ns = call.started_ns;
    struct seen seen = { 0 };
    struct json_error error;
    size_t written = 0;
    struct run_usage usage;
    char *body = report_make(&front, &worker, &call, &ending, &seen.status, &usage, &written);
    promise(body == NULL || json_check(body, written, &RULES, member_see, &seen, &error) == JSON_OK, "an answer is JSON");
    promise(body == NULL || seen.count == 14, "an answer has all members");
    status_judge(seen.status, &ending);
    free(body);
    free(payload);
    return 0;
}
