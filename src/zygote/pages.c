#include "zygote/pages.h"

#include "base/descriptor.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { RANGES_MAX = 4096, AREAS_MAX = 4096, ENTRIES = 512, CALL_RANGES_MAX = 1024 /* UIO_MAXIOV */ };

/* PIDFD_SELF_THREAD_GROUP of linux/pidfd.h, Linux 6.15: younger than Debian 12's headers. */
enum { PIDFD_SELF = -10001 };

/* Bits of /proc/PID/pagemap: Documentation/admin-guide/mm/pagemap.rst */
#define PAGEMAP_PRESENT (UINT64_C(1) << 63)
#define PAGEMAP_FILE (UINT64_C(1) << 61) /* or shared memory */
#define PAGEMAP_EXCLUSIVE (UINT64_C(1) << 56)

struct area {
    uintptr_t from, to;
};

struct lesson {
    size_t count;
    int error;
    struct area areas[AREAS_MAX];
    struct iovec ranges[RANGES_MAX];
};

/* Private and writable mappings. Read before the fork: what the child maps by itself isn't there in a worker. */
static int areas_read(struct lesson *lesson, size_t *ret_count, struct fault *why)
{
    FILE *maps = fopen("/proc/self/maps", "re");
    if (maps == NULL)
        return fault_set(why, errno, "fopen", "/proc/self/maps");
    char line[512], permissions[8];
    size_t count = 0;
    unsigned long from, to;
    while (count < AREAS_MAX && fgets(line, sizeof line, maps) != NULL)
        if (sscanf(line, "%lx-%lx %7s", &from, &to, permissions) == 3 && permissions[1] == 'w' && permissions[3] == 'p')
            lesson->areas[count++] = (struct area) { from, to };
    fclose(maps);
    *ret_count = count;
    return 0;
}

static bool pages_have(const struct pages *known, uintptr_t page)
{
    size_t low = 0, high = known == NULL ? 0 : known->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        uintptr_t from = (uintptr_t)known->ranges[middle].iov_base;
        if (page < from)
            high = middle;
        else if (page >= from + known->ranges[middle].iov_len)
            low = middle + 1;
        else
            return true;
    }
    return false;
}

static int area_list(int pagemap, const struct area *area, const struct pages *known, struct lesson *lesson)
{
    const uint64_t wanted = PAGEMAP_PRESENT | PAGEMAP_EXCLUSIVE;
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    uint64_t entries[ENTRIES];
    for (uintptr_t at = area->from; at < area->to;) {
        size_t left = (area->to - at) / page;
        ssize_t got = pread(pagemap, entries, (left < ENTRIES ? left : ENTRIES) * sizeof *entries, (off_t)(at / page * sizeof *entries));
        if (got <= 0)
            return got < 0 ? -errno : -EPROTO;
        for (size_t i = 0; i < (size_t)got / sizeof *entries; i++, at += page) {
            if ((entries[i] & (wanted | PAGEMAP_FILE)) != wanted || pages_have(known, at))
                continue;
            struct iovec *last = lesson->count > 0 ? &lesson->ranges[lesson->count - 1] : NULL;
            if (last != NULL && (uintptr_t)last->iov_base + last->iov_len == at)
                last->iov_len += page;
            else if (lesson->count < RANGES_MAX)
                lesson->ranges[lesson->count++] = (struct iovec) { (void *)at, page }; // NOLINT(performance-no-int-to-ptr)
        }
    }
    return 0;
}

static int child_learn(int (*work)(void *argument), void *argument, size_t areas, const struct pages *known, struct lesson *lesson)
{
    int r = work(argument);
    OWN_FD pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
    if (pagemap < 0 && errno == ENOENT)
        return r; /* gVisor tells nobody, and copies no pages beforehand */
    if (pagemap < 0)
        return -errno;
    for (size_t i = 0; i < areas && r == 0; i++)
        r = area_list(pagemap, &lesson->areas[i], known, lesson);
    return r;
}

int pages_learn(int (*work)(void *argument), void *argument, const struct pages *known, struct pages *ret_pages, struct fault *why)
{
    /* Shared with this child alone: no worker gets it. */
    struct lesson *lesson = mmap(NULL, sizeof *lesson, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (lesson == MAP_FAILED)
        return fault_set(why, errno, "mmap", "lesson");
    size_t areas = 0;
    int status = 0;
    int r = areas_read(lesson, &areas, why);
    if (r < 0)
        goto end;
    pid_t child = _Fork();
    if (child < 0) {
        r = fault_set(why, errno, "_Fork", "lesson");
        goto end;
    }
    if (child == 0) {
        lesson->error = -child_learn(work, argument, areas, known, lesson);
        _exit(0);
    }
    while (waitpid(child, &status, 0) < 0 && errno == EINTR)
        continue;
    if (status != 0 || lesson->error != 0) {
        r = fault_set(why, lesson->error != 0 ? lesson->error : ECHILD, "pages_learn", "rehearsal");
        goto end;
    }
    /* Not by malloc: what it gives to a worker must come from the pages that it took in the lesson. */
    size_t size = lesson->count * sizeof *lesson->ranges;
    void *kept = mmap(NULL, size > 0 ? size : 1, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (kept == MAP_FAILED) {
        r = fault_set(why, errno, "mmap", "pages");
        goto end;
    }
    memcpy(kept, lesson->ranges, size);
    size_t bytes = 0;
    for (size_t i = 0; i < lesson->count; i++)
        bytes += lesson->ranges[i].iov_len;
    *ret_pages = (struct pages) { kept, lesson->count, bytes / (size_t)sysconf(_SC_PAGESIZE) };
end:
    munmap(lesson, sizeof *lesson);
    return r;
}

struct pages pages_part(const struct pages *pages, size_t most)
{
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    struct pages part = { pages->ranges, 0, 0 };
    while (part.count < pages->count && part.pages + pages->ranges[part.count].iov_len / page <= most)
        part.pages += pages->ranges[part.count++].iov_len / page;
    return part;
}

void pages_populate(const struct pages *pages, size_t first)
{
    size_t done = first;
    while (done < pages->count) { /* many in one call: on oneself since Linux 6.13 */
        size_t now = pages->count - done < CALL_RANGES_MAX ? pages->count - done : CALL_RANGES_MAX;
        if (syscall(SYS_process_madvise, PIDFD_SELF, pages->ranges + done, now, MADV_POPULATE_WRITE, 0) < 0)
            break;
        done += now;
    }
    for (; done < pages->count; done++)
        if (madvise(pages->ranges[done].iov_base, pages->ranges[done].iov_len, MADV_POPULATE_WRITE) < 0 && errno == EINVAL)
            return; /* before Linux 5.14, and in gVisor */
}
