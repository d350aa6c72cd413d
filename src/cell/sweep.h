/* Ending and clearing away all that runs of a slot have left, at level contained: there no namespace dies with them. */
#ifndef VIVARY_CELL_SWEEP_H
#define VIVARY_CELL_SWEEP_H

#include "base/fault.h"
#include "wire/plan.h"

#include <sys/types.h>

/* The zygote has a place and an uid like a slot's, after the last: where a slot is asked for, plan->slots is the zygote's. */
uid_t slot_uid(const struct plan *plan, uint32_t slot);

/* Makes the slots' folders below plan->folder. Leaves the process's file system uid as it was, without its death signal (prctl(2)). 0 or
 * -errno. */
int slots_make(const struct plan *plan, struct fault *why);

/* Opens the folders of a slot by O_PATH; the caller's. 0 or -errno. */
int slot_open(const struct plan *plan, uint32_t slot, int *ret_tmp, int *ret_runtime, struct fault *why);

/* Ends every process of `count` slots from `first` on, waits until none is left, empties their folders, and removes their files in
 * /dev/shm. In a process of its own: it may take seconds, and changes its file system uid. 0 or -errno. */
int slots_sweep(const struct plan *plan, uint32_t first, uint32_t count, struct fault *why);

/* Removes the folders, and plan->folder. */
void slots_remove(const struct plan *plan);

#endif
