"""Devices and terminals."""

from inside import TMP, attack, call, check, file_roundtrip, in_child, terminal

import fcntl
import os
import stat


def _open(path, flags=os.O_RDWR):
    os.close(os.open(path, flags))
    return f"opened {path}"


def _node(name, kind, major, minor):
    path = TMP + "/" + name
    os.mknod(path, kind | 0o600, os.makedev(major, minor))
    return _open(path, os.O_RDONLY)


def terminal_works():
    one, other = terminal()
    os.write(one, b"x\n")
    return os.read(other, 2) == b"x\n"


def null_works():
    with open("/dev/null", "wb") as null, open("/dev/zero", "rb") as zero:
        return null.write(b"x") == 1 and zero.read(2) == b"\0\0"


@attack("reads", null_works)
def disk_device(facts):
    """Makes a node of the host's disk and reads it."""
    return _node("disk", stat.S_IFBLK, *facts["disk"])


@attack("reads", null_works)
def memory_device(facts):
    """Makes a node of the machine's memory and reads it."""
    return _node("mem", stat.S_IFCHR, 1, 1)


@attack("surface", null_works)
def null_node(facts):
    """Makes even a harmless node."""
    return _node("null", stat.S_IFCHR, 1, 3)


@attack("reads", null_works)
def disk_nodes(facts):
    """Opens the host's disks where they usually are."""
    return [_open(path, os.O_RDONLY) for path in ("/dev/sda", "/dev/vda", "/dev/nvme0n1", "/dev/dm-0", "/dev/loop0") if os.path.exists(path)]


@attack("surface", null_works)
def loop_control(facts):
    """Opens the loop driver."""
    return _open("/dev/loop-control")


@attack("surface", null_works)
def fuse_device(facts):
    """Opens FUSE, to be a file system."""
    return _open("/dev/fuse")


@attack("surface", null_works)
def kvm_device(facts):
    """Opens the hypervisor."""
    return _open("/dev/kvm")


@attack("network", null_works)
def tun_device(facts):
    """Opens the driver of virtual network cards."""
    return _open("/dev/net/tun")


@attack("learns", null_works)
def kmsg_device(facts):
    """Reads the kernel's log by its device."""
    return _open("/dev/kmsg", os.O_RDONLY)


@attack("surface", null_works)
def unexpected_devices(facts):
    """Finds more in /dev than was meant."""
    meant = {"null", "zero", "full", "random", "urandom", "shm", "pts", "ptmx", "fd", "stdin", "stdout", "stderr"}
    return [name for name in os.listdir("/dev") if name not in meant]


@attack("surface", null_works)
def replace_null(facts):
    """Replaces /dev/null, for others to write into."""
    os.remove("/dev/null")
    return "removed"


@attack("writes", terminal_works)
def push_input(facts):
    """Types into the operator's terminal: TIOCSTI on what it inherited (CVE-2017-5226 is bubblewrap's)."""
    for fd in (0, 1, 2):
        try:
            fcntl.ioctl(fd, 0x5412, b"x")
            return f"typed into {fd}"
        except OSError:
            continue
    fd = os.open("/dev/tty", os.O_RDWR)
    fcntl.ioctl(fd, 0x5412, b"x")
    return "typed"


@attack("writes", terminal_works)
def push_input_wide(facts):
    """The same with bits above the 32 that the kernel looks at, which fooled filters that compared 64 (CVE-2019-10063, flatpak)."""
    one, other = terminal()
    call("ioctl", other, 0x5412 | 1 << 40, b"x")
    return "typed"


@attack("writes", terminal_works)
def push_input_own(facts):
    """TIOCSTI on a terminal of its own: the filter should not know the difference."""
    one, other = terminal()
    fcntl.ioctl(other, 0x5412, b"x")
    return "typed"


@attack("writes", terminal_works)
def paste_selection(facts):
    """TIOCLINUX on a terminal: the console's selection, pasted."""
    one, other = terminal()
    fcntl.ioctl(other, 0x541C, b"\x03")
    return "pasted"


@attack("writes", terminal_works)
def take_console(facts):
    """TIOCCONS: takes the kernel's console messages."""
    one, other = terminal()
    fcntl.ioctl(other, 0x541D)
    return "taken"


@attack("learns", terminal_works)
def controlling_terminal(facts):
    """Opens the terminal that the service was started from."""
    return _open("/dev/tty")


@attack("writes", terminal_works)
def other_terminals(facts):
    """Finds terminals of others in /dev/pts."""
    return [name for name in os.listdir("/dev/pts") if name not in ("ptmx", "0")]  # 0 is the control's


@attack("slows", terminal_works)
def hang_up(facts):
    """Hangs the terminal up."""
    call("vhangup")
    return "hung up"


@attack("surface", file_roundtrip)
def device_numbers_by_child(facts):
    """Makes a node in a child of another user namespace."""

    def node():
        call("unshare", 0x10000000)
        os.mknod(TMP + "/child-node", stat.S_IFCHR | 0o600, os.makedev(1, 3))
        return 1

    return check(in_child(node)) == 1 and "made"
