/* The warm interpreter's memory in huge pages: a fork then copies one entry for 2 MiB and few mappings, where it would copy 512 entries and
 * hundreds of mappings, and takes as much less to tear down. Where the kernel gives no huge pages, nothing is changed. */
#ifndef VIVARY_ZYGOTE_HUGE_H
#define VIVARY_ZYGOTE_HUGE_H

#include "base/fault.h"

/* From here on Python's objects are put into huge pages. Call it before the imports. */
void huge_begin(void);

/* Everything that is there by now: arenas, malloc's heap, libraries. The interpreter takes its memory as usual again. The caller must be
 * single-threaded. What fails is left as it was; 0, or -errno where the process can't go on. */
int huge_settle(struct fault *why);

#endif
