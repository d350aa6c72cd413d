"""What must work inside: ordinary Python, and ordinary numpy and pandas."""

import unittest

from service import Case, not_in_gvisor, only_full, shared_start as setUpModule, shared_stop as tearDownModule, only_with_children  # noqa: F401


class Concurrency:
    """A mixin of what needs no package, for test_versions as well."""

    def test_fifty_threads_work(self):
        self.assertEqual(self.result("""
import threading
from concurrent.futures import ThreadPoolExecutor
def main():
    barrier, seen = threading.Barrier(50), []
    def work(number):
        barrier.wait(9)
        seen.append(number)
    threads = [threading.Thread(target=work, args=(n,)) for n in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with ThreadPoolExecutor(8) as pool:
        return {"seen": sorted(seen), "squares": list(pool.map(lambda x: x * x, range(5)))}
"""), {"seen": list(range(50)), "squares": [0, 1, 4, 9, 16]})

    @only_with_children
    def test_multiprocessing_works(self):
        self.assertEqual(self.result("""
import multiprocessing
def square(x):
    return x * x
def put(queue, lock, value):
    with lock:
        value.value += 1
    queue.put("from the child")
def main():
    with multiprocessing.Pool(3) as pool:
        squares = pool.map(square, range(10))
    queue, lock, value = multiprocessing.Queue(), multiprocessing.Lock(), multiprocessing.Value("i", 41)
    process = multiprocessing.Process(target=put, args=(queue, lock, value))
    process.start()
    said = queue.get(timeout=9)
    process.join()
    return {"squares": squares, "said": said, "value": value.value, "exit": process.exitcode}
"""), {"squares": [x * x for x in range(10)], "said": "from the child", "value": 42, "exit": 0})

    @only_with_children
    def test_shared_memory_works(self):
        self.assertEqual(self.result("""
from multiprocessing import Process, shared_memory
def write(name):
    memory = shared_memory.SharedMemory(name)
    memory.buf[:5] = b"hello"
    memory.close()
def main():
    memory = shared_memory.SharedMemory(create=True, size=4096)
    process = Process(target=write, args=(memory.name,))
    process.start()
    process.join()
    text = bytes(memory.buf[:5]).decode()
    memory.close()
    memory.unlink()
    return {"text": text}
"""), {"text": "hello"})

    @only_with_children
    def test_multiprocessing_by_spawn_works(self):
        self.assertEqual(self.result("""
import multiprocessing
def square(x):
    return x * x
def main():
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        return {"squares": pool.map(square, range(5))}
"""), {"squares": [0, 1, 4, 9, 16]})

    @only_with_children
    def test_another_python_works(self):
        found = self.result("""
import subprocess, sys
def main():
    done = subprocess.run([sys.executable, "-c", "import sys, json; print(json.dumps(list(sys.version_info[:2]))); sys.exit(3)"], capture_output=True, text=True)
    return {"out": done.stdout.strip(), "err": done.stderr, "status": done.returncode, "own": str(list(sys.version_info[:2]))}
""")
        self.assertEqual(found, {"out": found["own"], "err": "", "status": 3, "own": found["own"]})

    @only_with_children
    def test_asyncio_works(self):
        self.assertEqual(self.result("""
import asyncio, sys
async def child():
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", "print('child')", stdout=asyncio.subprocess.PIPE)
    out, _ = await process.communicate()
    return out.decode().strip(), process.returncode
async def work():
    slept = await asyncio.gather(*(asyncio.sleep(0.01, n) for n in range(5)))
    threaded = await asyncio.to_thread(lambda: "thread")
    return {"slept": slept, "threaded": threaded, "child": await child()}
def main():
    return asyncio.run(work())
"""), {"slept": [0, 1, 2, 3, 4], "threaded": "thread", "child": ["child", 0]})


class ConcurrencyTest(Concurrency, Case):
    @only_with_children
    def test_process_pools_work(self):
        self.assertEqual(self.result("""
from concurrent.futures import ProcessPoolExecutor
import multiprocessing
def square(x):
    return x * x
def main():
    with ProcessPoolExecutor(2) as pool:
        first = list(pool.map(square, range(4)))
    with multiprocessing.Manager() as manager:
        shared = manager.dict(a=1)
        return {"squares": first, "managed": dict(shared)}
"""), {"squares": [0, 1, 4, 9], "managed": {"a": 1}})

    @only_with_children
    def test_child_processes_have_pipes_and_signals(self):
        self.assertEqual(self.result("""
import signal, subprocess
def main():
    piped = subprocess.run("printf 'b\\\\na\\\\n' | sort", shell=True, capture_output=True, text=True).stdout
    process = subprocess.Popen(["sleep", "60"])
    process.terminate()
    return {"piped": piped, "ended": process.wait()}
"""), {"piped": "a\nb\n", "ended": -15})

    def test_signals_to_itself_work(self):
        self.assertEqual(self.result("""
import os, signal
def main():
    seen = []
    signal.signal(signal.SIGUSR1, lambda number, frame: seen.append(number))
    os.kill(os.getpid(), signal.SIGUSR1)
    signal.signal(signal.SIGALRM, lambda number, frame: seen.append(number))
    signal.setitimer(signal.ITIMER_REAL, 0.02)
    signal.pause()
    return {"seen": seen}
"""), {"seen": [10, 14]})

    @only_with_children
    def test_an_async_server_of_its_own_works(self):
        self.assertEqual(self.result("""
import asyncio
async def main():
    async def greet(reader, writer):
        writer.write(b"hello " + await reader.readline())
        await writer.drain()
        writer.close()
    server = await asyncio.start_unix_server(greet, "/tmp/socket")
    reader, writer = await asyncio.open_unix_connection("/tmp/socket")
    writer.write(b"you\\n")
    text = await reader.read()
    writer.close()
    server.close()
    return {"text": text.decode()}
"""), {"text": "hello you\n"})


class LibraryTest(Case):
    def test_tempfile_works(self):
        self.assertEqual(self.result("""
import os, tempfile
def main():
    with tempfile.TemporaryDirectory() as folder, tempfile.NamedTemporaryFile("w+") as named, tempfile.TemporaryFile() as plain, tempfile.SpooledTemporaryFile() as spooled:
        named.write("x")
        named.flush()
        plain.write(b"y")
        spooled.write(b"z")
        return {"folder": os.path.isdir(folder), "size": os.path.getsize(named.name), "where": tempfile.gettempdir()}
"""), {"folder": True, "size": 1, "where": "/tmp"})

    def test_sqlite_works(self):
        self.assertEqual(self.result("""
import sqlite3
def fill(where):
    with sqlite3.connect(where) as base:
        base.execute("create table t (n integer, s text)")
        base.executemany("insert into t values (?, ?)", [(n, str(n)) for n in range(1000)])
        return base.execute("select sum(n), count(s) from t").fetchone()
def main():
    wal = sqlite3.connect("/tmp/wal.db")
    mode = wal.execute("pragma journal_mode=wal").fetchone()[0]
    wal.execute("create table t (n)")
    wal.commit()
    return {"memory": fill(":memory:"), "file": fill("/tmp/base.db"), "mode": mode}
"""), {"memory": [499500, 1000], "file": [499500, 1000], "mode": "wal"})

    def test_time_zones_and_decimals_work(self):
        self.assertEqual(self.result("""
import datetime, decimal, fractions, zoneinfo
def main():
    there = datetime.datetime(2024, 7, 1, 12, tzinfo=zoneinfo.ZoneInfo("Europe/Berlin"))
    decimal.getcontext().prec = 30
    return {"utc": there.astimezone(datetime.timezone.utc).isoformat(), "third": str(decimal.Decimal(1) / 3), "half": str(fractions.Fraction(2, 4))}
"""), {"utc": "2024-07-01T10:00:00+00:00", "third": "0." + "3" * 30, "half": "1/2"})

    @only_full("terminals are shared by all")
    @not_in_gvisor("it has no terminals for a cell")
    def test_terminals_of_its_own_work(self):
        found = self.run_script("""
import os, pty, sys
def main():
    master, slave = pty.openpty()
    os.write(slave, b"to the master")
    text = os.read(master, 100).decode()
    status = pty.spawn([sys.executable, "-c", "import sys; print('terminal', sys.stdout.isatty())"])
    return {"text": text, "tty": os.ttyname(slave).startswith("/dev/pts/"), "status": status}
""")
        self.assertEqual(found, (200, {"result": {"text": "to the master", "tty": True, "status": 0}, "stdout": "terminal True\r\n"}))

    def test_the_standard_files_are_in_dev(self):
        self.assertEqual(self.run_script("""
import os
def main():
    with open("/dev/stdout", "w") as out, open("/dev/stderr", "w") as err:
        out.write("out")
        err.write("err")
    fd = os.open("/etc/passwd", os.O_RDONLY)
    return {"in": open("/dev/stdin").read(), "again": open(f"/dev/fd/{fd}").read(4), "listed": str(fd) in os.listdir("/dev/fd")}
"""), (200, {"result": {"in": "", "again": "root", "listed": True}, "stdout": "out"}))

    @only_full("its uid has no name")
    def test_services_and_users_have_names(self):
        found = self.result("""
import getpass, grp, os, pwd, socket
def main():
    user = pwd.getpwuid(os.getuid())
    return {"http": socket.getservbyname("http"), "port": socket.getservbyport(443), "protocol": socket.getprotobyname("tcp"), "user": user.pw_name,
            "getuser": getpass.getuser(), "group": grp.getgrgid(os.getgid()).gr_name, "home": os.path.expanduser("~"), "writable": os.access(user.pw_dir, os.W_OK)}
""")
        self.assertTrue(found.pop("group"))
        self.assertTrue(found["user"])
        self.assertEqual(found.pop("user"), found.pop("getuser"))
        self.assertEqual(found, {"http": 80, "port": "https", "protocol": 6, "home": "/tmp", "writable": True})

    def test_its_own_source_is_seen(self):
        self.assertEqual(self.result("""
import inspect
def helper(x):
    return x + 1  # a comment
def main():
    return {"source": inspect.getsource(helper), "file": inspect.getsourcefile(helper), "line": inspect.getsourcelines(helper)[1]}
"""), {"source": "def helper(x):\n    return x + 1  # a comment\n", "file": "/runtime/script.py", "line": 3})

    def test_tracebacks_show_its_lines(self):
        trace = self.result("""
import traceback
def fail():
    raise ValueError("here")
def main():
    try:
        fail()
    except ValueError:
        return {"trace": traceback.format_exc()}
""")["trace"]
        self.assertIn('File "/runtime/script.py", line 4, in fail\n    raise ValueError("here")\n', trace)
        self.assertIn('File "/runtime/script.py", line 7, in main\n    fail()\n', trace)

    def test_its_names_are_those_of_a_script(self):
        self.assertEqual(self.result("""
import sys
def main():
    return {"name": __name__, "file": __file__, "argv": sys.argv, "module": sys.modules[__name__].main is main, "of": main.__module__, "text": open(__file__).read(9)}
"""), {"name": "script", "file": "/runtime/script.py", "argv": ["/runtime/script.py"], "module": True, "of": "script", "text": "\nimport s"})

    def test_its_classes_can_be_pickled(self):
        self.assertEqual(self.result("""
import copy, dataclasses, enum, pickle
@dataclasses.dataclass(frozen=True)
class Point:
    x: int
    y: int = 2
class Color(enum.Enum):
    RED = 1
def main():
    again = pickle.loads(pickle.dumps([Point(1), Color.RED, main]))
    return {"same": again == [Point(1), Color.RED, main], "copied": copy.deepcopy(Point(3)) == Point(3), "dict": dataclasses.asdict(Point(1))}
"""), {"same": True, "copied": True, "dict": {"x": 1, "y": 2}})

    def test_type_hints_are_resolved(self):
        self.assertEqual(self.result("""
from __future__ import annotations
import typing
class Node:
    next: typing.Optional[Node]
def walk(node: Node, depth: int = 0) -> list[Node]:
    return []
def main():
    return {"node": str(typing.get_type_hints(Node)), "walk": sorted(typing.get_type_hints(walk))}
"""), {"node": "{'next': typing.Optional[script.Node]}", "walk": ["depth", "node", "return"]})

    def test_future_imports_are_the_scripts_alone(self):
        self.assertEqual(self.result("def f(x: int):\n    pass\ndef main():\n    return {'annotation': f.__annotations__['x'] is int}"), {"annotation": True})

    def test_logging_works(self):
        self.assertEqual(self.run_script("""
import logging, sys
def main():
    logging.basicConfig(stream=sys.stdout, level=logging.INFO, format="%(levelname)s %(name)s %(message)s")
    logging.getLogger("mine").info("hello %d", 1)
    return {}
"""), (200, {"result": {}, "stdout": "INFO mine hello 1\n"}))

    def test_common_modules_work(self):
        self.assertEqual(self.result("""
import bz2, csv, ctypes, gzip, hashlib, io, lzma, mmap, statistics, urllib.parse, xml.etree.ElementTree as tree, zipfile, zlib
def main():
    rows = list(csv.DictReader(io.StringIO("a,b\\n1,2\\n")))
    with zipfile.ZipFile("/tmp/x.zip", "w") as archive:
        archive.writestr("name", "text")
    with open("/tmp/map", "w+b") as file:
        file.write(b"x" * 8192)
        file.flush()
        with mmap.mmap(file.fileno(), 0) as mapped:
            mapped[0:3] = b"abc"
    return {"rows": rows, "sha": hashlib.sha256(b"").hexdigest()[:8], "zip": zipfile.ZipFile("/tmp/x.zip").read("name").decode(), "map": open("/tmp/map").read(4),
            "packed": all(m.decompress(m.compress(b"x" * 1000)) == b"x" * 1000 for m in (bz2, gzip, lzma, zlib)), "median": statistics.median([1, 2, 9]),
            "xml": tree.fromstring("<a><b>c</b></a>").find("b").text, "url": urllib.parse.quote("ä b"), "c": ctypes.CDLL(None).abs(-3)}
"""), {"rows": [{"a": "1", "b": "2"}], "sha": "e3b0c442", "zip": "text", "map": "abcx", "packed": True, "median": 2, "xml": "c", "url": "%C3%A4%20b", "c": 3})

    def test_modules_of_its_own_can_be_imported(self):
        self.assertEqual(self.result("""
import importlib, sys
def main():
    open("/tmp/own.py", "w").write("value = 7")
    sys.path.insert(0, "/tmp")
    importlib.invalidate_caches()
    import own
    return {"value": own.value}
"""), {"value": 7})

    @only_full("/dev/shm can not be listed")
    def test_files_can_be_locked_and_linked(self):
        self.assertEqual(self.result("""
import fcntl, os, shutil
def main():
    with open("/tmp/a", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.write("x")
    os.link("/tmp/a", "/tmp/b")
    os.symlink("a", "/tmp/c")
    os.mkfifo("/tmp/pipe")
    os.chmod("/tmp/a", 0o600)
    shutil.copytree("/tmp", "/dev/shm/copy", ignore=shutil.ignore_patterns("pipe"))
    return {"links": os.stat("/tmp/a").st_nlink, "read": open("/tmp/c").read(), "copied": sorted(os.listdir("/dev/shm/copy"))}
"""), {"links": 2, "read": "x", "copied": ["a", "b", "c"]})


class NumpyTest(Case):
    def test_linear_algebra_works(self):
        self.assertEqual(self.result("""
import numpy as np
def main():
    a = np.random.default_rng(1).random((300, 300))
    b = a @ a
    x = np.linalg.solve(a, a @ np.ones(300))
    u, s, v = np.linalg.svd(a[:60, :60])
    values, vectors = np.linalg.eig(a[:60, :60])
    return {"solve": bool(np.allclose(x, 1)), "svd": bool(np.allclose(u @ np.diag(s) @ v, a[:60, :60])), "inverse": bool(np.allclose(np.linalg.inv(a) @ b, a)),
            "eig": bool(np.allclose(a[:60, :60] @ vectors, vectors * values)), "matmul": bool(np.isclose(b[7, 9], (a[7] * a[:, 9]).sum())),
            "fft": bool(np.allclose(np.fft.ifft(np.fft.fft(a[0])), a[0]))}
"""), {"solve": True, "svd": True, "inverse": True, "eig": True, "matmul": True, "fft": True})

    def test_arrays_are_saved_and_mapped(self):
        self.assertEqual(self.result("""
import numpy as np
def main():
    np.save("/tmp/a.npy", np.arange(10000))
    return {"sum": int(np.load("/tmp/a.npy", mmap_mode="r").sum())}
"""), {"sum": 49995000})

    def test_floating_point_flags_are_the_usual(self):
        self.assertEqual(self.result("""
import warnings
import numpy as np
def main():
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        np.array([1.0]) / 0
    return {"warned": [str(w.message) for w in seen], "subnormal": 5e-324 > 0}
"""), {"warned": ["divide by zero encountered in divide"], "subnormal": True})


class PandasTest(Case):
    def test_frames_are_grouped_and_merged(self):
        self.assertEqual(self.result("""
import pandas as pd
def main():
    left = pd.DataFrame({"k": ["a", "b", "a"], "v": [1, 2, 3]})
    right = pd.DataFrame({"k": ["a", "b"], "w": [10, 20]})
    merged = left.merge(right, on="k").sort_values(["k", "v"])
    return {"sums": {k: int(v) for k, v in left.groupby("k")["v"].sum().items()}, "w": merged["w"].tolist(),
            "pivot": merged.pivot_table(index="k", values="w", aggfunc="mean")["w"].tolist(), "described": left.describe().shape}
"""), {"sums": {"a": 4, "b": 2}, "w": [10, 10, 20], "pivot": [10.0, 20.0], "described": [8, 1]})

    def test_csv_is_read_from_text_and_file(self):
        self.assertEqual(self.result("""
import io
import pandas as pd
def main():
    text = "name,when,n\\nä,2024-01-02,1\\nb,2024-01-03,2\\n"
    with open("/tmp/x.csv", "w") as file:
        file.write(text)
    first = pd.read_csv(io.StringIO(text), parse_dates=["when"])
    second = pd.read_csv("/tmp/x.csv", parse_dates=["when"])
    second.to_csv("/tmp/y.csv", index=False)
    return {"same": first.equals(second), "again": open("/tmp/y.csv").read() == text, "total": int(second["n"].sum()), "json": first["name"].to_json(force_ascii=False)}
"""), {"same": True, "again": True, "total": 3, "json": '{"0":"ä","1":"b"}'})

    def test_times_have_zones(self):
        self.assertEqual(self.result("""
import pandas as pd
def main():
    times = pd.to_datetime(pd.Series(["2024-07-01 12:00", "2024-01-01 12:00"])).dt.tz_localize("UTC").dt.tz_convert("Europe/Berlin")
    hourly = pd.Series(range(48), index=pd.date_range("2024-01-01", periods=48, freq="D")).resample("MS").sum()
    return {"times": [t.isoformat() for t in times], "utc": str(pd.to_datetime("2024-07-01T12:00:00+02:00").tz_convert("UTC")), "monthly": hourly.tolist()}
"""), {"times": ["2024-07-01T14:00:00+02:00", "2024-01-01T13:00:00+01:00"], "utc": "2024-07-01 10:00:00+00:00", "monthly": [465, 663]})

    def test_matplotlib_draws(self):
        status, answer = self.run_script("""
import io
import matplotlib.pyplot as plt
def main():
    figure, axes = plt.subplots()
    axes.plot([1, 2, 3])
    out = io.BytesIO()
    figure.savefig(out, format="png")
    return {"png": out.getvalue()[:4].hex()}
""")
        if answer == {"error": "Script execution failed: ModuleNotFoundError: No module named 'matplotlib'"}:
            self.skipTest("matplotlib isn't installed")
        self.assertEqual((status, answer["result"]), (200, {"png": "89504e47"}))


if __name__ == "__main__":
    unittest.main()
