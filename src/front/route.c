/* What is asked for. */
#include "base/clock.h"
#include "front/answer.h"
#include "front/front.h"
#include "front/request.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BODIES_MAX (UINT64_C(512) << 20)  /* bytes, of all requests that are here */
#define ANSWERS_MAX (UINT64_C(512) << 20) /* bytes, of all answers that clients haven't taken in */
enum { BODIES_SHARES = 4 /* no key has more than a quarter of it */, BODY_SMALL = 64 << 10 };
#define ID_STEP UINT64_C(0x9e3779b97f4a7c15) /* odd: 2^64 names before one comes again, and neighbours look unlike */

void call_problem(struct call *call, const struct problem *problem)
{
    free(call->answer);
    call->answer = problem_body(problem, &call->answer_length);
    call->type = "application/problem+json";
    call->status = call->answer != NULL ? problem->status : 500;
    call->state = CALL_ANSWERED;
}

/* One word for what a status means where nothing more is known. */
static const char *code_of(unsigned status)
{
    switch (status) {
    case 401:
        return "unauthorized";
    case 404:
        return "not_found";
    case 405:
        return "method_not_allowed";
    case 413:
        return "too_large";
    case 415:
        return "unsupported_media_type";
    case 500:
        return "internal";
    case 429:
        return "rate_limited";
    case 503:
        return "queue_full";
    default:
        return "bad_request";
    }
}

void call_fail(struct call *call, unsigned status, const char *text)
{
    if (call->kind == CALL_RUN) {
        struct problem problem;
        problem_set(&problem, status, status == 503 && call->late ? "draining" : code_of(status), "", "%s", text);
        call_problem(call, &problem);
        return;
    }
    free(call->answer);
    call->answer = answer_error(text, strlen(text), &call->answer_length);
    call->status = call->answer != NULL ? status : 500;
    call->state = CALL_ANSWERED;
}

extern const char OPENAPI[]; /* openapi.json, by meson.build, with a NUL behind it */

static bool is_read(const char *method)
{
    return strcmp(method, "GET") == 0 || strcmp(method, "HEAD") == 0;
}

static void call_say(struct call *call, unsigned status, const char *text)
{
    call->answer = strdup(text);
    call->answer_length = strlen(text);
    call->status = call->answer != NULL ? status : 500;
    call->state = CALL_ANSWERED;
}

enum { WORKERLESS_MS = 2000 };

/* Ready is who has a worker, whatever it does, or had one just now: then the next is on its way. */
static void ready_say(struct call *call)
{
    const struct front *front = call->front;
    bool any = front->worker_ns != 0 && clock_ns() - front->worker_ns < WORKERLESS_MS * NS_PER_MS;
    for (uint32_t slot = 0; slot < front->plan.slots && !any; slot++)
        any = front->workers[slot].state != WORKER_NONE;
    if (front->stopping)
        call_say(call, 503, "{\"status\": \"stopping\"}");
    else if (!any)
        call_say(call, 503, "{\"status\": \"starting\"}");
    else
        call_say(call, 200, front->plan.ready);
}

/* Where runs are sent to, and what tells of them, is for those who have a key, if there are keys. */
static bool caller_know(struct call *call)
{
    call->caller = keyring_find(&call->front->ring, call->authorization);
    if (call->caller == NULL)
        call_fail(call, 401, "An API key is needed: Authorization: Bearer TOKEN");
    else
        call->caller->calls++;
    return call->caller != NULL;
}

static uint64_t lower(uint64_t most, uint64_t of_key)
{
    return of_key > 0 && of_key < most ? of_key : most;
}

/* The most that a caller's runs may have. */
static struct run_limits limits_of(const struct front *front, const struct caller *caller)
{
    const struct run_limits *most = &front->most;
    const struct key *key = &caller->key;
    return (struct run_limits) {
        .wall_ms = lower(most->wall_ms, key->wall_ms),
        .cpu_ms = lower(most->cpu_ms, key->cpu_ms),
        .memory_mb = lower(most->memory_mb, key->memory_mb),
        .output_kb = lower(most->output_kb, key->output_kb),
        .files_mb = lower(most->files_mb, key->files_mb),
        .processes = lower(most->processes, key->processes),
    };
}

static void runtimes_write(struct writer *w, const void *argument)
{
    const struct call *call = argument;
    const struct front *front = call->front;
    const struct run_limits limits = limits_of(front, call->caller);
    const struct {
        const char *name;
        uint64_t most;
    } rows[] = { { "wall_ms", limits.wall_ms },     { "cpu_ms", limits.cpu_ms },     { "memory_mb", limits.memory_mb },
                 { "output_kb", limits.output_kb }, { "files_mb", limits.files_mb }, { "processes", limits.processes } };
    bool any = false;
    write_literal(w, "{\"runtimes\": [");
    for (uint32_t r = 0; r < front->plan.runtimes; r++) {
        const struct front_runtime *runtime = &front->plan.runtime[r];
        if (!caller_may_use(call->caller, runtime->name))
            continue;
        write_literal(w, any ? ", {\"name\": " : "{\"name\": ");
        any = true;
        write_string(w, runtime->name);
        write_literal(w, ", \"python\": ");
        write_string(w, runtime->python);
        write_literal(w, ", \"packages\": {");
        write_literal(w, runtime->packages);
        write_literal(w, "}, \"isolation\": ");
        write_string(w, runtime->isolation);
        write_literal(w, ", \"limits\": {");
        for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
            write_literal(w, i > 0 ? ", \"" : "\"");
            write_literal(w, rows[i].name);
            write_literal(w, "\": ");
            write_number(w, rows[i].most);
        }
        write_literal(w, "}}");
    }
    write_literal(w, "]}");
}

static void runtimes_say(struct call *call)
{
    call->answer = write_make(runtimes_write, call, &call->answer_length);
    call->status = call->answer != NULL ? 200 : 500;
    call->state = CALL_ANSWERED;
}

/* Decides at the headers what can be decided then. What stays in CALL_READING is a POST to /execute. */
void call_route(struct call *call, const char *method, const char *path)
{
    if (strncmp(path, "http://", 7) == 0) /* the form that is meant for proxies, which a server must take as well: RFC 9112, 3.2.2 */
        path += 7 + strcspn(path + 7, "/");
    size_t length = strcspn(path, "?");
    if (strncmp(path, "/v1/", 4) == 0) {
        call->kind = CALL_RUN;
        call->body.most = call->front->plan.run_body_max;
    }
    if (length == 8 && strncmp(path, "/execute", 8) == 0) {
        if (strcmp(method, "POST") == 0) {
            caller_know(call);
            return;
        }
        call->allow = "POST";
    } else if (length == 7 && strncmp(path, "/v1/run", 7) == 0) {
        if (strcmp(method, "POST") == 0) {
            caller_know(call);
            return;
        }
        call->allow = "POST";
    } else if (length == 8 && strncmp(path, "/healthz", 8) == 0) {
        if (is_read(method)) {
            call_say(call, 200, "{\"status\": \"ok\"}");
            return;
        }
        call->allow = "GET, HEAD";
    } else if (length == 7 && strncmp(path, "/readyz", 7) == 0) {
        if (is_read(method)) {
            ready_say(call);
            return;
        }
        call->allow = "GET, HEAD";
    } else if (length == 8 && strncmp(path, "/metrics", 8) == 0) {
        if (is_read(method)) {
            call->answer = metrics_text(call->front, &call->answer_length);
            call->type = "text/plain; version=0.0.4";
            call->status = call->answer != NULL ? 200 : 500;
            call->state = CALL_ANSWERED;
            return;
        }
        call->allow = "GET, HEAD";
    } else if (length == 13 && strncmp(path, "/openapi.json", 13) == 0) {
        if (is_read(method)) {
            call_say(call, 200, OPENAPI);
            return;
        }
        call->allow = "GET, HEAD";
    } else if (length == 12 && strncmp(path, "/v1/runtimes", 12) == 0) {
        if (is_read(method)) {
            if (caller_know(call))
                runtimes_say(call);
            return;
        }
        call->allow = "GET, HEAD";
#ifdef VIVARY_ABLATION
    } else if (strcmp(path, "/takeover") == 0) {
        call->takeover = true;
        return;
#endif
    } else {
        call_fail(call, 404,
                  "Not found: there are POST /execute, POST /v1/run, GET /v1/runtimes, /healthz, /readyz, /metrics and /openapi.json");
        return;
    }
    char text[96];
    snprintf(text, sizeof text, "Method not allowed: this path takes %s", call->allow);
    call_fail(call, 405, text);
}

void call_body_free(struct call *call)
{
    buffer_free(&call->body);
    free(call->script);
    call->script = NULL;
    call->front->bodies -= call->counted;
    if (call->caller != NULL)
        call->caller->bodies -= call->counted;
    call->counted = 0;
}

bool call_answer_count(struct call *call, size_t bytes)
{
    if (call->front->answers + bytes > ANSWERS_MAX)
        return false;
    call->front->answers += bytes;
    call->answered += bytes;
    return true;
}

void call_body(struct call *call, const char *bytes, size_t length)
{
    if (call->state != CALL_READING || call->body.cut) {
        call->discarded += length;
        return;
    }
    const struct front *front = call->front;
    uint64_t share = front->ring.asked ? BODIES_MAX / BODIES_SHARES : BODIES_MAX;
    bool full = front->bodies + length > BODIES_MAX || (call->caller != NULL && call->caller->bodies + length > share);
    if (full && call->counted + length > BODY_SMALL) { /* small ones go by: so many fit into what connections there may be */
        call_fail(call, 503, "Service is busy: too many large requests at once, try again later");
        call->discarded += length;
        buffer_free(&call->body);
        return;
    }
    if (!buffer_add(&call->body, bytes, length)) {
        call_fail(call, 500, "Out of memory while reading the request body");
        call->closes = true;
    }
    call->counted += length;
    if (call->caller != NULL)
        call->caller->bodies += length;
    call->front->metrics.bytes_in += length;
    call->front->bodies += length;
}

/* One that the caller may use. */
static bool runtime_find(struct call *call, const char *name)
{
    const struct front_plan *plan = &call->front->plan;
    for (uint32_t i = 0; i < plan->runtimes; i++)
        if (strcmp(plan->runtime[i].name, name) == 0 && caller_may_use(call->caller, name)) {
            call->runtime = i;
            return true;
        }
    return false;
}

/* Takes the script out of the body. 0, or the status that was answered. */
static unsigned script_take(struct call *call)
{
    char text[256];
    const char *body = call->body.at != NULL ? call->body.at : "";
    if (call->kind == CALL_EXECUTE) {
        struct request request;
        int status = request_parse(body, call->body.used, &request, text);
        buffer_free(&call->body);
        if (status != 0) {
            call_fail(call, (unsigned)status, text);
            return (unsigned)status;
        }
        call->script = request.script;
        call->script_length = request.length;
        return 0;
    }
    struct run_request request;
    struct problem problem;
    unsigned status = run_request_parse(body, call->body.used, &call->limits, &request, &problem);
    if (status == 0 && !runtime_find(call, request.runtime))
        status = problem_set(&problem, 404, "unknown_runtime", "runtime", "There is no runtime '%s': GET /v1/runtimes lists them",
                             request.runtime);
    if (status != 0) {
        buffer_free(&call->body);
        call_problem(call, &problem);
        return status;
    }
    call->limits = request.limits;
    call->stream |= request.stream;
    call->script = call->body.at;
    call->script_length = call->body.used;
    call->body = (struct buffer) { 0 };
    return 0;
}

void call_start(struct call *call)
{
    struct front *front = call->front;
    char text[256];
    if (call->body.cut) {
        snprintf(text, sizeof text, "Request body is larger than %llu bytes", (unsigned long long)call->body.most);
        call_fail(call, 413, text);
        return;
    }
#ifdef VIVARY_ABLATION
    if (call->takeover) {
        takeover_run(call);
        return;
    }
#endif
    call->limits = limits_of(front, call->caller);
    if (call->kind == CALL_EXECUTE && !runtime_find(call, front->plan.runtime[0].name)) {
        call_fail(call, 404, "This key may not use the runtime of /execute: POST /v1/run takes a runtime's name");
        return;
    }
    if (script_take(call) != 0)
        return;
    if (call->late) {
        call_fail(call, 503, "Service is stopping");
        return;
    }
    call->retry_s = caller_admit(call->caller, clock_ns());
    if (call->retry_s > 0) {
        call_fail(call, 429, "This key has sent more runs than it may: try again later");
        return;
    }
    snprintf(call->id, sizeof call->id, "run_%016llx", (unsigned long long)(front->id_base + front->ids++ * ID_STEP));
    queue_add(front, call);
    queue_serve(front);
    /* A free slot whose worker is still on its way is a place as well: counted are those that wait beyond all slots. */
    const struct lane *lane = &call->caller->lanes[call->runtime];
    if (call->state == CALL_QUEUED && lane->queued + lane->running > front->runtimes[call->runtime].plan->at_once + front->plan.queue_max) {
        queue_remove(front, call);
        call_fail(call, 503, "Service is busy: try again later");
    }
}

void call_free(struct call *call)
{
    call_body_free(call);
    buffer_free(&call->events);
    call->front->answers -= call->answered;
    if (call->caller != NULL) {
        call->caller->calls--;
        caller_settle(call->caller);
    }
    free(call->answer);
    free(call);
}
