"""More bombs: memory and tables of the kernel's own that no limit of a process counts. A run may die of them; nobody else may notice."""

from inside import TMP, MACHINE, NotHere, attack, call_number, child_ends, file_roundtrip, socket_pair_works, terminal

import ctypes
import fcntl
import mmap
import os
import resource
import select
import signal
import socket
import struct
import time

# Below the deadline that the suite gives a run, so that the run itself can tell how far it came.
LONG_S = 0.7


def _until_refused(step):
    """Goes on until its time is over; what refuses is asked again."""
    end, count = time.monotonic() + LONG_S, 0
    while time.monotonic() < end:
        try:
            step(count)
            count += 1
        except (OSError, MemoryError):
            time.sleep(0.01)
    return count


@attack("slows", file_roundtrip, dies=True)
def record_locks(facts):
    """Takes record locks on every second byte of a file: each is an object of the kernel, and RLIMIT_LOCKS does nothing, getrlimit(2)."""
    fd = os.open(TMP + "/locks", os.O_CREAT | os.O_RDWR)
    _until_refused(lambda count: fcntl.fcntl(fd, fcntl.F_SETLK, struct.pack("hhqqi4x", fcntl.F_WRLCK, 0, 2 * count, 1, 0)))


@attack("slows", file_roundtrip, dies=True)
def page_tables(facts):
    """Reads a byte in each 2 MiB of a huge mapping: the zero page costs nothing, the table that points to it 4 KiB that no rlimit counts."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    size = 1 << 40
    address = libc.mmap(None, ctypes.c_size_t(size), mmap.PROT_READ, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x4000, -1, ctypes.c_long(0))
    if address in (None, ctypes.c_void_p(-1).value):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    end, at = time.monotonic() + LONG_S, address
    while time.monotonic() < end and at < address + size:
        for _ in range(512):
            ctypes.string_at(at, 1)
            at += 2 << 20


@attack("slows", file_roundtrip, dies=True)
def attributes(facts):
    """Hangs attributes on files of its /tmp, which its size doesn't count on older kernels: xattr(7), tmpfs(5)."""
    def step(count):
        path = f"{TMP}/attributed{count % 50}"
        if count < 50:
            os.close(os.open(path, os.O_CREAT | os.O_WRONLY))
        os.setxattr(path, f"user.n{count // 50}", bytes(60000))

    _until_refused(step)


@attack("slows", file_roundtrip, dies=True)
def long_links(facts):
    """Makes links with targets of 4 KiB: memory of the kernel, not blocks of the file system."""
    _until_refused(lambda count: os.symlink("x" * 4000, f"{TMP}/link{count}"))


@attack("slows", file_roundtrip, dies=True)
def missing_names(facts):
    """Looks for names that don't exist in folders that all runs share: each answer is remembered by the kernel as a negative entry."""
    def step(count):
        try:
            os.stat(f"/usr/bin/missing-{os.getpid()}-{time.monotonic_ns()}-{count}")
        except FileNotFoundError:
            pass

    _until_refused(step)


@attack("slows", child_ends, dies=True)
def kernel_timers(facts):
    """Makes POSIX timers without end: timer_create(2), counted by RLIMIT_SIGPENDING of the uid."""
    number = {"x86_64": 222, "aarch64": 107}[MACHINE]
    _until_refused(lambda count: call_number(number, 1, None, (ctypes.c_int * 1)()))


@attack("slows", child_ends, dies=True)
def queued_signals(facts):
    """Sends itself signals that it blocks, each with a record in the kernel."""
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGRTMIN])
    number = {"x86_64": 129, "aarch64": 138}[MACHINE]
    information = (ctypes.c_int * 32)(signal.SIGRTMIN, 0, -1)
    _until_refused(lambda count: call_number(number, os.getpid(), signal.SIGRTMIN, information))


@attack("slows", file_roundtrip, dies=True)
def poll_chains(facts):
    """Nests epolls and has each watch many: a wake-up walks them all, epoll(7)."""
    one, other = socket.socketpair()
    level = [one]
    try:
        for _ in range(4):
            above = [select.epoll() for _ in range(40)]
            for watcher in above:
                for watched in level:
                    watcher.register(watched, select.EPOLLIN)
            level = above
    except OSError:
        pass
    _until_refused(lambda count: other.send(b"x"))


@attack("slows", file_roundtrip, dies=True)
def poll_watches(facts):
    """Watches the same from many epolls: fs.epoll.max_user_watches is of the uid."""
    watchers = [select.epoll() for _ in range(100)]
    pipes = [os.pipe()[0] for _ in range(60)]
    for watcher in watchers:
        for pipe in pipes:
            try:
                watcher.register(pipe, select.EPOLLIN)
            except OSError:
                return None


@attack("slows", file_roundtrip, dies=True)
def terminals(facts):
    """Opens terminals without end: kernel.pty.max is of the machine, pty(7)."""
    kept = []
    for _ in range(8):
        if os.fork() == 0:
            break
    _until_refused(lambda count: kept.append(terminal()))


@attack("slows", file_roundtrip, dies=True)
def terminal_input(facts):
    """Fills terminals with input that nobody reads, and with output."""
    def step(count):
        one, other = terminal()
        os.set_blocking(one, False)
        os.set_blocking(other, False)
        for fd in (one, other):
            try:
                while True:
                    os.write(fd, b"x" * 4000)
            except BlockingIOError:
                pass

    _until_refused(step)


@attack("slows", socket_pair_works, dies=True)
def waiting_connections(facts):
    """Connects to itself without end: each waiting connection is a socket with a buffer."""
    server = socket.socket(socket.AF_UNIX)
    server.bind("\0waiting")
    server.listen(1 << 30)

    def step(count):
        one = socket.socket(socket.AF_UNIX)
        one.setblocking(False)
        one.connect("\0waiting")
        one.send(bytes(100000))
        one.detach() if count < 100 else one.close()

    _until_refused(step)


@attack("slows", socket_pair_works, dies=True)
def circles_of_sockets(facts):
    """Sends sockets over themselves and closes them: only the kernel's collector finds them, for which others may have to wait."""
    import array

    def step(count):
        one, other = socket.socketpair()
        one.sendmsg([bytes(1000)], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [one.fileno(), other.fileno()]))])
        one.close()
        other.close()

    _until_refused(step)


@attack("slows", socket_pair_works, dies=True)
def socket_names(facts):
    """Binds abstract names without end."""
    kept = []

    def step(count):
        one = socket.socket(socket.AF_UNIX)
        one.bind(f"\0name{os.getpid()}-{count}")
        kept.append(one)

    _until_refused(step)


@attack("slows", file_roundtrip, dies=True)
def stacks_of_programs(facts):
    """Starts programs with as many arguments as fit: they are copied before the program has a limit, execve(2)."""
    arguments = ["x" * 100000] * 15

    def step(count):
        pid = os.fork()
        if pid == 0:
            try:
                os.execv("/bin/true", arguments)
            finally:
                os._exit(1)
        if count % 10 == 9:
            os.waitpid(pid, 0)

    _until_refused(step)


@attack("slows", child_ends, dies=True)
def barriers(facts):
    """Interrupts every processor of the machine, again and again: membarrier(2), GLOBAL_EXPEDITED."""
    number = {"x86_64": 324, "aarch64": 283}[MACHINE]
    call_number(number, 1 << 2, 0, 0)
    _until_refused(lambda count: call_number(number, 1 << 1, 0, 0))


@attack("slows", child_ends, dies=True)
def yields(facts):
    """Wakes and sleeps between processes as fast as it can: switches, not processor time, are what it costs."""
    read, write = os.pipe()
    back, forth = os.pipe()
    if os.fork() == 0:
        while True:
            os.write(forth, os.read(read, 1))

    def step(count):
        os.write(write, b"x")
        os.read(back, 1)

    _until_refused(step)


@attack("slows", child_ends, dies=True)
def split_lock(facts):
    """Locks the memory bus: an atomic write across two cache lines stops all processors for a moment (split_lock_detect, Linux 5.7)."""
    if MACHINE != "x86_64":
        raise NotHere("a split lock is of x86")
    area = mmap.mmap(-1, 8192, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    base = ctypes.addressof(ctypes.c_char.from_buffer(area))
    # mov rax, imm64; mov ecx, 1000000; lock inc dword [rax]; dec ecx; jnz back; ret
    area.write(b"\x48\xb8" + struct.pack("Q", base + 4096 + 62) + b"\xb9\x40\x42\x0f\x00\xf0\xff\x00\xff\xc9\x75\xf9\xc3")
    function = ctypes.CFUNCTYPE(None)(base)
    end = time.monotonic() + LONG_S
    while time.monotonic() < end:
        function()


@attack("slows", child_ends, dies=True)
def faults(facts):
    """Raises and handles a fault without end: the kernel logs some kinds for each process."""
    def step(count):
        pid = os.fork()
        if pid == 0:
            ctypes.string_at(8)
        os.waitpid(pid, 0)

    _until_refused(step)


@attack("slows", file_roundtrip, dies=True)
def big_file_by_hole(facts):
    """Fills the holes of a file from behind, by fallocate(2), past the size of its /tmp."""
    fd = os.open(TMP + "/holes", os.O_CREAT | os.O_RDWR)
    _until_refused(lambda count: os.posix_fallocate(fd, (1 << 30) - (count + 1) * (1 << 20), 1 << 20))
    return os.fstat(fd).st_blocks * 512 > 1 << 29 and "more than 512 MiB"


@attack("slows", file_roundtrip, dies=True)
def limits_widened_for_children(facts):
    """Takes the limits that it may raise, then forks: children get no more than one had."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    for _ in range(30):
        try:
            if os.fork() == 0:
                break
        except OSError:
            break
    _until_refused(lambda count: os.pipe())


@attack("slows", file_roundtrip, dies=True)
def pinned_pages(facts):
    """Fills a pipe with pages of shared files by splice(2), which stay pinned while it lives."""
    if not hasattr(os, "splice"):
        raise NotHere("this Python has no os.splice")
    fd = os.open("/usr/bin/env", os.O_RDONLY)
    kept = []

    def step(count):
        if count % 16 == 0:
            kept.append(os.pipe())
        os.splice(fd, kept[-1][1], 4096, offset_src=0)

    _until_refused(step)
