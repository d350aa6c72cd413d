/* Time in nanoseconds on CLOCK_MONOTONIC: deadlines must not move when somebody sets the clock. */
#ifndef VIVARY_BASE_CLOCK_H
#define VIVARY_BASE_CLOCK_H

#include <stdint.h>
#include <time.h>

#define NS_PER_S UINT64_C(1000000000)
#define NS_PER_MS UINT64_C(1000000)

static inline uint64_t clock_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

#endif
