/* The front's own jail: a hole in HTTP or JSON must not be a way to anything. All that it needs is open by now. */
#include "front/front.h"

#include "base/descriptor.h"
#include "kernel/landlock.h"

#include <errno.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>

/* A container may have kept the capability for this, or be read-only: Landlock, without which no service starts there, lets no file be
 * opened either. */
static int root_leave(struct fault *why)
{
    char folder[] = "/run/vivary-front-XXXXXX", elsewhere[] = "/tmp/vivary-front-XXXXXX";
    /* Gone as soon as it is entered: a root without a name, and nobody can make a file in it. */
    const char *made = mkdtemp(folder);
    if (made == NULL)
        made = mkdtemp(elsewhere);
    if (made == NULL)
        return errno == EROFS || errno == EACCES || errno == ENOENT ? 0 : fault_set(why, errno, "mkdtemp", elsewhere);
    int entered = chdir(made), error = errno;
    if (rmdir(made) < 0 || entered < 0)
        return fault_set(why, entered < 0 ? error : errno, "chdir", made);
    if (chroot(".") < 0 && errno != EPERM)
        return fault_set(why, errno, "chroot", made);
    return 0;
}

static int identity_leave(const struct front_plan *plan, struct fault *why)
{
    for (int capability = 0; capability < 64; capability++)
        if (prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) < 0) {
            if (errno == EINVAL || errno == EPERM) /* EPERM: a container kept CAP_SETPCAP; no_new_privs has to do */
                break;
            return fault_set(why, errno, "prctl", "PR_CAPBSET_DROP");
        }
    if (plan->uid != 0 && setgroups(0, NULL) < 0)
        return fault_set(why, errno, "setgroups", "front");
    if (plan->uid != 0 && setresgid(plan->gid, plan->gid, plan->gid) < 0)
        return fault_set(why, errno, "setresgid", "front");
    if (plan->uid != 0 && setresuid(plan->uid, plan->uid, plan->uid) < 0)
        return fault_set(why, errno, "setresuid", "front");
    struct rlimit none = { 0 };
    if (setrlimit(RLIMIT_NPROC, &none) < 0)
        return fault_set(why, errno, "setrlimit", "NPROC");
    return 0;
}

/* By hand as well: a change of uid leaves the inheritable set, and under some securebits it leaves them all (capabilities(7)). */
static int capabilities_leave(struct fault *why)
{
    struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
    const struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = { 0 };
    return syscall(SYS_capset, &header, none) < 0 ? fault_set(why, errno, "capset", "front") : 0;
}

/* Landlock without a single rule: no file can be opened, made or removed, no TCP port bound or connected to, no process outside signalled.
 */
static int files_leave(struct fault *why)
{
    int abi = landlock_create_ruleset(NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
    if (abi < 1)
        return 0; /* this kernel has none; the empty root holds */
    struct landlock_ruleset_attr_full all = { .handled_access_fs = (LANDLOCK_ACCESS_FS_MAKE_SYM << 1) - 1 }; /* what ABI 1 knows */
    if (abi >= 2)
        all.handled_access_fs |= LANDLOCK_ACCESS_FS_REFER;
    if (abi >= 3)
        all.handled_access_fs |= LANDLOCK_ACCESS_FS_TRUNCATE;
    if (abi >= 4)
        all.handled_access_net = LANDLOCK_ACCESS_NET_BIND_TCP | LANDLOCK_ACCESS_NET_CONNECT_TCP;
    if (abi >= 5)
        all.handled_access_fs |= LANDLOCK_ACCESS_FS_IOCTL_DEV;
    if (abi >= 6)
        all.scoped = LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET | LANDLOCK_SCOPE_SIGNAL;
    OWN_FD ruleset = landlock_create_ruleset(&all, sizeof all, 0);
    if (ruleset < 0)
        return fault_set(why, errno, "landlock_create", "front");
    return landlock_restrict_self(ruleset, 0) < 0 ? fault_set(why, errno, "landlock_restrict", "front") : 0;
}

int jail_enter(const struct front *front, struct fault *why)
{
    const struct front_plan *plan = &front->plan;
    int r = plan->jail ? root_leave(why) : 0;
    if (r == 0 && plan->jail)
        r = identity_leave(plan, why);
    if (r == 0)
        r = capabilities_leave(why);
    if (r < 0)
        return r;
    struct rlimit none = { 0 };
    if (setrlimit(RLIMIT_CORE, &none) < 0)
        return fault_set(why, errno, "setrlimit", "CORE");
    /* A log that is a plain file would count as a file to write to: its first line would end the process (SIGXFSZ). */
    struct stat log;
    bool to_file = fstat(STDERR_FILENO, &log) == 0 && S_ISREG(log.st_mode);
    if (!to_file && setrlimit(RLIMIT_FSIZE, &none) < 0)
        return fault_set(why, errno, "setrlimit", "FSIZE");
    if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0 || prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0 ||
        prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return fault_set(why, errno, "prctl", "front");
    r = files_leave(why);
    if (r < 0 || plan->filter_length == 0)
        return r;
    struct sock_fprog program = { .len = (unsigned short)plan->filter_length, .filter = front->filter };
    if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) < 0)
        return fault_set(why, errno, "seccomp", "front");
    return 0;
}
