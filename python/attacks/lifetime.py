"""Outliving the run, and leaving something for the next one. What is left is looked for from outside."""

from inside import TMP, attack, call, child_ends, file_roundtrip, signal_to_child_works

import os
import signal
import subprocess
import sys
import time


def _marked(marker, code):
    """A process whose command line carries the mark, so that it can be found on the host."""
    return subprocess.Popen([sys.executable, "-I", "-S", "-c", code, marker], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, start_new_session=True)


def _started(process):
    process.stdout.read(1)  # it says when it has prepared itself
    return None


IGNORE = ("import signal, os\nfor n in range(1, 65):\n    try: signal.signal(n, signal.SIG_IGN)\n    except (OSError, ValueError): pass\n"
          "os.write(1, b'x')\nwhile True: signal.pause()")


@attack("outlives", child_ends)
def new_session(facts):
    """Leaves a child in a session of its own that ignores every signal."""
    return _started(_marked(facts["marker"], IGNORE))


@attack("outlives", child_ends)
def daemon(facts):
    """Leaves a grandchild whose parent is gone."""
    code = "import os, sys\nif os.fork(): os._exit(0)\nos.setsid()\nif os.fork(): os._exit(0)\n" + IGNORE
    return _started(_marked(facts["marker"], code))


@attack("outlives", child_ends)
def stopped_child(facts):
    """Leaves a stopped child."""
    process = _marked(facts["marker"], IGNORE)
    process.stdout.read(1)
    os.kill(process.pid, signal.SIGSTOP)


@attack("outlives", child_ends)
def closed_descriptors(facts):
    """Leaves a child that has closed all its descriptors."""
    code = "import os, signal\nos.write(1, b'x')\nos.closerange(0, 5000)\nwhile True: signal.pause()"
    return _started(_marked(facts["marker"], code))


@attack("outlives", child_ends, dies=True)
def forks_forever(facts):
    """Leaves children that keep replacing themselves."""
    code = "import os, time\nos.write(1, b'x')\nwhile True:\n    if os.fork(): os._exit(0)\n"
    _started(_marked(facts["marker"], code))


@attack("outlives", child_ends, dies=True)
def closes_the_socket(facts):
    """Closes its own descriptor of the front, and goes on."""
    os.closerange(1002, 1004)
    _marked(facts["marker"], IGNORE)
    while True:
        time.sleep(1)


@attack("outlives", child_ends, dies=True)
def parent_exits_first(facts):
    """Ends by os._exit while children run."""
    _started(_marked(facts["marker"], IGNORE))
    os._exit(0)


@attack("outlives", child_ends, dies=True)
def stops_itself(facts):
    """Stops itself, so that it can't be asked to end."""
    _started(_marked(facts["marker"], IGNORE))
    os.kill(os.getpid(), signal.SIGSTOP)


@attack("outlives", child_ends, dies=True)
def never_ends(facts):
    """Never answers, past its time."""
    _started(_marked(facts["marker"], IGNORE))
    while True:
        pass


@attack("outlives", child_ends)
def at_exit(facts):
    """Goes on in an exit handler."""
    import atexit

    _started(_marked(facts["marker"], IGNORE))
    atexit.register(time.sleep, 100)


@attack("outlives", child_ends)
def thread_goes_on(facts):
    """Goes on in a thread that never ends."""
    import threading

    _started(_marked(facts["marker"], IGNORE))
    threading.Thread(target=time.sleep, args=(100,)).start()


@attack("reads", file_roundtrip, times=9)
def left_in_tmp(facts):
    """Finds a file in /tmp that an earlier run left, then leaves one."""
    found = [name for name in os.listdir(TMP) if name not in ("control",)]
    with open(TMP + "/left", "w") as file:
        file.write("left")
    return found


@attack("reads", file_roundtrip, times=9)
def left_in_shm(facts):
    """The same in /dev/shm."""
    found = os.listdir("/dev/shm")
    with open("/dev/shm/left", "w") as file:
        file.write("left")
    return found


@attack("reads", file_roundtrip, times=9)
def left_in_runtime(facts):
    """The same in /runtime, where the script itself lies."""
    found = [name for name in os.listdir("/runtime") if name != "script.py"]
    with open("/runtime/left", "w") as file:
        file.write("left")
    return found


@attack("reads", file_roundtrip, times=9)
def left_in_modules(facts):
    """Finds a change that an earlier run made to a module, then makes one."""
    import json

    found = getattr(json, "left", None)
    json.left = "left"
    return found


@attack("reads", file_roundtrip, times=9)
def left_in_code(facts):
    """Changes the interpreter's code in memory, and looks whether an earlier run did."""
    import ctypes

    address = ctypes.cast(ctypes.pythonapi.Py_GetCopyright, ctypes.c_void_p).value
    byte = ctypes.string_at(address, 1)
    libc = ctypes.CDLL(None)
    page = address & ~4095
    if libc.mprotect(ctypes.c_void_p(page), 8192, 7) != 0:
        return None
    mark = b"\xcc"
    if byte == mark:
        return "the code had been changed"
    ctypes.memmove(address, mark, 1)
    return None


@attack("reads", file_roundtrip, times=9)
def left_on_stack(facts):
    """Finds a mark of an earlier run in memory that is given fresh."""
    import ctypes

    mark = b"left-by-an-" + b"earlier-run"
    libc = ctypes.CDLL(None)
    libc.malloc.restype = ctypes.c_void_p
    for size in (4096, 65536, 1 << 20):
        block = libc.malloc(ctypes.c_size_t(size))
        if mark in ctypes.string_at(block, size):
            return "found"
        ctypes.memset(block, 0, size)
        ctypes.memmove(block, mark, len(mark))
        libc.free(ctypes.c_void_p(block))
    return None


@attack("reads", file_roundtrip, times=9)
def left_in_keyring(facts):
    """Finds a key that an earlier run left in the keyring of its user, then leaves one."""
    try:
        found = call("keyctl", 10, -4, b"user", b"vivary-left", 0)
    except OSError:
        found = None
    call("add_key", b"user", b"vivary-left", b"left", 4, -4)
    return found and f"key {found}"


@attack("reads", file_roundtrip, times=9)
def left_in_shared_memory(facts):
    """Finds System V shared memory that an earlier run left, then leaves some."""
    try:
        found = call("shmget", 0x7671, 4096, 0) + 1
    except OSError:
        found = None
    call("shmget", 0x7671, 4096, 0o1666)
    return found and f"segment {found - 1}"


@attack("reads", file_roundtrip, times=9)
def left_in_abstract_socket(facts):
    """Finds an abstract socket that an earlier run left bound, in a ring of messages that holds itself."""
    import array
    import socket

    one = socket.socket(socket.AF_UNIX)
    found = None
    try:
        one.connect("\0vivary-left")
        found = "connected"
    except OSError:
        pass
    server = socket.socket(socket.AF_UNIX)
    server.bind("\0vivary-left")
    server.listen(4)
    ring, other = socket.socketpair()
    descriptors = array.array("i", [server.fileno(), ring.fileno(), other.fileno()])
    ring.sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, descriptors)])
    return found


@attack("reads", file_roundtrip)
def same_random(facts):
    """Draws the same random numbers as the run before it would."""
    import random

    return facts.get("random") == random.getrandbits(64) and "the same"


@attack("outlives", signal_to_child_works)
def parent_death(facts):
    """Asks for a signal at the zygote's death, then detaches."""
    import ctypes

    ctypes.CDLL(None).prctl(1, 0, 0, 0, 0)
    return _started(_marked(facts["marker"], IGNORE))
