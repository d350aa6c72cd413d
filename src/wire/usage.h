/* What a run has used, as the kernel counted it. Part of DIED. */
#ifndef VIVARY_WIRE_USAGE_H
#define VIVARY_WIRE_USAGE_H

#include "wire/kind.h"

/* Bits of `known`: a host without cgroups tells less. */
enum { USAGE_CPU = 1, USAGE_MEMORY = 2, USAGE_FAULTS = 4 };

struct run_usage {
    uint64_t user_us, system_us; /* of all its processes */
    uint64_t memory_peak;        /* bytes of its own, what it shares with the warm interpreter not counted */
    uint64_t faults;
    uint32_t ooms;          /* processes that the kernel killed since the run's memory was full */
    uint32_t forks_refused; /* since it had as many processes as it may */
    uint32_t known;
    uint32_t reserved;
};
static_assert(sizeof(struct run_usage) == 48, "no padding: it would carry our memory to another process");

#endif
