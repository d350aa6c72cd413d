/* What is asked for: three paths. */
#include "front/answer.h"
#include "front/front.h"
#include "front/request.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void call_fail(struct call *call, unsigned status, const char *text)
{
    free(call->answer);
    call->answer = answer_error(text, strlen(text), &call->answer_length);
    call->status = call->answer != NULL ? status : 500;
    call->state = CALL_ANSWERED;
}

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

/* Ready is who has a worker, whatever it does: then the next is on its way. */
static void ready_say(struct call *call)
{
    const struct front *front = call->front;
    bool any = false;
    for (uint32_t slot = 0; slot < front->plan.slots && !any; slot++)
        any = front->workers[slot].state != WORKER_NONE;
    if (front->stopping)
        call_say(call, 503, "{\"status\": \"stopping\"}");
    else if (!any)
        call_say(call, 503, "{\"status\": \"starting\"}");
    else
        call_say(call, 200, front->plan.ready);
}

/* Decides at the headers what can be decided then. What stays in CALL_READING is a POST to /execute. */
void call_route(struct call *call, const char *method, const char *path)
{
    if (strncmp(path, "http://", 7) == 0) /* the form that is meant for proxies, which a server must take as well: RFC 9112, 3.2.2 */
        path += 7 + strcspn(path + 7, "/");
    size_t length = strcspn(path, "?");
    if (length == 8 && strncmp(path, "/execute", 8) == 0) {
        if (strcmp(method, "POST") == 0)
            return;
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
#ifdef VIVARY_ABLATION
    } else if (strcmp(path, "/takeover") == 0) {
        call->takeover = true;
        return;
#endif
    } else {
        call_fail(call, 404, "Not found: there are POST /execute, GET /healthz and GET /readyz");
        return;
    }
    char text[96];
    snprintf(text, sizeof text, "Method not allowed: this path takes %s", call->allow);
    call_fail(call, 405, text);
}

void call_body(struct call *call, const char *bytes, size_t length)
{
    if (call->state != CALL_READING || call->body.cut) {
        call->discarded += length;
        return;
    }
    if (!buffer_add(&call->body, bytes, length)) {
        call_fail(call, 500, "Out of memory while reading the request body");
        call->closes = true;
    }
}

void call_start(struct call *call)
{
    struct front *front = call->front;
    char text[256];
    if (call->body.cut) {
        snprintf(text, sizeof text, "Request body is larger than %llu bytes", (unsigned long long)front->plan.body_max);
        call_fail(call, 413, text);
        return;
    }
#ifdef VIVARY_ABLATION
    if (call->takeover) {
        takeover_run(call);
        return;
    }
#endif
    struct request request;
    int status = request_parse(call->body.at != NULL ? call->body.at : "", call->body.used, &request, text);
    buffer_free(&call->body);
    if (status != 0) {
        call_fail(call, (unsigned)status, text);
        return;
    }
    call->script = request.script;
    call->script_length = request.length;
    if (front->stopping) {
        call_fail(call, 503, "Service is stopping");
        call->closes = true;
        return;
    }
    queue_add(front, call);
    queue_serve(front);
    /* A free slot whose worker is still on its way is a place as well: counted are those that wait beyond all slots. */
    if (call->state == CALL_QUEUED && front->queued + front->running > front->plan.slots + front->plan.queue_max) {
        queue_remove(front, call);
        call_fail(call, 503, "Service is busy: try again later");
    }
}

void call_free(struct call *call)
{
    buffer_free(&call->body);
    free(call->script);
    free(call->answer);
    free(call);
}
