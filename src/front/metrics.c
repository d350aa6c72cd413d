#include "front/metrics.h"

#include "front/front.h"
#include "front/json_write.h"
#include "front/report.h"

#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

enum { LEAST_US = 100 };

static const char *const PATHS[METRIC_PATHS] = { [METRIC_EXECUTE] = "execute", [METRIC_RUN] = "run" };

void histogram_add(struct histogram *histogram, uint64_t us)
{
    size_t bucket = 0;
    while (bucket < METRIC_BUCKETS - 1 && us > (uint64_t)LEAST_US << bucket)
        bucket++;
    histogram->buckets[bucket]++;
    histogram->count++;
    histogram->sum_us += us;
}

static void head_write(struct writer *w, const char *name, const char *kind, const char *help)
{
    write_literal(w, "# HELP ");
    write_literal(w, name);
    write_literal(w, " ");
    write_literal(w, help);
    write_literal(w, "\n# TYPE ");
    write_literal(w, name);
    write_literal(w, " ");
    write_literal(w, kind);
    write_literal(w, "\n");
}

static void line_write(struct writer *w, const char *name, const char *labels, uint64_t value)
{
    write_literal(w, name);
    write_literal(w, labels);
    write_literal(w, " ");
    write_number(w, value);
    write_literal(w, "\n");
}

static void single_write(struct writer *w, const char *name, const char *kind, const char *help, uint64_t value)
{
    head_write(w, name, kind, help);
    line_write(w, name, "", value);
}

static void microseconds_write(struct writer *w, uint64_t us)
{
    char text[40];
    snprintf(text, sizeof text, "%llu.%06u", (unsigned long long)(us / 1000000), (unsigned)(us % 1000000));
    write_literal(w, text);
}

static void histogram_write(struct writer *w, const char *name, const char *help, const struct histogram *histogram)
{
    uint64_t sum = 0;
    head_write(w, name, "histogram", help);
    for (size_t i = 0; i < METRIC_BUCKETS; i++) {
        sum += histogram->buckets[i];
        write_literal(w, name);
        write_literal(w, "_bucket{le=\"");
        if (i < METRIC_BUCKETS - 1)
            microseconds_write(w, (uint64_t)LEAST_US << i);
        else
            write_literal(w, "+Inf");
        write_literal(w, "\"} ");
        write_number(w, sum);
        write_literal(w, "\n");
    }
    write_literal(w, name);
    write_literal(w, "_sum ");
    microseconds_write(w, histogram->sum_us);
    write_literal(w, "\n");
    write_literal(w, name);
    write_literal(w, "_count ");
    write_number(w, histogram->count);
    write_literal(w, "\n");
}

static void runs_write(struct writer *w, const struct front *front)
{
    static const char NAME[] = "vivary_runs_total";
    char labels[128];
    head_write(w, NAME, "counter", "Runs that have ended, by path, runtime and status.");
    for (uint32_t runtime = 0; runtime < front->plan.runtimes; runtime++)
        for (int path = 0; path < METRIC_PATHS; path++)
            for (int status = 0; status < RUN_STATUSES; status++) {
                snprintf(labels, sizeof labels, "{path=\"%s\",runtime=\"%s\",status=\"%s\"}", PATHS[path],
                         front->plan.runtime[runtime].name, run_status_name((enum run_status)status));
                line_write(w, NAME, labels, front->metrics.runs[runtime][path][status]);
            }
}

static void workers_write(struct writer *w, const struct front *front)
{
    static const char NAME[] = "vivary_workers";
    static const char *const STATES[] = { "missing", "waiting", "running", "running", "running", "ending" };
    head_write(w, NAME, "gauge", "Slots, spare ones as well, by runtime and the state of their worker.");
    for (uint32_t r = 0; r < front->plan.runtimes; r++) {
        const struct runtime *runtime = &front->runtimes[r];
        uint64_t counts[WORKER_ENDING + 1] = { 0 };
        for (uint32_t i = 0; i < runtime->slots; i++) {
            enum worker_state state = front->workers[runtime->first + i].state;
            counts[state == WORKER_ASKED || state == WORKER_LIMITING ? WORKER_RUNNING : state]++;
        }
        for (int state = WORKER_NONE; state <= WORKER_ENDING; state++) {
            char labels[96];
            snprintf(labels, sizeof labels, "{runtime=\"%s\",state=\"%s\"}", runtime->plan->name, STATES[state]);
            if (state != WORKER_ASKED && state != WORKER_LIMITING)
                line_write(w, NAME, labels, counts[state]);
        }
    }
}

static void denied_lines_write(struct writer *w, const struct metrics *metrics)
{
    static const char NAME[] = "vivary_denied_calls_total";
    char labels[64];
    head_write(w, NAME, "counter", "System calls that runs were refused, by name, where the host tells.");
    for (size_t i = 0; i < METRIC_CALLS && denied_row_name(i) != NULL; i++) {
        snprintf(labels, sizeof labels, "{call=\"%s\"}", denied_row_name(i));
        if (metrics->denied[i] > 0)
            line_write(w, NAME, labels, metrics->denied[i]);
    }
    line_write(w, NAME, "{call=\"others\"}", metrics->denied[METRIC_CALLS - 1]);
}

static void answers_write(struct writer *w, const struct metrics *metrics)
{
    static const char NAME[] = "vivary_http_answers_total";
    head_write(w, NAME, "counter", "HTTP answers, by the class of their status.");
    for (int class = 2; class < 6; class ++) {
        char labels[24];
        snprintf(labels, sizeof labels, "{class=\"%dxx\"}", class);
        line_write(w, NAME, labels, metrics->answers[class]);
    }
}

/* Resident bytes, by the file that was opened before the jail. */
static uint64_t memory_read(int statm)
{
    char text[128];
    unsigned long resident = 0;
    ssize_t got = lseek(statm, 0, SEEK_SET) == 0 ? read(statm, text, sizeof text - 1) : -1;
    if (got <= 0)
        return 0;
    text[got] = '\0';
    return sscanf(text, "%*u %lu", &resident) == 1 ? resident * (uint64_t)sysconf(_SC_PAGESIZE) : 0;
}

static void processes_write(struct writer *w, const struct front *front)
{
    static const char MEMORY[] = "vivary_process_resident_bytes";
    if (front->statm < 0)
        return; /* this host, or its container, has no /proc */
    head_write(w, MEMORY, "gauge", "Memory of the service's own processes.");
    line_write(w, MEMORY, "{process=\"front\"}", memory_read(front->statm));
    for (uint32_t i = 0; i < front->plan.runtimes; i++) {
        char labels[96];
        snprintf(labels, sizeof labels, "{process=\"keeper\",runtime=\"%s\"}", front->plan.runtime[i].name);
        if (front->runtimes[i].statm >= 0)
            line_write(w, MEMORY, labels, memory_read(front->runtimes[i].statm));
    }
}

static uint64_t runs_at_once(const struct front *front)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < front->plan.runtimes; i++)
        sum += front->plan.runtime[i].at_once;
    return sum;
}

static void text_write(struct writer *w, const void *argument)
{
    const struct front *front = argument;
    const struct metrics *m = &front->metrics;
    runs_write(w, front);
    histogram_write(w, "vivary_run_seconds", "Time of a run, from its worker's being taken to its end.", &m->run);
    histogram_write(w, "vivary_queue_seconds", "Time that a run waited for a worker.", &m->queue);
    histogram_write(w, "vivary_handover_seconds", "Time from a run's end to its answer's being ready.", &m->handover);
    workers_write(w, front);
    single_write(w, "vivary_queue_depth", "gauge", "Runs that wait for a worker.", front->queued);
    single_write(w, "vivary_slots", "gauge", "Runs that there may be at once.", runs_at_once(front));
    single_write(w, "vivary_connections", "gauge", "HTTP connections that are open.", http_connections(front));
    single_write(w, "vivary_connections_relieved_total", "counter", "Connections that asked nothing, closed to let others in.",
                 m->relieved);
    single_write(w, "vivary_descriptors", "gauge", "Descriptors that the front has open.", descriptors_count(front));
    single_write(w, "vivary_request_bytes_total", "counter", "Bytes of request bodies.", m->bytes_in);
    single_write(w, "vivary_answer_bytes_total", "counter", "Bytes of answers' bodies.", m->bytes_out);
    answers_write(w, m);
    denied_lines_write(w, m);
    single_write(w, "vivary_forks_total", "counter", "Workers that were forked and jailed.", m->workers);
    head_write(w, "vivary_zygotes_total", "counter",
               "Warm interpreters that were started: a quick one and one that has prepared its memory, then renewals.");
    for (uint32_t i = 0; i < front->plan.runtimes; i++) {
        char labels[64];
        snprintf(labels, sizeof labels, "{runtime=\"%s\"}", front->plan.runtime[i].name);
        line_write(w, "vivary_zygotes_total", labels, m->zygotes[i]);
    }
    processes_write(w, front);
}

char *metrics_text(const struct front *front, size_t *ret_length)
{
    return write_make(text_write, front, ret_length);
}
