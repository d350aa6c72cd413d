"""What one wants of the speed, beside what is measured: each row has a figure for each round, its bar and its stretch goal."""

import concurrent.futures
import http.client
import json
import os
import resource
import selectors
import shutil
import socket
import statistics
import subprocess
import threading
import time

from scripts import RESULTS, SCRIPTS, environment

IDLE, BURST, SLEEPERS, LARGE_MIB = 1000, 256, 64, 16
OPEN_S = 4
COUNT_RUNS = 40
V1_RUNS, V1_TURN = 200, 20

# name: (what, bar, stretch, whether more is better, unit)
BARS = {
    "p50_trivial": ("p50 at 1 connection, trivial, over one bare fork's time per run", 0.25, 0.12, False, ""),
    "p50_pandas": ("the same for pandas", 0.3, 0.15, False, ""),
    "rate_trivial": ("runs/s at 32 connections over two bare forks in parallel, trivial", 1.5, 2.5, True, ""),
    "rate_pandas": ("the same for pandas", 1.5, 2.5, True, ""),
    "open_loop": ("p99 over p50 at half of the saturated rate, constant rate, trivial", 4, 2, False, ""),
    "faults_run_trivial": ("page faults of a worker between request and answer, trivial", 30, 5, False, ""),
    "faults_run_pandas": ("the same for pandas", 150, 40, False, ""),
    "faults_life_trivial": ("page faults of a worker's whole life, a populated range as one, trivial", 160, 80, False, ""),
    "faults_life_pandas": ("the same for pandas", 450, 250, False, ""),
    "calls": ("system calls of a run in front, keeper and zygote", 60, 30, False, ""),
    "private": ("private memory of a waiting worker", 2, 1, False, "MiB"),
    "idle_p50": (f"{IDLE} idle keep-alive connections: p50 with them over without", 1.1, None, False, ""),
    "idle_memory": ("the front's memory for each of them", 12, None, False, "KiB"),
    "start": ("start to first answer, over python3 -c 'import numpy, pandas'", 1.3, 1.1, False, ""),
    "large": (f"a {LARGE_MIB} MiB result, from main()'s return to the last byte, over json.dumps of it", 2, 1.3, False, ""),
    "burst": (f"a burst of {BURST} at an idle service, over what the saturated rate needs", 1.2, None, False, ""),
    "v1_trivial": ("p50 of the trivial script through /v1/run over through /execute", 1.1, None, False, ""),
    "v1_stream": ("the same as a stream, to its last event", None, None, False, ""),
    "v1_files": ("a run with a 1 MiB file in and out through /v1/run over the trivial script", None, None, False, ""),
    "sleepers": (f"{SLEEPERS} runs that sleep 1 s, at once, with {SLEEPERS} slots", 1.5, None, False, "s"),
}


def execute(port, script, seconds=120):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=seconds)
    try:
        connection.request("POST", "/execute", json.dumps({"script": script}))
        answer = connection.getresponse()
        text = answer.read()
        if answer.status != 200:
            raise RuntimeError(f"answered {answer.status} {text[:200]!r}")
        return json.loads(text)["result"]
    finally:
        connection.close()


# --- processes of the service


def stat_of(pid):
    with open(f"/proc/{pid}/stat", errors="replace") as file:
        text = file.read()
    return text[text.index("(") + 1:text.rindex(")")], text[text.rindex(")") + 2:].split()


def roles(pid):
    """Pids by name: front, keeper, zygote, and the waiting workers."""
    parents = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                name, fields = stat_of(entry)
            except OSError:
                continue
            parents.setdefault(int(fields[1]), []).append((int(entry), name))
    found = {name[len("vivary-"):]: child for child, name in parents.get(pid, ()) if name.startswith("vivary-")}
    found["zygotes"] = [child for child, name in parents.get(found["keeper"], ()) if not name.startswith("vivary")]
    found["zygote"] = found["zygotes"][0]  # the one, once the service has settled
    found["workers"] = [child for child, _ in parents.get(found["zygote"], ())]
    return found


# Nothing is imported for it that a worker hasn't: that would cost more faults than what is counted.
COUNTED = """    import sys
    with open("/proc/self/stat", "rb", 0) as stat:
        faults = int(stat.read().rpartition(b")")[2].split()[7]), *sys.modules["_vivary"].populated()
    return """


def worker_faults(service, name):
    """With one slot: what the waiting worker had had, what it had at the end of main(), and what of it was populated in bulk."""
    before = None
    for _ in range(50):
        workers = roles(service.process.pid)["workers"]
        try:
            faults = int(stat_of(workers[0])[1][7]) if workers else None
        except OSError:  # the one before it, which has just ended
            faults = None
        if faults is not None and faults == before:  # it rests
            break
        before = faults
        time.sleep(0.1)
    counted = SCRIPTS[name].replace("    return ", COUNTED)
    result = execute(service.port, counted.replace("return {", "return {'faults': faults, "))
    if {key: value for key, value in result.items() if key != "faults"} != RESULTS[name]:
        raise RuntimeError(f"{name} returned {result}")
    at_end, pages, calls = result["faults"]
    return at_end - before, at_end - pages + calls


def calls_of_run(service, count):
    """By strace, which slows, but counts."""
    if shutil.which("strace") is None:
        return None
    found = roles(service.process.pid)
    tracers = [subprocess.Popen(["strace", "-c", "-S", "calls", "-U", "calls,name", "-p", str(found[role])], stderr=subprocess.PIPE, text=True)
               for role in ("front", "keeper", "zygote")]
    time.sleep(1)
    connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=60)
    for _ in range(count):
        connection.request("POST", "/execute", json.dumps({"script": SCRIPTS["trivial"]}))
        connection.getresponse().read()
    time.sleep(1)
    connection.close()
    total = 0
    for tracer in tracers:
        tracer.send_signal(2)
        said = tracer.communicate(timeout=30)[1]
        total += sum(int(line.split()[0]) for line in said.splitlines() if line.split()[1:] == ["total"])
    return total / count


def private_of(pid):
    with open(f"/proc/{pid}/smaps_rollup") as file:
        return sum(int(line.split()[1]) for line in file if line.startswith("Private_")) / 1024


def rss_of(pid):
    with open(f"/proc/{pid}/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()


# --- one figure each


def open_loop(port, rate):
    """Requests at constant moments; each time is from the moment that it was due."""
    times, lock, local = [], threading.Lock(), threading.local()

    def one(due):
        if not hasattr(local, "connection"):
            local.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        time.sleep(max(0, due - time.perf_counter()))
        local.connection.request("POST", "/execute", json.dumps({"script": SCRIPTS["trivial"]}))
        local.connection.getresponse().read()
        with lock:
            times.append(time.perf_counter() - due)

    begun = time.perf_counter() + 0.2
    with concurrent.futures.ThreadPoolExecutor(32) as pool:
        list(pool.map(one, [begun + number / rate for number in range(int(OPEN_S * rate))]))
    times.sort()
    return times[int(len(times) * 0.99)] / times[len(times) // 2]


def idle_connections(service, latency):
    without = latency(service)
    before = rss_of(roles(service.process.pid)["front"])
    kept = []
    for _ in range(IDLE):
        one = socket.create_connection(("127.0.0.1", service.port))
        one.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        one.recv(4096)
        kept.append(one)
    memory = (rss_of(roles(service.process.pid)["front"]) - before) / IDLE / 1024
    with_them = latency(service)
    for one in kept:
        one.close()
    return with_them / without, memory


def start_over_import(python, start):
    begun = time.perf_counter()
    subprocess.run([python, "-c", "import numpy, pandas"], check=True, env=environment())
    imported = time.perf_counter() - begun
    begun = time.perf_counter()
    service = start([])
    try:
        execute(service.port, SCRIPTS["trivial"])
        return (time.perf_counter() - begun) / imported
    finally:
        service.stop()


LARGE = f"""import time
def main():
    value = {{"data": ["x" * 1000] * {LARGE_MIB * 1024}}}
    print(time.monotonic(), end="")
    return value
"""


def v1_times(port, count):
    """Medians of seconds: the trivial script through /execute, through /v1/run, as a stream, and with a file of 1 MiB in and out. In turns of twenty,
    and as many before each that don't count: the waiting workers were made for what was asked before."""
    file = {"path": "in.txt", "content": "x" * (1 << 20)}
    bodies = {
        "execute": ("/execute", {"script": SCRIPTS["trivial"]}),
        "run": ("/v1/run", {"code": SCRIPTS["trivial"]}),
        "stream": ("/v1/run", {"code": SCRIPTS["trivial"], "stream": True}),
        "files": ("/v1/run", {"code": "def main():\n    open('out.txt', 'w').write(open('in.txt').read())\n    return {'ok': 1}", "files": [file]}),
    }
    texts = {name: (path, json.dumps(body)) for name, (path, body) in bodies.items()}
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    times = {name: [] for name in bodies}
    for _ in range(count // V1_TURN):
        for name, (path, text) in texts.items():
            for turn in range(2 * V1_TURN):
                begun = time.perf_counter()
                connection.request("POST", path, text, {"Content-Type": "application/json"})
                answer = connection.getresponse()
                got = answer.read()
                if turn >= V1_TURN:
                    times[name].append(time.perf_counter() - begun)
                if answer.status != 200 or b'"ok": 1' not in got or (name == "files" and len(got) < 1 << 20):
                    raise RuntimeError(f"{name} was answered {answer.status} {got[:200]!r}")
    connection.close()
    return {name: statistics.median(values) for name, values in times.items()}


def large_over_dumps(port):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    connection.request("POST", "/execute", json.dumps({"script": LARGE}))
    text = connection.getresponse().read()
    end = time.monotonic()
    connection.close()
    answer = json.loads(text)
    value = {"data": ["x" * 1000] * (LARGE_MIB * 1024)}
    begun = time.monotonic()
    json.dumps(value)
    return (end - float(answer["stdout"])) / (time.monotonic() - begun)


def at_once(port, script, count):
    """From one thread, by hand: as many threads that start would be what is measured."""
    body = json.dumps({"script": script}).encode()
    request = b"POST /execute HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
    begun = time.perf_counter()
    with selectors.DefaultSelector() as waiting:
        answers = {}
        for _ in range(count):
            connection = socket.create_connection(("127.0.0.1", port), timeout=60)
            connection.sendall(request)
            waiting.register(connection, selectors.EVENT_READ)
            answers[connection] = b""
        while waiting.get_map():
            for key, _ in waiting.select(60):
                part = key.fileobj.recv(65536)
                answers[key.fileobj] += part
                if not part:
                    waiting.unregister(key.fileobj)
                    key.fileobj.close()
        took = time.perf_counter() - begun
    for answer in answers.values():
        if not answer.startswith(b"HTTP/1.1 200 "):
            raise RuntimeError(f"one of {count} at once was answered {answer[:200]!r}")
    return took


def round_measure(add, service, start, given, rate, latency):
    """`add` takes a row's name and its figure; `rate` is the saturated one of the trivial script."""
    add("open_loop", open_loop(service.port, rate / 2))
    change, memory = idle_connections(service, latency)
    add("idle_p50", change)
    add("idle_memory", memory)
    times = v1_times(service.port, V1_RUNS)
    add("v1_trivial", times["run"] / times["execute"])
    add("v1_stream", times["stream"] / times["execute"])
    add("v1_files", times["files"] / times["execute"])
    time.sleep(1)
    add("burst", at_once(service.port, SCRIPTS["trivial"], BURST) / (BURST / rate))
    time.sleep(1)  # so that they have what they get while they wait
    add("private", statistics.median(private_of(pid) for pid in roles(service.process.pid)["workers"]))
    counted = calls_of_run(service, COUNT_RUNS)
    if counted is not None:
        add("calls", counted)
    add("start", start_over_import(given.python, start))
    one = start(["--slots", "1", "--spare", "0", "--result-max", str(64 << 20)])
    try:
        one.settle()
        for name in SCRIPTS:
            run, life = worker_faults(one, name)
            add(f"faults_run_{name}", run)
            add(f"faults_life_{name}", life)
        add("large", large_over_dumps(one.port))
    finally:
        one.stop()
    many = start(["--slots", str(SLEEPERS)])
    try:
        many.settle()
        time.sleep(2)
        add("sleepers", at_once(many.port, "import time\ndef main():\n    time.sleep(1)\n    return {}", SLEEPERS))
    finally:
        many.stop()


def judge(values):
    """Rows for a table, and whether a bar is missed by more than the spread."""
    rows, missed = [], []
    for name, (what, bar, stretch, more, unit) in BARS.items():
        if name not in values:
            rows.append([what, "not measured", str(bar or ""), "", ""])
            continue
        middle, least, most = statistics.median(values[name]), min(values[name]), max(values[name])
        if bar is None:  # for the eye
            rows.append([what, f"{middle:.2f} ({least:.2f}..{most:.2f}) {unit}".strip(), "", "", ""])
            continue
        met = middle >= bar if more else middle <= bar
        best = most if more else least
        beyond = not (best >= bar if more else best <= bar)
        if beyond:
            missed.append(what)
        sign = ">=" if more else "<="
        rows.append([what, f"{middle:.2f} ({least:.2f}..{most:.2f}) {unit}".strip(), f"{sign} {bar} {unit}".strip(),
                     "" if stretch is None else f"{sign} {stretch}", "met" if met else "MISSED" if beyond else "missed within the spread"])
    return rows, missed
