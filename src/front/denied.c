#include "front/denied.h"

#include "kernel/notify.h"

#include <sched.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#define NETWORK "there is no network in a cell: what a script needs must come with the request, or lie in /app"
#define NAMESPACES "a cell has its own namespaces and files already, and can't make others"
#define PROCESSES "a script may look at, and act on, its own processes alone, by ordinary means"
#define KERNEL "this is for administrators of a machine, and a cell has none"
#define FAST "this kernel interface isn't in a cell; ordinary reads, writes, threads and mappings are"
#define OWN "limits, identity and filters of a cell are set, and can't be changed from inside"

enum { ARGUMENT_NONE = -1 };

static const struct row {
    int call;
    const char *name, *hint;
    int argument;  /* that tells what was wanted */
    char shown_as; /* f: address family, x: a number in hexadecimal, d: in decimal */
} ROWS[] = {
#define ROW(call, hint, argument, shown)                                                                                                   \
    {                                                                                                                                      \
        SYS_##call, #call, hint, argument, shown                                                                                           \
    }
    ROW(socket, NETWORK, 0, 'f'),
    ROW(socketpair, NETWORK, 0, 'f'),
    ROW(clone, NAMESPACES, 0, 'x'),
    ROW(unshare, NAMESPACES, 0, 'x'),
    ROW(setns, NAMESPACES, 1, 'x'),
    ROW(mount, NAMESPACES, ARGUMENT_NONE, 0),
    ROW(umount2, NAMESPACES, ARGUMENT_NONE, 0),
    ROW(pivot_root, NAMESPACES, ARGUMENT_NONE, 0),
    ROW(chroot, NAMESPACES, ARGUMENT_NONE, 0),
    ROW(landlock_create_ruleset, OWN, ARGUMENT_NONE, 0),
    ROW(landlock_add_rule, OWN, ARGUMENT_NONE, 0),
    ROW(landlock_restrict_self, OWN, ARGUMENT_NONE, 0),
    ROW(prctl, OWN, 0, 'd'),
    ROW(seccomp, OWN, 0, 'd'),
    ROW(capset, OWN, ARGUMENT_NONE, 0),
    ROW(prlimit64, OWN, 1, 'd'),
    ROW(setuid, OWN, 0, 'd'),
    ROW(setgid, OWN, 0, 'd'),
    ROW(setresuid, OWN, 0, 'd'),
    ROW(setresgid, OWN, 0, 'd'),
    ROW(setgroups, OWN, ARGUMENT_NONE, 0),
    ROW(mknodat, "devices can't be made; /dev/null, zero, full, random and urandom are there", 2, 'x'),
    ROW(process_madvise, PROCESSES, ARGUMENT_NONE, 0),
    ROW(pidfd_open, PROCESSES, ARGUMENT_NONE, 0),
    ROW(kill, PROCESSES, 0, 'd'),
    ROW(execve, "at this level a run is one process: it can't start programs (docs/security.md)", ARGUMENT_NONE, 0),
    ROW(sethostname, KERNEL, ARGUMENT_NONE, 0),
    ROW(keyctl, FAST, 0, 'd'),
    ROW(memfd_create, "files without a name can't be counted on this host; those in /tmp can", ARGUMENT_NONE, 0),
    ROW(ioctl, "this request is for devices and terminals that a cell hasn't", 1, 'x'),
    ROW(setsockopt, FAST, 2, 'd'),
    ROW(getsockopt, FAST, 2, 'd'),
    ROW(fcntl, PROCESSES, 1, 'd'),
    ROW(madvise, FAST, 2, 'd'),
#ifdef __x86_64__
    ROW(fork, "at this level a run is one process: it can't start others (docs/security.md)", ARGUMENT_NONE, 0),
    ROW(vfork, "at this level a run is one process: it can't start others (docs/security.md)", ARGUMENT_NONE, 0),
    ROW(mknod, "devices can't be made; /dev/null, zero, full, random and urandom are there", 1, 'x'),
#endif
#undef ROW
};

static const struct row *row_find(int call)
{
    for (size_t i = 0; i < sizeof ROWS / sizeof *ROWS; i++)
        if (ROWS[i].call == call)
            return &ROWS[i];
    return NULL;
}

const char *denied_row_name(size_t row)
{
    return row < sizeof ROWS / sizeof *ROWS ? ROWS[row].name : NULL;
}

void denied_sum(const struct denied *denied, uint64_t *sums, size_t count)
{
    for (uint32_t i = 0; i < denied->used; i++) {
        const struct row *row = row_find(denied->kinds[i].call);
        size_t at = row != NULL ? (size_t)(row - ROWS) : count - 1;
        sums[at < count ? at : count - 1] += denied->kinds[i].count;
    }
    sums[count - 1] += denied->others;
}

static void denied_note(struct denied *denied, int call, uint64_t value)
{
    denied->sum++;
    for (uint32_t i = 0; i < denied->used; i++)
        if (denied->kinds[i].call == call && denied->kinds[i].value == value) {
            denied->kinds[i].count++;
            return;
        }
    if (denied->used < DENIED_KINDS)
        denied->kinds[denied->used++] = (struct denied_kind) { call, value, 1 };
    else
        denied->others++;
}

int denied_hear(struct denied *denied, int listener)
{
    struct seccomp_notif call;
    int r = notify_take(listener, &call);
    if (r == -ENOENT || r == -EINTR)
        return 0; /* killed before it came to this */
    if (r < 0)
        return r;
    const struct row *row = row_find(call.data.nr);
    /* The kernel takes the low half of what these calls look at. */
    uint64_t value = row != NULL && row->argument >= 0 ? call.data.args[row->argument] & 0xffffffff : 0;
    denied_note(denied, call.data.nr, value);
    denied->left -= denied->left > 0;
    /* As worker_rules.h has it: a user reads "permission denied" of a socket, and of all else that it isn't permitted. */
    bool is_socket = call.data.nr == SYS_socket || call.data.nr == SYS_socketpair;
    r = notify_refuse(listener, &call, is_socket ? EACCES : EPERM);
    return r == -ENOENT ? 0 : r;
}

static const char *family_name(uint64_t family)
{
    switch (family) {
    case AF_INET:
        return "AF_INET";
    case AF_INET6:
        return "AF_INET6";
    case AF_NETLINK:
        return "AF_NETLINK";
    case AF_PACKET:
        return "AF_PACKET";
    case AF_VSOCK:
        return "AF_VSOCK";
    case AF_ALG:
        return "AF_ALG";
    case AF_UNIX:
        return "AF_UNIX";
    default:
        return NULL;
    }
}

static void detail_write(struct writer *w, const struct row *row, uint64_t value)
{
    char text[32];
    if (row == NULL || row->argument < 0) {
        write_literal(w, "null");
        return;
    }
    if (row->shown_as == 'f' && family_name(value) != NULL)
        snprintf(text, sizeof text, "%s", family_name(value));
    else
        snprintf(text, sizeof text, row->shown_as == 'x' ? "0x%llx" : "%llu", (unsigned long long)value);
    write_string(w, text);
}

void denied_write(struct writer *w, const struct denied *denied)
{
    write_literal(w, "[");
    for (uint32_t i = 0; i < denied->used; i++) {
        const struct denied_kind *kind = &denied->kinds[i];
        const struct row *row = row_find(kind->call);
        char number[32];
        snprintf(number, sizeof number, "call %d", kind->call);
        write_literal(w, i > 0 ? ", {\"call\": " : "{\"call\": ");
        write_string(w, row != NULL ? row->name : number);
        write_literal(w, ", \"detail\": ");
        detail_write(w, row, kind->value);
        write_literal(w, ", \"count\": ");
        write_number(w, kind->count);
        write_literal(w, ", \"hint\": ");
        write_string(w, row != NULL ? row->hint : PROCESSES);
        write_literal(w, "}");
    }
    if (denied->others > 0) {
        write_literal(w, ", {\"call\": \"others\", \"detail\": null, \"count\": ");
        write_number(w, denied->others);
        write_literal(w, ", \"hint\": \"more kinds of calls were refused than are told apart\"}");
    }
    write_literal(w, "]");
}
