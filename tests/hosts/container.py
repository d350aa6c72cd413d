#!/usr/bin/env python3
"""Runs a command as `docker run` would: namespaces of its own, Docker's fourteen capabilities, what its seccomp profile refuses, a read-only
/sys/fs/cgroup, and a root in which /tmp and /runtime are the links that our image has. The root is this host's, below an overlay that is thrown
away. For tests: it needs root, and no engine or image.

    container.py [--user UID] [--read-only] [--cap NAME]... [--app FOLDER] [--tmp mounted] [--disk-mb N] -- COMMAND...
"""

import argparse
import ctypes
import os
import sys
import tempfile

DOCKERS = ("CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID", "SETPCAP", "NET_BIND_SERVICE", "NET_RAW", "SYS_CHROOT", "MKNOD",
           "AUDIT_WRITE", "SETFCAP")
NUMBERS = {"CHOWN": 0, "DAC_OVERRIDE": 1, "FOWNER": 3, "FSETID": 4, "KILL": 5, "SETGID": 6, "SETUID": 7, "SETPCAP": 8, "NET_BIND_SERVICE": 10,
           "NET_RAW": 13, "SYS_CHROOT": 18, "MKNOD": 27, "AUDIT_WRITE": 29, "SETFCAP": 31}
# What Docker's profile answers with EPERM to who hasn't the capability for it, of what a service or a script might ask.
REFUSED = ("mount", "umount2", "pivot_root", "unshare", "setns", "fsopen", "fsconfig", "fsmount", "fspick", "open_tree", "move_mount", "mount_setattr",
           "bpf", "perf_event_open", "userfaultfd", "io_uring_setup", "io_uring_enter", "io_uring_register", "keyctl", "add_key", "request_key",
           "kcmp", "process_madvise", "pidfd_getfd", "mbind", "set_mempolicy", "get_mempolicy", "move_pages", "name_to_handle_at", "open_by_handle_at",
           "acct", "quotactl", "reboot", "swapon", "swapoff", "sethostname", "setdomainname", "settimeofday", "clock_settime", "clock_adjtime",
           "init_module", "finit_module", "delete_module", "kexec_load", "syslog", "vhangup", "iopl", "ioperm", "fanotify_init", "lookup_dcookie")
NEW_NAMESPACES = 0x7E020000
CLONE_NEWNS, CLONE_NEWCGROUP, CLONE_NEWUTS, CLONE_NEWIPC, CLONE_NEWPID, CLONE_NEWNET = 0x20000, 0x2000000, 0x4000000, 0x8000000, 0x20000000, 0x40000000
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE = 1, 2, 4, 8, 32, 4096, 16384, 1 << 18

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
CHECKOUT = "/checkout"

libc = ctypes.CDLL(None, use_errno=True)


def hidden():
    """Whether this project lies where a container has other things. Then it is shown elsewhere, and whatever names it is changed."""
    return ROOT.startswith(("/tmp/", "/run/", "/var/tmp/", "/dev/"))


def seen(text):
    return text.replace(ROOT, CHECKOUT) if hidden() else text


def checked(result, what):
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{what}: {os.strerror(code)}")
    return result


def mount(source, at, kind, flags=0, options=None):
    checked(libc.mount(source.encode(), at.encode(), kind and kind.encode(), ctypes.c_ulong(flags), options and options.encode()), f"mount {at}")


def root_make(given, work):
    mount("none", "/", None, MS_REC | MS_PRIVATE)
    mount("tmpfs", work, "tmpfs", 0, "mode=755")
    root = work + "/root"
    for name in ("upper", "work", "root"):
        os.mkdir(f"{work}/{name}")
    if given.tmp != "mounted":  # in the upper folder a link hides the folder below
        os.symlink("/proc/self/fd/1000", work + "/upper/tmp")
        os.symlink("/proc/self/fd/1001", work + "/upper/runtime")
    mount("overlay", root, "overlay", 0, f"lowerdir=/,upperdir={work}/upper,workdir={work}/work")
    for path in ("/proc", "/sys", "/dev", "/run", "/var/tmp"):
        os.makedirs(root + path, exist_ok=True)
    mount("proc", root + "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC)
    mount(root + "/proc/sys", root + "/proc/sys", None, MS_BIND | MS_REC)
    mount("none", root + "/proc/sys", None, MS_REMOUNT | MS_BIND | MS_RDONLY)
    mount("sysfs", root + "/sys", "sysfs", MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_RDONLY)
    if os.path.exists("/sys/fs/cgroup/cgroup.controllers"):
        mount("cgroup", root + "/sys/fs/cgroup", "cgroup2", MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_RDONLY)
    mount("tmpfs", root + "/dev", "tmpfs", MS_NOSUID, "mode=755,size=64m")
    for name in ("null", "zero", "full", "random", "urandom"):
        open(f"{root}/dev/{name}", "w").close()
        mount("/dev/" + name, f"{root}/dev/{name}", None, MS_BIND)
    for name in ("shm", "pts"):
        os.mkdir(f"{root}/dev/{name}")
    mount("shm", root + "/dev/shm", "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=1777,size=64m")
    mount("devpts", root + "/dev/pts", "devpts", MS_NOSUID | MS_NOEXEC, "newinstance,ptmxmode=0666,mode=0620")
    for name, to in (("fd", "/proc/self/fd"), ("stdin", "/proc/self/fd/0"), ("stdout", "/proc/self/fd/1"), ("stderr", "/proc/self/fd/2"), ("ptmx", "pts/ptmx")):
        os.symlink(to, f"{root}/dev/{name}")
    mount("tmpfs", root + "/run", "tmpfs", MS_NOSUID | MS_NODEV, "mode=755,size=512m")
    os.mkdir(root + "/run/vivary")
    if given.disk_mb:
        mount("tmpfs", root + "/run/vivary", "tmpfs", MS_NOSUID | MS_NODEV, f"mode=755,size={given.disk_mb}m")
    mount("tmpfs", root + "/var/tmp", "tmpfs", MS_NOSUID | MS_NODEV, "mode=1777,size=1g")
    if given.tmp == "mounted":
        mount("tmpfs", root + "/tmp", "tmpfs", MS_NOSUID | MS_NODEV, "mode=1777,size=64m")
    os.makedirs(root + "/app", exist_ok=True)
    if given.app:
        mount(given.app, root + "/app", None, MS_BIND)
        mount("none", root + "/app", None, MS_REMOUNT | MS_BIND | MS_RDONLY)
    if hidden():
        os.makedirs(root + CHECKOUT)
        mount(ROOT, root + CHECKOUT, None, MS_BIND)
    if given.read_only:
        mount("none", root, None, MS_REMOUNT | MS_BIND | MS_RDONLY)
    os.chdir(root)
    checked(libc.syscall(155, b".", b"."), "pivot_root")  # x86_64's number
    checked(libc.umount2(b".", 2), "umount")
    os.chdir("/")


def network_start():
    """The loopback, up: a fresh network namespace has it down."""
    import fcntl
    import socket
    import struct

    with socket.socket() as any_socket:
        fcntl.ioctl(any_socket, 0x8914, struct.pack("16sh14x", b"lo", 1))  # SIOCSIFFLAGS, IFF_UP


def seccomp_load():
    class Compare(ctypes.Structure):
        _fields_ = [("argument", ctypes.c_uint), ("how", ctypes.c_int), ("a", ctypes.c_uint64), ("b", ctypes.c_uint64)]

    library = ctypes.CDLL("libseccomp.so.2")
    library.seccomp_init.restype = ctypes.c_void_p
    allow, refuse, not_there = 0x7FFF0000, 0x00050001, 0x00050026
    context = ctypes.c_void_p(library.seccomp_init(allow))
    library.seccomp_attr_set(context, 3, 0)  # SCMP_FLTATR_CTL_NNP: as runc does without no-new-privileges, by the right to
    for name in REFUSED:
        number = library.seccomp_syscall_resolve_name(name.encode())
        if number != -1:
            library.seccomp_rule_add_array(context, refuse, number, 0, None)
    for bit in range(32):
        if NEW_NAMESPACES >> bit & 1:
            library.seccomp_rule_add_array(context, refuse, 56, 1, ctypes.byref(Compare(0, 7, 1 << bit, 1 << bit)))  # clone, MASKED_EQ
    library.seccomp_rule_add_array(context, not_there, 435, 0, None)  # clone3: ENOSYS
    if library.seccomp_load(context) != 0:
        raise OSError("seccomp_load")


def capabilities_keep(names):
    """In the bounding set; what is permitted follows from it at execve, since this is root."""
    kept = {NUMBERS[name] for name in names}
    for number in range(64):
        if number not in kept and libc.prctl(24, number, 0, 0, 0) < 0:  # PR_CAPBSET_DROP
            break


def main():
    at = sys.argv.index("--")
    parser = argparse.ArgumentParser()
    parser.add_argument("--user", type=int, default=0)
    parser.add_argument("--read-only", action="store_true")
    parser.add_argument("--cap", action="append", choices=DOCKERS, help="these alone, as with --cap-drop ALL --cap-add")
    parser.add_argument("--app")
    parser.add_argument("--tmp", choices=("mounted",))
    parser.add_argument("--disk-mb", type=int, help="room for all that runs write")
    parser.add_argument("--no-new-privileges", action="store_true")
    given = parser.parse_args(sys.argv[1:at])
    command, here = [seen(word) for word in sys.argv[at + 1:]], seen(os.getcwd())
    for name, value in os.environ.items():
        os.environ[name] = seen(value)

    work = tempfile.mkdtemp(prefix="vivary-container-", dir="/run")
    checked(libc.unshare(CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWCGROUP), "unshare")
    pid = os.fork()
    if pid > 0:
        status = os.waitpid(pid, 0)[1]
        os.rmdir(work)  # the mounts on it went with their namespace
        sys.exit(os.waitstatus_to_exitcode(status) & 0xFF)
    libc.prctl(1, 9, 0, 0, 0)  # PR_SET_PDEATHSIG: the container goes with who started it
    checked(libc.unshare(CLONE_NEWNS), "unshare")
    network_start()
    root_make(given, work)
    libc.sethostname(b"container", 9)
    capabilities_keep(given.cap or DOCKERS)
    seccomp_load()
    if given.no_new_privileges:
        libc.prctl(38, 1, 0, 0, 0)
    os.environ.update(TMPDIR="/var/tmp", HOME="/root", PATH="/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
    if given.user:
        os.setgroups([])
        os.setresgid(given.user, given.user, given.user)
        os.setresuid(given.user, given.user, given.user)
    os.chdir(here)
    os.execvp(command[0], command)


if __name__ == "__main__":
    main()
