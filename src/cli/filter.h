/* The seccomp filters, compiled once at start-up from lists of rules; processes only load the bytes. */
#ifndef VIVARY_CLI_FILTER_H
#define VIVARY_CLI_FILTER_H

#include "base/fault.h"
#include "wire/plan.h"

#include <linux/filter.h>
#include <stddef.h>

enum filter_for { FILTER_WORKER, FILTER_INIT, FILTER_FRONT, FILTER_KEEPER, FILTER_KINDS };

/* What a worker may ask depends on the plan's level, uids and landlock_abi. *ret_program is malloc'ed, the caller's; its length counts
 * instructions. 0 or -errno. */
int filter_compile(enum filter_for which, const struct plan *plan, struct sock_filter **ret_program, size_t *ret_length, struct fault *why);

#endif
