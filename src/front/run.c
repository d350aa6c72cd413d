/* One run on one worker. All that the worker says is hostile: each frame's type, number and length are judged before a byte is kept. */
#include "base/clock.h"
#include "base/descriptor.h"
#include "base/passing.h"
#include "front/answer.h"
#include "front/front.h"
#include "front/json_check.h"
#include "front/report.h"
#include "front/run_log.h"
#include "wire/done.h"
#include "wire/taken.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

enum {
    DRAIN_MAX = 1 << 20,
    LOOKED_AT = 64 << 10,
    REPORT_ROOM = 4 << 20, /* beside result and files: traceback, names */
    RESULT_DEPTH_MAX = 100000,
    READ_SIZE = 64 << 10,
    WORDS_SIZE = 256 << 10,
    SPOKEN_ROUNDS = 64,
    LAST_TURNS = 1024,
    TICK_MS = 50,
    KEEPER_PATIENCE_MS = 1000
};

static const char FAILED[] = "Sandbox failed to run script";

void worker_drop(struct worker *worker)
{
    for (size_t i = 0; i < READY_FDS; i++) {
        if (worker->fds[i] >= 0)
            close(worker->fds[i]); /* the only one, so it leaves the epoll too: epoll(7) */
        worker->fds[i] = -1;
    }
    fd_close(&worker->listener);
    buffer_free(&worker->payload);
    buffer_free(&worker->out);
    buffer_free(&worker->err);
}

/* The worker sent it before it was ready, when no script had been near it. 0, or -1 when it isn't there. */
static int listener_take(struct front *front, struct worker *worker)
{
    char word;
    int fds[PASSING_FDS_MAX];
    size_t count = 0;
    ssize_t got = passing_receive(worker->fds[READY_SOCKET], &word, 1, fds, &count);
    for (size_t i = 1; got > 0 && i < count; i++)
        close(fds[i]);
    if (got != 1 || count == 0)
        return -1;
    worker->listener = fds[0];
    struct epoll_event event = { .events = EPOLLIN, .data.ptr = &worker->listener_watch };
    return epoll_ctl(front->epoll, EPOLL_CTL_ADD, worker->listener, &event);
}

/* Calls that the run was refused wait to be answered. */
static void listener_hear(struct front *front, struct worker *worker, uint32_t events)
{
    struct epoll_event none = { .events = 0, .data.ptr = &worker->listener_watch };
    /* Nobody is left who could make a call; to ask for one then waits for ever before Linux 6.11. */
    if ((events & EPOLLIN) == 0)
        fd_close(&worker->listener);
    if (worker->listener < 0)
        return;
    if (worker->denied.left == 0) {
        worker->listener_rests = epoll_ctl(front->epoll, EPOLL_CTL_MOD, worker->listener, &none) == 0;
        return;
    }
    if (denied_hear(&worker->denied, worker->listener) < 0)
        fd_close(&worker->listener);
}

static void listener_wake(struct front *front, struct worker *worker)
{
    struct epoll_event event = { .events = EPOLLIN, .data.ptr = &worker->listener_watch };
    if (worker->denied.sum >= DENIED_FREE)
        worker->denied.left = DENIED_A_TICK;
    if (worker->listener_rests && worker->listener >= 0)
        worker->listener_rests = epoll_ctl(front->epoll, EPOLL_CTL_MOD, worker->listener, &event) < 0;
}

static void done_tell(struct front *front, const struct worker *worker)
{
    struct done done = { .kind = WIRE_DONE, .slot = worker->slot, .generation = worker->generation };
    keeper_tell(front, worker->runtime, &done, sizeof done);
}

/* Sends what is left of the script. 0, or -1 once the worker is gone. */
static int script_send(struct worker *worker)
{
    struct call *call = worker->call;
    uint32_t type = call->kind == CALL_RUN ? FRAME_REQUEST : FRAME_RUN;
    struct frame_header header = { .type = type, .exchange = 1, .length = call->script_length };
    size_t whole = sizeof header + call->script_length;
    while (worker->sent < whole) {
        size_t in_header = worker->sent < sizeof header ? worker->sent : sizeof header, in_script = worker->sent - in_header;
        struct iovec parts[2] = { { (char *)&header + in_header, sizeof header - in_header },
                                  { call->script + in_script, call->script_length - in_script } };
        struct msghdr message = { .msg_iov = parts, .msg_iovlen = 2 };
        ssize_t sent = sendmsg(worker->fds[READY_SOCKET], &message, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent < 0 && errno == EINTR)
            continue;
        if (sent < 0)
            return errno == EAGAIN ? 0 : -1;
        worker->sent += (size_t)sent;
    }
    call_body_free(worker->call);
    return 0;
}

/* Whether it asks for less than every slot has: then the keeper sets that first, and the script waits, for it could take the more
 * meanwhile. */
static bool run_is_limited(const struct front *front, const struct call *call)
{
    return call->limits.memory_mb != front->most.memory_mb || call->limits.processes != front->most.processes;
}

static void taken_tell(struct front *front, const struct worker *worker, const struct call *call)
{
    const struct run_limits *limits = &call->limits;
    struct taken taken = { .kind = WIRE_TAKEN,
                           .slot = worker->slot,
                           .generation = worker->generation,
                           .deadline_ns = call->started_ns + limits->wall_ms * NS_PER_MS,
                           .memory_bytes = limits->memory_mb << 20,
                           .cpu_ms = (uint32_t)limits->cpu_ms,
                           .processes = (uint32_t)limits->processes,
                           .uses = call->uses,
                           .wants_limited = run_is_limited(front, call) };
    keeper_tell(front, worker->runtime, &taken, sizeof taken);
}

/* Of a long script, its beginning says it. */
static uint32_t uses_find(const struct call *call)
{
    size_t length = call->script_length < LOOKED_AT ? call->script_length : LOOKED_AT;
    uint32_t uses = call->kind == CALL_RUN ? USES_REQUEST : 0;
    uses |= memmem(call->script, length, "numpy", 5) != NULL ? USES_NUMPY : 0;
    uses |= memmem(call->script, length, "pandas", 6) != NULL ? USES_PANDAS : 0;
    return uses;
}

/* From here on its events are heard. */
static void run_watch(struct front *front, struct worker *worker)
{
    bool more = worker->sent < sizeof(struct frame_header) + worker->call->script_length;
    for (size_t i = 0; i < READY_FDS; i++) {
        struct epoll_event event = { .events = EPOLLIN | (i == READY_SOCKET && more ? (uint32_t)EPOLLOUT : 0),
                                     .data.ptr = &worker->watches[i] };
        if (epoll_ctl(front->epoll, EPOLL_CTL_ADD, worker->fds[i], &event) < 0)
            worker->refused = true;
    }
    worker->state = WORKER_RUNNING;
}

int run_start(struct front *front, struct worker *worker, struct call *call)
{
    bool run = call->kind == CALL_RUN;
    uint64_t output_most = call->limits.output_kb == front->most.output_kb ? front->plan.stdout_max : call->limits.output_kb << 10;
    worker->call = call;
    worker->sent = worker->header_have = 0;
    worker->exit_by_ns = 0;
    worker->refused = worker->too_large = worker->ended = false;
    worker->said = 0;
    worker->ended_ns = 0;
    worker->kind = call->kind;
    worker->out_streamed = worker->err_streamed = 0;
    worker->out = (struct buffer) { .most = output_most };
    worker->err = (struct buffer) { .most = run ? output_most : 0 }; /* drained all the same, so that nobody waits for room in the pipe */
    worker->denied = (struct denied) { .left = DENIED_FREE };
    worker->listener_rests = false;
    call->uses = uses_find(call); /* before its script is sent, and gone */
    bool lost = worker->runtime->plan->notify && listener_take(front, worker) < 0;
    call->started_ns = clock_ns();
    if (run)
        meters_read(worker->meters, worker->runtime->plan->cgroup_version, &worker->before);
    /* Who is to say what a run used that died must know that it has begun, and a short one ends before this process comes to its next line.
     * Else the script goes first. */
    bool told_first = run || run_is_limited(front, call);
    if (told_first)
        taken_tell(front, worker, call);
    if (lost || (!run_is_limited(front, call) && script_send(worker) < 0 && worker->sent == 0)) {
        worker->call = NULL;
        worker->state = WORKER_ENDING;
        worker_drop(worker);
        done_tell(front, worker); /* DIED is on its way, or the worker has closed its socket and lives: then this ends it */
        return -1;
    }
    if (!told_first)
        taken_tell(front, worker, call);
    worker->caller = call->caller;
    worker->caller->running++;
    worker->caller->lanes[call->runtime].running++;
    call->worker = worker;
    call->state = CALL_RUNNING;
    front->running++;
    worker->runtime->running++;
    worker->state = WORKER_LIMITING;
    if (!run_is_limited(front, call))
        run_watch(front, worker);
    if (call->stream)
        stream_start(call);
    return 0;
}

void run_limited(struct front *front, struct worker *worker, uint64_t generation)
{
    if (worker->generation != generation || worker->state != WORKER_LIMITING)
        return;
    if (worker->call != NULL)
        worker->call->started_ns = clock_ns();
    script_send(worker); /* if it is gone, that is seen by its socket */
    run_watch(front, worker);
}

/* Reads what a pipe holds, up to `most` bytes. */
static void pipe_drain(struct front *front, struct worker *worker, int kind, size_t most)
{
    char part[READ_SIZE];
    for (size_t total = 0; worker->fds[kind] >= 0 && total < most;) {
        ssize_t got = read(worker->fds[kind], part, sizeof part);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0 && errno == EAGAIN)
            return;
        if (got <= 0) {
            epoll_ctl(front->epoll, EPOLL_CTL_DEL, worker->fds[kind], NULL); /* else its hang-up is told again and again */
            close(worker->fds[kind]);
            worker->fds[kind] = -1;
            return;
        }
        total += (size_t)got;
        worker->refused |= !buffer_add(kind == READY_STDOUT ? &worker->out : &worker->err, part, (size_t)got);
    }
}

/* Clients that take their answers in slowly, or not at all, must not use up the memory for everybody's. */
static void answer_bound(struct call *call)
{
    if (call->answer != NULL && !call_answer_count(call, call->answer_length))
        call_fail(call, 503, "Service is busy: too many large answers at once, try again later");
}

static void call_answer(struct front *front, struct worker *worker, struct call *call)
{
    const struct json_rules rules = { .depth_max = RESULT_DEPTH_MAX };
    struct json_error error;
    char text[96];
    free(call->answer);
    call->answer = NULL;
    call->state = CALL_ANSWERED;
    call->status = 400;
    const struct buffer *said = &worker->payload;
    if (worker->said == FRAME_RESULT && !worker->refused && said->used > 0 && said->at[0] == '{' &&
        json_check(said->at, said->used, &rules, NULL, NULL, &error) == JSON_OK) {
        call->status = 200;
        call->answer = answer_result(said->at, said->used, worker->out.at, worker->out.used, worker->out.cut, &call->answer_length);
    } else if (worker->said == FRAME_ERROR && !worker->refused) {
        call->answer = answer_error(said->at != NULL ? said->at : "", said->used, &call->answer_length);
    } else if (worker->too_large) {
        snprintf(text, sizeof text, "Return value is too large: at most %llu bytes of JSON are allowed",
                 (unsigned long long)front->plan.result_max);
        call->answer = answer_error(text, strlen(text), &call->answer_length);
    } else {
        call->answer = answer_error(FAILED, sizeof FAILED - 1, &call->answer_length);
    }
    if (call->answer == NULL)
        call->status = 500;
    answer_bound(call);
}

/* What an answer of /execute came to: it says less, so there is less to count. */
static enum run_status execute_status(const struct worker *worker, const struct call *call)
{
    if (call->status == 200)
        return RUN_OK;
    return worker->said == FRAME_ERROR && !worker->refused ? RUN_EXCEPTION : worker->too_large ? RUN_OUTPUT_LIMIT : RUN_SIGNAL;
}

static void run_count(struct front *front, const struct worker *worker, const struct call *call, enum run_status status)
{
    struct metrics *metrics = &front->metrics;
    metrics->runs[call->runtime][call->kind == CALL_RUN ? METRIC_RUN : METRIC_EXECUTE][status]++;
    histogram_add(&metrics->run, (clock_ns() - call->started_ns) / 1000);
    histogram_add(&metrics->queue, (call->started_ns - call->queued_ns) / 1000);
    denied_sum(&worker->denied, metrics->denied, METRIC_CALLS);
}

static void call_report(struct front *front, const struct worker *worker, struct call *call, const struct ending *ending)
{
    enum run_status status;
    struct run_usage usage;
    free(call->answer);
    call->answer = report_make(front, worker, call, ending, &status, &usage, &call->answer_length);
    run_count(front, worker, call, status);
    run_log(front, call, status, &usage);
    call->status = call->answer != NULL ? 200 : 500;
    call->state = CALL_ANSWERED;
    answer_bound(call);
}

/* What was written before the end is there. */
static void pipes_drain(struct front *front, struct worker *worker)
{
    pipe_drain(front, worker, READY_STDOUT, worker->out.most + DRAIN_MAX);
    if (worker->err.most > 0)
        pipe_drain(front, worker, READY_STDERR, worker->err.most + DRAIN_MAX);
}

/* Answers, and lets go of the worker. `ending`: of a run whose call wants a report; NULL: an answer of /execute, or nobody's. */
static void run_end(struct front *front, struct worker *worker, bool died, const struct ending *ending)
{
    struct call *call = worker->call;
    if (worker->ended_ns == 0)
        worker->ended_ns = clock_ns();
    bool asked = worker->state == WORKER_ASKED; /* its DONE was said */
    worker->call = NULL;
    worker->state = WORKER_ENDING;
    front->running--;
    worker->runtime->running--;
    worker->caller->running--;
    worker->caller->lanes[worker->runtime - front->runtimes].running--;
    caller_settle(worker->caller);
    worker->caller = NULL;
    if (call != NULL) {
        pipes_drain(front, worker);
        call->worker = NULL;
        if (call->stream)
            stream_output(call, worker, true);
        if (call->kind == CALL_RUN)
            call_report(front, worker, call, ending);
        else
            call_answer(front, worker, call);
        if (call->kind == CALL_EXECUTE) {
            enum run_status status = execute_status(worker, call);
            run_count(front, worker, call, status);
            run_log(front, call, status, NULL);
        }
        histogram_add(&front->metrics.handover, (clock_ns() - worker->ended_ns) / 1000);
        if (call->stream)
            stream_end(call);
        http_resume(call);
    }
    worker_drop(worker);
    if (died)
        worker->state = WORKER_NONE;
    else if (!asked)
        done_tell(front, worker);
}

/* The run is over without a report: DIED will say of what. Its pipes stay open until then. */
static void run_ask(struct front *front, struct worker *worker)
{
    worker->state = WORKER_ASKED;
    for (size_t i = 0; i < READY_FDS; i++)
        if (worker->fds[i] >= 0)
            epoll_ctl(front->epoll, EPOLL_CTL_DEL, worker->fds[i], NULL);
    fd_close(&worker->listener);
    done_tell(front, worker);
}

/* What the run used, by the kernel's account of its slot. */
static void usage_find(const struct worker *worker, struct run_usage *ret_usage)
{
    struct meters now;
    *ret_usage = (struct run_usage) { 0 };
    meters_read(worker->meters, worker->runtime->plan->cgroup_version, &now);
    if ((now.known & METERS_TIME) != 0) {
        meters_since(&worker->before, &now, &ret_usage->user_us, &ret_usage->system_us);
        ret_usage->known |= USAGE_CPU;
    }
    if ((now.known & METERS_MEMORY) != 0) {
        ret_usage->memory_peak = now.memory_peak;
        ret_usage->known |= USAGE_MEMORY;
    }
}

/* The worker has said all that it will. */
static void run_finish(struct front *front, struct worker *worker)
{
    if (worker->call == NULL || worker->call->kind != CALL_RUN) {
        run_end(front, worker, false, NULL);
    } else if (worker->ended) {
        struct ending ending = { .died = false };
        usage_find(worker, &ending.usage);
        run_end(front, worker, false, &ending);
    } else if (worker->exit_by_ns == 0 && !worker->refused && worker->fds[READY_SOCKET] >= 0) {
        /* It closed its socket without a word: mostly it is dying, and DIED will say of what. */
        epoll_ctl(front->epoll, EPOLL_CTL_DEL, worker->fds[READY_SOCKET], NULL);
        worker->exit_by_ns = clock_ns() + front->plan.exit_grace_ms * NS_PER_MS;
    } else if (worker->refused) {
        run_ask(front, worker);
    }
}

/* As large as a report may be that keeps to its limits: the base64 of its files, result and traceback. */
static uint64_t report_most(const struct front *front, const struct call *call)
{
    return front->plan.result_max + report_files_most(call) + REPORT_ROOM;
}

static bool header_valid(struct front *front, struct worker *worker)
{
    const struct frame_header *header = &worker->header;
    const struct call *call = worker->call;
    bool first = worker->said == 0;
    if (header->exchange != 1)
        return false;
    if (header->type != FRAME_END && (header->type == FRAME_REPORT) != (call != NULL && call->kind == CALL_RUN))
        return false;
    switch (header->type) {
    case FRAME_REPORT:
        worker->too_large = first && header->length > report_most(front, call);
        return first && header->length > 0 && header->length <= report_most(front, call);
    case FRAME_RESULT:
        worker->too_large = first && header->length > front->plan.result_max;
        return first && header->length > 0 && header->length <= front->plan.result_max;
    case FRAME_ERROR:
        return first && header->length <= FRAME_ERROR_MAX;
    case FRAME_END:
        return !first && header->length == 0;
    default:
        return false;
    }
}

/* Returns true when the worker has said all that it will, or what it must not. */
static bool words_read(struct front *front, struct worker *worker)
{
    for (int round = 0; round < SPOKEN_ROUNDS; round++) { /* others wait too: the rest is read in the next turn */
        bool in_header = worker->header_have < sizeof worker->header;
        struct buffer *payload = &worker->payload;
        void *to = in_header ? (char *)&worker->header + worker->header_have : payload->at + payload->used;
        uint64_t left = in_header ? sizeof worker->header - worker->header_have : worker->header.length - payload->used;
        ssize_t got = recv(worker->fds[READY_SOCKET], to, left < WORDS_SIZE ? left : WORDS_SIZE, MSG_DONTWAIT);
        if (got < 0 && (errno == EAGAIN || errno == EINTR))
            return false;
        if (got <= 0)
            return true;
        if (in_header) {
            worker->header_have += (size_t)got;
            if (worker->header_have < sizeof worker->header)
                continue;
            if (!header_valid(front, worker)) {
                worker->refused = true;
                return true;
            }
            worker->ended = worker->header.type == FRAME_END;
            if (worker->ended) {
                worker->ended_ns = clock_ns();
                return true;
            }
            /* All of its room at once: what isn't written to costs nothing, and nothing is copied when it grows. */
            *payload = (struct buffer) { .most = worker->header.length };
            if (!buffer_reserve(payload, worker->header.length > 0 ? worker->header.length : 1)) {
                worker->refused = true;
                return true;
            }
        } else {
            payload->used += (size_t)got;
        }
        if (worker->payload.used == worker->header.length) {
            worker->said = worker->header.type;
            worker->header_have = 0;
            worker->exit_by_ns = clock_ns() + front->plan.exit_grace_ms * NS_PER_MS;
        }
    }
    return false;
}

void run_event(struct front *front, struct worker *worker, enum watch_kind kind, uint32_t events)
{
    if (worker->state != WORKER_RUNNING)
        return; /* an event of this round, of a run that has ended in it */
    if (kind == WATCH_DENIED) {
        listener_hear(front, worker, events);
        return;
    }
    if (kind == WATCH_STDOUT || kind == WATCH_STDERR) {
        pipe_drain(front, worker, kind == WATCH_STDOUT ? READY_STDOUT : READY_STDERR, READ_SIZE);
        if (worker->call != NULL && worker->call->stream)
            stream_output(worker->call, worker, false);
        return;
    }
    size_t whole = worker->call != NULL ? sizeof(struct frame_header) + worker->call->script_length : 0;
    if (worker->sent < whole) {
        if (script_send(worker) < 0)
            worker->sent = whole; /* it is gone; what it said before is read below */
        if (worker->sent == whole) {
            struct epoll_event event = { .events = EPOLLIN, .data.ptr = &worker->watches[READY_SOCKET] };
            epoll_ctl(front->epoll, EPOLL_CTL_MOD, worker->fds[READY_SOCKET], &event);
        }
    }
    if (worker->refused || words_read(front, worker))
        run_finish(front, worker);
}

void run_died(struct front *front, struct worker *worker, const struct died *died)
{
    struct ending ending = { .died = true };              /* nobody knows of what */
    if (died != NULL && worker->state != WORKER_LIMITING) /* else it never began */
        ending = (struct ending) { .died = true, .why = died->why, .status = died->status, .usage = died->usage };
    if (worker->state == WORKER_RUNNING) {
        /* What it had sent before it died: read to its end, which comes, since nobody holds the other end any more. */
        for (int turn = 0; turn < LAST_TURNS && !worker->ended && worker->fds[READY_SOCKET] >= 0 && !words_read(front, worker); turn++)
            continue;
        run_end(front, worker, true, &ending);
        return;
    }
    if (worker->state == WORKER_ASKED || worker->state == WORKER_LIMITING) {
        run_end(front, worker, true, &ending);
        return;
    }
    worker_drop(worker);
    worker->state = WORKER_NONE;
}

void run_cancel(struct front *front, struct worker *worker)
{
    run_count(front, worker, worker->call, RUN_CANCELLED);
    run_log(front, worker->call, RUN_CANCELLED, NULL);
    worker->call = NULL;
    run_end(front, worker, false, NULL);
}

void run_expire(struct front *front, uint64_t now_ns)
{
    bool tick = now_ns >= front->tick_ns;
    if (tick)
        front->tick_ns = now_ns + TICK_MS * NS_PER_MS;
    for (uint32_t i = 0; front->running > 0 && i < front->plan.slots; i++) {
        struct worker *worker = &front->workers[i];
        if (worker->state == WORKER_RUNNING && tick)
            listener_wake(front, worker);
        if (worker->state != WORKER_RUNNING || worker->exit_by_ns == 0 || now_ns < worker->exit_by_ns)
            continue;
        if (worker->call != NULL && worker->call->kind == CALL_RUN)
            run_ask(front, worker);
        else
            run_end(front, worker, false, NULL);
    }
}
