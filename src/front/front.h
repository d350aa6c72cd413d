/* The front: speaks HTTP with strangers, frames with workers, records with the keeper. No privileges, one thread, one epoll. */
#ifndef VIVARY_FRONT_FRONT_H
#define VIVARY_FRONT_FRONT_H

#include "base/fault.h"
#include "base/meters.h"
#include "front/caller.h"
#include "front/denied.h"
#include "front/metrics.h"
#include "front/run_request.h"
#include "wire/died.h"
#include "wire/frame.h"
#include "wire/front_plan.h"
#include "wire/limited.h"
#include "wire/ready.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What an event of the front's epoll is about. */
enum watch_kind {
    WATCH_KEEPER,
    WATCH_SIGNALS,
    WATCH_NEWS,
    WATCH_HTTP,
    WATCH_CLIENT,
    WATCH_SOCKET,
    WATCH_STDOUT,
    WATCH_STDERR,
    WATCH_DENIED
};

struct watch {
    enum watch_kind kind;
    void *owner; /* struct call, struct worker, or nothing */
};

/* Bytes that grow up to a maximum; what is more is dropped and noted. */
struct buffer {
    char *at;
    size_t used, room, most;
    bool cut;
};

enum call_kind { CALL_EXECUTE, CALL_RUN };
enum call_state { CALL_READING, CALL_QUEUED, CALL_RUNNING, CALL_ANSWERED };

enum { REQUEST_ID_ROOM = 129, TRACEPARENT_ROOM = 56 };

/* One HTTP request. */
struct call {
    enum call_kind kind;
    enum call_state state;
    struct front *front;
    void *http;              /* http.c's connection */
    struct watch watch;      /* for its hanging up while the call waits */
    int client;              /* its descriptor, MHD's to close */
    uint32_t runtime;        /* its number */
    bool suspended, watched; /* by the library; by our epoll */
    bool closes;             /* the connection can't be read on */
    bool late;               /* its connection came once the service was stopping */
    bool stream;             /* events as they happen, not one answer */
    bool broken;             /* its stream can't be ended as it should */
    bool leaving;            /* its answer is on the way to the client */
    bool head;               /* asked for without its body */
    bool ending;             /* of a stream: the time to take in what is left runs */
#ifdef VIVARY_ABLATION
    bool takeover;
#endif
    unsigned status;
    uint32_t retry_s; /* of a 429 or 503, when to try again; 0: in a second */
    struct buffer body;
    size_t discarded; /* bytes of a body that is too large */
    char *script;     /* of a run: the whole request */
    size_t script_length;
    uint32_t uses; /* enum uses */
    struct run_limits limits;
    uint64_t queued_ns, started_ns;
    uint64_t counted;    /* bytes of its body, in the front's sum */
    uint64_t answered;   /* bytes of its answer and events, in the other */
    uint64_t give_up_ns; /* while queued */
    struct worker *worker;
    struct caller *caller;
    const char *authorization; /* only while it is routed */
    struct call *next;         /* in the queue */
    char *answer;              /* malloc'ed */
    size_t answer_length;
    const char *allow;    /* of a 405 */
    const char *type;     /* of the answer's content; NULL: application/json */
    struct buffer events; /* of a stream: what the library hasn't taken yet */
    size_t events_taken;
    uint64_t event_ns; /* when the last was added */
    char id[24];
    char request_id[REQUEST_ID_ROOM], traceparent[TRACEPARENT_ROOM]; /* of the client's; empty: none */
};

enum worker_state {
    WORKER_NONE,
    WORKER_WAITING,
    WORKER_LIMITING /* its run waits for its limits */,
    WORKER_RUNNING,
    WORKER_ASKED /* how its run has ended */,
    WORKER_ENDING
};

/* The worker of a slot. */
struct worker {
    enum worker_state state;
    uint32_t slot; /* as its keeper counts */
    struct runtime *runtime;
    uint64_t generation;
    uint64_t since_ns; /* waiting */
    int fds[READY_FDS];
    int listener;       /* of its filter; -1: none */
    int meters[METERS]; /* what its slot uses; they stay with the slot */
    struct watch watches[READY_FDS], listener_watch;
    struct call *call;
    struct caller *caller; /* whose run it is, also once nobody waits for it */
    size_t sent;           /* of header and script */
    struct frame_header header;
    size_t header_have;
    uint64_t exit_by_ns; /* once the result is there; 0 before */
    uint64_t ended_ns;   /* when it said END, or else was given up */
    enum call_kind kind; /* of its run */
    uint32_t said;       /* FRAME_RESULT, FRAME_ERROR or FRAME_REPORT, once whole */
    bool refused;        /* it broke the protocol */
    bool ended;          /* it said END */
    bool too_large;
    bool listener_rests;   /* until the next tick */
    struct buffer payload; /* of the frame that is coming */
    struct buffer out, err;
    size_t out_streamed, err_streamed;
    struct denied denied;
    struct meters before; /* when its run began */
};

/* What the front tells the keeper. */
struct record {
    uint32_t length;
    char bytes[48];
};

struct runtime {
    const struct front_runtime *plan;
    int keeper;
    struct watch watch;
    uint32_t first, slots;  /* of front->workers */
    uint32_t running;       /* of them at most plan->at_once */
    struct record *records; /* for the keeper, once its socket is full */
    size_t records_used, records_room;
    struct caller *waiting; /* those with calls in the queue */
    int statm;              /* how much memory its keeper has; -1: not told here */
};

struct front {
    struct front_plan plan;
    struct runtime runtimes[RUNTIMES_MAX];
    void *filter; /* plan.filter_length instructions */
    int epoll, signals, news;
    struct watch signals_watch, http_watch, news_watch;
    struct worker *workers;
    struct metrics metrics;
    int statm; /* how much memory it has; -1: not told here */
    struct keyring ring;
    uint64_t pass; /* of the last whose turn it was */
    uint32_t queued, running;
    struct run_limits most; /* that a request may ask for */
    uint64_t bodies;        /* bytes of the bodies that are here */
    uint64_t answers;       /* bytes of answers and events that clients haven't taken in */
    uint64_t id_base, ids;
    uint64_t tick_ns;
    uint64_t worker_ns;  /* when there last was news of a worker */
    struct call *graves; /* freed at the end of a round: events of this round may still point to them */
    bool stopping;
    uint64_t drain_by_ns, linger_by_ns, stop_by_ns; /* drain_by_ns: 0 once the listeners are closed */
    struct http *http;
};

/* http.c */
int http_start(struct front *front, struct fault *why);
void http_wake(struct front *front); /* there is something for the library to do */
void http_turn(struct front *front); /* lets it, where there is */
int http_wait_ms(const struct front *front);
void http_expire(struct front *front, uint64_t now_ns); /* cuts off clients that are over their time */
void http_close_listeners(struct front *front);
void http_resume(struct call *call);              /* its answer is there */
uint32_t http_leaving(const struct front *front); /* answers on their way */
bool http_expects(const struct front *front);     /* a request, on a connection that came before the service was stopping */
uint32_t http_connections(const struct front *front);
uint64_t descriptors_count(const struct front *front);

/* route.c: what is asked, and the whole request. */
void call_route(struct call *call, const char *method, const char *path);
void call_body(struct call *call, const char *bytes, size_t length);
void call_start(struct call *call);
void call_fail(struct call *call, unsigned status, const char *text);
void call_problem(struct call *call, const struct problem *problem);
void call_body_free(struct call *call);                  /* its body, or script, isn't needed any more */
bool call_answer_count(struct call *call, size_t bytes); /* false: clients have too much to take in already */
void call_free(struct call *call);

#ifdef VIVARY_ABLATION
void takeover_run(struct call *call);
#endif

/* queue.c: calls that wait for a worker, and workers that wait for a call. */
void queue_add(struct front *front, struct call *call);
void queue_remove(struct front *front, struct call *call);
void queue_serve(struct front *front);
void queue_expire(struct front *front, uint64_t now_ns);

/* keeper.c: records for a runtime's keeper. One that can't be told anything any more ends this process. */
void keeper_tell(struct front *front, struct runtime *runtime, const void *bytes, uint32_t length);
void keeper_flush(struct front *front, struct runtime *runtime); /* tells it what it had no room for */

/* run.c: one worker's run. */
int run_start(struct front *front, struct worker *worker, struct call *call);
void run_event(struct front *front, struct worker *worker, enum watch_kind kind, uint32_t events);
void run_limited(struct front *front, struct worker *worker, uint64_t generation);
void run_died(struct front *front, struct worker *worker, const struct died *died); /* NULL: it isn't told how */
void run_cancel(struct front *front, struct worker *worker);
void run_expire(struct front *front, uint64_t now_ns);
void worker_drop(struct worker *worker);

/* stream.c: a run's events, as they happen. */
void stream_start(struct call *call);
void stream_output(struct call *call, struct worker *worker, bool last); /* what was written since; last: all of it */
void stream_end(struct call *call);                                      /* with its answer */
void stream_expire(struct front *front, uint64_t now_ns);                /* a sign of life where nothing happens */

/* jail.c */
int jail_enter(const struct front *front, struct fault *why);

/* buffer.c */
bool buffer_add(struct buffer *buffer, const void *bytes, size_t length); /* false: no memory */
bool buffer_reserve(struct buffer *buffer, size_t room);                  /* the same; what is beyond `used` is the caller's to fill */
void buffer_free(struct buffer *buffer);

#endif
