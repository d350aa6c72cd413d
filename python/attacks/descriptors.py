"""What a worker holds open, and what it can send over it: the front must believe none of it."""

from inside import attack, file_roundtrip, proc_is_there, socket_pair_works

import array
import fcntl
import json
import os
import select
import socket
import stat
import struct
import time

FRONT, STATUS = 1002, 1003  # CELL_SOCKET_FD and CELL_STATUS_FD
RESULT, ERROR, END = 2, 3, 4  # src/wire/frame.h
# What the suite reads as "got through", should the front pass the forged answer on.
CLAIM = json.dumps({"control": True, "through": True, "what": "the forged answer was passed on"}).encode()


def _send(data):
    view = memoryview(data)
    while view:
        view = view[os.write(FRONT, view):]


def _frame(kind, payload, exchange=1, length=None):
    return struct.pack("=IIQ", kind, exchange, len(payload) if length is None else length) + payload


def _forged(title, wants, *parts, last=True):
    """A run that sends these bytes in place of its answer and ends."""

    def function(facts):
        for part in parts:
            _send(part)
        if last:
            os._exit(0)
        time.sleep(100)

    function.__name__ = title
    function.__doc__ = wants
    attack("writes", socket_pair_works, dies=True)(function)


_forged("answer_of_other_exchange", "Answers a question that was not asked, by the number of a later exchange.",
        _frame(RESULT, CLAIM, exchange=2), _frame(END, b"", exchange=2))
_forged("answer_of_exchange_zero", "Answers with the exchange's number 0.", _frame(RESULT, CLAIM, exchange=0), _frame(END, b"", exchange=0))
_forged("answer_of_front", "Sends the front its own kind of frame back.", _frame(1, CLAIM), _frame(END, b""))
_forged("answer_of_unknown_kind", "Sends a frame of a kind that doesn't exist.", _frame(5, CLAIM), _frame(RESULT, CLAIM), _frame(END, b""))
_forged("answer_after_end", "Ends before it answers.", _frame(END, b""), _frame(RESULT, CLAIM))
_forged("answer_twice", "Answers twice, the first time in half a frame's words.", _frame(RESULT, b"{}"), _frame(RESULT, CLAIM), _frame(END, b""))
_forged("answer_then_error", "Answers, then says that it failed.", _frame(RESULT, CLAIM), _frame(ERROR, b"no"), _frame(END, b""))
_forged("answer_with_full_end", "Ends with a frame that has a payload.", _frame(RESULT, CLAIM), _frame(END, b"x"))
_forged("answer_cut_off", "Announces more than it sends.", _frame(RESULT, CLAIM, length=len(CLAIM) + 1))
_forged("answer_of_half_a_header", "Ends in the middle of a header.", _frame(RESULT, CLAIM)[:7])
_forged("answer_short_for_its_claim", "Announces less than it sends: the rest is to be read as a frame.",
        _frame(RESULT, b"{}" + _frame(RESULT, CLAIM), length=2))
_forged("answer_of_nothing", "Answers with no bytes at all.", _frame(RESULT, b""), _frame(END, b""))
_forged("answer_overflows", "Announces a length that wraps around when a header is added.", _frame(RESULT, CLAIM, length=(1 << 64) - 16))
_forged("answer_negative", "Announces a length that is negative to who reads it signed.", _frame(RESULT, CLAIM, length=1 << 63))
_forged("answer_escapes_object", "Closes the answer's object and begins another caller's.",
        _frame(RESULT, b'{}, "stdout": "", "result": ' + CLAIM), _frame(END, b""))
_forged("answer_splits_http", "Answers with the head of a second HTTP answer.",
        _frame(RESULT, b'{}}\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}'), _frame(END, b""))
_forged("answer_of_bad_utf8", "Answers with bytes that are no text.", _frame(RESULT, b'{"x": "\xff\xfe\xc0\x80"}'), _frame(END, b""))
_forged("answer_with_nul", "Answers with a NUL in its text.", _frame(RESULT, CLAIM[:-1] + b"\0}"), _frame(END, b""))
_forged("answer_of_many_brackets", "Answers with brackets as deep as its answer may be long: for readers that recurse.",
        _frame(RESULT, b'{"x":' + b"[" * (4 << 20)), _frame(END, b""))
_forged("answer_of_nan", "Answers with what is no JSON.", _frame(RESULT, CLAIM[:-1] + b', "x": NaN}'), _frame(END, b""))
_forged("error_of_giant_size", "Explains its failure in more words than it may.", _frame(ERROR, b"x" * (1 << 20)), _frame(END, b""))
_forged("error_splits_http", "Explains its failure with the head of a second answer.",
        _frame(ERROR, b'"}\r\n\r\nHTTP/1.1 200 OK\r\n\r\n'), _frame(END, b""))
_forged("keeper_message_ready", "Speaks as the keeper: READY of another slot.", struct.pack("=IIQ", 1, 1, 7), last=False)
_forged("keeper_message_died", "Speaks as the keeper: DIED of another slot.", struct.pack("=IIQIi", 4, 1, 7, 1, 0), last=False)
_forged("keeper_message_taken", "Speaks as the front: TAKEN with a deadline far away.", struct.pack("=IIQQ", 2, 0, 1, (1 << 64) - 1), last=False)


@attack("slows", socket_pair_works, dies=True)
def answer_drop_by_drop(facts):
    """Sends its answer a byte at a time, so that a front that waits for it waits long."""
    for byte in _frame(RESULT, b'{"x": "' + b"y" * 4000 + b'"}', length=5000):
        _send(bytes([byte]))
        time.sleep(0.002)


@attack("slows", socket_pair_works, dies=True)
def answer_without_end(facts):
    """Answers, and never ends: its slot and its caller wait."""
    _send(_frame(RESULT, CLAIM[:-1] + b', "through": false}'))
    time.sleep(100)


@attack("slows", socket_pair_works, dies=True)
def half_closed_socket(facts):
    """Shuts its socket in one direction, then in the other."""
    one = socket.socket(fileno=os.dup(FRONT))
    one.shutdown(socket.SHUT_WR)
    one.shutdown(socket.SHUT_RD)
    time.sleep(100)


@attack("slows", socket_pair_works, dies=True)
def descriptors_for_front(facts):
    """Sends the front descriptors until its table would be full."""
    one = socket.socket(fileno=os.dup(FRONT))
    one.setblocking(False)
    end = time.monotonic() + 0.8
    while time.monotonic() < end:
        try:
            one.sendmsg([b"\0"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [0] * 200))])
        except OSError:
            time.sleep(0.01)
    os._exit(0)


@attack("slows", socket_pair_works, dies=True)
def heavy_descriptor_for_front(facts):
    """Sends the front a descriptor whose last close frees all of its memory: who closes it pays."""
    one = socket.socket(fileno=os.dup(FRONT))
    heavy = os.memfd_create("heavy")
    for _ in range(150):
        os.write(heavy, bytes(1 << 20))
    one.sendmsg([b"\0"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [heavy]))])
    os._exit(0)


@attack("slows", socket_pair_works, dies=True)
def urgent_byte(facts):
    """Sends a byte out of band, which wakes who polls but isn't there for who reads: MSG_OOB on Unix sockets, Linux 5.15 (CVE-2025-38236)."""
    one = socket.socket(fileno=os.dup(FRONT))
    for _ in range(50):
        try:
            one.send(b"x", socket.MSG_OOB)
        except OSError:
            break
    time.sleep(100)


@attack("surface", socket_pair_works)
def urgent_byte_own(facts):
    """The same between two sockets of its own: a part of the kernel that let Chrome's renderer out in 2025, and that nothing needs."""
    one, other = socket.socketpair()
    one.send(b"x", socket.MSG_OOB)
    return other.recv(1, socket.MSG_OOB) == b"x" and "it came"


@attack("slows", file_roundtrip, dies=True)
def packets_on_stdout(facts):
    """Has each byte that it prints take a page of the pipe: O_DIRECT, pipe(2)."""
    fcntl.fcntl(1, fcntl.F_SETFL, fcntl.fcntl(1, fcntl.F_GETFL) | os.O_DIRECT)
    fcntl.fcntl(1, 1031, 1 << 20)
    end = time.monotonic() + 0.8
    while time.monotonic() < end:
        os.write(1, b"x")
    os._exit(0)


@attack("slows", file_roundtrip, dies=True)
def stdout_kept_open(facts):
    """Keeps the writing end of stdout open in a child that never ends: who waits for its end waits."""
    if os.fork() == 0:
        time.sleep(100)
    os.close(FRONT)
    os._exit(0)


@attack("surface", file_roundtrip)
def status_pipe_is_open(facts):
    """Finds the pipe on which it said to be ready, and could say more."""
    os.write(STATUS, bytes(64))
    return "written"


@attack("surface", proc_is_there)
def descriptor_behind_others(facts):
    """Finds an open descriptor past all that a listing may hide: asks for each number."""
    expected = {0, 1, 2, FRONT} | ({1000, 1001} if facts["level"] == "contained" else set())
    found = []
    for number in range(1 << 16):
        try:
            about = os.fstat(number)
        except OSError:
            continue
        if number not in expected and stat.S_IFMT(about.st_mode) in (stat.S_IFSOCK, stat.S_IFIFO, stat.S_IFDIR):
            found.append(number)
    return found


@attack("reads", proc_is_there)
def read_from_stdin(facts):
    """Reads what the service reads: its standard input."""
    return select.select([0], [], [], 0)[0] and os.read(0, 100)


@attack("surface", proc_is_there)
def reopen_socket(facts):
    """Opens its socket anew by /proc, with other rights."""
    return os.open(f"/proc/self/fd/{FRONT}", os.O_RDWR)


@attack("reads", proc_is_there)
def reopen_output(facts):
    """Opens the service's pipes anew by /proc, to read what is meant for the service."""
    for number in (1, 2):
        again = os.open(f"/proc/self/fd/{number}", os.O_RDONLY | os.O_NONBLOCK)
        try:
            said = os.read(again, 1000)
        except BlockingIOError:
            continue  # nothing but what this run prints can be in it
        if said:
            return said
    return None


@attack("reads", socket_pair_works)
def read_front_again(facts):
    """Reads on from the front, for another run's script."""
    one = socket.socket(fileno=os.dup(FRONT))
    one.setblocking(False)
    return one.recv(1000)


@attack("reads", socket_pair_works)
def credentials_of_front(facts):
    """Has the kernel tell who the front is: SO_PASSCRED and a peek."""
    one = socket.socket(fileno=os.dup(FRONT))
    one.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
    one.setblocking(False)
    return one.recvmsg(1, 200, socket.MSG_PEEK)[1]


@attack("network", socket_pair_works)
def address_of_front(facts):
    """Asks for names of the socket's two ends, to connect there."""
    one = socket.socket(fileno=os.dup(FRONT))
    names = [name for name in (one.getsockname(), one.getpeername()) if name]
    return [socket.socket(socket.AF_UNIX).connect(name) or name for name in names]


@attack("reads", socket_pair_works)
def connect_pair_elsewhere(facts):
    """Connects its socket to another place."""
    socket.socket(fileno=os.dup(FRONT)).connect(facts["unix"])
    return "connected"
