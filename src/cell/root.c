#include "cell/root.h"

#include "base/descriptor.h"
#include "cell/ablation.h"
#include "cell/cell.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* `/` and system folders are overlays: below, the files; above, an empty tmpfs that is read-only by the time anyone uses it. A plain
 * read-only mount would answer EROFS to every attempt to write, since the kernel looks at the mount before it looks at permissions
 * (mnt_want_write in fs/namei.c); programs expect the EACCES of an unprivileged user. Here the overlay's mount is writable, so permissions
 * are looked at first, and a write that got past them would still meet the read-only upper folder, never the host's files. */
enum { SYSTEM_FLAGS = MS_NOSUID | MS_NODEV };

static int folder_make(const char *path, mode_t mode, struct fault *why)
{
    if (mkdir(path, mode) < 0 && errno != EEXIST)
        return fault_set(why, errno, "mkdir", path);
    return 0;
}

/* Makes `base` + `path` and each folder on the way. */
static int folders_make(const char *base, const char *path, struct fault *why)
{
    char full[2 * PLAN_PATH_MAX];
    int length = snprintf(full, sizeof full, "%s%s", base, path);
    if (length < 0 || (size_t)length >= sizeof full)
        return fault_set(why, ENAMETOOLONG, "mkdir", path);
    for (char *at = full + strlen(base) + 1; (at = strchr(at, '/')) != NULL; at++) {
        *at = '\0';
        int r = folder_make(full, 0755, why);
        *at = '/';
        if (r < 0)
            return r;
    }
    return folder_make(full, 0755, why);
}

static int file_make(const char *path, const char *text, struct fault *why)
{
    OWN_FD fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    if (fd < 0)
        return fault_set(why, errno, "open", path);
    size_t length = strlen(text);
    return write(fd, text, length) == (ssize_t)length ? 0 : fault_set(why, errno, "write", path);
}

static int link_make(const char *to, const char *at, struct fault *why)
{
    return symlink(to, at) < 0 ? fault_set(why, errno, "symlink", at) : 0;
}

static int file_copy(const char *from, const char *to, struct fault *why)
{
    OWN_FD in = open(from, O_RDONLY | O_CLOEXEC);
    if (in < 0)
        return errno == ENOENT ? 0 : fault_set(why, errno, "open", from);
    OWN_FD out = open(to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    if (out < 0)
        return fault_set(why, errno, "open", to);
    char part[16384];
    ssize_t got;
    while ((got = read(in, part, sizeof part)) > 0)
        if (write(out, part, (size_t)got) != got)
            return fault_set(why, errno, "write", to);
    return got < 0 ? fault_set(why, errno, "read", from) : 0;
}

/* Debian chooses between BLAS libraries and the like by links through /etc/alternatives. */
static int alternatives_copy(const char *from, const char *to, struct fault *why)
{
    int r = folder_make(to, 0755, why);
    DIR *folder = r == 0 ? opendir(from) : NULL;
    if (folder == NULL)
        return r;
    for (const struct dirent *entry; r == 0 && (entry = readdir(folder)) != NULL;) {
        char target[PLAN_PATH_MAX], at[PLAN_PATH_MAX];
        ssize_t length = readlinkat(dirfd(folder), entry->d_name, target, sizeof target - 1);
        if (length < 0)
            continue; /* not a link */
        target[length] = '\0';
        snprintf(at, sizeof at, "%s/%s", to, entry->d_name);
        r = link_make(target, at, why);
    }
    closedir(folder);
    return r;
}

static int etc_make(const struct plan *plan, struct fault *why)
{
    static const char SERVICES[] =
        "ftp 21/tcp\nssh 22/tcp\ntelnet 23/tcp\nsmtp 25/tcp\ndomain 53/tcp\ndomain 53/udp\nhttp 80/tcp\nwww 80/tcp\n"
        "pop3 110/tcp\nntp 123/udp\nimap2 143/tcp\nsnmp 161/udp\nldap 389/tcp\nhttps 443/tcp\nimaps 993/tcp\n"
        "mysql 3306/tcp\npostgresql 5432/tcp\n";
    int r = file_make("/lower/etc/services", SERVICES, why);
    if (r == 0)
        r = file_make("/lower/etc/protocols", "ip 0 IP\nicmp 1 ICMP\ntcp 6 TCP\nudp 17 UDP\nipv6 41 IPv6\nipv6-icmp 58 IPv6-ICMP\n", why);
    if (r == 0)
        r = file_make("/lower/etc/hosts", "127.0.0.1 localhost\n::1 localhost\n127.0.1.1 vivary\n", why);
    if (r == 0)
        r = file_make("/lower/etc/hostname", "vivary\n", why);
    if (r == 0)
        r = file_make("/lower/etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files\nservices: files\nprotocols: files\n", why);
    if (r == 0)
        r = file_copy(ROOT_OLD "/etc/ld.so.cache", "/lower/etc/ld.so.cache", why);
    if (r == 0)
        r = folder_make("/lower/etc/fonts", 0755, why);
    if (r == 0) /* else whoever asks for fonts is told of an error */
        r = file_copy(ROOT_OLD "/etc/fonts/fonts.conf", "/lower/etc/fonts/fonts.conf", why);
    if (r == 0) /* Debian's matplotlib has its settings there, and isn't imported without */
        r = file_copy(ROOT_OLD "/etc/matplotlibrc", "/lower/etc/matplotlibrc", why);
    if (r == 0)
        r = alternatives_copy(ROOT_OLD "/etc/alternatives", "/lower/etc/alternatives", why);
    if (r < 0)
        return r;

    /* With a user namespace of its own every script is uid 1000; without, its slot's. */
    FILE *passwd = fopen("/lower/etc/passwd", "we"), *group = fopen("/lower/etc/group", "we");
    if (passwd == NULL || group == NULL) {
        r = fault_set(why, errno, "fopen", "/etc/passwd");
    } else {
        fprintf(passwd, "root:x:0:0:root:/:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\nscript:x:%d:%d:script:/tmp:/bin/sh\n",
                CELL_SCRIPT_UID, CELL_SCRIPT_UID);
        fprintf(group, "root:x:0:\nnogroup:x:65534:\nscript:x:%d:\n", CELL_SCRIPT_UID);
        for (uint32_t slot = 1; slot < plan->slots && !plan->user_nested; slot++) {
            unsigned uid = UID_SLOT + slot;
            fprintf(passwd, "script%u:x:%u:%u:script:/tmp:/bin/sh\n", slot, uid, uid);
            fprintf(group, "script%u:x:%u:\n", slot, uid);
        }
    }
    if (passwd != NULL && fclose(passwd) != 0)
        r = fault_set(why, errno, "fclose", "/etc/passwd");
    if (group != NULL && fclose(group) != 0)
        r = fault_set(why, errno, "fclose", "/etc/group");
    return r;
}

/* The folders and files that are made up. They belong to the host's root, which no uid in the cell is. */
static int skeleton_make(const struct plan *plan, struct fault *why)
{
    static const char *const FOLDERS[] = { "/etc", "/usr", "/dev", "/dev/shm", "/dev/pts", "/proc", "/sys", "/app",
                                           "/tmp", "/run", "/var", "/runtime", "/vivary",  "/home", "/root" };
    static const char *const LINKS[][2] = {
        { "/proc/self/fd", "/lower/dev/fd" },
        { "/proc/self/fd/0", "/lower/dev/stdin" },
        { "/proc/self/fd/1", "/lower/dev/stdout" },
        { "/proc/self/fd/2", "/lower/dev/stderr" },
        { "pts/ptmx", "/lower/dev/ptmx" },
        { "/run", "/lower/var/run" },
        { "/tmp", "/lower/var/tmp" },
    };
    static const char *const DEVICES[] = { "null", "zero", "full", "random", "urandom" };
    static const char *const SYSTEM[] = { "bin", "sbin", "lib", "lib32", "lib64", "libx32" };

    int r = 0;
    for (size_t i = 0; r == 0 && i < sizeof FOLDERS / sizeof *FOLDERS; i++)
        r = folders_make("/lower", FOLDERS[i], why);
    for (size_t i = 0; r == 0 && i < sizeof LINKS / sizeof *LINKS; i++)
        r = link_make(LINKS[i][0], LINKS[i][1], why);
    for (size_t i = 0; r == 0 && i < sizeof DEVICES / sizeof *DEVICES; i++) {
        char at[64];
        snprintf(at, sizeof at, "/lower/dev/%s", DEVICES[i]);
        r = file_make(at, "", why);
    }
    for (size_t i = 0; r == 0 && i < sizeof SYSTEM / sizeof *SYSTEM;
         i++) { /* /lib and its like: links into /usr, or folders on old systems */
        char old[64], at[64], target[PLAN_PATH_MAX];
        snprintf(old, sizeof old, ROOT_OLD "/%s", SYSTEM[i]);
        snprintf(at, sizeof at, "/lower/%s", SYSTEM[i]);
        ssize_t length = readlink(old, target, sizeof target - 1);
        struct stat there;
        if (length >= 0) {
            target[length] = '\0';
            r = link_make(target, at, why);
        } else if (stat(old, &there) == 0) {
            r = folder_make(at, 0755, why);
        }
    }
    for (uint32_t i = 0; r == 0 && i < plan->prefixes; i++)
        r = folders_make("/lower", plan->prefix[i], why);
    return r < 0 ? r : etc_make(plan, why);
}

/* Lays `from`, below ROOT_OLD or our own, over the folder `at`, so that nobody can write through it. */
static int system_mount(const struct plan *plan, const char *from, const char *at, const char *name, struct fault *why)
{
    char upper[64], work[64], options[4 * PLAN_PATH_MAX];
    snprintf(upper, sizeof upper, "/upper/%s", name);
    snprintf(work, sizeof work, "/upper/%s.work", name);
    /* Overlay's option syntax has its own meaning for these. */
    if (plan->overlay && strpbrk(from, ",:\\") == NULL) {
        if (mkdir(upper, 0755) < 0 || mkdir(work, 0755) < 0)
            return fault_set(why, errno, "mkdir", upper);
        snprintf(options, sizeof options, "lowerdir=%s,upperdir=%s,workdir=%s", from, upper, work);
        if (mount("overlay", at, "overlay", SYSTEM_FLAGS, options) == 0)
            return 0;
    }
    /* Overlays don't stack deeper than two (fs/overlayfs), and some file systems can't be below one. As strong, with EROFS for EACCES. */
    if (mount(from, at, NULL, MS_BIND | MS_REC, NULL) < 0 ||
        mount(NULL, at, NULL, MS_REMOUNT | MS_BIND | MS_RDONLY | SYSTEM_FLAGS, NULL) < 0)
        return fault_set(why, errno, "mount", at);
    return 0;
}

static int bind_mount(const char *from, const char *at, unsigned long flags, struct fault *why)
{
    if (mount(from, at, NULL, MS_BIND, NULL) < 0)
        return fault_set(why, errno, "mount", at);
    if (flags != 0 && mount(NULL, at, NULL, MS_REMOUNT | MS_BIND | flags, NULL) < 0)
        return fault_set(why, errno, "remount", at);
    return 0;
}

static int system_mounts(const struct plan *plan, struct fault *why)
{
    static const char *const SYSTEM[] = { "usr", "bin", "sbin", "lib", "lib32", "lib64", "libx32" };
    static const char *const DEVICES[] = { "null", "zero", "full", "random", "urandom" };
    int r = system_mount(plan, "/lower", ROOT_NEW, "root", why);
    for (size_t i = 0; r == 0 && i < sizeof SYSTEM / sizeof *SYSTEM; i++) {
        char old[64], at[64];
        struct stat there;
        snprintf(old, sizeof old, ROOT_OLD "/%s", SYSTEM[i]);
        snprintf(at, sizeof at, ROOT_NEW "/%s", SYSTEM[i]);
        if (lstat(old, &there) == 0 && S_ISDIR(there.st_mode))
            r = system_mount(plan, old, at, SYSTEM[i], why);
    }
    for (uint32_t i = 0; r == 0 && i < plan->prefixes; i++) {
        char old[2 * PLAN_PATH_MAX], at[2 * PLAN_PATH_MAX], name[24];
        snprintf(old, sizeof old, ROOT_OLD "%s", plan->prefix[i]);
        snprintf(at, sizeof at, ROOT_NEW "%s", plan->prefix[i]);
        snprintf(name, sizeof name, "prefix%u", i);
        r = system_mount(plan, old, at, name, why);
    }
    for (size_t i = 0; r == 0 && i < sizeof DEVICES / sizeof *DEVICES; i++) {
        char old[64], at[64];
        snprintf(old, sizeof old, ROOT_OLD "/dev/%s", DEVICES[i]);
        snprintf(at, sizeof at, ROOT_NEW "/dev/%s", DEVICES[i]);
        r = bind_mount(old, at, MS_NOSUID | MS_NOEXEC, why);
    }
    char from[2 * PLAN_PATH_MAX];
    if (r == 0) {
        snprintf(from, sizeof from, ROOT_OLD "%s", plan->modules);
        r = system_mount(plan, from, ROOT_NEW "/vivary", "vivary", why);
    }
    if (r == 0 && plan->share[0] != '\0') {
        /* Not an overlay: the operator may change the folder while it is shared. Folders mounted in it are not shared. */
        snprintf(from, sizeof from, ROOT_OLD "%s", plan->share);
        r = bind_mount(from, ROOT_NEW "/app", MS_RDONLY | MS_NOSUID | MS_NODEV, why);
    }
    if (r == 0 && mount("tmpfs", ROOT_NEW "/tmp", "tmpfs", MS_NOSUID | MS_NODEV, "mode=1777,size=64m") < 0)
        r = fault_set(why, errno, "mount", "zygote's /tmp");
    /* Nothing has written to the upper folders, and now nothing can. */
    if (r == 0 && !layer_left_out(plan, LAYER_READONLY) && mount(NULL, "/upper", NULL, MS_REMOUNT | MS_RDONLY, NULL) < 0)
        r = fault_set(why, errno, "remount", "/upper");
    return r;
}

#define STAGE "/run"

int root_make(const struct plan *plan, struct fault *why)
{
    umask(022);
    if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
        return fault_set(why, errno, "mount", "/ private");
    /* A tmpfs over a folder that each host has, then made the root, with the host's root at ROOT_OLD: what was under it is at ROOT_OLD/run.
     * Not /tmp, which is a link in an image that also serves at level contained. */
    if (mount("tmpfs", STAGE, "tmpfs", MS_NOSUID | MS_NODEV, "mode=755,size=16m") < 0)
        return fault_set(why, errno, "mount", STAGE);
    if (mkdir(STAGE ROOT_OLD, 0755) < 0 || mkdir(STAGE ROOT_NEW, 0755) < 0 || mkdir(STAGE "/lower", 0755) < 0 ||
        mkdir(STAGE "/upper", 0755) < 0)
        return fault_set(why, errno, "mkdir", "template");
    if (syscall(SYS_pivot_root, STAGE, STAGE ROOT_OLD) < 0 || chdir("/") < 0)
        return fault_set(why, errno, "pivot_root", STAGE);
    if (mount("tmpfs", "/upper", "tmpfs", MS_NOSUID | MS_NODEV, "mode=755,size=1m") < 0)
        return fault_set(why, errno, "mount", "/upper");
    int r = skeleton_make(plan, why);
    return r < 0 ? r : system_mounts(plan, why);
}

int root_enter(struct fault *why)
{
    /* A whole /proc, of the zygote's pid namespace: the kernel lets a user namespace mount a new one, as each cell's init does, only where
     * one is in sight that nothing is mounted over (mount_too_revealing in fs/namespace.c). The host's still is, at ROOT_OLD. */
    if (mount("proc", ROOT_NEW "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) < 0)
        return fault_set(why, errno, "mount", "zygote's /proc");
    /* Copied into a less privileged mount namespace, each mount is locked to its parent, and a locked one can't be the new root; a bind of
     * it can: mount_namespaces(7). */
    if (mount(ROOT_NEW, ROOT_NEW, NULL, MS_BIND | MS_REC, NULL) < 0)
        return fault_set(why, errno, "mount", "template");
    if (chdir(ROOT_NEW) < 0 || syscall(SYS_pivot_root, ".", ".") < 0)
        return fault_set(why, errno, "pivot_root", "template");
    if (umount2(".", MNT_DETACH) < 0 || chdir("/") < 0) /* the old root, which lies on top now: pivot_root(2) */
        return fault_set(why, errno, "umount2", "host's files");
    return 0;
}
