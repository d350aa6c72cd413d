/* The processes of a range of uids, as /proc shows them to any reader. */
#ifndef VIVARY_KERNEL_PROCESS_LIST_H
#define VIVARY_KERNEL_PROCESS_LIST_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct process {
    int folder;         /* of /proc, for more of this process; the list's */
    char pid[16];       /* its name there */
    uid_t uid;          /* the real one */
    bool dead;          /* a zombie without other threads: it only waits to be reaped */
    uint64_t anonymous; /* bytes that are resident, shared with a parent or not */
    uint64_t shared;    /* bytes of shared memory that are resident */
    uint64_t swapped;   /* bytes */
};

/* Calls `visit` for each process whose real uid is in [first, first + count), until it returns false. 0 or -errno. */
int process_list(uid_t first, uint32_t count, bool (*visit)(void *argument, const struct process *process), void *argument);

#endif
