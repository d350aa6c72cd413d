"""A worker: renews what must differ between runs, waits for its one script, runs it, sends what its main() returned."""

import asyncio
import atexit
import io
import logging
import mimetypes
import os
import random
import sys
import threading
import types
import weakref

import _vivary

from . import encoder, script, task

WARM = 20  # times: an interpreter that specializes its code does so in the first runs, and writes to it
ERROR_MAX = 16 * 1024  # characters of a message

# Taken now: a script that replaces them in their modules must not change how its answer is made.
_encode = encoder.prepared(ensure_ascii=False)
_encode_ascii = encoder.prepared(ensure_ascii=True)
_run_exit_handlers = atexit._run_exitfuncs
_join_threads = threading._shutdown


_PRACTICE = "print('', end='')\n\n\ndef main():\n    return {'ok': [1, 2.5, 'ä', None, True]}\n"

# What a script does that uses a package. A worker whose script names one gets the pages copied at once that these wrote to.
_PACKAGE_PRACTICE = {
    "numpy": """import numpy as np

def main():
    a = np.array([1, 2, 3], dtype=float)
    b = (a * 2 + np.arange(3)).reshape(3, 1)
    print(a, b.sum(), end="")
    return {"sum": float(b.sum()), "mean": a.mean().item(), "list": a.tolist()}
""",
    "pandas": """import numpy as np
import pandas as pd

def main():
    s = pd.Series([1, 2, 3, 4, 5])
    print(len(s), end="")
    return {"sum": int(s.sum()), "mean": float(s.mean())}
""",
}
_lessons = []  # names of packages, or the module of requests, and the numbers of what was learnt
_prepared = []  # the one _Renewal and the one _Ending


def main():
    _live()
    _vivary.finish()


def _live():
    renewal, ending = _prepared
    renewal.apply()
    place = _vivary.place()
    if place is not None:
        _settle_in(*place)
    _vivary.ready()
    kind, payload = _vivary.receive()
    text = payload.decode("utf-8")
    is_request = kind == _vivary.FRAME_REQUEST
    for name, number in _lessons:
        if is_request if name is task else name in text:
            _vivary.populate(number)
    if is_request:
        task.run(text, ending)
        return
    kind, payload = run(text)
    _vivary.send(kind, payload)
    ending.apply()


def _settle_in(tmp, runtime):
    """Where /tmp and /runtime are everybody's, programs are told by the environment, and by the module that has read it already."""
    script.settle_in(runtime)
    task.settle_in(tmp)
    for name in ("TMPDIR", "HOME"):
        os.environ[name] = tmp
    sys.modules["tempfile"].tempdir = None


def warm(times):
    """Prepares all that can be before the fork, and walks the paths that every run takes, so that caches and free lists are filled."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)  # what the practice prints
    os.close(null)
    _open_streams()
    for source in (
        _PRACTICE,
        "def main():\n    raise ValueError('warm')",
        "def main(:",
        *_package_practice().values(),
        _PRACTICE,
    ):
        for _ in range(times):
            run(source, written=False)
    mimetypes.init(())  # not from the host's files
    for _ in range(times):
        task.practise()
    script.forget()
    sys.modules["tempfile"]._name_sequence = None
    renewal = _Renewal()
    renewal.apply()
    _prepared[:] = renewal, _Ending()


def learn():
    """After the warm-up, in the memory that is to be forked."""
    _vivary.learn(_live, _vivary.FRAME_RUN, _PRACTICE.encode())
    found = [(name, _vivary.learn(_live, _vivary.FRAME_RUN, source.encode())) for name, source in _package_practice().items()]
    found.append((task, _vivary.learn(_live, _vivary.FRAME_REQUEST, task.PRACTICE.encode())))
    _lessons[:] = found
    uses = {task: _vivary.USES_REQUEST, "numpy": _vivary.USES_NUMPY, "pandas": _vivary.USES_PANDAS}
    for name, number in found:
        _vivary.lesson_for(uses[name], number)


def _package_practice():
    return {name: source for name, source in _PACKAGE_PRACTICE.items() if name in sys.modules}


def run(source, written=True):
    """Returns the frame that answers the script: its type and its bytes."""
    try:
        return _run(source, written)
    except BaseException as error:  # SystemExit and KeyboardInterrupt are the script's own as well
        return _vivary.FRAME_ERROR, _failure("Script execution failed", error)


def _run(source, written):
    if written:
        script.write(source)
    module = types.ModuleType("script")
    script.run(module, source)

    entry = module.__dict__.get("main")
    if not callable(entry):
        return _vivary.FRAME_ERROR, b"Script must define a function main()"
    result = entry()
    if isinstance(result, types.CoroutineType):
        result = asyncio.run(result)
    if not isinstance(result, dict):
        return _vivary.FRAME_ERROR, b"main() must return a JSON object (dict)"
    try:
        payload = _to_json(result)
    except (TypeError, ValueError, RecursionError, OverflowError) as error:
        return _vivary.FRAME_ERROR, _clip("Return value is not JSON-serializable: " + _message(error))
    most = _vivary.result_max()
    if len(payload) > most:
        return _vivary.FRAME_ERROR, _clip(f"Return value is too large: {len(payload)} bytes of JSON, at most {most} are allowed")
    return _vivary.FRAME_RESULT, payload


def _to_json(result):
    """Bytes, or text that is as long in UTF-8: a large one isn't copied for nothing."""
    try:
        text = _encode(result)
        return text if text.isascii() else text.encode("utf-8")
    except UnicodeEncodeError:  # half of a surrogate pair: JSON can say it only escaped
        return _encode_ascii(result).encode("ascii")


def _message(error):
    try:
        return str(error)
    except BaseException:
        return f"<{type(error).__name__} whose str() failed>"


def _failure(what, error):
    return _clip(f"{what}: {type(error).__name__}: {_message(error)}")


def _clip(text):
    if len(text) > ERROR_MAX:
        text = text[:ERROR_MAX] + " …"
    return text.encode("utf-8", "backslashreplace")


class _Renewal:
    """What a fork of the warm interpreter would share with its siblings, and must not. Prepared in the zygote, so that a worker touches few pages:
    each page that it writes to is copied, and that is what a fork costs."""

    def __init__(self):
        self.main_thread = getattr(threading.main_thread(), "_set_native_id", None)
        self.calls = []  # what seeds those whose state wasn't found
        self._prepare_random()
        if "numpy.random" in sys.modules:
            self._prepare_numpy(sys.modules["numpy.random"])
        if "_ssl" in sys.modules:
            self._prepare_ssl(sys.modules["_ssl"])

    def _prepare_random(self):
        # Mersenne Twister's state is 624 words and a position in them. Filling the words is as good a seed as any, and touches a page or two.
        inst = random._inst
        random.seed(0)
        words = inst.getstate()[1][:624]
        packed = b"".join(word.to_bytes(4, sys.byteorder) for word in words)
        at = _vivary.peek(id(inst), object.__sizeof__(inst)).find(packed)
        if at >= 0:
            _vivary.state(id(inst) + at, len(packed))
        else:
            self.calls.append(lambda: random.seed(int.from_bytes(os.urandom(32), "little")))

    def _prepare_numpy(self, numpy_random):
        numpy_random.seed(0)  # also forgets a value that normal() keeps for its next call
        generator = getattr(getattr(numpy_random.mtrand, "_rand", None), "_bit_generator", None)
        if type(generator).__name__ == "MT19937":
            words = generator.state["state"]["key"]
            address = generator.ctypes.state_address
            if _vivary.peek(address, words.nbytes) == words.tobytes():
                _vivary.state(address, words.nbytes)
                return
        self.calls.append(lambda: numpy_random.seed(int.from_bytes(os.urandom(4), "little")))

    def _prepare_ssl(self, ssl):
        ssl.RAND_bytes(1)  # makes the generators here, not in every worker
        # From 3.0 on, OpenSSL seeds anew when getpid() isn't what it was: the zygote is pid 1 of its namespace, and a worker never is.
        if os.getpid() != 1 or ssl.OPENSSL_VERSION_NUMBER < 0x30000000:
            self.calls.append(lambda: ssl.RAND_add(os.urandom(64), 64.0))

    def apply(self):
        _vivary.renew()
        for call in self.calls:
            call()
        if self.main_thread is not None:
            self.main_thread()


class _Ending:
    """What Python does at its end: joins threads, calls exit handlers, flushes. Left out where the script has given it nothing to do."""

    def __init__(self):
        # Found now, and not by the names of their modules later: each look at an object of the interpreter may write to a page.
        self.handlers, self.finalizers, self.threads = logging._handlerList, weakref.finalize._registry, threading._active
        self.count = atexit._ncallbacks
        self.before = self._counted()

    def _counted(self):
        return self.count(), len(self.handlers), len(self.finalizers)

    def apply(self):
        steps = [_flush, _vivary.flush]
        if self._counted() != self.before:
            steps.insert(0, _run_exit_handlers)
        if len(self.threads) > 1:
            steps.insert(0, _join_threads)
        for step in steps:
            try:
                step()
            except BaseException:
                pass  # the result is on its way already


def _open_streams():
    """Unbuffered, as with python -u: what child processes and C code write to the same descriptor must come in order."""
    for name, fd, errors in (("stdout", 1, "surrogateescape"), ("stderr", 2, "backslashreplace")):
        stream = io.TextIOWrapper(io.FileIO(fd, "w", closefd=False), encoding="utf-8", errors=errors, write_through=True)
        stream.mode = "w"
        setattr(sys, name, stream)
        setattr(sys, "__" + name + "__", stream)
    sys.stdin = sys.__stdin__ = io.TextIOWrapper(io.BufferedReader(io.FileIO(0, "r", closefd=False)), encoding="utf-8")
    sys.argv[:] = [script.path]


def _flush():
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
