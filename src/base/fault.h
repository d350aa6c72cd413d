/* An error of the kernel's, as a fixed record: a forked worker has no log, so the record travels to the process that decides. */
#ifndef VIVARY_BASE_FAULT_H
#define VIVARY_BASE_FAULT_H

#include <stdint.h>

struct fault {
    int32_t error;   /* an errno; 0: none */
    char call[20];   /* the call that failed */
    char object[40]; /* what it was made on */
};

/* Fills `why` and returns -error. Names that are too long are cut. */
int fault_set(struct fault *why, int error, const char *call, const char *object) __attribute__((cold));

#endif
