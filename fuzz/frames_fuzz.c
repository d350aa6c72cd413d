/* What a worker says to the front, of any bytes: whatever it is, the call gets one answer, whose body is JSON, and nothing is left open.
 * The first byte says how the rest is cut in two, so that frames come in parts. */
#include "front/front.h"
#include "front/json_check.h"
#include "front/run_log.h"
#include "wire/frame.h"

#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void promise(bool kept, const char *what)
{
    if (!kept) {
        fprintf(stderr, "broken: %s\n", what);
        abort();
    }
}

static unsigned answered;

/* What a call is made of is route.c's, which the HTTP library comes with. */
void call_fail(struct call *call, unsigned status, const char *text)
{
    (void)call;
    fprintf(stderr, "%u: %s\n", status, text);
    promise(false, "there is room for the answer");
}

/* A line for each would bury what the fuzzer says. */
void run_log(const struct front *front, const struct call *call, enum run_status status, const struct run_usage *usage)
{
    (void)front;
    (void)call;
    (void)status;
    (void)usage;
}

uint32_t http_connections(const struct front *front)
{
    (void)front;
    return 0;
}

uint64_t descriptors_count(const struct front *front)
{
    (void)front;
    return 0;
}

void call_body_free(struct call *call)
{
    buffer_free(&call->body);
}

bool call_answer_count(struct call *call, size_t bytes)
{
    call->front->answers += bytes;
    return true;
}

void http_resume(struct call *call)
{
    static const struct json_rules RULES = { .depth_max = 2000 };
    struct json_error error;
    promise(call->state == CALL_ANSWERED && call->answer != NULL, "a call that goes on has an answer");
    promise(call->status == 200 || call->status == 400, "a worker's word is a result or the script's error");
    promise(json_check(call->answer, call->answer_length, &RULES, NULL, NULL, &error) == JSON_OK, "an answer is JSON");
    answered++;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct front front;
    static struct worker worker;
    static struct caller caller;
    int to_worker[2], to_keeper[2], out[2], err[2];
    if (size < 1 || size > 60000)
        return 0;
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, to_worker) < 0 || socketpair(AF_UNIX, SOCK_SEQPACKET, 0, to_keeper) < 0 || pipe(out) < 0 ||
        pipe(err) < 0)
        abort();
    memset(&front, 0, sizeof front);
    memset(&worker, 0, sizeof worker);
    caller = (struct caller) { .running = 1, .lanes[0].running = 1 };
    front.plan = (struct front_plan) { .slots = 1, .result_max = 20000, .stdout_max = 1000, .exit_grace_ms = 1000 };
    front.epoll = epoll_create1(EPOLL_CLOEXEC);
    front.runtimes[0] = (struct runtime) { .plan = &front.plan.runtime[0], .keeper = to_keeper[0], .slots = 1 };
    front.workers = &worker;
    front.running = 1;
    struct call *call = calloc(1, sizeof *call);
    if (call == NULL)
        abort();
    call->front = &front;
    call->caller = &caller;
    call->state = CALL_RUNNING;
    call->worker = &worker;
    worker.state = WORKER_RUNNING;
    worker.generation = 1;
    worker.runtime = &front.runtimes[0];
    worker.listener = -1;
    for (int i = 0; i < METERS; i++)
        worker.meters[i] = -1;
    worker.caller = &caller;
    worker.call = call;
    worker.sent = sizeof(struct frame_header); /* its script of no bytes is on its way */
    worker.out.most = front.plan.stdout_max;
    const int fds[READY_FDS] = { [READY_SOCKET] = to_worker[0], [READY_STDOUT] = out[0], [READY_STDERR] = err[0] };
    for (int i = 0; i < READY_FDS; i++) {
        worker.fds[i] = fds[i];
        fcntl(fds[i], F_SETFL, O_NONBLOCK);
        struct epoll_event event = { .events = EPOLLIN, .data.ptr = &worker.watches[i] };
        epoll_ctl(front.epoll, EPOLL_CTL_ADD, fds[i], &event);
    }
    size_t first = 1 + (size - 1) * data[0] / 255;
    unsigned before = answered;
    if (write(to_worker[1], data + 1, first - 1) != (ssize_t)(first - 1) || write(out[1], data, size < 2000 ? size : 2000) < 0)
        abort();
    run_event(&front, &worker, WATCH_STDOUT, EPOLLIN);
    run_event(&front, &worker, WATCH_SOCKET, EPOLLIN);
    if (worker.state == WORKER_RUNNING) {
        if (write(to_worker[1], data + first, size - first) != (ssize_t)(size - first))
            abort();
        run_event(&front, &worker, WATCH_SOCKET, EPOLLIN);
    }
    close(to_worker[1]);
    close(out[1]);
    close(err[1]);
    if (worker.state == WORKER_RUNNING)
        run_died(&front, &worker, NULL);
    promise(answered == before + 1, "each call gets one answer");
    promise(front.running == 0, "the run is over");
    free(call->answer);
    free(call);
    close(front.epoll);
    close(to_keeper[0]);
    close(to_keeper[1]);
    return 0;
}
