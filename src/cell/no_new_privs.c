/* no_new_privs: nothing started in the cell gains rights from setuid bits or file capabilities. Can't be undone. */
#include "cell/cell.h"

#include <errno.h>
#include <sys/prctl.h>

int no_new_privs_enter(struct cell *cell, struct fault *why)
{
    (void)cell;
    /* Unused arguments must be 0, else EINVAL: prctl(2). */
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return fault_set(why, errno, "prctl", "PR_SET_NO_NEW_PRIVS");
    return 0;
}
