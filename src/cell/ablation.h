/* The layers of a cell by name. A test build (meson's -Dablation=true) can leave one out, to see what the others hold without it; in every
 * other build layer_left_out is the constant false, and nothing of this is compiled. */
#ifndef VIVARY_CELL_ABLATION_H
#define VIVARY_CELL_ABLATION_H

#include "wire/plan.h"

#include <sched.h>
#include <stdbool.h>

enum layer {
    LAYER_GROUPS,
    LAYER_NET,
    LAYER_IPC,
    LAYER_UTS,
    LAYER_CGROUP,
    LAYER_PROC,     /* a /proc of the cell's own processes only */
    LAYER_READONLY, /* the system's files, below their permissions */
    LAYER_NOSUID,   /* set-user-id bits and devices don't count in /tmp */
    LAYER_DESCRIPTORS,
    LAYER_RLIMITS,
    LAYER_CREDENTIALS,
    LAYER_USER,
    LAYER_CAPABILITIES,
    LAYER_NO_NEW_PRIVS,
    LAYER_LANDLOCK,
    LAYER_SECCOMP,
    LAYERS
};

#ifdef VIVARY_ABLATION
#define LAYER_NAMES                                                                                                                        \
    {                                                                                                                                      \
        "groups", "net", "ipc", "uts", "cgroup", "proc", "readonly", "nosuid", "descriptors", "rlimits", "credentials", "user",            \
            "capabilities", "no_new_privs", "landlock", "seccomp"                                                                          \
    }

static inline bool layer_left_out(const struct plan *plan, enum layer layer)
{
    return (plan->without >> layer & 1) != 0;
}
#else
#define layer_left_out(plan, layer) ((void)(plan), (void)(layer), false)
#endif

/* Whether each worker makes a user namespace of its own. */
static inline bool user_is_nested(const struct plan *plan)
{
    return plan->user_nested && !layer_left_out(plan, LAYER_USER);
}

/* These namespaces, less those that are left out. */
static inline unsigned long namespaces_of(const struct plan *plan, unsigned long flags)
{
    flags &= ~(unsigned long)(layer_left_out(plan, LAYER_NET) ? CLONE_NEWNET : 0);
    flags &= ~(unsigned long)(layer_left_out(plan, LAYER_IPC) ? CLONE_NEWIPC : 0);
    flags &= ~(unsigned long)(layer_left_out(plan, LAYER_UTS) ? CLONE_NEWUTS : 0);
    return flags & ~(unsigned long)(layer_left_out(plan, LAYER_CGROUP) ? CLONE_NEWCGROUP : 0);
}

#endif
