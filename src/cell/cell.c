#include "cell/cell.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))

static const struct layer {
    const char *name;
    int (*enter)(struct cell *cell, struct fault *why);
} LAYERS[] = {
    { "groups", groups_enter },             /* first: all that follows is accounted to the slot */
    { "namespaces", namespaces_enter },     /* the cell's init has made them */
    { "descriptors", descriptors_enter },   /* opens /dev/null in the new mounts; whatever the zygote held open is gone */
    { "rlimits", rlimits_enter },           /* before credentials: hard limits may have to be raised to reach ours */
    { "credentials", credentials_enter },   /* the slot's uid */
    { "user", user_enter },                 /* makes a namespace that owns nothing, as the slot's uid: after credentials */
    { "capabilities", capabilities_enter }, /* a fresh user namespace gives all of them, so after it */
    { "no_new_privs", no_new_privs_enter }, /* landlock and unprivileged seccomp demand it */
    { "landlock", landlock_enter },
    { "seccomp", seccomp_enter }, /* last: it forbids what the others call */
};

int cell_enter(struct cell *cell, struct fault *why)
{
    for (size_t i = 0; i < COUNT(LAYERS); i++) {
        int r = LAYERS[i].enter(cell, why);
        if (r < 0)
            return r;
    }
    return 0;
}
