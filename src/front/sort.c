#include "front/sort.h"

#include <assert.h>
#include <string.h>

struct heap {
    char *base;
    size_t size;
    int (*order)(const void *a, const void *b);
};

static void swap(const struct heap *heap, size_t i, size_t k)
{
    char kept[SORT_SIZE_MAX];
    memcpy(kept, heap->base + i * heap->size, heap->size);
    memcpy(heap->base + i * heap->size, heap->base + k * heap->size, heap->size);
    memcpy(heap->base + k * heap->size, kept, heap->size);
}

static int compare(const struct heap *heap, size_t i, size_t k)
{
    return heap->order(heap->base + i * heap->size, heap->base + k * heap->size);
}

/* Moves the element at `i` down to where both below it are no larger. */
static void sink(const struct heap *heap, size_t i, size_t count)
{
    for (size_t below = 2 * i + 1; below < count; below = 2 * i + 1) {
        if (below + 1 < count && compare(heap, below, below + 1) < 0)
            below++;
        if (compare(heap, i, below) >= 0)
            return;
        swap(heap, i, below);
        i = below;
    }
}

void sort(void *base, size_t count, size_t size, int (*order)(const void *a, const void *b))
{
    const struct heap heap = { base, size, order };
    assert(size <= SORT_SIZE_MAX);
    for (size_t i = count / 2; i > 0; i--)
        sink(&heap, i - 1, count);
    for (size_t last = count; last > 1; last--) {
        swap(&heap, 0, last - 1);
        sink(&heap, 0, last - 1);
    }
}
