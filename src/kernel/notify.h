/* seccomp's user notification: a filter's listener hears of each call that the filter refers to it, and answers in the kernel's place:
 * seccomp_unotify(2). Ours never lets a call go on: what it could look at, another thread could change meanwhile. */
#ifndef VIVARY_KERNEL_NOTIFY_H
#define VIVARY_KERNEL_NOTIFY_H

#include <errno.h>
#include <linux/seccomp.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Whether the kernel's structs are those that this was compiled for: it writes as much as its own say. */
static inline bool notify_fits(void)
{
    struct seccomp_notif_sizes sizes;
    return syscall(SYS_seccomp, SECCOMP_GET_NOTIF_SIZES, 0, &sizes) == 0 && sizes.seccomp_notif <= sizeof(struct seccomp_notif) &&
           sizes.seccomp_notif_resp <= sizeof(struct seccomp_notif_resp) && sizes.seccomp_data == sizeof(struct seccomp_data);
}

/* Takes the call that has waited longest; only after poll(2) said that there is one, for it waits else. 0 or -errno (-ENOENT: who made it
 * is gone). */
static inline int notify_take(int listener, struct seccomp_notif *ret_call)
{
    memset(ret_call, 0, sizeof *ret_call); /* else EINVAL */
    return ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, ret_call) < 0 ? -errno : 0;
}

static inline int notify_refuse(int listener, const struct seccomp_notif *call, int error)
{
    struct seccomp_notif_resp answer = { .id = call->id, .error = -error };
    return ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &answer) < 0 ? -errno : 0;
}

#endif
