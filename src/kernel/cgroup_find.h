#ifndef VIVARY_KERNEL_CGROUP_FIND_H
#define VIVARY_KERNEL_CGROUP_FIND_H

#include <stddef.h>

/* Finds the folder below which groups for this controller can be made: this process's own group in its hierarchy (version 1), or the root
 * of the one tree (version 2: a group with processes in it can't have children with controllers, and this process's own has). 0, or -1:
 * there is none, or it can't be written. */
int cgroup_find(int version, const char *controller, char *ret_folder, size_t size);

#endif
