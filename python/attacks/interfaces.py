"""Doors beside the system calls: ioctls and socket options, which a filter sees as one call with many meanings."""

from inside import TMP, attack, proc_is_there, python_runs, socket_pair_works, terminal, unix_socket_works

import ctypes
import errno
import fcntl
import os
import socket
import struct


def _reached(error):
    """Whether this errno comes from behind the door: EPERM, EACCES and ENOSYS are the filter's, Landlock's or a capability's."""
    return error.errno not in (errno.EPERM, errno.EACCES, errno.ENOSYS)


def own_ioctl_works():
    one, other = socket.socketpair()
    one.send(b"vivary")
    waiting = bytearray(4)
    fcntl.ioctl(other, 0x541B, waiting)  # FIONREAD
    return struct.unpack("i", waiting)[0] == 6


def _interface(request, name=b"", rest=b""):
    return fcntl.ioctl(socket.socket(socket.AF_UNIX), request, bytearray((name.ljust(16, b"\0") + rest).ljust(256, b"\0")))


def _socket_ioctl(title, wants, request, harm="surface", name=b"", rest=b""):
    def function(facts):
        _interface(request, name, rest)
        return "it answers"

    function.__name__ = title
    function.__doc__ = wants
    attack(harm, own_ioctl_works)(function)


# dev_ioctl() of net/core serves every family, so a Unix socket is a door to the network's settings: netdevice(7).
_socket_ioctl("interface_list", "Lists network interfaces through a Unix socket: SIOCGIFCONF.", 0x8912)
_socket_ioctl("interface_flags", "Reads an interface's flags through a Unix socket: SIOCGIFFLAGS.", 0x8913, name=b"lo")
_socket_ioctl("interface_up", "Takes the interface up through a Unix socket: SIOCSIFFLAGS.", 0x8914, "network", b"lo", b"\x01\x00")
_socket_ioctl("interface_rename", "Renames the interface: SIOCSIFNAME.", 0x8923, "network", b"lo", b"eth0")
_socket_ioctl("interface_bridge_add", "Makes a bridge: SIOCBRADDBR.", 0x89A0, "network", b"br7")
_socket_ioctl("interface_namespace", "Opens the socket's network namespace: SIOCGSKNS.", 0x894C)


def _loads_driver(title, wants, request):
    def function(facts):
        try:
            _interface(request)
        except OSError as error:
            if not _reached(error):
                raise
            return f"the kernel's module loader was asked ({errno.errorcode[error.errno]})"
        return "the driver answers"

    function.__name__ = title
    function.__doc__ = wants
    attack("surface", own_ioctl_works)(function)


# sock_ioctl() and br_ioctl_call() of net/socket.c call request_module() before they look at capabilities.
_loads_driver("driver_bridge_loaded", "Has the host load its bridge driver, by SIOCGIFBR on a Unix socket.", 0x8940)
_loads_driver("driver_vlan_loaded", "Has the host load its VLAN driver, by SIOCGIFVLAN on a Unix socket.", 0x8982)


@attack("surface", unix_socket_works)
def pidfd_of_keeper(facts):
    """Gets a handle of a process outside by SO_PEERPIDFD on its own socket."""
    # The kernel doesn't ask whether the peer is in the asker's pid namespace: sk_getsockopt in net/core/sock.c.
    for fd in sorted(int(name) for name in os.listdir("/proc/self/fd")):
        try:
            found = socket.socket(fileno=os.dup(fd)).getsockopt(socket.SOL_SOCKET, 77)
        except OSError as error:
            last = error
            continue
        with open(f"/proc/self/fdinfo/{found}") as about:
            if "Pid:\t0\n" in about.read():  # pidfd_open(2): 0 is a process that this pid namespace has no number for
                return f"descriptor {found} is a process outside the cell"
    raise last


@attack("writes", unix_socket_works)
def pidfd_of_keeper_used(facts):
    """Kills with that handle."""
    found = socket.socket(fileno=os.dup(1002)).getsockopt(socket.SOL_SOCKET, 77)
    import signal

    signal.pidfd_send_signal(found, signal.SIGKILL)
    return "the signal was taken"


@attack("learns", unix_socket_works)
def pidfd_of_keeper_asked(facts):
    """Asks that handle for uid, cgroup and exit of the process: PIDFD_GET_INFO, Linux 6.13."""
    found = socket.socket(fileno=os.dup(1002)).getsockopt(socket.SOL_SOCKET, 77)
    said = bytearray(struct.pack("Q", 0xFF).ljust(64, b"\0"))
    fcntl.ioctl(found, 0xC040FF0B, said)
    return said.hex()


@attack("reads", unix_socket_works)
def namespaces_by_pidfd(facts):
    """Opens the namespaces of that process: PIDFD_GET_MNT_NAMESPACE and its like, Linux 6.11."""
    found = socket.socket(fileno=os.dup(1002)).getsockopt(socket.SOL_SOCKET, 77)
    return [fcntl.ioctl(found, 0xFF00 | number) for number in range(1, 11)]


def _namespace_ioctl(title, kind, request, wants):
    def function(facts):
        own = os.stat(f"/proc/self/ns/{kind}").st_ino
        got = fcntl.ioctl(os.open(f"/proc/self/ns/{kind}", os.O_RDONLY), request)
        return os.fstat(got).st_ino != own and "opened"

    function.__name__ = title
    function.__doc__ = wants
    attack("surface", proc_is_there)(function)


# ioctl_ns(2)
_namespace_ioctl("owner_of_mounts", "mnt", 0xB701, "Opens the user namespace that owns its mounts, which is the zygote's.")
_namespace_ioctl("owner_of_network", "net", 0xB701, "Opens the user namespace that owns its network.")
_namespace_ioctl("parent_of_pids", "pid", 0xB702, "Opens the pid namespace above its own.")
_namespace_ioctl("parent_of_user", "user", 0xB702, "Opens the user namespace above its own.")


@attack("reads", proc_is_there)
def next_mounts(facts):
    """Opens the mount namespaces beside its own, one after the other: NS_MNT_GET_NEXT and NS_MNT_GET_PREV, Linux 6.12."""
    own = os.open("/proc/self/ns/mnt", os.O_RDONLY)
    for request in (0x8010B70B, 0x8010B70C):
        try:
            return fcntl.ioctl(own, request, bytearray(struct.pack("IIQ", 16, 0, 0)))
        except OSError as error:
            last = error
    raise last


def _file_ioctl(title, wants, request, argument, harm, path="/usr/bin"):
    def function(facts):
        flags = os.O_RDWR | os.O_CREAT if path.startswith(TMP + "/") else os.O_RDONLY
        fcntl.ioctl(os.open(path, flags), request, argument)
        return "done"

    function.__name__ = title
    function.__doc__ = wants
    attack(harm, own_ioctl_works)(function)


_file_ioctl("freeze_files", "Stops all writing to a file system: FIFREEZE.", 0xC0045877, 0, "slows")
_file_ioctl("freeze_tmp", "The same with its own /tmp.", 0xC0045877, 0, "slows", TMP)
_file_ioctl("trim_disk", "Has the disk discard what is free: FITRIM.", 0xC0185879, bytearray(24), "slows")
_file_ioctl("immutable_file", "Makes a file that nobody can remove: FS_IMMUTABLE_FL.", 0x40086602, struct.pack("q", 16), "outlives", TMP + "/immutable")
_file_ioctl("block_of_file", "Asks where on the disk a file is: FIBMAP.", 0x1, bytearray(4), "learns", "/usr/bin/env")


@attack("surface", own_ioctl_works)
def line_discipline(facts):
    """Loads a driver of old terminals: TIOCSETD with N_HDLC (CVE-2017-2636)."""
    _, other = terminal()
    fcntl.ioctl(other, 0x5423, struct.pack("i", 13))
    return "it answers"


@attack("surface", own_ioctl_works)
def line_discipline_gsm(facts):
    """The same with N_GSM0710 (CVE-2023-6546)."""
    _, other = terminal()
    fcntl.ioctl(other, 0x5423, struct.pack("i", 21))
    return "it answers"


def _socket_option(title, wants, option, value, harm="surface"):
    def function(facts):
        one, _ = socket.socketpair()
        one.setsockopt(socket.SOL_SOCKET, option, value)
        return "set"

    function.__name__ = title
    function.__doc__ = wants
    attack(harm, socket_pair_works)(function)


_program = ctypes.create_string_buffer(struct.pack("HBBI", 6, 0, 0, 0xFFFF))  # BPF_RET | BPF_K
_filter = struct.pack("HxxxxxxP", 1, ctypes.addressof(_program))
_socket_option("socket_filter", "Gives the kernel a program by SO_ATTACH_FILTER: the older door to its compiler.", 26, _filter)
_socket_option("socket_mark", "Marks what it sends, for the host's routing: SO_MARK.", 36, struct.pack("i", 1), "network")
_socket_option("socket_send_forced", "Takes more buffer than the host allows: SO_SNDBUFFORCE.", 32, struct.pack("i", 1 << 28), "slows")
_socket_option("socket_debug", "Has the kernel log about it: SO_DEBUG.", 1, struct.pack("i", 1), "privilege")
_socket_option("socket_priority", "Sends before all others: SO_PRIORITY.", 12, struct.pack("i", 7), "privilege")


@attack("writes", socket_pair_works)
def forged_sender(facts):
    """Says to be root on a Unix socket: SCM_CREDENTIALS with another's pid and uid, unix(7)."""
    one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    other.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
    one.sendmsg([b"x"], [(socket.SOL_SOCKET, 2, struct.pack("3i", 1, 0, 0))])
    return struct.unpack("3i", other.recvmsg(1, 64)[1][0][2])[1] == 0 and "believed"


@attack("surface", python_runs)
def process_settings(facts):
    """Changes by prctl what only the privileged may, or what helps to spy: securebits, ambient capabilities, the memory map, merging of pages."""
    libc, done = ctypes.CDLL(None, use_errno=True), []
    # PR_SET_SECUREBITS, PR_CAP_AMBIENT_RAISE, PR_SET_MM, PR_SET_IO_FLUSHER, PR_MCE_KILL, PR_SET_PTRACER, PR_SET_MEMORY_MERGE, PR_SCHED_CORE: prctl(2)
    for name, values in {"securebits": (28, 0x2F), "ambient": (47, 2, 21), "mm": (35, 6, 4096), "io_flusher": (57, 1), "mce": (33, 1, 1),
                         "ptracer": (0x59616D61, -1), "merge": (67, 1), "core": (62, 1, 0)}.items():
        wide = [ctypes.c_ulong(value & (1 << 64) - 1) for value in (*values, 0, 0, 0, 0)[1:5]]
        if libc.prctl(values[0], *wide) == 0:
            done.append(name)
    return done
