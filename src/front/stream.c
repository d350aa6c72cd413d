/* Server-Sent Events (the HTML standard, 9.2): `start`, `stdout`, `stderr` as they are written, `end` with the whole answer. */
#include "front/front.h"

#include "base/clock.h"
#include "front/json_write.h"

#include <stdlib.h>
#include <string.h>

enum { BEAT_S = 10 };

struct event {
    const char *kind;
    const struct call *call;
    const char *text;
    size_t length;
    bool cut;
};

static void event_add(struct call *call, const char *bytes, size_t length)
{
    call->event_ns = clock_ns();
    if (!call_answer_count(call, length) || !buffer_add(&call->events, bytes, length))
        call->broken = true; /* no memory: a stream with a hole would be a lie */
    http_resume(call);
}

static void start_write(struct writer *w, const void *argument)
{
    const struct call *call = argument;
    write_literal(w, "event: start\ndata: {\"id\": ");
    write_string(w, call->id);
    write_literal(w, ", \"runtime\": ");
    write_string(w, call->front->plan.runtime[call->runtime].name);
    write_literal(w, "}\n\n");
}

static void output_write(struct writer *w, const void *argument)
{
    const struct event *event = argument;
    write_literal(w, "event: ");
    write_literal(w, event->kind);
    write_literal(w, "\ndata: {\"text\": \"");
    write_text(w, event->text, event->length, event->cut);
    write_literal(w, "\"}\n\n");
}

/* One line: JSON has line ends only between its parts (ours has none, a script's result may), and there a space is as good. */
static void end_write(struct writer *w, const void *argument)
{
    const struct call *call = argument;
    write_literal(w, "event: end\ndata: ");
    for (const char *at = call->answer, *end = at + call->answer_length; at < end;) {
        const char *line = at;
        while (at < end && *at != '\n' && *at != '\r')
            at++;
        write_bytes(w, line, (size_t)(at - line));
        if (at < end)
            write_bytes(w, " ", 1);
        at += at < end;
    }
    write_literal(w, "\n\n");
}

static void event_make(struct call *call, void (*write)(struct writer *w, const void *argument), const void *argument)
{
    size_t length = 0;
    char *bytes = write_make(write, argument, &length);
    if (bytes == NULL)
        call->broken = true;
    else
        event_add(call, bytes, length);
    free(bytes);
}

void stream_start(struct call *call)
{
    call->events.most = SIZE_MAX; /* bounded by what the run may write, and by its answer */
    event_make(call, start_write, call);
}

/* How many bytes at the end begin a character whose rest may still come. */
static size_t tail_length(const char *text, size_t length)
{
    for (size_t back = 1; back <= 3 && back <= length; back++) {
        unsigned char byte = (unsigned char)text[length - back];
        if ((byte & 0xc0) == 0x80)
            continue;
        size_t whole = byte >= 0xf0 ? 4 : byte >= 0xe0 ? 3 : byte >= 0xc0 ? 2 : 1;
        return whole > back ? back : 0;
    }
    return 0;
}

static void output_add(struct call *call, const char *kind, const struct buffer *buffer, size_t *streamed, bool last)
{
    struct event event = { .kind = kind, .call = call, .cut = buffer->cut };
    size_t until = buffer->used - (last || buffer->used == 0 ? 0 : tail_length(buffer->at, buffer->used));
    if (until <= *streamed)
        return;
    event.text = buffer->at + *streamed;
    event.length = until - *streamed;
    *streamed = until;
    struct writer counted = { 0 };
    write_text(&counted, event.text, event.length, event.cut);
    if (counted.used == 0)
        return; /* half a character, which our limit split */
    event_make(call, output_write, &event);
}

void stream_output(struct call *call, struct worker *worker, bool last)
{
    output_add(call, "stdout", &worker->out, &worker->out_streamed, last);
    output_add(call, "stderr", &worker->err, &worker->err_streamed, last);
}

void stream_end(struct call *call)
{
    if (call->answer == NULL)
        call->broken = true;
    else
        event_make(call, end_write, call);
}

void stream_expire(struct front *front, uint64_t now_ns)
{
    static const char BEAT[] = ": still running\n\n";
    for (uint32_t i = 0; front->running > 0 && i < front->plan.slots; i++) {
        struct call *call = front->workers[i].call;
        if (call != NULL && call->stream && now_ns - call->event_ns >= BEAT_S * NS_PER_S)
            event_add(call, BEAT, sizeof BEAT - 1);
    }
}
