"""System calls that a script has no need of, each a part of the kernel where bugs were found or that acts on the whole machine."""

from inside import MACHINE, NotHere, attack, call, call_number, check, code_runs, in_child, machine_code, raw_call_works

import ctypes
import os
import signal


def _surface(name, wants, *arguments, harm="surface", title=None):
    def function(facts):
        return call(name, *arguments) >= 0 and "it answers"

    function.__name__ = title or f"call_{name}"
    function.__doc__ = wants
    attack(harm, raw_call_works)(function)


_page = ctypes.create_string_buffer(4096)
_surface("bpf", "Loads a program into the kernel.", 0, (ctypes.c_uint32 * 32)(1, 4, 4, 4), 72)
_surface("userfaultfd", "Handles page faults itself, to win races in the kernel.", 1)
_surface("perf_event_open", "Counts the processor's events, and others' with them.", (ctypes.c_uint32 * 32)(1, 120), 0, -1, -1, 0)
_surface("io_uring_setup", "Opens the ring that makes calls past the filter.", 4, (ctypes.c_uint32 * 30)())
_surface("io_setup", "Opens the older asynchronous interface.", 4, (ctypes.c_uint64 * 1)())
_surface("add_key", "Leaves a key in a keyring that outlives it.", b"user", b"vivary", b"x", 1, -5)
_surface("request_key", "Searches the keyrings.", b"user", b"vivary-canary", None, -3, harm="reads")
_surface("keyctl", "Joins a session keyring.", 1, b"vivary-session")
_surface("keyctl", "Reads the user's keyring, which other runs of this uid would share.", 11, -4, _page, 4096, title="call_keyctl_read")
_surface("shmget", "Makes System V shared memory.", 77, 4096, 0o1666)
_surface("semget", "Makes System V semaphores.", 77, 1, 0o1666)
_surface("msgget", "Makes a System V message queue.", 77, 0o1666)
_surface("mq_open", "Makes a POSIX message queue.", b"vivary", 0o102, 0o666, None)
_surface("kexec_load", "Loads another kernel.", 0, 0, None, 0, harm="privilege")
_surface("kexec_file_load", "Loads another kernel from a file.", 0, -1, 0, None, 4, harm="privilege")
_surface("init_module", "Loads a driver.", _page, 4096, b"", harm="privilege")
_surface("finit_module", "Loads a driver from a file.", 0, b"", 0, harm="privilege")
_surface("delete_module", "Removes a driver.", b"overlay", 0o4000, harm="privilege")
_surface("reboot", "Asks what Ctrl-Alt-Del does.", 0xFEE1DEAD, 672274793, 0, 0, harm="privilege")
_surface("settimeofday", "Sets the clock.", (ctypes.c_int64 * 2)(0, 0), None, harm="privilege")
_surface("clock_settime", "Sets the clock.", 0, (ctypes.c_int64 * 2)(0, 0), harm="privilege")
_surface("adjtimex", "Slews the clock.", (ctypes.c_int64 * 32)(1), harm="privilege")
_surface("clock_adjtime", "Slews the clock.", 0, (ctypes.c_int64 * 32)(1), harm="privilege")
_surface("swapon", "Adds a swap file.", b"/tmp/swap", 0, harm="privilege")
_surface("acct", "Has the kernel write accounts.", b"/tmp/acct", harm="privilege")
_surface("sethostname", "Renames the machine.", b"owned", 5, harm="writes")
_surface("setdomainname", "Renames the machine's domain.", b"owned", 5, harm="writes")
_surface("syslog", "Reads the kernel's log.", 3, _page, 4096, harm="learns")
_surface("quotactl", "Asks for disk quotas.", 0x800007 << 8, b"/dev/vda", 0, _page)
_surface("fanotify_init", "Watches what others do with files.", 0, 0)
_surface("lookup_dcookie", "Turns cookies into paths.", 1, _page, 4096)
_surface("iopl", "Takes the machine's input and output ports.", 3, harm="privilege")
_surface("ioperm", "Takes one port of the machine.", 0x70, 1, 1, harm="privilege")
_surface("uselib", "Loads a library the ancient way.", b"/usr/bin/env")
_surface("sysfs", "Asks which file systems the kernel has.", 3, harm="learns")
_surface("_sysctl", "Reads settings the ancient way.", _page)
_surface("mbind", "Places memory on nodes.", 0, 0, 0, None, 0, 0)
_surface("move_pages", "Moves pages of another process.", 1, 0, None, None, None, 0)
_surface("migrate_pages", "Moves all pages of another process.", 1, 0, None, None)
_surface("vmsplice", "Gives pages to a pipe, as the dirty pipe did.", 1, None, 0, 0)
_surface("process_madvise", "Advises on memory of another process.", 3, None, 0, 4, 0)
_surface("quotactl_fd", "Asks for disk quotas by a descriptor.", 0, 0x800007 << 8, 0, _page)
_surface("memfd_secret", "Takes memory that nobody else can read or swap.", 0)
_surface("statmount", "Asks about mounts by number.", (ctypes.c_uint64 * 4)(24, 1, 1), _page, 512, 0)
_surface("lsm_get_self_attr", "Asks which security modules are there.", 100, _page, (ctypes.c_uint32 * 1)(4096), 0)
_surface("seccomp", "Adds a listener for notifications to itself.", 1, 8, (ctypes.c_uint64 * 2)(1, ctypes.addressof((ctypes.c_uint64 * 1)(0x7FFF000000000006))))


@attack("surface", raw_call_works)
def call_personality(facts):
    """Switches address randomization off."""
    call("personality", 0x0040000)
    return "switched off"


@attack("surface", raw_call_works)
def read_implies_exec(facts):
    """Has all memory made executable."""
    call("personality", 0x0400000)
    return "switched on"


@attack("reads", raw_call_works)
def open_by_handle(facts):
    """Opens files of the host by number, as the container escape `shocker` did."""
    handle = (ctypes.c_uint32 * 4)(8, 1, 2, 0)
    return os.read(call("open_by_handle_at", os.open("/usr", os.O_RDONLY), handle, 0), 1)


@attack("learns", raw_call_works)
def name_to_handle(facts):
    """Asks for a file's number, the first half of the same."""
    handle, mount = (ctypes.c_uint32 * 40)(128), (ctypes.c_int * 1)()
    return call("name_to_handle_at", -100, b"/usr", handle, mount, 0) >= 0 and "told"


@attack("surface", raw_call_works)
def x32_calls(facts):
    """Makes its call by the x32 numbers, which filters that compare numbers alone let through."""
    if MACHINE != "x86_64":
        raise NotHere("x32 is of x86_64")
    return check(in_child(lambda: call_number(0x40000000 + 39))) > 0 and "answered"


@attack("surface", raw_call_works)
def x32_own_numbers(facts):
    """Makes ptrace by its number that only x32 has."""
    if MACHINE != "x86_64":
        raise NotHere("x32 is of x86_64")
    return check(in_child(lambda: call_number(0x40000000 + 521, 0, 0, 0, 0) + 1)) > 0 and "answered"


@attack("surface", code_runs)
def int_0x80(facts):
    """Enters the kernel by the 32-bit door, where numbers mean other calls."""
    # mov eax, 20 (getpid); int 0x80; ret
    return check(machine_code(b"\xb8\x14\x00\x00\x00\xcd\x80\xc3")) > 0 and "answered"


@attack("network", code_runs)
def int_0x80_socket(facts):
    """Makes a socket by the 32-bit door, and connects it to a service on the host's loopback."""
    import socket

    # mov eax, 359 (socket); mov ebx, 2; mov ecx, 1; xor edx, edx; int 0x80; ret, with rbx kept
    code = b"\x53\xb8\x67\x01\x00\x00\xbb\x02\x00\x00\x00\xb9\x01\x00\x00\x00\x31\xd2\xcd\x80\x5b\xc3"
    with socket.socket(fileno=check(machine_code(code))) as one:
        one.settimeout(2)
        one.connect(("127.0.0.1", facts["tcp"]))
        return one.recv(20)


@attack("surface", code_runs)
def sysenter_door(facts):
    """Enters the kernel by sysenter."""
    # mov eax, 20; sysenter
    return check(machine_code(b"\xb8\x14\x00\x00\x00\x0f\x34\xc3")) > 0 and "answered"


@attack("surface", code_runs)
def far_call_32(facts):
    """Switches to 32-bit code by a far return, and calls from there."""
    # push 0x23; lea rax, [rip+3]; push rax; retfq; (32 bit) mov eax, 20; int 0x80; then it can't come back: hlt
    return check(machine_code(b"\x6a\x23\x48\x8d\x05\x03\x00\x00\x00\x50\x48\xcb\xb8\x14\x00\x00\x00\xcd\x80\xf4")) > 0 and "answered"


@attack("surface", code_runs)
def raw_unshare(facts):
    """unshare(CLONE_NEWUSER) in machine code, past every wrapper."""
    # mov eax, 272; mov edi, 0x10000000; syscall; ret
    return check(machine_code(b"\xb8\x10\x01\x00\x00\xbf\x00\x00\x00\x10\x0f\x05\xc3")) == 0 and "made"


@attack("surface", code_runs)
def high_bits_of_number(facts):
    """Sets bits of the call's number that the kernel ignores and a filter may not."""
    # mov rax, 0x100000110 (272); mov edi, 0x10000000; syscall; ret
    return check(machine_code(b"\x48\xb8\x10\x01\x00\x00\x01\x00\x00\x00\xbf\x00\x00\x00\x10\x0f\x05\xc3")) == 0 and "made"


@attack("surface", raw_call_works)
def unknown_calls(facts):
    """Makes every call number that the filter may not know."""
    open_ones = []
    for number in list(range(463, 520)) + [1000, 4096, 65535]:
        try:
            call_number(number, -1, -1, -1, -1, -1, -1)
            open_ones.append(number)
        except OSError as error:
            if error.errno not in (38, 1):
                open_ones.append(number)
    return [number for number in open_ones if number not in (463, 464, 465, 466)]  # the *xattrat family, as harmless as its elders


@attack("surface", raw_call_works)
def filter_covers_threads(facts):
    """Makes a forbidden call in a thread."""
    import threading

    said = []

    def run():
        try:
            said.append(call("socket", 2, 1, 0))
        except OSError as error:
            said.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if isinstance(said[0], OSError):
        raise said[0]
    return "made"


@attack("surface", raw_call_works)
def filter_covers_programs(facts):
    """Makes a forbidden call in a program that it runs."""
    import subprocess
    import sys

    code = "import socket; socket.socket()"
    return subprocess.run([sys.executable, "-I", "-c", code]).returncode == 0 and "made"


@attack("surface", raw_call_works)
def run_from_memory(facts):
    """Runs a program that lies in memory only: allowed or not, it must be as confined."""
    import subprocess

    fd = call("memfd_create", b"program", 0)
    with open("/usr/bin/env", "rb") as file:
        os.write(fd, file.read())
    code = subprocess.run([f"/proc/self/fd/{fd}", "cat", "/proc/self/status"], pass_fds=(fd,), capture_output=True, text=True).stdout
    return [line for line in code.splitlines() if line.startswith(("CapEff", "CapPrm")) and int(line.split()[1], 16)] \
        or [line for line in code.splitlines() if line.startswith("Seccomp:") and line.split()[1] != "2"]


@attack("surface", raw_call_works)
def filter_is_for_good(facts):
    """Takes the filter off: a second one can only add, and prctl can't go back."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(22, 0, 0, 0, 0) == 0:
        return "off"
    return in_child(lambda: call("unshare", 0x10000000) + 1) == 1 and "off"
