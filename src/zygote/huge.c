#include "zygote/huge.h"

#include "zygote/arena.h"

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25 /* Linux 6.1 */
#endif

#define HUGE ((uintptr_t)2 << 20) /* on the architectures that have pages of 4 KiB */

enum { CHUNK_HUGE = 8 /* huge pages taken at once for arenas */, AREAS_MAX = 4096 };

/* One for the process, as the interpreter is: its allocator has no other place for it. */
static struct {
    struct arena_allocator python;
    char *chunk;
    size_t left;
} arenas;

static uintptr_t huge_up(uintptr_t address)
{
    return (address + HUGE - 1) & ~(HUGE - 1);
}

static uintptr_t huge_down(uintptr_t address)
{
    return address & ~(HUGE - 1);
}

static void *huge_map(size_t size, int protection)
{
    char *raw = mmap(NULL, size + HUGE, protection, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (raw == MAP_FAILED)
        return NULL;
    size_t before = huge_up((uintptr_t)raw) - (uintptr_t)raw;
    if (before > 0)
        munmap(raw, before);
    munmap(raw + before + size, HUGE - before);
    madvise(raw + before, size, MADV_HUGEPAGE);
    return raw + before;
}

/* Whether most of it really is in huge pages: memory may be too fragmented for them. */
static bool huge_is(const void *at, size_t size)
{
    FILE *smaps = fopen("/proc/self/smaps", "re");
    if (smaps == NULL)
        return false;
    char line[512];
    unsigned long from, to, kilobytes, sum = 0;
    bool inside = false;
    while (fgets(line, sizeof line, smaps) != NULL) {
        if (sscanf(line, "%lx-%lx ", &from, &to) == 2)
            inside = from < (uintptr_t)at + size && to > (uintptr_t)at;
        else if (inside && sscanf(line, "AnonHugePages: %lu", &kilobytes) == 1)
            sum += kilobytes;
    }
    fclose(smaps);
    return sum * 1024 >= size / 2;
}

/* Asked by trying: the zygote has no /sys, and settings and fragmentation may forbid it in more than one way. */
static bool huge_available(void)
{
    char *page = sysconf(_SC_PAGESIZE) == 4096 ? huge_map(HUGE, PROT_READ | PROT_WRITE) : NULL;
    if (page == NULL)
        return false;
    *(volatile char *)page = 0;
    bool available = huge_is(page, HUGE);
    munmap(page, HUGE);
    return available;
}

static void *arena_alloc(void *context, size_t size)
{
    if (arenas.left < size) {
        char *chunk = size <= CHUNK_HUGE * HUGE ? huge_map(CHUNK_HUGE * HUGE, PROT_READ | PROT_WRITE) : NULL;
        if (chunk == NULL)
            return arenas.python.alloc(context, size);
        if (arenas.left > 0)
            munmap(arenas.chunk, arenas.left);
        arenas.chunk = chunk;
        arenas.left = CHUNK_HUGE * HUGE;
    }
    void *at = arenas.chunk;
    arenas.chunk += size;
    arenas.left -= size;
    return at;
}

void huge_begin(void)
{
    if (!huge_available() || !arena_get(&arenas.python))
        return;
    /* An arena is given back by munmap(2), as Python's own allocator does, so its `free` serves for ours as well. */
    struct arena_allocator ours = { arenas.python.context, arena_alloc, arenas.python.free };
    arena_set(&ours);
}

struct area {
    uintptr_t from, to;
    bool readable, fixed; /* fixed: not ours to replace */
    bool heap;
};

static size_t areas_read(struct area *areas, struct fault *why)
{
    FILE *maps = fopen("/proc/self/maps", "re");
    if (maps == NULL) {
        fault_set(why, errno, "fopen", "/proc/self/maps");
        return 0;
    }
    char line[512], permissions[8], name[8];
    size_t count = 0;
    unsigned long from, to;
    while (count < AREAS_MAX && fgets(line, sizeof line, maps) != NULL) {
        name[0] = '\0';
        if (sscanf(line, "%lx-%lx %7s %*s %*s %*s %7s", &from, &to, permissions, name) < 3)
            continue;
        areas[count++] = (struct area) {
            .from = from,
            .to = to,
            .readable = permissions[0] == 'r',
            .heap = strncmp(name, "[heap]", 6) == 0,
            .fixed = permissions[3] != 'p' || name[0] == '[' /* heap, stack, vdso, vvar */
        };
    }
    fclose(maps);
    return count;
}

/* Replaces areas first..last, with the gaps between them, by one mapping with the same bytes. Its pages may be read, written and run: what
 * the libraries' own protection keeps apart is no border of the cell, whose script may call mprotect(2). */
static void areas_merge(const struct area *first, const struct area *last)
{
    uintptr_t from = huge_up(first->from), to = huge_down(last->to);
    if (from >= to)
        return;
    size_t size = to - from;
    char *merged = huge_map(size, PROT_READ | PROT_WRITE | PROT_EXEC);
    if (merged == NULL)
        return;
    for (size_t at = 0; at < size; at += HUGE)
        ((volatile char *)merged)[at] = 0;
    if (!huge_is(merged, size)) {
        munmap(merged, size);
        return;
    }
    /* libc's own data is among it: from here to the replacement nothing but these calls may be made. */
    for (const struct area *area = first; area <= last; area++) {
        uintptr_t begin = area->from > from ? area->from : from, end = area->to < to ? area->to : to;
        if (area->readable && begin < end)
            memcpy(merged + (begin - from), (const void *)begin, end - begin); // NOLINT(performance-no-int-to-ptr)
    }
    if (mremap(merged, size, size, MREMAP_MAYMOVE | MREMAP_FIXED, (void *)from) == MAP_FAILED) // NOLINT(performance-no-int-to-ptr)
        munmap(merged, size);
}

int huge_settle(struct fault *why)
{
    if (arenas.python.alloc == NULL)
        return 0;
    arena_set(&arenas.python); /* a worker's few new arenas are better small: a huge page is cleared whole */
    if (arenas.left > 0)
        munmap(arenas.chunk, arenas.left);
    arenas.left = 0;

    struct area *areas = malloc(AREAS_MAX * sizeof *areas);
    if (areas == NULL)
        return fault_set(why, ENOMEM, "malloc", "areas");
    size_t count = areas_read(areas, why);
    for (size_t i = 0; i < count; i++) {
        if (areas[i].heap)
            for (uintptr_t at = huge_up(areas[i].from); at + HUGE <= areas[i].to; at += HUGE)
                madvise((void *)at, HUGE, MADV_COLLAPSE); // NOLINT(performance-no-int-to-ptr)
        if (areas[i].fixed)
            continue;
        size_t last = i;
        while (last + 1 < count && !areas[last + 1].fixed && areas[last + 1].from - areas[last].to < HUGE)
            last++;
        if (last > i)
            areas_merge(&areas[i], &areas[last]);
        i = last;
    }
    /* What is huge stays so. What a worker's writes split must not be made huge again by the kernel's khugepaged: that would copy the whole
     * interpreter, 120 MB, into a worker that waits. */
    size_t now = count > 0 ? areas_read(areas, why) : 0;
    for (size_t i = 0; i < now; i++)
        if (!areas[i].fixed || areas[i].heap)
            madvise((void *)areas[i].from, areas[i].to - areas[i].from, MADV_NOHUGEPAGE); // NOLINT(performance-no-int-to-ptr)
    free(areas);
    return now > 0 ? 0 : -why->error;
}
