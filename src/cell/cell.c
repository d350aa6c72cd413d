#include "cell/cell.h"
#include "cell/ablation.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))

static const struct {
    int layer; /* enum layer; -1: always */
    int (*enter)(struct cell *cell, struct fault *why);
} STEPS[] = {
    { LAYER_GROUPS, groups_enter },             /* first: all that follows is accounted to the slot */
    { -1, namespaces_enter },                   /* the cell's init has made them */
    { -1, descriptors_enter },                  /* opens /dev/null in the new mounts; whatever the zygote held open is gone */
    { LAYER_RLIMITS, rlimits_enter },           /* before credentials: hard limits may have to be raised to reach ours */
    { LAYER_CREDENTIALS, credentials_enter },   /* the slot's uid */
    { -1, place_enter },                        /* at level contained its folder is open to that uid alone */
    { LAYER_USER, user_enter },                 /* makes a namespace that owns nothing, as the slot's uid: after credentials */
    { LAYER_CAPABILITIES, capabilities_enter }, /* a fresh user namespace gives all of them, so after it */
    { LAYER_NO_NEW_PRIVS, no_new_privs_enter }, /* landlock and unprivileged seccomp demand it */
    { LAYER_LANDLOCK, landlock_enter },
    { LAYER_SECCOMP, seccomp_enter }, /* last: it forbids what the others call */
};

int cell_enter(struct cell *cell, struct fault *why)
{
    for (size_t i = 0; i < COUNT(STEPS); i++) {
        if (STEPS[i].layer >= 0 && layer_left_out(cell->plan, (enum layer)STEPS[i].layer))
            continue;
        int r = STEPS[i].enter(cell, why);
        if (r < 0)
            return r;
    }
    return 0;
}
