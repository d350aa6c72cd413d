/* Sorting in place, by a heap. libc's qsort(3) allocates when there is much to sort, and asks the system how much memory there is (glibc up
 * to 2.36: sysinfo(2)), which is no call of the front's: a request with two hundred keys ended it. */
#ifndef VIVARY_FRONT_SORT_H
#define VIVARY_FRONT_SORT_H

#include <stddef.h>

/* `order` gets pointers to elements, as for qsort(3). Elements are at most SORT_SIZE_MAX bytes. n log n whatever the input. */
enum { SORT_SIZE_MAX = 16 };
void sort(void *base, size_t count, size_t size, int (*order)(const void *a, const void *b));

#endif
