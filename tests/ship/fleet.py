"""Several instances behind Debian's HAProxy, from the configuration that is shipped, and clients that count what fails. What it starts, it ends by pid."""

import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, os.path.join(ROOT, "tests", "http"))

from service import Service, environment, eventually, free_port  # noqa: E402

CONFIGURATION = os.path.join(ROOT, "packaging", "haproxy", "haproxy.cfg")
HAPROXY = shutil.which("haproxy") or ("/usr/sbin/haproxy" if os.path.exists("/usr/sbin/haproxy") else None)
ANSWER_S = 60
# client:port [date] frontend backend/server timers status bytes - - state a/b/c/d/retries queues {request id} "request"
LINE = re.compile(r" vivary/(\S+) [-\d/+]+ (\d+) [+\d]+ - - (\S+) \d+/\d+/\d+/\d+/(\+?\d+) \d+/\d+ \{([^}]*)\} ")


def configuration_for(front, ports, admin):
    """The shipped one, with this front's port and these instances, and the socket that docs/deployment.md adds."""
    with open(CONFIGURATION, encoding="utf-8") as file:
        text = file.read()
    text, binds = re.subn(r"^    bind :8080$", f"    bind 127.0.0.1:{front}", text, flags=re.M)
    text, servers = re.subn(r"^    server host\d .*\n", "", text, flags=re.M)
    assert (binds, servers) == (1, 3), (binds, servers)
    text = text.replace("\nglobal\n", f"\nglobal\n    stats socket {admin} level admin\n", 1)
    return text + "".join(f"    server host{number} 127.0.0.1:{port}\n" for number, port in enumerate(ports, 1))


class Balancer:
    def __init__(self, ports):
        self.port = free_port()
        self.folder = tempfile.TemporaryDirectory()
        name = os.path.join(self.folder.name, "haproxy.cfg")
        self.admin = os.path.join(self.folder.name, "admin.sock")
        with open(name, "w", encoding="utf-8") as file:
            file.write(configuration_for(self.port, ports, self.admin))
        self.log = open(os.path.join(self.folder.name, "log"), "w+b")
        self.process = subprocess.Popen([HAPROXY, "-db", "-f", name], stdin=subprocess.DEVNULL, stdout=self.log, stderr=subprocess.STDOUT)
        eventually(self.ready, 20, "HAProxy answers")

    def ready(self):
        try:
            return request(self.port, "GET", "/readyz")[0] == 200
        except OSError:
            assert self.process.poll() is None, self.text()
            return False

    def command(self, line):
        """What HAProxy answers on its socket for operators."""
        with socket.socket(socket.AF_UNIX) as wire:
            wire.connect(self.admin)
            wire.sendall(line.encode() + b"\n")
            answer = b""
            while part := wire.recv(65536):
                answer += part
        return answer.decode()

    def sessions(self, server):
        """How many it has with this server now."""
        names, *rows = (line.split(",") for line in self.command("show stat").lstrip("# ").splitlines() if line)
        return next(int(row[names.index("scur")]) for row in rows if row[:2] == ["vivary", server])

    def text(self):
        return os.pread(self.log.fileno(), os.fstat(self.log.fileno()).st_size, 0).decode(errors="replace")

    def lines(self):
        """By request id: server, status, how it ended, how often it was tried again."""
        return {found[5]: (found[1], int(found[2]), found[3], found[4]) for found in LINE.finditer(self.text())}

    def stop(self):
        if self.process.poll() is None:
            os.kill(self.process.pid, signal.SIGTERM)
            self.process.wait(20)
        self.log.close()
        self.folder.cleanup()


def request(port, method, path, body=None, headers=None):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=ANSWER_S)
    try:
        connection.request(method, path, body, headers or {})
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


class Instance:
    def __init__(self, *options):
        self.port = free_port()
        self.options = options
        self.service = None
        self.start()

    def start(self):
        self.service = Service(*self.options, listen=(f"127.0.0.1:{self.port}",))

    def drain(self):
        """SIGTERM, until it has ended well. How long it took."""
        begun = time.monotonic()
        self.service.stop()
        self.service = None
        return time.monotonic() - begun

    def kill(self):
        """SIGKILL to serve, keeper and front at one moment, as when a host is lost."""
        ours = [process.pid for process in self.service.processes() if process.name in ("vivary", "vivary-keeper", "vivary-front")]
        for pid in ours:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass  # it went with the one before
        self.service.process.wait(20)
        self.service.kill()
        self.service = None

    def stop(self):
        if self.service is not None:
            self.service.stop()

    def runs(self):
        """How many it has answered since its start."""
        return sum(value for series, value in self.service.metrics().items() if series.startswith("vivary_runs_total"))


class Load:
    """Clients that send runs through the balancer until they are told to stop: short ones, and some that take a while."""

    def __init__(self, port, clients):
        self.port = port
        self.over = threading.Event()
        self.lock = threading.Lock()
        self.right, self.failures, self.waiting = 0, [], set()
        self.threads = [threading.Thread(target=self.client, args=(number,)) for number in range(clients)]

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        for thread in self.threads:
            thread.join(ANSWER_S * 2)

    def client(self, number):
        connection, count = None, 0
        while not self.over.is_set():
            count += 1
            name = f"c{number}-{count}"
            pause = 0.3 if count % 5 == 0 else 0
            script = f"import time\ndef main():\n    time.sleep({pause})\n    print({name!r})\n    return {{'name': {name!r}}}"
            try:
                if connection is None:
                    connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=ANSWER_S)
                with self.lock:
                    self.waiting.add(name)
                connection.request("POST", "/execute", json.dumps({"script": script}), {"X-Request-Id": name})
                answer = connection.getresponse()
                status, kind, body = answer.status, answer.headers["Content-Type"], answer.read()
                failed = (status, json.loads(body)) != (200, {"result": {"name": name}, "stdout": name + "\n"})
            except (OSError, http.client.HTTPException, ValueError) as error:
                status, kind, body, failed = None, None, repr(error).encode(), True
                connection.close()
                connection = None
            with self.lock:
                self.waiting.discard(name)
                if failed:
                    self.failures.append((name, status, kind, body.decode(errors="replace")[:300]))
                else:
                    self.right += 1
        if connection is not None:
            connection.close()


def wrk_rate(port, seconds, connections, script):
    """Answers a second that are 200, by wrk; any other answer is an error."""
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as file:
        file.write(f'wrk.method = "POST"\nwrk.body = {json.dumps(json.dumps({"script": script}))}\nwrk.headers["Content-Type"] = "application/json"\n')
        file.flush()
        command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "30s", "-s", file.name, f"http://127.0.0.1:{port}/execute"]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, env=environment(), timeout=seconds + 60, check=True)
    assert "Non-2xx" not in done.stdout and "Socket errors" not in done.stdout, done.stdout
    return float(re.search(r"Requests/sec:\s+([\d.]+)", done.stdout)[1])
