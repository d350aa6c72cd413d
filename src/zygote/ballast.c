#include "zygote/ballast.h"

#include "zygote/arena.h"

#include <malloc.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>

enum {
    SMALL_MAX = 512, /* above it Python asks malloc: SMALL_REQUEST_THRESHOLD of obmalloc.c */
    SMALL_STEP = 16,
    BLOCKS_MAX = 1 << 20, /* of one size: some MiB are what is found */
    HEAP_SPARE = 1 << 20, /* for workers, at the end of malloc's heap */
    BELOW_MMAP = 120 << 10,
};

/* One for the process: the allocator's function has no other place for it. */
static struct {
    struct arena_allocator python;
    char *at; /* the first arena that was made since; NULL: none yet */
    size_t size;
    void **chunks; /* malloc's, each with the one before in its first word: kept for good */
} fresh;

static void *arena_note(void *context, size_t size)
{
    void *at = fresh.python.alloc(context, size);
    if (fresh.at == NULL) {
        fresh.at = at;
        fresh.size = size;
    }
    return at;
}

/* Pools are for one size each, and a used one is filled before a free one is begun; so once a block of the largest size needed a new arena,
 * no free pool is left, and once a block of another size lies in that arena, none that was used has room. */
static void pools_fill(void)
{
    struct arena_allocator noting;
    if (!arena_get(&fresh.python))
        return;
    noting = (struct arena_allocator) { fresh.python.context, arena_note, fresh.python.free };
    arena_set(&noting);
    bool have = true;
    for (int i = 0; i < BLOCKS_MAX && have && fresh.at == NULL; i++)
        have = arena_block(SMALL_MAX) != NULL;
    for (size_t size = SMALL_STEP; size < SMALL_MAX && have; size += SMALL_STEP)
        for (int i = 0; i < BLOCKS_MAX; i++) {
            const char *block = arena_block(size);
            have = block != NULL;
            if (!have || (block >= fresh.at && block < fresh.at + fresh.size))
                break;
        }
    arena_set(&fresh.python);
}

/* The same with malloc's chunks: of each size until one comes from the end of the heap. */
static void heap_fill(void)
{
    malloc_trim(0);
    void *last = malloc(BELOW_MMAP);
    const uintptr_t end = (uintptr_t)last;
    free(last);
    for (size_t size = BELOW_MMAP / 2; size > SMALL_STEP; size = size > 1024 ? size * 15 / 16 : size - SMALL_STEP)
        for (int i = 0; i < BLOCKS_MAX; i++) {
            void **chunk = malloc(size);
            if (chunk == NULL || (uintptr_t)chunk >= end) {
                free(chunk);
                break;
            }
            *chunk = fresh.chunks;
            fresh.chunks = chunk;
        }
    /* The end of the heap must be there already in the zygote: what a worker adds itself can't be foreseen. */
    mallopt(M_TOP_PAD, HEAP_SPARE);
    mallopt(M_TRIM_THRESHOLD, 4 * HEAP_SPARE);
    mallopt(M_MMAP_THRESHOLD, 128 << 10); /* as it was: setting the others would end its adaptation, mallopt(3) */
    void *volatile pad = malloc(BELOW_MMAP);
    free(pad);
}

void ballast_load(void)
{
    pools_fill();
    heap_fill();
}
