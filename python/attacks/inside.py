"""What every attack is sent with: raw system calls, raw machine code, and the record of what became of it. It runs in the cell."""

import ctypes
import errno
import mmap
import os
import platform
import signal
import struct

ATTACKS = {}
TMP = os.environ.get("TMPDIR", "/tmp")  # where a cell can have no /tmp of its own
MACHINE = platform.machine()
_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long

# Numbers of arch/x86/entry/syscalls/syscall_64.tbl and of include/uapi/asm-generic/unistd.h.
_X86 = {
    "mprotect": 10, "rt_sigqueueinfo": 129, "ioctl": 16, "shmget": 29, "shmat": 30, "shmctl": 31, "pause": 34, "socket": 41, "clone": 56, "fork": 57,
    "kill": 62, "semget": 64, "msgget": 68, "ptrace": 101, "syslog": 103, "setuid": 105, "setgid": 106, "setresuid": 117, "setgroups": 116,
    "capset": 126, "personality": 135, "uselib": 134, "sysfs": 139, "setpriority": 141, "sched_setscheduler": 144, "vhangup": 153, "pivot_root": 155,
    "_sysctl": 156, "adjtimex": 159, "chroot": 161, "acct": 163, "settimeofday": 164, "mount": 165, "umount2": 166, "swapon": 167, "reboot": 169,
    "sethostname": 170, "setdomainname": 171, "iopl": 172, "ioperm": 173, "init_module": 175, "delete_module": 176, "quotactl": 179, "tkill": 200,
    "sched_setaffinity": 203, "io_setup": 206, "lookup_dcookie": 212, "clock_settime": 227, "mbind": 237, "mq_open": 240, "mq_unlink": 241,
    "kexec_load": 246, "add_key": 248, "request_key": 249, "keyctl": 250, "ioprio_set": 251, "migrate_pages": 256, "mknodat": 259, "unshare": 272,
    "vmsplice": 278, "move_pages": 279, "perf_event_open": 298, "fanotify_init": 300, "prlimit64": 302, "name_to_handle_at": 303,
    "open_by_handle_at": 304, "clock_adjtime": 305, "setns": 308, "process_vm_readv": 310, "process_vm_writev": 311, "kcmp": 312, "finit_module": 313,
    "seccomp": 317, "memfd_create": 319, "kexec_file_load": 320, "bpf": 321, "execveat": 322, "userfaultfd": 323, "pkey_alloc": 330,
    "pidfd_send_signal": 424, "io_uring_setup": 425, "open_tree": 428, "move_mount": 429, "fsopen": 430, "fspick": 433, "pidfd_open": 434,
    "clone3": 435, "pidfd_getfd": 438, "process_madvise": 440, "mount_setattr": 442, "quotactl_fd": 443, "landlock_create_ruleset": 444,
    "memfd_secret": 447, "process_mrelease": 448, "statmount": 457, "listmount": 458, "lsm_get_self_attr": 459, "open_tree_attr": 467,
}
_GENERIC = {
    "mprotect": 226, "rt_sigqueueinfo": 138, "ioctl": 29, "shmget": 194, "shmat": 196, "shmctl": 195, "socket": 198, "clone": 220, "kill": 129,
    "semget": 190, "msgget": 186, "ptrace": 117, "syslog": 116, "setuid": 146, "setgid": 144, "setresuid": 147, "setgroups": 159, "capset": 91,
    "personality": 92, "setpriority": 140, "sched_setscheduler": 119, "vhangup": 58, "pivot_root": 41, "adjtimex": 171, "chroot": 51, "acct": 89,
    "settimeofday": 170, "mount": 40, "umount2": 39, "swapon": 224, "reboot": 142, "sethostname": 161, "setdomainname": 162, "init_module": 105,
    "delete_module": 106, "quotactl": 60, "tkill": 130, "sched_setaffinity": 122, "io_setup": 0, "lookup_dcookie": 18, "clock_settime": 112,
    "mbind": 235, "mq_open": 180, "mq_unlink": 181, "kexec_load": 104, "add_key": 217, "request_key": 218, "keyctl": 219, "ioprio_set": 30,
    "migrate_pages": 238, "mknodat": 33, "unshare": 97, "vmsplice": 75, "move_pages": 239, "perf_event_open": 241, "fanotify_init": 262,
    "prlimit64": 261, "name_to_handle_at": 264, "open_by_handle_at": 265, "clock_adjtime": 266, "setns": 268, "process_vm_readv": 270,
    "process_vm_writev": 271, "kcmp": 272, "finit_module": 273, "seccomp": 277, "memfd_create": 279, "bpf": 280, "execveat": 281, "userfaultfd": 282,
    "pkey_alloc": 289, "kexec_file_load": 294,
}
_NUMBERS = _X86 if MACHINE == "x86_64" else {**{name: number for name, number in _X86.items() if number >= 424}, **_GENERIC}


class NotHere(Exception):
    """The attack means nothing on this machine."""


def call(name, *arguments):
    """The system call itself, past what libc would refuse. Returns its result; raises OSError with the kernel's errno."""
    if name not in _NUMBERS:
        raise NotHere(f"{MACHINE} has no {name}")
    return call_number(_NUMBERS[name], *arguments)


def call_number(number, *arguments):
    wide = [a if not isinstance(a, int) else ctypes.c_long(a) for a in arguments]
    ctypes.set_errno(0)
    result = _libc.syscall(ctypes.c_long(number), *wide)
    if result == -1:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result


def machine_code(code):
    """Runs bytes of machine code in a child, since they may end in a signal; what they leave in the first register, as a signed number."""
    if MACHINE != "x86_64":
        raise NotHere("the code is for x86_64")
    page = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    page.write(code)
    function = ctypes.CFUNCTYPE(ctypes.c_long)(ctypes.addressof(ctypes.c_char.from_buffer(page)))
    return in_child(function)


def fork():
    """In a container, as another user than root, a run is one process."""
    try:
        return os.fork()
    except PermissionError:
        raise NotHere("a run may not fork") from None


def full_only(facts, why):
    """For what level contained doesn't promise, docs/security.md says so."""
    if facts["level"] != "full":
        raise NotHere(f"level {facts['level']}: {why}")


def is_alone():
    """Whether all have one uid, and a run is one process."""
    try:
        if fork() == 0:
            os._exit(0)
        os.wait()
        return False
    except NotHere:
        return True


def terminal():
    """Both ends of a new one."""
    try:
        return os.openpty()
    except PermissionError:
        raise NotHere("a run gets no terminals here") from None


def in_child(function):
    """What `function` returns in a child, as a number. A child that was killed raises InterruptedError with the signal's name."""
    read, write = os.pipe()
    pid = fork()
    if pid == 0:
        try:
            value = function()
            os.write(write, struct.pack("q", int(value or 0)))
        except OSError as error:
            os.write(write, struct.pack("q", -(error.errno or errno.EIO)))
        finally:
            os._exit(0)
    os.close(write)
    said = os.read(read, 8)
    os.close(read)
    status = os.waitpid(pid, 0)[1]
    if os.WIFSIGNALED(status):
        raise InterruptedError(errno.EINTR, "killed by " + signal.Signals(os.WTERMSIG(status)).name)
    return struct.unpack("q", said)[0]


def check(result):
    """A result of machine_code or in_child: raises what the kernel answered, if it is an error."""
    if -4096 < result < 0:
        raise OSError(-result, os.strerror(-result))
    return result


def attack(harm, control=None, dies=False, times=1):
    """Declares an attack. It returns evidence when it got through, and raises or returns nothing when it was stopped. `control` does in an
    allowed way what the attack does in a forbidden one, and must succeed in the same run. `dies`: the run may end in it; what is looked at is
    whether others felt it. `times`: so often it is run, one after the other, to find what an earlier one left."""

    def declare(function):
        ATTACKS[function.__name__] = {"function": function, "harm": harm, "control": control or python_runs, "dies": dies, "times": times,
                                      "wants": (function.__doc__ or "").strip().split("\n")[0]}
        return function

    return declare


def run_attack(name, facts):
    entry = ATTACKS[name]
    try:
        control = entry["control"]() or "it did nothing"
    except NotHere as why:
        return {"control": True, "not_here": str(why)}
    except BaseException as error:
        return {"control": f"{type(error).__name__}: {error}"}
    if control is not True:
        return {"control": str(control)}
    try:
        evidence = entry["function"](facts)
        return {"control": True, "through": bool(evidence), "what": str(evidence or "no effect")[:300]}
    except NotHere as why:
        return {"control": True, "not_here": str(why)}
    except OSError as error:
        name = errno.errorcode.get(error.errno, str(error.errno))
        return {"control": True, "through": False, "what": name if error.errno != errno.EINTR else str(error.strerror)}
    except BaseException as error:
        return {"control": True, "through": False, "what": f"{type(error).__name__}: {error}"[:200]}


def run_control(name):
    try:
        return {"control": ATTACKS[name]["control"]()}
    except NotHere:
        return {"control": True}
    except BaseException as error:
        return {"control": f"{type(error).__name__}: {error}"}


# --- controls: what must work


def python_runs():
    return _libc.getpid() == os.getpid()


def file_roundtrip():
    with open(TMP + "/control", "w+b") as file:
        file.write(b"vivary")
        file.seek(0)
        return file.read() == b"vivary"


def proc_is_there():
    with open("/proc/self/status") as file:
        return f"Pid:\t{os.getpid()}\n" in file.read()


def raw_call_works():
    return call_number(39 if MACHINE == "x86_64" else 172) == os.getpid()


def code_runs():
    # mov eax, 42; ret
    return MACHINE != "x86_64" or machine_code(b"\xb8\x2a\x00\x00\x00\xc3") == 42


def child_ends():
    try:
        return in_child(lambda: 7) == 7
    except NotHere:
        return python_runs()


def socket_pair_works():
    import socket

    one, other = socket.socketpair()
    one.send(b"x")
    return other.recv(1) == b"x"


def unix_socket_works():
    import socket

    try:
        server = socket.socket(socket.AF_UNIX)
    except PermissionError:  # where all have one uid there are only pairs
        return socket_pair_works()
    server.bind(TMP + "/control.socket")
    server.listen(1)
    client = socket.socket(socket.AF_UNIX)
    client.connect(TMP + "/control.socket")
    server.accept()[0].send(b"x")
    return client.recv(1) == b"x"


def signal_to_child_works():
    try:
        pid = fork()
    except NotHere:
        os.kill(os.getpid(), 0)
        return True
    if pid == 0:
        signal.pause()
        os._exit(0)
    os.kill(pid, signal.SIGKILL)
    return os.WTERMSIG(os.waitpid(pid, 0)[1]) == signal.SIGKILL


def own_memory_reads():
    text = ctypes.create_string_buffer(b"vivary")
    try:
        memory = open("/proc/self/mem", "rb", buffering=0)
    except PermissionError:  # where all have one uid, not even one's own
        return ctypes.string_at(ctypes.addressof(text)) == b"vivary"
    with memory:
        memory.seek(ctypes.addressof(text))
        return memory.read(6) == b"vivary"
