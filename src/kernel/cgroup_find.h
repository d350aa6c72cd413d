#ifndef VIVARY_KERNEL_CGROUP_FIND_H
#define VIVARY_KERNEL_CGROUP_FIND_H

#include <stddef.h>

/* Finds the folder below which groups for this controller can be made: this process's own group in its hierarchy (version 1), or in the one
 * tree (version 2) the group that this process is alone in, else the root. 0, or -1: there is none, or it can't be written. */
int cgroup_find(int version, const char *controller, char *ret_folder, size_t size);

/* Version 2: a group with processes in it can't have children with controllers. If this process is in the folder that was found, it moves
 * into a child of it, and what it starts later is there as well. 0, or -1 with errno. */
int cgroup_own(const char *folder);

#endif
