/* Where Python's small objects come from: arenas, given by an allocator that may be replaced. Not in the stable ABI, but the same
 * since 3.4. */
#ifndef VIVARY_ZYGOTE_ARENA_H
#define VIVARY_ZYGOTE_ARENA_H

#include <stdbool.h>
#include <stddef.h>

struct arena_allocator { /* PyObjectArenaAllocator of cpython/objimpl.h */
    void *context;
    void *(*alloc)(void *context, size_t size);
    void (*free)(void *context, void *at, size_t size);
};

/* False where this interpreter has no such thing. */
bool arena_get(struct arena_allocator *ret_allocator);
void arena_set(struct arena_allocator *allocator);

/* A block of Python's own, of 512 bytes at most; NULL when there is no memory or no such function. */
void *arena_block(size_t size);

#endif
