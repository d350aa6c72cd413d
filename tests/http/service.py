"""The real service, as the tests start, ask, watch and stop it. Only the standard library; processes are ended by their pid, and only our own."""

import concurrent.futures
import hashlib
import http.client
import json
import os
import re
import select
import signal
import socket
import subprocess
import tempfile
import time
import unittest

import openapi_check

HERE = os.path.dirname(os.path.abspath(__file__))
BINARY = os.environ.get("VIVARY_BINARY") or os.path.join(HERE, "..", "..", "build", "vivary")
LEVEL = ["--level", os.environ["VIVARY_TEST_LEVEL"]] if os.environ.get("VIVARY_TEST_LEVEL") else []  # the whole suite at a level
START_S = 60  # a warm interpreter with pandas, on slow cores, with others beside it
STOP_S = 25
ANSWER_S = 40
POLL_S = 0.02
SPARE = 4  # slots beyond those that are asked for, if not told otherwise

SANDBOX_FAILED = {"error": "Sandbox failed to run script"}
OK = "def main():\n    return {'ok': True}"


def doctor_says(what):
    """A row of `vivary doctor`, of the level that the tests run at."""
    if not _doctor:
        done = subprocess.run([BINARY, "doctor", *LEVEL], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment(), check=False)
        _doctor.update((line[:22].strip(), line[28:].strip()) for line in done.stdout.decode().splitlines())
    return _doctor.get(what, "")


_doctor = {}


def level():
    return doctor_says("isolation level").strip()


def only_full(reason):
    """Marks a test of what level contained doesn't give, and docs/security.md says so."""
    return unittest.skipUnless(level() == "full", f"level {level()}: {reason}")


def one_process():
    """Whether a run is one process: in a container, as another user than root."""
    return "one process for each run" in doctor_says("made up of")


def read_only_root():
    """Where all is read-only, a write says so first."""
    return in_gvisor() or level() == "contained" and bool(os.statvfs("/etc").f_flag & os.ST_RDONLY)


def in_gvisor():
    return "gVisor" in doctor_says("not bounded")


def not_in_gvisor(reason):
    """Marks a test of what gVisor's kernel doesn't do, and docs/security.md says so."""
    return unittest.skipIf(in_gvisor(), f"gVisor: {reason}")


def only_with_sums(test):
    """Marks a test of limits for all processes of a run together."""
    return unittest.skipIf("memory of all processes" in doctor_says("not bounded"), "only each process is limited here")(test)


def only_with_children(test):
    """Marks a test whose script starts processes."""
    return unittest.skipIf(one_process(), "a run is one process here")(test)


def limit(seconds):
    """Marks a test that may take longer than tests/run otherwise allows."""

    def mark(test):
        test.limit_s = seconds
        return test

    return mark


def eventually(check, seconds, what):
    """Asks until `check` returns something true, which is returned. No fixed sleep stands in for an event: it only spaces the questions."""
    end = time.monotonic() + seconds
    while True:
        found = check()
        if found:
            return found
        if time.monotonic() > end:
            raise AssertionError(f"not within {seconds} s: {what}")
        time.sleep(POLL_S)


def environment(**more):
    """This process's, without what would configure the service."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("VIVARY_") and name not in ("PORT", "PYTHONPATH")}
    kept.update(more)
    return kept


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


# --- processes, read from /proc


class Process:
    def __init__(self, pid, parent, state, started, name):
        self.pid, self.parent, self.state, self.started, self.name = pid, parent, state, started, name

    def __repr__(self):
        return f"{self.name}[{self.pid}]{self.state}"


def process_read(pid):
    """None when it is gone."""
    try:
        with open(f"/proc/{pid}/stat", errors="replace") as file:
            text = file.read()
    except OSError:
        return None
    name = text[text.index("(") + 1:text.rindex(")")]
    fields = text[text.rindex(")") + 2:].split()
    return Process(int(pid), int(fields[1]), fields[0], int(fields[19]), name)


def processes_all():
    found = (process_read(entry) for entry in os.listdir("/proc") if entry.isdigit())
    return [process for process in found if process]


def descendants(pid):
    """All that came from the process, itself first."""
    everyone = processes_all()
    found = [process for process in everyone if process.pid == pid]
    for parent in found:
        found.extend(process for process in everyone if process.parent == parent.pid)
    return found


def is_alive(process):
    now = process_read(process.pid)
    return now is not None and now.started == process.started and now.state != "Z"


def is_quick(zygote):
    """Whether it is one that serves until another has prepared its memory."""
    try:
        with open(f"/proc/{zygote}/cmdline", "rb") as file:
            return b"quick=True" in file.read()
    except OSError:
        return False


def pids_with_argument(mark):
    """Of processes anywhere on this host whose command line holds the mark."""
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                with open(f"/proc/{entry}/cmdline", "rb") as file:
                    if mark.encode() in file.read():
                        found.append(int(entry))
            except OSError:
                pass
    return found


def cgroups_of(pid):
    """Our cgroup folders carry the pid of `vivary serve`, which tells them from those of other services on this host."""
    pattern = re.compile(rf"vivary.*\b{pid}\b")
    return sorted(os.path.join(at, name) for at, names, _ in os.walk("/sys/fs/cgroup") for name in names
                  if pattern.search(os.path.join(at, name)))


# --- HTTP, spoken by hand


class Wire:
    """A connection on which a test sends exact bytes, and reads answers one after the other."""

    def __init__(self, connected, seconds=ANSWER_S):
        self.socket = connected
        self.socket.settimeout(seconds)
        self.buffer = b""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, data):
        self.socket.sendall(data)

    def send_while_taken(self, data):
        """Sends what the service may refuse half-way."""
        try:
            self.socket.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            pass

    def _more(self):
        part = self.socket.recv(65536)
        if not part:
            raise EOFError(f"the connection was closed after {self.buffer[:200]!r}")
        self.buffer += part

    def answer(self, head=False):
        """The next one: status, headers (names in lower case), body. 1xx answers count as one."""
        while b"\r\n\r\n" not in self.buffer:
            self._more()
        text, self.buffer = self.buffer.split(b"\r\n\r\n", 1)
        lines = text.decode("latin-1").split("\r\n")
        status = int(lines[0].split(" ")[1])
        headers = {name.strip().lower(): value.strip() for name, value in (line.split(":", 1) for line in lines[1:])}
        length = 0 if head or status < 200 or status in (204, 304) else int(headers["content-length"])
        while len(self.buffer) < length:
            self._more()
        body, self.buffer = self.buffer[:length], self.buffer[length:]
        return status, headers, body

    def rest(self):
        """All until the service closes the connection (a reset counts as that)."""
        try:
            while True:
                self._more()
        except (EOFError, ConnectionResetError):
            pass
        found, self.buffer = self.buffer, b""
        return found


def post(body, path="/execute", headers=(), version="1.1", length=True):
    """The bytes of a request."""
    lines = [f"POST {path} HTTP/{version}", "Host: vivary"]
    if length:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, *headers, "", ""]).encode("latin-1") + body


def script_body(script):
    return json.dumps({"script": script}).encode()


def key_line(name, *fields):
    """An API key: its token, and its line of a key file."""
    token = f"vk_secret_of_{name}"
    return token, " ".join([name, hashlib.sha256(token.encode()).hexdigest(), *fields])


# --- the service


class Service:
    """`vivary serve` with options, from its start line to its exit status. Usable with `with`."""

    def __init__(self, *options, listen=("127.0.0.1:0",), variables=None, binary=BINARY, level=LEVEL):
        self.errors = tempfile.TemporaryFile()
        command = [binary, "serve", *level]
        for address in listen:
            command += ["--listen", address]
        self.process = subprocess.Popen([*command, *options], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=self.errors,
                                        env=environment(**(variables or {})), bufsize=0)
        self.pid = self.process.pid
        try:
            self.start_line = self._line_read(START_S)
            found = re.match(r"Vivary serves on (?:http://127\.0\.0\.1:(\d+)|(unix:\S+))", self.start_line)
            if not found:
                raise AssertionError(f"no start line but {self.start_line!r}; it said: {self.said()}")
            self.port = int(found[1]) if found[1] else None
        except BaseException:
            self.kill()
            raise

    def _line_read(self, seconds):
        end = time.monotonic() + seconds
        line = b""
        while not line.endswith(b"\n"):
            left = end - time.monotonic()
            if left <= 0 or not select.select([self.process.stdout], [], [], left)[0]:
                raise AssertionError(f"no start line within {seconds} s; it said: {self.said()}")
            part = self.process.stdout.read(1)
            if not part:
                raise AssertionError(f"it ended with {self.process.wait(STOP_S)} before its start line; it said: {self.said()}")
            line += part
        return line.decode()

    def said(self):
        """The end of what it wrote to stderr."""
        size = os.fstat(self.errors.fileno()).st_size
        return os.pread(self.errors.fileno(), 4000, max(0, size - 4000)).decode(errors="replace")

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        if kind is None:
            self.stop()
        else:
            self.kill()

    def stop(self, number=signal.SIGTERM):
        """Asks it to end, and checks that it does so well."""
        if self.process.returncode is None:
            os.kill(self.pid, number)
        try:
            status = self.process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"it didn't stop within {STOP_S} s; it said: {self.said()}") from None
        self._close()
        if status != 0:
            raise AssertionError(f"it ended with {status}")

    def kill(self):
        """For a service that is beyond asking."""
        if self.process.returncode is None and self.process.poll() is None:
            os.kill(self.pid, signal.SIGTERM)
            try:
                self.process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                os.kill(self.pid, signal.SIGKILL)
                self.process.wait(STOP_S)
        self._close()

    def _close(self):
        self.process.stdout.close()
        self.errors.close()

    def connection(self, seconds=ANSWER_S):
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=seconds)

    def wire(self, seconds=ANSWER_S):
        return Wire(socket.create_connection(("127.0.0.1", self.port), timeout=seconds), seconds)

    def exchange(self, data, seconds=ANSWER_S):
        """Sends the bytes, and returns all that comes until the service closes."""
        with self.wire(seconds) as wire:
            wire.send_while_taken(data)
            return wire.rest()

    def request(self, method, path, body=None, headers=None):
        """Status, headers (as http.client has them), body."""
        connection = self.connection()
        try:
            connection.request(method, path, body, headers or {})
            answer = connection.getresponse()
            answer = answer.status, answer.headers, answer.read()
        finally:
            connection.close()
        openapi_check.check(method, path, *answer)  # whatever a test asks, the document describes what comes
        return answer

    def post(self, body):
        """Status and body of POST /execute with this body, bytes both."""
        status, _, answer = self.request("POST", "/execute", body, {"Content-Type": "application/json"})
        return status, answer

    def execute(self, script):
        """Status and answer of one run."""
        status, answer = self.post(script_body(script))
        return status, json.loads(answer)

    def execute_all(self, scripts):
        """All at once, in order."""
        with concurrent.futures.ThreadPoolExecutor(len(scripts)) as pool:
            return list(pool.map(self.execute, scripts))

    def metrics(self):
        """GET /metrics: each series, as it is written but for the label of the default runtime, with its value."""
        status, _, text = self.request("GET", "/metrics")
        assert status == 200, text
        text = re.sub(r'\{runtime="(default)?"\}|,runtime="(default)?"|runtime="default",', "", text.decode())
        lines = (line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
        return {series: float(value) for series, value in lines}

    def log(self):
        """All that it wrote to stderr."""
        return os.pread(self.errors.fileno(), os.fstat(self.errors.fileno()).st_size, 0).decode(errors="replace")

    def answers(self):
        """Whether a run works at this moment."""
        try:
            return self.execute(OK) == (200, {"result": {"ok": True}, "stdout": ""})
        except (OSError, http.client.HTTPException, ValueError):
            return False

    # Its processes

    def processes(self):
        return descendants(self.pid)

    def roles(self):
        """The pids of front, keeper and zygote, whichever of them exist now; of zygotes, only the one that stays, once there is no other."""
        everyone = self.processes()
        found, zygotes = {}, []
        for process in everyone:
            if process.parent == self.pid and process.name in ("vivary-front", "vivary-keeper"):
                found[process.name[len("vivary-"):]] = process.pid
        for process in everyone:
            # The keeper's other children are the inits of cells, forks of itself.
            if process.parent == found.get("keeper") and process.name != "vivary-keeper" and process.state != "Z":
                zygotes.append(process.pid)
        if len(zygotes) == 1 and not is_quick(zygotes[0]):
            found["zygote"] = zygotes[0]
        return found

    def roles_whole(self):
        found = self.roles()
        if len(found) == 3:
            return found
        self.answers()  # the first zygote stays until the workers that it has made are used
        return None

    def cgroups(self):
        return cgroups_of(self.pid)


# --- one service for a module, and what its tests say


shared = None


def shared_start():
    global shared
    shared = Service()


def shared_stop():
    global shared
    stopped, shared = shared, None
    if stopped is not None:
        stopped.stop()


class Case(unittest.TestCase):
    maxDiff = None
    own = None  # a class's service, in place of the module's

    @classmethod
    def own_start(cls, *options, **more):
        """Called in setUpClass."""
        cls.own = Service(*options, **more)
        cls.addClassCleanup(cls.own.stop)

    @property
    def service(self):
        return self.own or shared

    def run_script(self, script):
        return self.service.execute(script)

    def result(self, script):
        """What main() returned; the run must have gone well."""
        status, answer = self.run_script(script)
        self.assertEqual(status, 200, answer)
        self.assertIsInstance(answer["result"], dict)
        return answer["result"]

    def output(self, script):
        status, answer = self.run_script(script)
        self.assertEqual(status, 200, answer)
        return answer["stdout"]

    def error(self, script):
        status, answer = self.run_script(script)
        self.assertEqual(status, 400, str(answer)[:500])
        self.assertEqual(list(answer), ["error"])
        return answer["error"]

    def assert_sandbox_failed(self, script):
        self.assertEqual(self.run_script(script), (400, SANDBOX_FAILED))
        self.assert_serving()

    def assert_serving(self):
        self.assertEqual(self.run_script(OK), (200, {"result": {"ok": True}, "stdout": ""}))


class RunCase(Case):
    """Of POST /v1/run."""

    def ask(self, request, **headers):
        """Status, headers and parsed body of a request: bytes, or what is to be JSON."""
        body = request if isinstance(request, bytes) else json.dumps(request).encode()
        status, got, answer = self.service.request("POST", "/v1/run", body, {"Content-Type": "application/json", **headers})
        return status, got, json.loads(answer)

    def run_code(self, code, **fields):
        """The answer of a run, whatever became of the script."""
        status, headers, answer = self.ask({"code": code, **fields})
        self.assertEqual((status, headers["Content-Type"]), (200, "application/json"), answer)
        return answer

    def returned(self, code, **fields):
        """What main() returned; the run must have gone well."""
        answer = self.run_code(code, **fields)
        self.assertEqual((answer["status"], answer["error"], answer["limit"]), ("ok", None, None), answer["stderr"])
        return answer["result"]
