/* What a cgroup says of the processes in it. The keeper opens the files and hands them on, and the kernel counts: a run's own word isn't
 * asked for. They count on from run to run, so a beginning is noted. */
#ifndef VIVARY_BASE_METERS_H
#define VIVARY_BASE_METERS_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum { METER_TIME, METER_SYSTEM /* v1 alone: v2 has it beside the other */, METER_MEMORY, METERS };
enum { METERS_TIME = 1, METERS_MEMORY = 2 }; /* what is known */

struct meters {
    uint64_t time_us, system_us; /* of all its processes; system is part of the sum */
    uint64_t memory_peak;        /* bytes, since it was set back; where it can't be, what is used now */
    uint32_t known;
};

/* `files`: of this cgroup version, 1 or 2; -1: not there. */
void meters_read(const int files[static METERS], uint32_t version, struct meters *ret_meters);

/* Processor time since `before`. On v1 the sum is exact, and its parts are counted in ticks of milliseconds; so they are fitted to it. */
void meters_since(const struct meters *before, const struct meters *now, uint64_t *ret_user_us, uint64_t *ret_system_us);

/* A file's text from its beginning, with a NUL behind it; empty if it can't be read. The length, or -1. */
ssize_t meter_text(int file, char *text, size_t size);

/* The number behind a name at the beginning of a line; 0 if there is none. */
uint64_t meter_number(const char *text, const char *name);

#endif
