/* What has happened since this process began, for operators: GET /metrics, in Prometheus' text format. No label's value comes from a
 * request, so that a stranger can't make them grow. */
#ifndef VIVARY_FRONT_METRICS_H
#define VIVARY_FRONT_METRICS_H

#include "wire/front_plan.h"

#include <stddef.h>
#include <stdint.h>

struct front;
struct denied;

enum metric_path { METRIC_EXECUTE, METRIC_RUN, METRIC_PATHS };
enum { METRIC_STATUSES = 16, METRIC_BUCKETS = 18, METRIC_CALLS = 96 };

/* Times in buckets whose bounds double from 0.1 ms on; the last holds the rest. */
struct histogram {
    uint64_t buckets[METRIC_BUCKETS], count, sum_us;
};

struct metrics {
    uint64_t runs[RUNTIMES_MAX][METRIC_PATHS][METRIC_STATUSES]; /* by enum run_status */
    uint64_t answers[6];                                        /* by the hundreds of their status */
    struct histogram run, queue, handover;
    uint64_t bytes_in, bytes_out;
    uint64_t relieved;                       /* connections that gave way to others */
    uint64_t denied[METRIC_CALLS];           /* by denied.c's rows; the last: others */
    uint64_t workers, zygotes[RUNTIMES_MAX]; /* that were made */
    uint64_t connections, rejected, cancelled;
};

void histogram_add(struct histogram *histogram, uint64_t us);

/* The text, malloc'ed, the caller's; NULL when memory is out. */
char *metrics_text(const struct front *front, size_t *ret_length);

#endif
