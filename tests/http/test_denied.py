"""`denied` in the answer of /v1/run: the calls that a cell refused, told with what was wanted, how often, and what to do instead."""

import concurrent.futures
import json
import re
import statistics
import subprocess
import time
import unittest

from service import BINARY, LEVEL, RunCase, doctor_says, environment, only_full, only_with_children

NETWORK = "there is no network in a cell: what a script needs must come with the request, or lie in /app"
NAMESPACES = "a cell has its own namespaces and files already, and can't make others"
OWN = "limits, identity and filters of a cell are set, and can't be changed from inside"
PROCESSES = "a script may look at, and act on, its own processes alone, by ordinary means"
DEVICES = "devices can't be made; /dev/null, zero, full, random and urandom are there"
OTHERS = "more kinds of calls were refused than are told apart"

EACCES, EPERM = 13, 1
CALLS = '''
import ctypes, errno, os, platform, socket
libc = ctypes.CDLL(None, use_errno=True)
X86 = platform.machine() == 'x86_64'
def call(number, *arguments):
    """0 or more, or -errno."""
    ctypes.set_errno(0)
    got = libc.syscall(ctypes.c_long(number), *(ctypes.c_long(a) if isinstance(a, int) else a for a in arguments))
    return got if got >= 0 else -ctypes.get_errno()
def refused(family, kind=socket.SOCK_STREAM):
    try:
        socket.socket(family, kind).close()
    except OSError as e:
        return e.errno
'''


def setUpModule():
    said = subprocess.run([BINARY, "doctor", *LEVEL], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, env=environment(), check=False).stdout
    if not re.search(r"^refused calls told +yes", said, re.M):
        raise unittest.SkipTest("this host doesn't tell of refused calls")


class DeniedCase(RunCase):
    @classmethod
    def setUpClass(cls):
        cls.own_start("--preload", "", "--slots", "4")

    def denied(self, code, **fields):
        """What main() returned, and what was denied."""
        answer = self.run_code(CALLS + code, **fields)
        self.assertEqual(answer["status"], "ok", answer["error"])
        return answer["result"], answer["denied"]

    def assert_rows(self, rows, *expected):
        self.assertEqual([tuple(row.values()) for row in rows], list(expected))
        self.assertEqual([list(row) for row in rows], [["call", "detail", "count", "hint"]] * len(rows))


class ToldTest(DeniedCase):
    def test_a_run_that_asks_for_nothing_odd_is_denied_nothing(self):
        self.assertEqual(self.denied("def main():\n    return 1"), (1, []))
        code = ("import asyncio, json, sqlite3, tempfile, threading, shutil\ndef main():\n    thread = threading.Thread(target=print)\n    thread.start()\n    thread.join()\n    asyncio.run(asyncio.sleep(0))\n"
                "    a, b = socket.socketpair()\n    a.send(b'x')\n    socket.socket(socket.AF_UNIX).close()\n    sqlite3.connect('x.db').execute('create table t (a)')\n    os.mkfifo('f')\n"
                "    shutil.copy('x.db', 'y.db')\n    os.kill(os.getpid(), 0)\n    return b.recv(1).decode()")
        self.assertEqual(self.denied(code), ("x", []))

    @only_with_children
    def test_children_and_pools_are_denied_nothing(self):
        code = "import multiprocessing, subprocess, sys\ndef main():\n    with multiprocessing.Pool(2) as pool:\n        found = pool.map(abs, [-1, -2])\n    return found + [subprocess.run([sys.executable, '-c', 'import json']).returncode]"
        self.assertEqual(self.denied(code), ([1, 2, 0], []))

    def test_each_family_of_sockets_is_told_by_its_name(self):
        names = ("AF_INET", "AF_INET6", "AF_NETLINK", "AF_PACKET", "AF_VSOCK", "AF_ALG")
        result, rows = self.denied(f"def main():\n    return [refused(getattr(socket, name)) for name in {names}]")
        self.assertEqual(result, [EACCES] * 6)
        self.assert_rows(rows, *(("socket", name, 1, NETWORK) for name in names))
        result, rows = self.denied("def main():\n    return [refused(5), refused(29)]")
        self.assertEqual(result, [EACCES] * 2)
        self.assert_rows(rows, ("socket", "5", 1, NETWORK), ("socket", "29", 1, NETWORK))

    def test_calls_are_counted_each(self):
        result, rows = self.denied("def main():\n    for i in range(70):\n        refused(socket.AF_INET)\n        if i % 10 == 0:\n            refused(socket.AF_INET6)\n            refused(socket.AF_INET, socket.SOCK_DGRAM)")
        self.assert_rows(rows, ("socket", "AF_INET", 77, NETWORK), ("socket", "AF_INET6", 7, NETWORK))

    def test_what_libraries_do_with_the_network_is_told(self):
        result, rows = self.denied("import urllib.request\ndef main():\n    try:\n        urllib.request.urlopen('http://127.0.0.1:1/')\n    except OSError as e:\n        return str(e)")
        self.assertEqual(result, "<urlopen error [Errno 13] Permission denied>")
        self.assert_rows(rows, ("socket", "AF_INET", 1, NETWORK))

    def test_threads_calls_are_counted_each(self):
        code = "import threading\ndef main():\n    threads = [threading.Thread(target=lambda: [refused(socket.AF_INET) for _ in range(10)]) for _ in range(8)]\n    for t in threads:\n        t.start()\n    for t in threads:\n        t.join()"
        self.assert_rows(self.denied(code)[1], ("socket", "AF_INET", 80, NETWORK))

    @only_with_children
    def test_subprocesses_calls_are_told(self):
        code = "import subprocess, sys\ndef main():\n    if os.fork() == 0:\n        refused(socket.AF_INET)\n        os._exit(0)\n    os.wait()\n    return subprocess.run([sys.executable, '-c', 'import socket\\nfor i in range(3):\\n  try: socket.socket(socket.AF_INET6)\\n  except PermissionError: pass']).returncode"
        result, rows = self.denied(code)
        self.assertEqual(result, 0)
        self.assert_rows(rows, ("socket", "AF_INET", 1, NETWORK), ("socket", "AF_INET6", 3, NETWORK))

    @unittest.skipUnless("x86_64" in doctor_says("kernel"), "numbers of x86_64")
    def test_the_error_is_what_it_was_and_the_hint_says_what_to_do(self):
        rows_of = ((41, (2, 1, 0), EACCES, "socket", "AF_INET", NETWORK), (53, (16, 3, 0, 0), EACCES, "socketpair", "AF_NETLINK", NETWORK), (165, (0, 0, 0, 0, 0), EPERM, "mount", None, NAMESPACES),
                   (161, (0,), EPERM, "chroot", None, NAMESPACES), (272, (0x10000000,), EPERM, "unshare", "0x10000000", NAMESPACES), (308, (0, 0x40000000), EPERM, "setns", "0x40000000", NAMESPACES),
                   (157, (22, 2, 0), EPERM, "prctl", "22", OWN), (317, (1, 0, 0), EPERM, "seccomp", "1", OWN), (444, (0, 0, 1), EPERM, "landlock_create_ruleset", None, OWN),
                   (126, (0, 0), EPERM, "capset", None, OWN), (302, (1, 7, 0, 0), EPERM, "prlimit64", "7", OWN), (133, (0, 0o020644, 0), EPERM, "mknod", "0x21a4", DEVICES),
                   (259, (-100, 0, 0o060600, 0), EPERM, "mknodat", "0x6180", DEVICES), (440, (0, 0, 0, 0, 0), EPERM, "process_madvise", None, PROCESSES))
        for number, arguments, error, name, detail, hint in rows_of:
            with self.subTest(name=name):
                result, rows = self.denied(f"def main():\n    return [call({number}, *{arguments}) for _ in range(2)]")
                self.assertEqual(result, [-error] * 2)
                self.assert_rows(rows, (name, detail, 2, hint))
        result, rows = self.denied("def main():\n    return call(16, 0, 0x5412, 0)")
        self.assertEqual((result, rows[0]["call"], rows[0]["detail"]), (-EPERM, "ioctl", "0x5412"))

    @unittest.skipUnless("x86_64" in doctor_says("kernel"), "numbers of x86_64")
    def test_high_halves_of_arguments_are_refused_and_told_as_the_kernel_reads_them(self):
        result, rows = self.denied("def main():\n    return [call(41, (1 << 32) | 2, 1, 0), call(41, (1 << 40) | 2, 1, 0)]")
        self.assertEqual(result, [-EACCES] * 2)
        self.assert_rows(rows, ("socket", "AF_INET", 2, NETWORK))

    @only_full("another filter lies below")
    @unittest.skipUnless("x86_64" in doctor_says("kernel"), "numbers of x86_64")
    def test_what_the_filter_below_refuses_is_not_told(self):
        # ptrace, bpf, io_uring_setup, perf_event_open, userfaultfd, kexec_load, init_module
        result, rows = self.denied("def main():\n    return [call(number, 0, 0, 0, 0) for number in (101, 321, 425, 298, 323, 246, 175)]")
        self.assertEqual((result, rows), ([-EPERM] * 7, []))

    def test_more_kinds_than_are_told_apart_are_others(self):
        families = [family for family in range(0, 46) if family != 1]
        result, rows = self.denied("def main(families):\n    return [refused(family) for family in families for _ in range(2)]", input=[families])
        self.assertEqual(result, [EACCES] * 90)
        self.assertEqual(len(rows), 25)
        self.assertEqual([row["count"] for row in rows], [2] * 24 + [42])
        self.assert_rows(rows[24:], ("others", None, 42, OTHERS))

    def test_a_run_tells_its_own_calls_alone(self):
        code = "def main(n):\n    for _ in range(n):\n        refused(socket.AF_INET)"
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            found = list(pool.map(lambda n: self.denied(code, input=[n])[1], range(24)))
        self.assertEqual([[row["count"] for row in rows] for rows in found], [[n] if n else [] for n in range(24)])

    def test_denied_calls_are_told_of_a_run_that_was_killed(self):
        answer = self.run_code(CALLS + "import time\ndef main():\n    refused(socket.AF_INET)\n    time.sleep(60)", limits={"wall_ms": 300})
        self.assertEqual(answer["status"], "wall_limit")
        self.assert_rows(answer["denied"], ("socket", "AF_INET", 1, NETWORK))
        answer = self.run_code(CALLS + "def main():\n    refused(socket.AF_INET6)\n    os.kill(os.getpid(), 9)")
        self.assertEqual(answer["status"], "signal")
        self.assert_rows(answer["denied"], ("socket", "AF_INET6", 1, NETWORK))

    def test_denied_is_told_where_a_script_fails_of_it(self):
        answer = self.run_code("import socket\ndef main():\n    socket.create_connection(('127.0.0.1', 80))")
        self.assertEqual((answer["status"], answer["error"]["name"], answer["error"]["value"]), ("exception", "PermissionError", "[Errno 13] Permission denied"))
        self.assert_rows(answer["denied"], ("socket", "AF_INET", 1, NETWORK))

    def test_execute_answers_as_it_did(self):
        before = self.service.metrics().get('vivary_denied_calls_total{call="socket"}', 0)
        code = CALLS + "def main():\n    return {'errno': [refused(socket.AF_INET) for _ in range(5)]}"
        self.assertEqual(self.run_script(code), (200, {"result": {"errno": [EACCES] * 5}, "stdout": ""}))
        self.assertEqual(self.service.metrics()['vivary_denied_calls_total{call="socket"}'], before + 5)


class FloodTest(DeniedCase):
    FLOOD = "import time\ndef main():\n    end = time.monotonic() + 2\n    n = 0\n    while time.monotonic() < end:\n        n += refused(socket.AF_INET) == 13\n    return {'n': n}"
    QUICK = "def main():\n    return {'n': sum(range(1000))}"

    def p50(self, seconds):
        took = []
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            start = time.monotonic()
            self.assertEqual(self.run_code(self.QUICK)["result"], {"n": 499500})
            took.append(time.monotonic() - start)
        self.assertGreater(len(took), 20)
        return statistics.median(took)

    def test_a_flood_of_refused_calls_does_not_slow_its_neighbours(self):
        quiet = self.p50(0.5)
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            floods = [pool.submit(self.denied, self.FLOOD), pool.submit(self.run_script, CALLS + self.FLOOD)]
            loud = self.p50(1.5)
            self.assertFalse(any(flood.done() for flood in floods))
            result, rows = floods[0].result()
            status, answer = floods[1].result()
        self.assertLess(loud, 3 * quiet)
        self.assert_rows(rows, ("socket", "AF_INET", result["n"], NETWORK))
        self.assertEqual((status, answer["result"]["n"] > 256), (200, True))

    def test_calls_beyond_the_free_ones_are_answered_and_counted_all_the_same(self):
        result, rows = self.denied("def main():\n    return sum(refused(socket.AF_INET) == 13 for _ in range(400))")
        self.assertEqual(result, 400)
        self.assert_rows(rows, ("socket", "AF_INET", 400, NETWORK))

    def test_a_run_that_ends_within_a_flood_leaves_the_slot_in_order(self):
        for _ in range(8):
            answer = self.run_code(CALLS + "def main():\n    while True:\n        refused(socket.AF_INET)", limits={"wall_ms": 200})
            self.assertEqual((answer["status"], answer["denied"][0]["detail"]), ("wall_limit", "AF_INET"))
        self.assertEqual(json.loads(self.service.post(b'{"script": "def main():\\n    return {}"}')[1]), {"result": {}, "stdout": ""})


if __name__ == "__main__":
    unittest.main()
