"""A run of /v1/run: what comes in beside the script, and what goes out beside the result."""

import asyncio
import errno
import json
import os
import sys
import time
import traceback
import types

import _vivary

from . import files, script, values

TEXT_MAX = 16 * 1024  # characters of a message
TRACEBACK_MAX = 64 * 1024
FRAMES_MAX = 64
FOLDER = "work"  # in the run's /tmp
RESERVE = 4 << 20  # bytes that are let go of when a script has left none

_loads = json.loads
_scan = json.JSONDecoder().scan_once  # what loads() comes to
_folder = os.path.join(os.environ.get("TMPDIR", "/tmp"), FOLDER)
_string = json.JSONEncoder(ensure_ascii=True).encode
_UNSET = object()

PRACTICE = json.dumps({"code": "print('', end='')\n\n\ndef main():\n    return {'ok': [1, 2.5, '\u00e4', None, True]}\n"})


def settle_in(tmp):
    """Where /tmp is everybody's."""
    global _folder
    _folder = os.path.join(tmp, FOLDER)


def run(text, ending):
    """Runs the request and sends its report. Whatever the script does, a report is sent, unless the process ends before."""
    try:
        report = _report(text, ending.apply, _vivary.limit)
    except BaseException:  # of the script's own making: it has broken what a report is made with
        report = b'{"status": "exception", "error": {"name": "RuntimeError", "value": "the run could not be told of", "line": null, ' \
                 b'"traceback": "", "frames": []}, "exit_code": 1}'
    _vivary.send(_vivary.FRAME_REPORT, report)


def practise():
    """The same in the zygote, where an interpreter that specializes its code is to do so; and nothing of it stays."""
    arguments, path = sys.argv[:], sys.path[:]
    _report(PRACTICE, lambda: None, lambda *limits: None)
    os.chdir("/")
    sys.argv[:], sys.path[:] = arguments, path


def _report(text, end, limit):
    begun = _vivary.usage()
    outcome = _Outcome()
    try:
        request = _scan(text, 0)[0] if text.startswith("{") else _loads(text)
    except ValueError as error:  # a number of more digits than sys.set_int_max_str_digits() lets through
        outcome.fail(error)
        return outcome.report(files.Found(), begun)
    limits = _vivary.limits()
    folder, laid = None, {}
    try:
        if request.get("limits"):
            limits.update(request["limits"])
            limit(limits["memory_mb"], limits["processes"], limits["cpu_ms"])
        folder, laid = _prepare(request)
    except OSError as error:
        outcome.fail(error)
    drawn = ()
    if folder is not None:
        outcome.run(request)
        if "matplotlib.pyplot" in sys.modules:
            drawn = _figures_save(folder, outcome)  # before the exit handlers, which close them
    end()
    outcome.settle()
    found = _collect(request, limits, folder, laid, drawn, outcome)
    outcome.reserve = None
    return outcome.report(found, begun)


def _prepare(request):
    """Lays out what the script finds: its folder and files, its standard input, arguments and environment."""
    folder = _folder
    _vivary.folder_enter(folder)
    brought = request.get("files")
    laid = files.lay(folder, brought) if brought else {}
    sys.path.insert(1, folder)
    if request.get("stdin"):
        _stdin_set(os.path.join(os.path.dirname(script.path), "stdin"), request["stdin"])
    sys.argv[:] = [script.path, *(request.get("argv") or ())]
    environment = request.get("env")
    if environment:
        os.environ.update(environment)
        time.tzset()
    return folder, laid


def _stdin_set(path, text):
    """A file without a name, and not a pipe, which would have to be filled while it is read."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    os.unlink(path)
    data = memoryview(text.encode("utf-8"))
    while data:
        data = data[os.write(fd, data):]
    os.lseek(fd, 0, os.SEEK_SET)
    os.dup2(fd, 0)
    os.close(fd)


class _Outcome:
    def __init__(self):
        self.status = "ok"
        self.value = _UNSET
        self.result = b"null"
        self.result_bytes = 0
        self.disk_files = 0
        self.error = None
        self.exit_code = 0
        self.reserve = bytes(RESERVE)  # mapped, and never written to

    def run(self, request):
        try:
            self._run(request)
        except SystemExit as error:
            self._exit(error.code)
        except BaseException as error:  # KeyboardInterrupt is the script's own as well
            self.fail(error)

    def _run(self, request):
        source = request["code"] if "code" in request else request["script"]
        name = request.get("entry", "main")
        module = types.ModuleType("script" if name is not None else "__main__")
        script.write(source)
        if name is None:
            sys.modules["__main__"] = module
        script.run(module, source)
        if name is None:
            return
        entry = module.__dict__.get(name)
        if not callable(entry):
            self.status = "no_entry"
            self.error = _error("NameError", f"the script defines no function {name}()")
            return
        given = request.get("input")
        value = entry(**given) if isinstance(given, dict) else entry(*given) if given is not None else entry()
        if isinstance(value, types.CoroutineType):
            value = asyncio.run(value)
        self.value = value

    def settle(self):
        """Once all of the script has ended."""
        if self.value is _UNSET or self.status != "ok":
            return
        try:
            self.result = values.to_json(self.value)
        except values.NotJson as error:
            self.status = "not_json"
            self.error = _error("TypeError", str(error))
            return
        except BaseException as error:
            self.fail(error)
            return
        most = _vivary.result_max()
        if len(self.result) > most:
            self.status = "output_limit"
            self.result_bytes = len(self.result)
            self.error = _error("ValueError", f"the result is too large: {len(self.result)} bytes of JSON, at most {most} are allowed")
            self.result = b"null"

    def _exit(self, code):
        whole = type(code) is int or type(code) is bool
        if code is None or (whole and code == 0):
            return
        self.status = "exit"
        self.exit_code = code & 0xFF if whole else 1
        if not whole:
            try:
                print(code, file=sys.stderr)
            except BaseException:
                pass

    def fail(self, error):
        self.reserve = None
        self.status = "exception"
        self.exit_code = 1
        try:
            self.status = _limit_of(error) or "exception"
        except BaseException:
            pass  # what it says of itself, it can't say
        if self.status == "disk_limit":
            self.disk_files = _files_used_up()
        try:
            self.error = _describe(error)
        except BaseException:
            self.error = _error(type(error).__name__, "<it can't be shown>")

    def report(self, found, begun):
        now = _vivary.usage()
        spent = [max(0, end - start) for start, end in zip(begun, now)]
        numbers = b', "exit_code": %d, "user_us": %d, "system_us": %d, "faults": %d, "memory_kb": %d, "files_bytes": %d, "files_count": %d, ' \
                  b'"result_bytes": %d, "disk_files": %d' % (
                      self.exit_code, *spent, found.bytes, found.count, self.result_bytes, self.disk_files)
        parts = [b'{"status": "', self.status.encode(), b'", "result": ', self.result, b', "error": ', self.error or b"null", numbers]
        parts += [b', "files": [', ", ".join(found.texts).encode("utf-8", "backslashreplace"), b"]}"]
        return b"".join(parts)


def _figures_save(folder, outcome):
    try:
        return files.figures_save(folder)
    except BaseException as error:
        if outcome.status == "ok":
            outcome.fail(error)
        return set()


def _collect(request, limits, folder, laid, drawn, outcome):
    if folder is None:
        return files.Found()
    try:
        if files.empty_removed(folder):
            return files.Found()
        found = files.collect(folder, laid, request.get("fetch"), drawn, limits["files_mb"] << 20)
    except BaseException as error:
        if outcome.status == "ok":
            outcome.fail(error)
        return files.Found()
    if found.left_out and outcome.status == "ok":
        outcome.status = "output_limit"
        outcome.error = _error("ValueError", f"there are {found.count} files of {found.bytes} bytes; at most {files.FILES_MAX} and "
                                             f"{limits['files_mb']} MiB come back")
    return found


def _files_used_up():
    """How many files there are where there may be no more; 0 where what is full is the space."""
    try:
        status = os.statvfs(os.environ.get("TMPDIR", "/tmp"))
    except OSError:
        return 0
    return status.f_files if status.f_files > 0 and status.f_favail == 0 else 0


def _limit_of(error):
    """The limit that an exception speaks of, if it does."""
    if isinstance(error, MemoryError):
        return "memory_limit"
    if isinstance(error, OSError):
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            return "disk_limit"
        if error.errno == errno.ENOMEM:
            return "memory_limit"
        if error.errno == errno.EAGAIN and isinstance(error, BlockingIOError) and _names(error, ("fork", "clone", "_fork_exec", "fork_exec")):
            return "process_limit"
    if isinstance(error, RuntimeError) and str(error) in ("can't start new thread", "can't start new interpreter thread"):
        return "process_limit"
    return None


def _names(error, functions):
    """Whether the innermost line that raised it calls one of these."""
    last = None
    for last in traceback.walk_tb(error.__traceback__):
        pass
    return last is not None and any(name in last[0].f_code.co_names for name in functions)


def _describe(error):
    # The harness's own frames come first; from the script's first line on, all are shown.
    at = error.__traceback__
    while at is not None and at.tb_frame.f_code.co_filename != script.path:
        at = at.tb_next
    frames, line = [], None
    summary = traceback.extract_tb(at)
    for frame in summary:
        own = frame.filename == script.path
        if own:
            line = frame.lineno
        frames.append({"file": "script.py" if own else frame.filename, "line": frame.lineno, "function": frame.name, "code": frame.line or None})
    if isinstance(error, SyntaxError) and error.filename == script.path:
        line = error.lineno
    if len(frames) > FRAMES_MAX:
        frames = frames[:FRAMES_MAX // 2] + frames[-FRAMES_MAX // 2:]
    shown = traceback.TracebackException(type(error), error, at)
    text = "".join(_own_only(shown, script.path).format())
    return _error(type(error).__name__, _message(error), line, text.replace(script.path, "script.py"), frames)


def _own_only(shown, path):
    """What an exception came of may have passed through the harness as well."""
    for other in (shown.__cause__, shown.__context__):
        if other is not None:
            own = [i for i, frame in enumerate(other.stack) if frame.filename == path]
            other.stack[:] = other.stack[own[0]:] if own else []
            _own_only(other, path)
    return shown


def _message(error):
    try:
        return str(error)
    except BaseException:
        return f"<{type(error).__name__} whose str() failed>"


def _error(name, value, line=None, text="", frames=()):
    if len(text) > TRACEBACK_MAX:
        text = text[:TRACEBACK_MAX // 2] + "\n...\n" + text[-TRACEBACK_MAX // 2:]
    if len(value) > TEXT_MAX:
        value = value[:TEXT_MAX] + " ..."
    return _string({"name": name, "value": value, "line": line, "traceback": text, "frames": list(frames)}).encode("ascii", "backslashreplace")
