/* Landlock's system calls, which glibc doesn't wrap, and what the installed headers may be too old to know: they follow the running
 * kernel's ABI. */
#ifndef VIVARY_KERNEL_LANDLOCK_H
#define VIVARY_KERNEL_LANDLOCK_H

#include <linux/landlock.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef LANDLOCK_ACCESS_FS_REFER /* ABI 2 */
#define LANDLOCK_ACCESS_FS_REFER (1ULL << 13)
#endif
#ifndef LANDLOCK_ACCESS_FS_TRUNCATE /* ABI 3 */
#define LANDLOCK_ACCESS_FS_TRUNCATE (1ULL << 14)
#endif
#ifndef LANDLOCK_ACCESS_NET_BIND_TCP /* ABI 4 */
#define LANDLOCK_ACCESS_NET_BIND_TCP (1ULL << 0)
#define LANDLOCK_ACCESS_NET_CONNECT_TCP (1ULL << 1)
#endif
#ifndef LANDLOCK_ACCESS_FS_IOCTL_DEV /* ABI 5 */
#define LANDLOCK_ACCESS_FS_IOCTL_DEV (1ULL << 15)
#endif
#ifndef LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET /* ABI 6 */
#define LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET (1ULL << 0)
#define LANDLOCK_SCOPE_SIGNAL (1ULL << 1)
#endif

enum { LANDLOCK_SCOPES = 6 }; /* the ABI that first keeps signals and abstract sockets within the domain */

/* struct landlock_ruleset_attr as of ABI 6. */
struct landlock_ruleset_attr_full {
    uint64_t handled_access_fs, handled_access_net, scoped;
};

/* Each returns -1 with errno, as a libc wrapper would. */
static inline int landlock_create_ruleset(const struct landlock_ruleset_attr_full *attr, size_t size, uint32_t flags)
{
    return (int)syscall(SYS_landlock_create_ruleset, attr, size, flags);
}

static inline int landlock_add_rule(int ruleset, enum landlock_rule_type type, const void *rule, uint32_t flags)
{
    return (int)syscall(SYS_landlock_add_rule, ruleset, type, rule, flags);
}

static inline int landlock_restrict_self(int ruleset, uint32_t flags)
{
    return (int)syscall(SYS_landlock_restrict_self, ruleset, flags);
}

#endif
