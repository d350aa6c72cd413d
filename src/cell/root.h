/* The template of a cell's file system, made once for each zygote by a process that holds the host's root, in a mount namespace of its own.
 */
#ifndef VIVARY_CELL_ROOT_H
#define VIVARY_CELL_ROOT_H

#include "base/fault.h"
#include "wire/plan.h"

/* Makes the template at ROOT_NEW, and leaves the host's files at ROOT_OLD. The caller is in a fresh mount namespace. */
int root_make(const struct plan *plan, struct fault *why);

/* Makes ROOT_NEW the root and lets go of everything else. The caller is in the zygote's own user, mount and pid namespaces, as their root.
 */
int root_enter(struct fault *why);

#define ROOT_OLD "/old"
#define ROOT_NEW "/new"

#endif
