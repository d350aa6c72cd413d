/* HTTP, by libmicrohttpd: the only file that knows it. One daemon for each listening socket, no threads of its own, its epoll inside ours.
 * Calls that wait are suspended; what the library doesn't refuse by itself is refused in door.c. */
#include "front/door.h"
#include "front/front.h"
#include "front/run_log.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/passing.h"

#include <errno.h>
#include <microhttpd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>

enum {
    EVENTS_BLOCK = 16 << 10,
    CONNECTION_MEMORY = 10 << 10,
    DISCARD_FACTOR = 4,
    DISCARD_LEAST = 1 << 20,
    EXPIRE_EVERY_MS = 100,
    KNOCK_MS = 200,
    RELIEVED_A_TIME = 64,
    DAEMON_FDS = 3,
    SPARE_FDS = 16,
    SPARE_PART = 64 /* of the connections that there may be, kept free by those that ask nothing giving way */
};

/* One client's connection. */
struct connection {
    int fd;
    uint64_t deadline_ns; /* 0: none, its call waits for a run */
    bool served;          /* at least one request; the first has its time from the accept on */
    bool late;            /* it came once the service was stopping */
    bool knocks;          /* no request of a caller's is in it */
    struct connection *next, *before;
    struct connection *later, *earlier; /* of those that knock, in the order in which they began to */
    uint64_t knocks_ns;                 /* since then */
};

struct http {
    struct MHD_Daemon *daemons[FRONT_LISTEN_MAX];
    struct connection *connections;
    struct connection *knock_first, *knock_last; /* the first has been there for longest */
    uint32_t count, most;                        /* connections, over all daemons */
    uint32_t leaving;                            /* answers on their way */
    bool due;                                    /* the library has something to do */
    uint64_t expire_ns;
};

static struct connection *connection_of(struct MHD_Connection *mhd)
{
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    return info != NULL ? info->socket_context : NULL;
}

static void connection_time(struct MHD_Connection *mhd, uint64_t ms)
{
    struct connection *connection = connection_of(mhd);
    if (connection != NULL)
        connection->deadline_ns = ms > 0 ? clock_ns() + ms * NS_PER_MS : 0;
}

static void knock_begin(struct http *http, struct connection *connection)
{
    if (connection->knocks)
        return;
    connection->knocks = true;
    connection->knocks_ns = clock_ns();
    connection->later = NULL;
    connection->earlier = http->knock_last;
    *(http->knock_last != NULL ? &http->knock_last->later : &http->knock_first) = connection;
    http->knock_last = connection;
}

static void knock_end(struct http *http, struct connection *connection)
{
    if (!connection->knocks)
        return;
    connection->knocks = false;
    *(connection->earlier != NULL ? &connection->earlier->later : &http->knock_first) = connection->later;
    *(connection->later != NULL ? &connection->later->earlier : &http->knock_last) = connection->earlier;
}

/* Whoever opens connections and asks nothing, or has no key, must not keep others out: near the limit, the one that has been there for
 * longest without a caller's request gives way. Not at once: of many that come in one moment, the requests are there and not yet read. A
 * caller's request isn't cut off: at worst new connections wait. */
static bool knock_relieve(struct front *front, uint64_t now_ns)
{
    struct http *http = front->http;
    struct connection *oldest = http->knock_first;
    if (http->count < http->most - http->most / SPARE_PART || oldest == NULL || now_ns < oldest->knocks_ns + KNOCK_MS * NS_PER_MS)
        return false;
    knock_end(http, oldest);
    oldest->deadline_ns = 0;
    shutdown(oldest->fd, SHUT_RDWR); /* the library sees the end, and closes */
    front->metrics.relieved++;
    return true;
}

/* The library counts for each daemon by itself. */
static enum MHD_Result connection_accept(void *cls, const struct sockaddr *address, socklen_t length)
{
    const struct http *http = ((const struct front *)cls)->http;
    (void)address, (void)length;
    return http->count < http->most ? MHD_YES : MHD_NO;
}

static void connection_notify(void *cls, struct MHD_Connection *mhd, void **socket_context, enum MHD_ConnectionNotificationCode code)
{
    struct front *front = cls;
    struct http *http = front->http;
    if (code == MHD_CONNECTION_NOTIFY_STARTED) {
        const union MHD_ConnectionInfo *info = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CONNECTION_FD);
        struct connection *connection = calloc(1, sizeof *connection);
        if (connection == NULL || info == NULL) {
            free(connection);
            return; /* without a deadline of ours: the library's own idle time ends it */
        }
        connection->fd = info->connect_fd;
        connection->late = front->stopping;
        connection->deadline_ns = clock_ns() + front->plan.request_ms * NS_PER_MS;
        connection->next = http->connections;
        if (connection->next != NULL)
            connection->next->before = connection;
        http->connections = connection;
        http->count++;
        knock_begin(http, connection);
        knock_relieve(front, clock_ns());
        *socket_context = connection;
        return;
    }
    struct connection *connection = *socket_context;
    if (connection == NULL)
        return;
    knock_end(http, connection);
    if (connection->next != NULL)
        connection->next->before = connection->before;
    *(connection->before != NULL ? &connection->before->next : &http->connections) = connection->next;
    http->count--;
    http->due = true; /* at its limit the library stops listening, and looks in its next turn alone whether it may listen again */
    free(connection);
    *socket_context = NULL;
}

/* Called with the request line, before the headers: from here a request has its time, other than the first. */
static void *line_notify(void *cls, const char *uri, struct MHD_Connection *mhd)
{
    const struct front *front = cls;
    const struct connection *connection = connection_of(mhd);
    (void)uri;
    if (connection != NULL && connection->served)
        connection_time(mhd, front->plan.request_ms);
    return NULL;
}

/* The path as it came: `%2f` is no slash, and `%00` doesn't cut. */
static size_t path_keep(void *cls, struct MHD_Connection *mhd, char *text)
{
    (void)cls, (void)mhd;
    return strlen(text);
}

/* What the client called its request, it hears again. */
static void ids_give(const struct call *call, struct MHD_Response *response)
{
    if (call->request_id[0] != '\0')
        MHD_add_response_header(response, "X-Request-Id", call->request_id);
    if (call->traceparent[0] != '\0')
        MHD_add_response_header(response, "traceparent", call->traceparent);
}

static enum MHD_Result answer_send(struct call *call, struct MHD_Connection *mhd)
{
    static const char NO_MEMORY[] = "{\"error\": \"Out of memory\"}";
    struct MHD_Response *response;
    if (call->answer != NULL)
        response = MHD_create_response_from_buffer(call->answer_length, call->answer, MHD_RESPMEM_MUST_FREE);
    else
        response = MHD_create_response_from_buffer(sizeof NO_MEMORY - 1, (char *)NO_MEMORY, MHD_RESPMEM_PERSISTENT);
    if (response == NULL)
        return MHD_NO; /* closes the connection */
    char retry[16];
    snprintf(retry, sizeof retry, "%u", call->retry_s > 0 ? call->retry_s : 1);
    call->answer = NULL; /* the response's now */
    MHD_add_response_header(response, "Content-Type", call->type != NULL ? call->type : "application/json");
    ids_give(call, response);
    call->front->metrics.answers[call->status / 100 % 6]++;
    call->front->metrics.bytes_out += call->head ? 0 : call->answer_length;
    if (call->allow != NULL)
        MHD_add_response_header(response, "Allow", call->allow);
    if (call->status == 503 || call->status == 429)
        MHD_add_response_header(response, "Retry-After", retry);
    if (call->status == 401)
        MHD_add_response_header(response, "WWW-Authenticate", "Bearer");
    if (call->closes || call->front->stopping)
        MHD_add_response_header(response, "Connection", "close");
    connection_time(mhd, call->front->plan.request_ms); /* to take the answer in */
    enum MHD_Result queued = MHD_queue_response(mhd, call->status, response);
    MHD_destroy_response(response);
    if (queued == MHD_YES) {
        call->leaving = true;
        call->front->http->leaving++;
    }
    return queued;
}

/* Suspends the call's connection until its answer is there. The library doesn't look at a suspended connection, so its hanging up is
 * watched for here. A client that has closed its sending half alone (`nc -N`) looks the same as one that is gone, and counts as gone: it
 * gets a 400, and its run ends. */
static void call_suspend(struct call *call, struct MHD_Connection *mhd)
{
    MHD_suspend_connection(mhd);
    connection_time(mhd, 0);
    call->suspended = true;
    struct epoll_event event = { .events = EPOLLRDHUP, .data.ptr = &call->watch };
    call->watched = call->client >= 0 && epoll_ctl(call->front->epoll, EPOLL_CTL_ADD, call->client, &event) == 0;
}

/* Gives the library what has happened since it last asked, and suspends the connection where that is nothing. */
static ssize_t events_read(void *cls, uint64_t position, char *to, size_t most)
{
    struct call *call = cls;
    (void)position;
    size_t left = call->events.used - call->events_taken, taken = left < most ? left : most;
    if (call->broken)
        return MHD_CONTENT_READER_END_WITH_ERROR;
    if (taken == 0 && call->state == CALL_ANSWERED)
        return MHD_CONTENT_READER_END_OF_STREAM;
    if (taken == 0) {
        call_suspend(call, call->http);
        return 0;
    }
    /* To take this in; and once the run is over, to take in all that is left, as any answer. */
    if (!call->ending)
        connection_time(call->http, call->front->plan.request_ms);
    call->ending = call->state == CALL_ANSWERED;
    memcpy(to, call->events.at + call->events_taken, taken);
    call->events_taken += taken;
    call->front->metrics.bytes_out += taken;
    if (call->events_taken == call->events.used)
        call->events.used = call->events_taken = 0;
    return (ssize_t)taken;
}

static enum MHD_Result stream_send(struct call *call, struct MHD_Connection *mhd)
{
    struct MHD_Response *response = MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, EVENTS_BLOCK, events_read, call, NULL);
    if (response == NULL)
        return MHD_NO;
    MHD_add_response_header(response, "Content-Type", "text/event-stream");
    MHD_add_response_header(response, "Cache-Control", "no-store");
    ids_give(call, response);
    call->front->metrics.answers[2]++;
    MHD_add_response_header(response, "X-Accel-Buffering", "no"); /* nginx and its like would collect the events */
    enum MHD_Result queued = MHD_queue_response(mhd, MHD_HTTP_OK, response);
    MHD_destroy_response(response);
    if (queued == MHD_YES) {
        call->leaving = true;
        call->front->http->leaving++;
    }
    return queued;
}

void http_resume(struct call *call)
{
    if (call->http == NULL || !call->suspended)
        return; /* answered in the same turn as asked */
    if (call->watched)
        epoll_ctl(call->front->epoll, EPOLL_CTL_DEL, call->client, NULL);
    call->suspended = call->watched = false;
    MHD_resume_connection(call->http);
    call->front->http->due = true;
}

static bool content_is_json(struct MHD_Connection *mhd)
{
    static const char JSON[] = "application/json";
    const char *type = MHD_lookup_connection_value(mhd, MHD_HEADER_KIND, "Content-Type");
    if (type == NULL)
        return true;
    size_t length = strcspn(type, "; \t");
    return length == sizeof JSON - 1 && strncasecmp(type, JSON, length) == 0;
}

static struct call *call_begin(struct front *front, struct MHD_Connection *mhd, const char *url, const char *method, const char *version)
{
    struct call *call = calloc(1, sizeof *call);
    if (call == NULL)
        return NULL;
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CONNECTION_FD);
    call->front = front;
    call->http = mhd;
    call->client = info != NULL ? info->connect_fd : -1;
    call->watch = (struct watch) { WATCH_CLIENT, call };
    call->body.most = front->plan.body_max;
    call->head = strcmp(method, "HEAD") == 0;
    request_id_keep(call->request_id, MHD_lookup_connection_value(mhd, MHD_HEADER_KIND, "X-Request-Id"));
    traceparent_keep(call->traceparent, MHD_lookup_connection_value(mhd, MHD_HEADER_KIND, "traceparent"));
    call->kind = strncmp(url, "/v1/", 4) == 0 ? CALL_RUN : CALL_EXECUTE;
    const char *wrong = door_check(mhd, version);
    if (wrong != NULL) {
        call_fail(call, 400, wrong);
        call->closes = true; /* what follows can't be trusted to be a request */
        return call;
    }
    call->authorization = MHD_lookup_connection_value(mhd, MHD_HEADER_KIND, "Authorization");
    call_route(call, method, url);
    call->authorization = NULL;
    struct connection *connection = connection_of(mhd);
    call->late = connection != NULL && connection->late;
    if (connection != NULL && call->caller != NULL)
        knock_end(front->http, connection);
    const char *length = MHD_lookup_connection_value(mhd, MHD_HEADER_KIND, "Content-Length");
    const char *accept = MHD_lookup_connection_value(mhd, MHD_HEADER_KIND, "Accept");
    call->stream = call->kind == CALL_RUN && accept != NULL && strcasestr(accept, "text/event-stream") != NULL;
    if (call->kind == CALL_RUN && call->state == CALL_READING && !content_is_json(mhd)) {
        call_fail(call, 415, "Content-Type must be application/json, or absent");
        return call;
    }
    if (length != NULL && strtoull(length, NULL, 10) > call->body.most) {
        char text[96];
        snprintf(text, sizeof text, "Request body is larger than %llu bytes", (unsigned long long)call->body.most);
        call_fail(call, 413, text);
        call->closes = true;
    }
    return call;
}

static enum MHD_Result request_handle(void *cls, struct MHD_Connection *mhd, const char *url, const char *method, const char *version,
                                      const char *data, size_t *data_size, void **context)
{
    struct front *front = cls;
    struct call *call = *context;
    if (call == NULL) {
        call = call_begin(front, mhd, url, method, version);
        if (call == NULL)
            return MHD_NO;
        *context = call;
        /* An answer given here, before the body, closes the connection afterwards. All others wait for the request's end. */
        return call->closes && call->state == CALL_ANSWERED ? answer_send(call, mhd) : MHD_YES;
    }
    if (*data_size > 0) {
        call_body(call, data, *data_size);
        *data_size = 0;
        return call->discarded > DISCARD_FACTOR * call->body.most + DISCARD_LEAST ? MHD_NO : MHD_YES;
    }
    if (call->state == CALL_READING)
        call_start(call);
    if (call->stream && call->events.most > 0) /* its run has begun */
        return stream_send(call, mhd);
    if (call->state == CALL_ANSWERED)
        return answer_send(call, mhd);
    call_suspend(call, mhd);
    return MHD_YES;
}

static void request_completed(void *cls, struct MHD_Connection *mhd, void **context, enum MHD_RequestTerminationCode code)
{
    struct front *front = cls;
    struct call *call = *context;
    (void)code;
    struct connection *connection = connection_of(mhd);
    if (connection != NULL) {
        connection->served = true;
        knock_begin(front->http, connection);
    }
    connection_time(mhd, front->plan.idle_ms);
    if (call == NULL)
        return;
    *context = NULL;
    if (call->leaving)
        front->http->leaving--;
    if (call->watched)
        epoll_ctl(front->epoll, EPOLL_CTL_DEL, call->client, NULL);
    call->watched = false;
    call->http = NULL;
    if (call->state == CALL_QUEUED)
        queue_remove(front, call);
    if (call->worker != NULL)
        run_cancel(front, call->worker);
    call->next = front->graves;
    front->graves = call;
}

/* How many connections there may be. Clients must not use up the descriptors that workers come with: a record of the keeper's without room
 * for its descriptors is one that can't be understood, and would end this process. */
static int connections_bound(struct front *front, struct fault *why)
{
    const struct front_plan *plan = &front->plan;
    uint64_t kept = FRONT_KEEPER_FD + 2 * plan->runtimes + plan->listeners * (1 + DAEMON_FDS) +
                    (uint64_t)plan->slots * (READY_FDS + 1 + METERS) + PASSING_FDS_MAX + SPARE_FDS;
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) < 0)
        return fault_set(why, errno, "getrlimit", "NOFILE");
    if (files.rlim_cur <= kept)
        return fault_set(why, EMFILE, "getrlimit", "NOFILE");
    front->http->most = plan->connections_max;
    if (files.rlim_cur - kept < plan->connections_max) {
        front->http->most = (uint32_t)(files.rlim_cur - kept);
        log_line("warning", "connections_lowered", "to=%u descriptors=%llu", front->http->most, (unsigned long long)files.rlim_cur);
    }
    return 0;
}

int http_start(struct front *front, struct fault *why)
{
    struct http *http = calloc(1, sizeof *http);
    if (http == NULL)
        return fault_set(why, ENOMEM, "calloc", "http");
    front->http = http;
    if (connections_bound(front, why) < 0)
        return -why->error;
    /* The library's own timeout, of idle time in whole seconds, is for connections that we had no memory to watch: never before ours. */
    uint32_t longest_ms = front->plan.idle_ms > front->plan.request_ms ? front->plan.idle_ms : front->plan.request_ms;
    for (uint32_t i = 0; i < front->plan.listeners; i++) {
        http->daemons[i] = MHD_start_daemon(MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME, 0, connection_accept, front, request_handle, front,
                                            MHD_OPTION_LISTEN_SOCKET, (int)(FRONT_KEEPER_FD + front->plan.runtimes + i),
                                            MHD_OPTION_CONNECTION_LIMIT, (unsigned)http->most, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
                                            (size_t)CONNECTION_MEMORY, MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)(longest_ms / 1000 + 2),
                                            MHD_OPTION_STRICT_FOR_CLIENT, 1, MHD_OPTION_NOTIFY_CONNECTION, connection_notify, front,
                                            MHD_OPTION_NOTIFY_COMPLETED, request_completed, front, MHD_OPTION_URI_LOG_CALLBACK, line_notify,
                                            front, MHD_OPTION_UNESCAPE_CALLBACK, path_keep, NULL, MHD_OPTION_END);
        if (http->daemons[i] == NULL)
            return fault_set(why, errno != 0 ? errno : EINVAL, "MHD_start_daemon", "listening socket");
        const union MHD_DaemonInfo *info = MHD_get_daemon_info(http->daemons[i], MHD_DAEMON_INFO_EPOLL_FD);
        struct epoll_event event = { .events = EPOLLIN, .data.ptr = &front->http_watch };
        if (info == NULL || epoll_ctl(front->epoll, EPOLL_CTL_ADD, info->epoll_fd, &event) < 0)
            return fault_set(why, errno, "epoll_ctl", "http");
    }
    return 0;
}

void http_wake(struct front *front)
{
    front->http->due = true;
}

void http_turn(struct front *front)
{
    while (front->http->due) { /* a call can be answered within the turn that asked */
        front->http->due = false;
        for (uint32_t i = 0; i < front->plan.listeners; i++)
            MHD_run(front->http->daemons[i]);
    }
}

int http_wait_ms(const struct front *front)
{
    int wait_ms = front->http->count > 0 ? EXPIRE_EVERY_MS : 60000;
    for (uint32_t i = 0; i < front->plan.listeners; i++) {
        MHD_UNSIGNED_LONG_LONG ms;
        if (MHD_get_timeout(front->http->daemons[i], &ms) == MHD_YES && ms < (unsigned)wait_ms)
            wait_ms = (int)ms;
    }
    return wait_ms;
}

void http_expire(struct front *front, uint64_t now_ns)
{
    struct http *http = front->http;
    if (now_ns < http->expire_ns)
        return;
    http->expire_ns = now_ns + EXPIRE_EVERY_MS * NS_PER_MS;
    for (uint32_t i = 0; i < RELIEVED_A_TIME && knock_relieve(front, now_ns); i++)
        continue;
    /* The library's timeout is of idle time: a client that sends a byte a second would stay. */
    for (struct connection *at = http->connections; at != NULL; at = at->next)
        if (at->deadline_ns != 0 && now_ns >= at->deadline_ns) {
            shutdown(at->fd, SHUT_RDWR); /* the library sees the end, and closes */
            at->deadline_ns = 0;
        }
}

void http_close_listeners(struct front *front)
{
    for (uint32_t i = 0; i < front->plan.listeners; i++)
        MHD_quiesce_daemon(front->http->daemons[i]);
}

/* Whoever is connected has been promised nothing, but would take the silence for a lost run. One that is kept alive between requests may be
 * closed at any time, and its client knows that. */
bool http_expects(const struct front *front)
{
    for (const struct connection *at = front->http->connections; at != NULL; at = at->next)
        if (!at->late && at->deadline_ns != 0 && !(at->served && at->knocks))
            return true;
    return false;
}

uint32_t http_connections(const struct front *front)
{
    return front->http->count;
}

/* What is known to be open: nothing else ever is. */
uint64_t descriptors_count(const struct front *front)
{
    uint64_t count =
        FRONT_KEEPER_FD + 2 * front->plan.runtimes + front->plan.listeners * (1 + DAEMON_FDS) + front->http->count + (front->statm >= 0);
    for (uint32_t i = 0; i < front->plan.slots; i++) {
        for (size_t k = 0; k < READY_FDS; k++)
            count += front->workers[i].fds[k] >= 0;
        count += front->workers[i].listener >= 0;
        for (size_t k = 0; k < METERS; k++)
            count += front->workers[i].meters[k] >= 0;
    }
    return count;
}

uint32_t http_leaving(const struct front *front)
{
    return front->http->leaving;
}
