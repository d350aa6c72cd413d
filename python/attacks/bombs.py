"""Bombs: a run that takes all it can. It may die of it; nobody else may notice."""

from inside import TMP, attack, child_ends, file_roundtrip

import os
import signal
import time


@attack("slows", child_ends, dies=True)
def fork_bomb(facts):
    """Forks as fast as it can."""
    while True:
        try:
            os.fork()
        except OSError:
            pass


@attack("slows", child_ends, dies=True)
def fork_bomb_that_waits(facts):
    """Fills the table of processes and holds it."""
    while True:
        try:
            if os.fork() == 0:
                signal.pause()
        except OSError:
            time.sleep(0.1)


@attack("slows", child_ends, dies=True)
def thread_bomb(facts):
    """Starts threads without end."""
    import threading

    threading.stack_size(65536)
    while True:
        try:
            threading.Thread(target=signal.pause, daemon=True).start()
        except RuntimeError:
            time.sleep(0.05)


@attack("slows", child_ends, dies=True)
def zombie_bomb(facts):
    """Fills the table with dead children."""
    while True:
        try:
            if os.fork() == 0:
                os._exit(0)
        except OSError:
            time.sleep(0.05)


@attack("slows", child_ends, dies=True)
def memory_bomb(facts):
    """Takes memory and touches it."""
    kept = []
    while True:
        try:
            kept.append(bytearray(1 << 20))
        except MemoryError:
            time.sleep(0.05)


@attack("slows", child_ends, dies=True)
def memory_by_children(facts):
    """Takes in each of many processes what one may have."""
    for _ in range(30):
        try:
            if os.fork() == 0:
                break
        except OSError:
            break
    kept = []
    while True:
        try:
            kept.append(bytearray(1 << 20))
        except MemoryError:
            time.sleep(0.05)


@attack("slows", file_roundtrip, dies=True)
def memory_by_files(facts):
    """Fills the memory that /tmp and /dev/shm are made of."""
    for folder in (TMP, "/dev/shm", "/runtime"):
        try:
            with open(folder + "/fill", "wb") as file:
                while True:
                    file.write(bytes(1 << 20))
        except OSError:
            continue
    return None


@attack("slows", file_roundtrip, dies=True)
def memory_by_memfd(facts):
    """Fills files that have no name and no mount with a limit."""
    kept = []
    while True:
        fd = os.memfd_create("fill")
        kept.append(fd)
        for _ in range(64):
            os.write(fd, bytes(1 << 20))


@attack("slows", file_roundtrip, dies=True)
def memory_by_shared_mapping(facts):
    """Takes shared memory, which limits on private data don't count."""
    import mmap

    kept = []
    while True:
        area = mmap.mmap(-1, 16 << 20)
        for at in range(0, 16 << 20, 4096):
            area[at] = 1
        kept.append(area)


@attack("slows", file_roundtrip, dies=True)
def memory_by_pipes(facts):
    """Fills the kernel's pipe buffers."""
    import fcntl

    while True:
        read, write = os.pipe()
        try:
            fcntl.fcntl(write, 1031, 1 << 20)
        except OSError:
            pass
        os.set_blocking(write, False)
        try:
            while True:
                os.write(write, bytes(65536))
        except BlockingIOError:
            pass


@attack("slows", file_roundtrip, dies=True)
def memory_by_sockets(facts):
    """Fills socket buffers."""
    import socket

    kept = []
    while True:
        one, other = socket.socketpair()
        kept += [one, other]
        one.setblocking(False)
        try:
            while True:
                one.send(bytes(65536))
        except BlockingIOError:
            pass


@attack("slows", file_roundtrip, dies=True)
def inode_bomb(facts):
    """Makes files without end."""
    for folder in (TMP, "/dev/shm", "/runtime"):
        try:
            for number in range(1 << 20):
                os.close(os.open(f"{folder}/{number}", os.O_CREAT | os.O_WRONLY))
        except OSError:
            continue


@attack("slows", file_roundtrip, dies=True)
def deep_folders(facts):
    """Makes folders in folders without end."""
    os.chdir(TMP)
    while True:
        os.mkdir("d")
        os.chdir("d")


@attack("slows", file_roundtrip, dies=True)
def descriptor_bomb(facts):
    """Opens without end, in many processes."""
    for _ in range(20):
        if os.fork() == 0:
            break
    while True:
        try:
            os.dup(0)
        except OSError:
            time.sleep(0.05)


@attack("slows", file_roundtrip, dies=True)
def descriptors_in_flight(facts):
    """Keeps descriptors in messages that nobody takes, where they count for no process."""
    import array
    import socket

    one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    one.setblocking(False)
    pairs = []
    while True:
        try:
            one.sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [0] * 250))])
        except OSError:
            pairs.append((one, other))
            one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
            one.setblocking(False)


@attack("slows", file_roundtrip, dies=True)
def processor_bomb(facts):
    """Keeps every processor busy, in as many processes as it may have."""
    for _ in range(40):
        try:
            if os.fork() == 0:
                break
        except OSError:
            break
    while True:
        pass


@attack("slows", file_roundtrip, dies=True)
def stdout_flood(facts):
    """Prints without end."""
    block = b"x" * 65536
    while True:
        os.write(1, block)


@attack("slows", file_roundtrip, dies=True)
def stderr_flood(facts):
    """Complains without end."""
    block = b"x" * 65536
    while True:
        os.write(2, block)


@attack("slows", file_roundtrip, dies=True)
def socket_flood(facts):
    """Sends the front bytes without end."""
    block = b"\xff" * 65536
    while True:
        os.write(1002, block)


@attack("slows", file_roundtrip, dies=True)
def giant_claim(facts):
    """Announces an answer of all the bytes that there are."""
    import struct

    os.write(1002, struct.pack("<IIQ", 2, 1, 1 << 62))
    time.sleep(100)


@attack("slows", file_roundtrip, dies=True)
def giant_result(facts):
    """Returns more than it may."""
    return {"x": "y" * (400 << 20)} and None


@attack("slows", file_roundtrip, dies=True)
def deep_recursion(facts):
    """Recurses past the end of its stack."""
    import sys

    sys.setrecursionlimit(1 << 30)

    def down(n):
        return down([n])

    down(0)


@attack("slows", file_roundtrip, dies=True)
def big_number(facts):
    """Computes a number that can't be held, in one call of the interpreter."""
    return 9 ** (9 ** 9) and None


@attack("slows", file_roundtrip, dies=True)
def slow_pattern(facts):
    """Has a regular expression try all ways."""
    import re

    re.match(r"(a+)+$", "a" * 60 + "b")


@attack("slows", file_roundtrip, dies=True)
def sparse_giant(facts):
    """Makes a file of a size that no disk has."""
    with open(TMP + "/sparse", "wb") as file:
        file.truncate(1 << 50)
    return "made"


@attack("slows", file_roundtrip, dies=True)
def mapping_bomb(facts):
    """Makes mappings without end."""
    import mmap

    kept = []
    while True:
        kept.append(mmap.mmap(-1, 4096, prot=mmap.PROT_READ if len(kept) % 2 else mmap.PROT_READ | mmap.PROT_WRITE))


@attack("slows", file_roundtrip, dies=True)
def timer_bomb(facts):
    """Starts timers and signals without end."""
    signal.signal(signal.SIGALRM, lambda *_: None)
    signal.setitimer(signal.ITIMER_REAL, 0.000001, 0.000001)
    while True:
        os.getpid()


@attack("slows", file_roundtrip, dies=True)
def lock_shared_file(facts):
    """Holds a lock on a file that all runs see."""
    import fcntl

    fcntl.flock(os.open("/usr/bin/env", os.O_RDONLY), fcntl.LOCK_EX)
    time.sleep(0.1)


@attack("slows", file_roundtrip, dies=True)
def watch_bomb(facts):
    """Watches files without end, of which a uid has a limited number."""
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    while True:
        if libc.inotify_init1(0) < 0:
            return None


@attack("slows", file_roundtrip, dies=True)
def memory_past_limit(facts):
    """Takes more than its memory in files without a name, which no limit of a process counts."""
    block = bytes(1 << 20)
    for _ in range(6):
        fd = os.memfd_create("past")
        for _ in range(50):
            os.write(fd, block)
    return "took 300 MiB"
