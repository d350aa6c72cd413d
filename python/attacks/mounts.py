"""Mounts and namespaces."""

from inside import TMP, attack, call, check, file_roundtrip, full_only, in_child, proc_is_there

import ctypes
import os
import stat

NEW = {"user": 0x10000000, "mnt": 0x20000, "pid": 0x20000000, "net": 0x40000000, "ipc": 0x8000000, "uts": 0x4000000, "cgroup": 0x2000000,
       "time": 0x80}


def _mount(source, target, kind, flags=0, data=None):
    text = [None if part is None else part.encode() for part in (source, target, kind, data)]
    call("mount", text[0], text[1], text[2], flags, text[3])
    return f"mounted {kind or 'a bind'} on {target}"


@attack("privilege", file_roundtrip)
def mount_tmpfs(facts):
    """Mounts a file system."""
    return _mount("x", TMP, "tmpfs")


@attack("writes", file_roundtrip)
def remount_writable(facts):
    """Makes the system's folders writable."""
    return _mount(None, "/usr", None, 32 | 4096)


@attack("privilege", file_roundtrip)
def mount_proc(facts):
    """Mounts a whole /proc."""
    os.mkdir(TMP + "/proc")
    return _mount("proc", TMP + "/proc", "proc")


@attack("privilege", file_roundtrip)
def mount_sysfs(facts):
    """Mounts /sys."""
    return _mount("sysfs", "/sys", "sysfs")


@attack("privilege", file_roundtrip)
def mount_cgroup(facts):
    """Mounts the cgroups."""
    os.mkdir(TMP + "/cgroup")
    return _mount("x", TMP + "/cgroup", "cgroup2")


@attack("privilege", file_roundtrip)
def mount_bind(facts):
    """Mounts a folder over another."""
    return _mount(TMP, "/etc", None, 4096)


@attack("reads", file_roundtrip)
def unmount_cover(facts):
    """Takes mounts off, to see what is below."""
    call("umount2", b"/usr", 2)
    return "taken off"


@attack("reads", file_roundtrip)
def unmount_proc(facts):
    """Takes /proc off, to see what is below."""
    call("umount2", b"/proc", 2)
    return "taken off"


@attack("reads", file_roundtrip)
def pivot(facts):
    """Takes another root."""
    os.makedirs(TMP + "/new/old")
    call("pivot_root", b"/tmp/new", b"/tmp/new/old")
    return "pivoted"


@attack("reads", file_roundtrip)
def chroot_out(facts):
    """The classic way out: chroot below the working folder, then up."""
    os.mkdir(TMP + "/jail")
    call("chroot", b"/tmp/jail")
    for _ in range(64):
        os.chdir("..")
    call("chroot", b".")
    return os.listdir("/")


def _unshare_attack(name):
    def function(facts):
        return check(in_child(lambda: call("unshare", NEW[name]) + 1)) == 1 and "made"

    function.__name__ = f"new_{name}_namespace"
    function.__doc__ = f"Makes a {name} namespace, and with it a part of the kernel that only root sees otherwise."
    attack("surface", file_roundtrip)(function)


for _name in NEW:
    _unshare_attack(_name)


@attack("surface", file_roundtrip)
def clone_user_namespace(facts):
    """The same by clone(2), for filters that only think of unshare."""

    def run():
        pid = call("clone", NEW["user"] | 17, 0, 0, 0, 0)
        if pid == 0:
            os._exit(0)
        os.waitpid(pid, 0)
        return 1

    return check(in_child(run)) == 1 and "made"


@attack("surface", file_roundtrip)
def clone3_user_namespace(facts):
    """The same by clone3(2), whose flags a filter can't see: it must not be there at all."""

    def run():
        arguments = (ctypes.c_uint64 * 11)()
        arguments[0], arguments[4] = NEW["user"], 17
        pid = call("clone3", ctypes.byref(arguments), 88)
        if pid == 0:
            os._exit(0)
        os.waitpid(pid, 0)
        return 1

    return check(in_child(run)) == 1 and "made"


@attack("privilege", proc_is_there)
def enter_init_namespaces(facts):
    """Enters the namespaces of the cell's first process."""
    fd = os.open("/proc/1/ns/user", os.O_RDONLY)
    call("setns", fd, 0)
    return "entered"


@attack("privilege", proc_is_there)
def enter_own_parent(facts):
    """Enters the user namespace above its own."""
    import fcntl

    own = os.open("/proc/self/ns/user", os.O_RDONLY)
    parent = fcntl.ioctl(own, 0xB702)
    call("setns", parent, 0)
    return "entered"


@attack("privilege", proc_is_there)
def enter_by_pidfd(facts):
    """Enters the namespaces of the cell's first process by a pidfd."""
    fd = call("pidfd_open", 1, 0)
    call("setns", fd, NEW["mnt"] | NEW["user"])
    return "entered"


def _mount_call(name, *arguments):
    def function(facts):
        return call(name, *arguments) >= 0 and "it answers"

    function.__name__ = f"mount_call_{name}"
    function.__doc__ = f"Calls {name}(2), one of the newer ways to mount."
    attack("surface", file_roundtrip)(function)


_mount_call("fsopen", b"tmpfs", 0)
_mount_call("open_tree", -100, b"/tmp", 1)
_mount_call("move_mount", -100, b"/tmp", -100, b"/dev/shm", 0)
_mount_call("fspick", -100, b"/tmp", 0)
_mount_call("mount_setattr", -100, b"/usr", 0, (ctypes.c_uint64 * 4)(), 32)
_mount_call("open_tree_attr", -100, b"/tmp", 1, (ctypes.c_uint64 * 4)(), 32)
_mount_call("listmount", (ctypes.c_uint64 * 4)(24, 0xFFFFFFFFFFFFFFFF, 0), (ctypes.c_uint64 * 8)(), 8, 0)


@attack("reads", file_roundtrip)
def mount_in_user_namespace(facts):
    """Makes a user namespace, and in it a mount: what unprivileged users may on many hosts."""

    def run():
        call("unshare", NEW["user"] | NEW["mnt"])
        call("mount", b"x", b"/usr", b"tmpfs", 0, None)
        return 1

    return check(in_child(run)) == 1 and "mounted"


def _shares(kind):
    def function(facts):
        full_only(facts, "namespaces are the container's")
        return os.readlink(f"/proc/self/ns/{kind}") == facts["namespaces"][kind] and "the host's"

    function.__name__ = f"host_{kind}_namespace"
    function.__doc__ = f"Finds itself in the host's {kind} namespace."
    attack("surface", proc_is_there)(function)


for _name in NEW:
    if _name != "time":
        _shares(_name)


@attack("surface", file_roundtrip)
def devices_and_bits_count(facts):
    """Finds a place to write to where set-user-id bits or device nodes count."""
    places = [path for path in (TMP, "/dev/shm", "/runtime") if os.statvfs(path).f_flag & 6 != 6]
    if not places or facts["level"] == "full":
        return places
    # Where nothing can be mounted, the container's mounts are as they are: no_new_privs and the lack of CAP_MKNOD have to do it.
    found = []
    for path in places:
        try:
            os.mknod(os.path.join(path, "node"), stat.S_IFCHR | 0o600, os.makedev(1, 3))
            found.append(f"a device in {path}")
        except OSError:
            pass
    if ctypes.CDLL(None).prctl(39, 0, 0, 0, 0) != 1:  # PR_GET_NO_NEW_PRIVS
        found.append("set-user-id bits count")
    return found


@attack("surface", proc_is_there)
def own_settings(facts):
    """Writes a file that is its own by all permissions, but not in a folder that it was given: only Landlock says no."""
    with open("/proc/self/comm", "w") as file:
        file.write("renamed")
    return "written"
