/* Which pages a worker is going to write to, learnt once in the zygote, and their copying in bulk in each worker. A fork shares all pages;
 * the first write to each is a page fault, which costs several times what the copy itself does. */
#ifndef VIVARY_ZYGOTE_PAGES_H
#define VIVARY_ZYGOTE_PAGES_H

#include "base/fault.h"

#include <stddef.h>
#include <sys/uio.h>

struct pages {
    struct iovec *ranges; /* in a mapping of their own; sorted */
    size_t count;
    size_t pages; /* in all ranges */
};

/* Forks a child that calls `work` (0 or -errno) and then lists the pages that are its own by then, but for those in `known` (may be NULL).
 * The caller must be single-threaded. 0 or -errno with *why filled. */
int pages_learn(int (*work)(void *argument), void *argument, const struct pages *known, struct pages *ret_pages, struct fault *why);

/* Has the kernel copy the ranges from number `first` on now. What it refuses (an old kernel, memory at its limit) is left to page faults.
 */
void pages_populate(const struct pages *pages, size_t first);

/* The first ranges, of at most so many pages together. The caller's to keep no longer than the pages. */
struct pages pages_part(const struct pages *pages, size_t most);

#endif
