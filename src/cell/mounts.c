/* mounts: what is the cell's own and writable. All else is the zygote's template (root.c), copied into the cell's mount namespace, where
 * each mount is locked to the others. Everything here goes with the namespace. */
#include "cell/init.h"

#include "cell/ablation.h"

#include <errno.h>
#include <sys/mount.h>

static int mount_make(const char *type, const char *at, unsigned long flags, const char *options, struct fault *why)
{
    return mount(type, at, type, flags, options) < 0 ? fault_set(why, errno, "mount", at) : 0;
}

int mounts_make(const struct plan *plan, struct fault *why)
{
    /* Without pidfds this is gVisor, whose tmpfs doesn't count files, and whose devpts no terminals. */
    unsigned long flags = layer_left_out(plan, LAYER_NOSUID) ? 0 : MS_NOSUID | MS_NODEV;
    int r = mount_make("tmpfs", "/tmp", flags, plan->tmp_options, why);
    if (r == 0)
        r = mount_make("tmpfs", "/dev/shm", flags, plan->tmp_options, why);
    if (r == 0) /* the script's own file lies there: written by the worker, read-only to nobody but itself */
        r = mount_make("tmpfs", "/runtime", flags, plan->pidfds ? "mode=1777,size=16m,nr_inodes=16" : "mode=1777,size=16m", why);
    if (r == 0) /* pseudo-terminals of its own: ptmx here makes them in this instance, and nobody else's are to be seen */
        r = mount_make("devpts", "/dev/pts", MS_NOSUID | MS_NOEXEC,
                       plan->pidfds ? "newinstance,ptmxmode=0666,mode=0620,max=64" : "newinstance,ptmxmode=0666,mode=0620", why);
    if (r == 0) /* hidepid: the init isn't shown to the worker; subset: nothing of the host's hardware, memory or settings */
        r = mount_make("proc", "/proc", MS_NOSUID | MS_NODEV | MS_NOEXEC,
                       layer_left_out(plan, LAYER_PROC) ? NULL : "subset=pid,hidepid=invisible", why);
    return r;
}
