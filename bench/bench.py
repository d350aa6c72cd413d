#!/usr/bin/python3
"""Vivary beside a bare os.fork() loop, and beside a python3 started for each request: time of one run, runs per second, page faults of a run.

Rounds alternate the sides, so that a slow minute of the machine meets all of them; what is printed is the median of the rounds. Needs root (the
service does) and wrk. What it starts, it ends by pid.
"""

import argparse
import concurrent.futures
import json
import os
import platform
import re
import resource
import select
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time

import bars
from bare_fork import Loops
from scripts import OUTPUTS, RESULTS, SCRIPTS, environment, quantile

HERE = os.path.dirname(os.path.abspath(__file__))
CONNECTIONS = (2, 8, 32)
START_S = 120
STOP_S = 30
WARM_RUNS = 40  # more than there are slots: the first runs meet workers that have waited for long
SETTLE_S = 0.5
PACED_RUNS, PACE_S = 40, 0.1
MARK_RATIO = 20
MARK_P50_MS = 5

# A python3 for each request: what it does once it has the script is what a worker does.
HARNESS = """import json, sys
module = {"__name__": "script"}
exec(compile(sys.stdin.read(), "script.py", "exec"), module)
result = json.dumps(module["main"]())
print(result)
"""

WRK = """wrk.method = "POST"
wrk.body = %s
wrk.headers["Content-Type"] = "application/json"
function done(summary, latency, requests)
    local e = summary.errors
    io.write(string.format('FIGURES {"requests": %%d, "duration_us": %%d, "failed": %%d, "p50_us": %%d, "p99_us": %%d}\\n', summary.requests,
             summary.duration, e.status + e.connect + e.read + e.write + e.timeout, latency:percentile(50), latency:percentile(99)))
end
"""


def body_of(name):
    return json.dumps({"script": SCRIPTS[name]})


# --- the service


class Service:
    def __init__(self, binary, options):
        self.log = tempfile.TemporaryFile()
        self.process = subprocess.Popen([binary, "serve", "--listen", "127.0.0.1:0", *options], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                        stderr=self.log, env=environment())
        try:
            self.line = self._first_line()
            found = re.match(r"Vivary serves on http://127\.0\.0\.1:(\d+)", self.line)
            if not found:
                raise RuntimeError(f"the service said {self.line!r}")
            self.port = int(found[1])
        except BaseException:
            self.stop()
            raise

    def _first_line(self):
        end = time.monotonic() + START_S
        line = b""
        while not line.endswith(b"\n"):
            if not select.select([self.process.stdout], [], [], max(0, end - time.monotonic()))[0]:
                raise RuntimeError(f"the service says nothing for {START_S} s")
            part = os.read(self.process.stdout.fileno(), 4096)
            if not part:
                raise RuntimeError("the service ended while it started: " + os.pread(self.log.fileno(), 2000, 0).decode(errors="replace"))
            line += part
        return line.decode().rstrip("\n")

    def stop(self):
        if self.process.poll() is None:
            os.kill(self.process.pid, signal.SIGTERM)
            try:
                self.process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.process.stdout.close()

    def settle(self):
        """Runs until the zygote that has prepared its memory has taken the first one's place, and that has ended."""
        end = time.monotonic() + START_S
        while b"zygote_prepared" not in os.pread(self.log.fileno(), 1 << 20, 0) or len(bars.roles(self.process.pid)["zygotes"]) != 1:
            if time.monotonic() > end:
                raise RuntimeError(f"there is no prepared zygote within {START_S} s")
            post_all(self.port, "trivial", 1)
            time.sleep(0.02)

    def check(self, name):
        """That the answer is the right one: a fast refusal is no run."""
        post_all(self.port, name, 1)


def post_all(port, name, count, pause=0):
    """So many runs, one after the other on one connection; the time of each in seconds, pauses between them not counted."""
    body, times = body_of(name).encode(), []
    expected = {"result": RESULTS[name], "stdout": OUTPUTS[name]}
    # By hand: http.client takes a third of a millisecond for itself, which is no part of the service's time.
    request = b"POST /execute HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for _ in range(count):
            if pause:
                time.sleep(pause)
            start = time.perf_counter()
            connection.sendall(request)
            answer = answer_read(connection)
            times.append(time.perf_counter() - start)
            head, _, text = answer.partition(b"\r\n\r\n")
            if not head.startswith(b"HTTP/1.1 200 ") or json.loads(text) != expected:
                raise RuntimeError(f"{name} was answered {answer[:200]!r}")
    return times


def answer_read(connection):
    """A whole answer, of one that tells its length."""
    answer, length = b"", None
    while length is None or len(answer) < length:
        part = connection.recv(65536)
        if not part:
            raise RuntimeError(f"the service closed the connection after {answer[:200]!r}")
        answer += part
        end = answer.find(b"\r\n\r\n")
        if length is None and end >= 0:
            length = end + 4 + int(re.search(rb"(?i)\r\ncontent-length: (\d+)", answer[:end])[1])
    return answer


def service_latency(service, name, count):
    """From a process of its own, so that what this one holds doesn't slow the client."""
    command = [sys.executable, os.path.abspath(__file__), "--client", str(service.port), name, str(count)]
    busy, paced = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)
    return {"p50_ms": quantile(busy, 0.5) * 1e3, "p99_ms": quantile(busy, 0.99) * 1e3,
            "paced_p50_ms": quantile(paced, 0.5) * 1e3, "paced_p99_ms": quantile(paced, 0.99) * 1e3}


def service_rate(service, name, connections, seconds):
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        script.write(WRK % lua_string(body_of(name)))
        script.flush()
        command = ["wrk", "-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s", "--timeout", "30s", "-s", script.name,
                   f"http://127.0.0.1:{service.port}/execute"]
        said = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    found = json.loads(re.search(r"^FIGURES (.*)$", said, re.M)[1])
    if found["failed"] or "Non-2xx" in said or found["requests"] == 0:
        raise RuntimeError(f"{name} at {connections} connections: {said}")
    return found["requests"] / found["duration_us"] * 1e6


def lua_string(text):
    return '"' + "".join(c if c.isalnum() or c in " ,.:()[]{}=_" else f"\\{ord(c):03d}" for c in text) + '"'


# --- page faults


def stat_read(pid):
    """Parent, name, and the minor faults of the process and of its children that were waited for. None when it is gone."""
    try:
        with open(f"/proc/{pid}/stat", errors="replace") as file:
            text = file.read()
    except OSError:
        return None
    fields = text[text.rindex(")") + 2:].split()
    return int(fields[1]), text[text.index("(") + 1:text.rindex(")")], int(fields[7]) + int(fields[8])


def service_faults(pid):
    """Of all that descends from the service, by part. A process that ends between two readings is in its parent's account of ended children then, so
    that the difference of two sums holds every fault in between."""
    everyone = {int(entry): stat for entry in os.listdir("/proc") if entry.isdigit() and (stat := stat_read(entry))}
    children = {}
    for one, (parent, _, _) in everyone.items():
        children.setdefault(parent, []).append(one)
    sums = {"front": 0, "keeper": 0, "zygote": 0}

    def walk(one, part):
        _, name, count = everyone[one]
        if name == "vivary-front":
            part = "front"
        elif part == "keeper" and name not in ("vivary", "vivary-keeper"):
            part = "zygote"  # the interpreter, and the workers below it
        sums[part] += count
        for child in children.get(one, ()):
            walk(child, part)

    if pid in everyone:
        walk(pid, "keeper")
    return sums


def service_faults_settled(pid):
    """Once the workers that replace used ones are there: the sum has stood still for a while."""
    before, since, end = service_faults(pid), time.monotonic(), time.monotonic() + 30
    while time.monotonic() - since < SETTLE_S and time.monotonic() < end:
        time.sleep(0.05)
        now = service_faults(pid)
        if now != before:
            before, since = now, time.monotonic()
    return before


def service_run_faults(service, name, count):
    before = service_faults_settled(service.process.pid)
    post_all(service.port, name, count)
    after = service_faults_settled(service.process.pid)
    found = {part: (after[part] - before[part]) / count for part in after}
    return {**found, "all": sum(found.values())}


# --- a python3 for each request


def started_run(python, name):
    start = time.perf_counter()
    done = subprocess.run([python, "-c", HARNESS], input=SCRIPTS[name].encode(), stdout=subprocess.PIPE, env=environment(), check=True)
    took = time.perf_counter() - start
    if json.loads(done.stdout.splitlines()[-1]) != RESULTS[name]:
        raise RuntimeError(f"python3 answered {done.stdout!r}")
    return took


def started_measure(python, name, at_once, seconds):
    def loop():
        end, times = time.perf_counter() + seconds, []
        while len(times) < 3 or time.perf_counter() < end:
            times.append(started_run(python, name))
        return times

    faults, start = resource.getrusage(resource.RUSAGE_CHILDREN).ru_minflt, time.perf_counter()
    with concurrent.futures.ThreadPoolExecutor(at_once) as pool:
        each = [future.result() for future in [pool.submit(loop) for _ in range(at_once)]]
    took = time.perf_counter() - start
    times = [one for part in each for one in part]
    return {"p50_ms": quantile(times, 0.5) * 1e3, "p99_ms": quantile(times, 0.99) * 1e3, "rate": len(times) / took,
            "faults": (resource.getrusage(resource.RUSAGE_CHILDREN).ru_minflt - faults) / len(times)}


# --- rounds


class Figures:
    """What was measured: (script, side, what) → one value for each round."""

    def __init__(self):
        self.values = {}

    def add(self, script, side, found):
        for what, value in found.items():
            self.values.setdefault((script, side, what), []).append(value)

    def median(self, *key):
        return statistics.median(self.values[key])

    def spread(self, *key):
        return min(self.values[key]), max(self.values[key])

    def as_json(self):
        return [{"script": script, "side": side, "what": what, "median": statistics.median(values), "least": min(values), "most": max(values),
                 "rounds": values} for (script, side, what), values in self.values.items()]


def round_measure(figures, service, loops, given, number):
    def vivary(name):
        service.check(name)
        figures.add(name, "vivary", service_latency(service, name, given.requests))
        for connections in CONNECTIONS:
            figures.add(name, "vivary", {f"rate_{connections}": service_rate(service, name, connections, given.seconds)})
        found = service_run_faults(service, name, given.fault_runs)
        figures.add(name, "vivary", {f"faults_{part}": value for part, value in found.items()})

    def fork(name):
        for count in (1, 2):
            found = loops.measure(name, count, given.seconds)
            figures.add(name, f"fork_{count}", {key: found[key] for key in ("p50_ms", "p99_ms", "rate", "faults_child", "faults_parent")})

    def started(name):
        for count in (1, 2):
            figures.add(name, f"started_{count}", started_measure(given.python, name, count, given.seconds))

    sides = [vivary, fork, started]
    for name in SCRIPTS:
        for side in sides if number % 2 == 0 else reversed(sides):
            side(name)


# --- what is printed


def table_print(title, head, rows):
    print(f"\n{title}")
    widths = [max(len(row[column]) for row in [head, *rows]) for column in range(len(head))]
    for row in [head, *rows]:
        print("  " + "  ".join(cell.ljust(width) if column == 0 else cell.rjust(width) for column, (cell, width) in enumerate(zip(row, widths))))


def cell(figures, *key, digits=1):
    least, most = figures.spread(*key)
    return f"{figures.median(*key):.{digits}f} ({least:.{digits}f}..{most:.{digits}f})"


def times(ratio):
    return f"{ratio:.2f}x" if ratio < 10 else f"{ratio:.0f}x"


def report(figures, about):
    rows = []
    for name in SCRIPTS:
        for what, label in (("p50_ms", "p50"), ("p99_ms", "p99")):
            mine, fork, started = (figures.median(name, side, what) for side in ("vivary", "fork_1", "started_1"))
            rows.append([f"{name} {label}", cell(figures, name, "vivary", what, digits=2), cell(figures, name, "fork_1", what, digits=2),
                         cell(figures, name, "started_1", what), times(fork / mine), times(started / mine)])
    table_print("One run after the other on one connection, ms: median of the rounds (least..most)",
                ["", "Vivary", "bare fork", "python3 started", "fork / Vivary", "python3 / Vivary"], rows)

    for name in SCRIPTS:
        print(f"  Vivary with {PACE_S * 1000:.0f} ms between runs, {name}: p50 {cell(figures, name, 'vivary', 'paced_p50_ms', digits=2)}, "
              f"p99 {cell(figures, name, 'vivary', 'paced_p99_ms', digits=2)}")

    rows = []
    for name in SCRIPTS:
        fork, started = figures.median(name, "fork_2", "rate"), figures.median(name, "started_2", "rate")
        for connections in CONNECTIONS:
            mine = figures.median(name, "vivary", f"rate_{connections}")
            rows.append([f"{name}, {connections} connections", cell(figures, name, "vivary", f"rate_{connections}"), cell(figures, name, "fork_2", "rate"),
                         cell(figures, name, "started_2", "rate"), times(mine / fork), times(mine / started)])
    table_print("Runs per second; bare fork and python3 with 2 processes at once",
                ["", "Vivary", "bare fork", "python3 started", "Vivary / fork", "Vivary / python3"], rows)
    for name in SCRIPTS:
        print(f"  bare fork with 1 process, {name}: {cell(figures, name, 'fork_1', 'rate')}")

    rows = []
    for name in SCRIPTS:
        mine = figures.median(name, "vivary", "faults_all")
        fork = figures.median(name, "fork_1", "faults_child") + figures.median(name, "fork_1", "faults_parent")
        started = figures.median(name, "started_1", "faults")
        parts = " + ".join(f"{figures.median(name, 'vivary', 'faults_' + part):.0f}" for part in ("zygote", "keeper", "front"))
        forks = " + ".join(f"{figures.median(name, 'fork_1', 'faults_' + part):.0f}" for part in ("child", "parent"))
        rows.append([name, f"{mine:.0f}", parts, f"{fork:.0f}", forks, f"{started:.0f}", times(mine / fork)])
    table_print("Page faults of a run, the making of the worker after it included",
                ["", "Vivary", "zygote, workers + keeper, inits + front", "bare fork", "child + parent", "python3 started", "Vivary / fork"], rows)

    print("\nExpected")
    ratio = figures.median("pandas", "vivary", "rate_2") / figures.median("pandas", "started_2", "rate")
    p50 = figures.median("trivial", "vivary", "p50_ms")
    if about["load"] > about["processors"] / 2:
        print(f"  Others kept this machine busy when this began (load {about['load']:.1f}): take absolute values for what they are.")
    marks = [("pandas at 2 connections, beside python3 started for each request, 2 at once", times(ratio), f">= {MARK_RATIO}x", ratio >= MARK_RATIO),
             ("p50 of the trivial script at one connection, one run after the other", f"{p50:.2f} ms", f"< {MARK_P50_MS} ms", p50 < MARK_P50_MS)]
    for what, found, wanted, met in marks:
        print(f"  {what}: {found} (expected {wanted}): {'met' if met else 'NOT MET'}")
    return [{"what": what, "found": found, "expected": wanted, "met": met} for what, found, wanted, met in marks]


def bars_measured(figures, service, given):
    """Of each row of bars.BARS, a value for each round."""
    found = {}
    for name in SCRIPTS:
        fork = [1000 / rate for rate in figures.values[(name, "fork_1", "rate")]]
        found[f"p50_{name}"] = [mine / its for mine, its in zip(figures.values[(name, "vivary", "p50_ms")], fork)]
        found[f"rate_{name}"] = [mine / its for mine, its in zip(figures.values[(name, "vivary", "rate_32")], figures.values[(name, "fork_2", "rate")])]

    def start(options):
        return Service(given.binary, ["--python", given.python, *given.option, *options])

    for number in range(given.rounds):
        print(f"bars, round {number + 1} of {given.rounds}", file=sys.stderr, flush=True)
        bars.round_measure(lambda row, value: found.setdefault(row, []).append(value), service, start, given,
                           figures.median("trivial", "vivary", "rate_32"),
                           lambda service: quantile(post_all(service.port, "trivial", given.requests), 0.5))
    return found


def context(given, service):
    python = subprocess.run([given.python, "-c", "import sys, numpy, pandas; print(sys.version.split()[0], numpy.__version__, pandas.__version__)"],
                            stdout=subprocess.PIPE, text=True, check=True, env=environment()).stdout.split()
    return {"processors": len(os.sched_getaffinity(0)), "load": os.getloadavg()[0], "kernel": platform.release(), "python": python[0], "numpy": python[1],
            "pandas": python[2], "rounds": given.rounds, "seconds": given.seconds, "service": re.sub(r"\. Try:.*", "", service.line)}


def main():
    if sys.argv[1:2] == ["--client"]:
        port, name, count = int(sys.argv[2]), sys.argv[3], int(sys.argv[4])
        post_all(port, name, WARM_RUNS)
        busy = post_all(port, name, count)
        time.sleep(1)
        print(json.dumps([busy, post_all(port, name, PACED_RUNS, PACE_S)]))
        return 0
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--rounds", type=int, help="default 5")
    parser.add_argument("--quick", action="store_true", help="2 rounds, of a second a figure")
    parser.add_argument("--seconds", type=float, help="of each rate in a round; default 2")
    parser.add_argument("--requests", type=int, default=300, help="of each latency in a round")
    parser.add_argument("--fault-runs", type=int, default=50, help="over which page faults are counted, in a round")
    parser.add_argument("--python", default="/usr/bin/python3")
    parser.add_argument("--binary", default=os.path.join(HERE, "..", "build", "vivary"))
    parser.add_argument("--option", action="append", default=[], help="one more for vivary serve, as --option=--slots=4")
    parser.add_argument("--json", metavar="FILE", help="writes the figures there")
    given = parser.parse_args()
    given.rounds = given.rounds or (2 if given.quick else 5)
    given.seconds = given.seconds or (1 if given.quick else 2)

    service = loops = None
    figures = Figures()
    try:
        service = Service(given.binary, ["--python", given.python, *given.option])
        service.settle()
        loops = Loops(given.python, 2)
        about = context(given, service)
        print(about["service"])
        print(f"{about['processors']} processors, load {about['load']:.1f}, kernel {about['kernel']}, Python {about['python']}, numpy {about['numpy']}, "
              f"pandas {about['pandas']}, {given.rounds} rounds of {given.seconds:g} s a figure", flush=True)
        for number in range(given.rounds):
            print(f"round {number + 1} of {given.rounds}", file=sys.stderr, flush=True)
            round_measure(figures, service, loops, given, number)
        marks = report(figures, about)
        table, missed = bars.judge(bars_measured(figures, service, given))
        table_print("What is wanted", ["", "measured: median (least..most)", "bar", "stretch", ""], table)
    except (RuntimeError, OSError, subprocess.SubprocessError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    finally:
        if loops is not None:
            loops.close()
        if service is not None:
            service.stop()
    if given.json:
        with open(given.json, "w") as file:
            json.dump({"context": about, "figures": figures.as_json(), "expected": marks, "wanted": table}, file, indent=1)
            file.write("\n")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
