/* What launch.c and launch_front.c have in common. */
#ifndef VIVARY_CLI_LAUNCH_PARTS_H
#define VIVARY_CLI_LAUNCH_PARTS_H

#include "cli/filter.h"
#include "cli/launch.h"

#include <sys/uio.h>

/* Each prints the sentence and returns 1. */
int launch_fail(const char *what);
int errno_fail(const char *call, const char *object);

/* A memory file with the parts one after another, sealed. -1 with a message printed. */
int memory_file(const char *name, const struct iovec *parts, size_t count);

/* Runs `program` in a child with the descriptors at 3 and up, in this order, and nothing else but 0, 1 and 2. */
int program_start(const struct launch *launch, const char *program, const int *fds, uint32_t count, pid_t *ret_pid);

/* The filters of all processes. 0, or 1 with the reason printed; filters_free either way. */
int filters_make(const struct plan *plan, struct sock_filter *filters[static FILTER_KINDS], size_t lengths[static FILTER_KINDS]);
void filters_free(struct sock_filter *filters[static FILTER_KINDS]);

#endif
