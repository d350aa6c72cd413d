"""API keys: who is let in, how much each may send, whose turn it is, and the file that says so."""

import concurrent.futures
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import tempfile
import threading
import time
import unittest

from service import BINARY, LEVEL, OK, RunCase, SANDBOX_FAILED, STOP_S, Service, environment, eventually, key_line, post, script_body

RUNNING = 'vivary_workers{state="running"}'
WHEN = "import time\ndef main(s=0):\n    began = time.time()\n    time.sleep(s)\n    return [began, time.time()]"
HOLD = "import time\ndef main():\n    time.sleep(60)"
UNAUTHORIZED = {"type": "about:blank", "title": "Unauthorized", "status": 401, "code": "unauthorized", "param": None, "detail": "An API key is needed: Authorization: Bearer TOKEN"}


class KeysCase(RunCase):
    """A service of this class, with the keys of LINES: name and fields."""

    LINES = (("main",),)
    OPTIONS = ("--slots", "4")

    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(cls.folder.cleanup)
        cls.file = os.path.join(cls.folder.name, "keys")
        cls.write(cls.LINES)
        cls.own_start("--preload", "", "--keys", cls.file, *cls.OPTIONS)

    @classmethod
    def write(cls, lines):
        with open(cls.file, "w") as file:
            file.write("# keys\n" + "".join(key_line(*line)[1] + "\n" for line in lines))

    @staticmethod
    def token(name):
        return key_line(name)[0]

    def bearer(self, name):
        return {"Authorization": f"Bearer {self.token(name)}"}

    def as_key(self, name, code=OK, **fields):
        """Status, headers and parsed body of a run."""
        return self.ask({"code": code, **fields}, **self.bearer(name))

    def status(self, name):
        return self.as_key(name)[0]

    def times(self, name, seconds=0):
        status, _, answer = self.as_key(name, WHEN, input=[seconds])
        self.assertEqual((status, answer.get("status")), (200, "ok"), answer)
        return answer["result"]

    def hold(self, name, count=1):
        """Connections whose runs go on until they are closed."""
        wires = [self.service.wire() for _ in range(count)]
        for wire in wires:
            wire.send(post(json.dumps({"code": HOLD}).encode(), "/v1/run", [f"Authorization: Bearer {self.token(name)}"]))
        return wires

    def metric(self, name):
        return self.service.metrics()[name]

    def reload(self, lines=None, text=None):
        """Has the file read again, and waits until that is done."""
        if lines is not None:
            self.write(lines)
        if text is not None:
            with open(self.file, "w") as file:
                file.write(text)
        right = text is None
        # The front takes them after the supervisor has said so.
        word = "event=keys_taken" if right else "level=error process=vivary event=reload"
        before = self.service.log().count(word)
        os.kill(self.service.pid, signal.SIGHUP)
        eventually(lambda: self.service.log().count(word) > before, 5, f"{word} is logged: {self.service.said()}")


class DoorTest(KeysCase):
    def runs(self):
        return sum(value for name, value in self.service.metrics().items() if name.startswith("vivary_runs_total"))

    def test_without_a_right_key_nothing_is_run_or_told(self):
        right = self.token("main")
        before = self.runs()
        for value in (None, "", "Bearer", "Bearer ", "Bearer wrong", f"Bearer {right}x", f"Bearer {right[:-1]}", f"Bearer {right} x", right, f"Basic {right}", f"Bearer\t{right}", f"Bearer{right}",
                      "Bearer " + key_line("main")[1].split()[1], "Bearer main", "Bearer " + "x" * 300, f"Bearer {right.upper()}", f"Token {right}"):
            headers = {} if value is None else {"Authorization": value}
            for method, path, request in (("POST", "/execute", script_body(OK)), ("POST", "/v1/run", json.dumps({"code": OK})), ("GET", "/v1/runtimes", None), ("HEAD", "/v1/runtimes", None)):
                with self.subTest(value=value, path=path, method=method):
                    status, got, answer = self.service.request(method, path, request, headers)
                    self.assertEqual((status, got["WWW-Authenticate"]), (401, "Bearer"))
                    if path == "/execute":
                        self.assertEqual(json.loads(answer), {"error": "An API key is needed: Authorization: Bearer TOKEN"})
                    elif method != "HEAD":
                        self.assertEqual((got["Content-Type"], json.loads(answer)), ("application/problem+json", UNAUTHORIZED))
        self.assertEqual(self.runs(), before)

    def test_the_right_key_opens_all(self):
        headers = self.bearer("main")
        status, _, answer = self.service.request("POST", "/execute", script_body(OK), headers)
        self.assertEqual((status, json.loads(answer)), (200, {"result": {"ok": True}, "stdout": ""}))
        status, _, answer = self.as_key("main")
        self.assertEqual((status, answer["status"], answer["result"]), (200, "ok", {"ok": True}))
        status, got, answer = self.service.request("GET", "/v1/runtimes", None, headers)
        self.assertEqual((status, got["Content-Type"], [row["name"] for row in json.loads(answer)["runtimes"]]), (200, "application/json", ["default"]))

    def test_the_scheme_has_any_case(self):
        for scheme in ("bearer", "BEARER", "bEaReR"):
            self.assertEqual(self.ask({"code": OK}, Authorization=f"{scheme} {self.token('main')}")[0], 200)
        self.assertEqual(self.ask({"code": OK}, Authorization=f"Bearer   {self.token('main')}")[0], 200)

    def test_other_paths_stay_open(self):
        for path in ("/healthz", "/metrics", "/openapi.json"):
            self.assertEqual(self.service.request("GET", path)[0], 200, path)
        eventually(lambda: self.service.request("GET", "/readyz")[0] == 200, 5, "a worker waits or runs")
        self.assertEqual([self.service.request(*what)[0] for what in (("GET", "/execute"), ("GET", "/v1/run"), ("POST", "/v1/runtimes"), ("GET", "/v1/other"), ("GET", "/"))], [405, 405, 405, 404, 404])

    def test_a_refused_connection_serves_on(self):
        with self.service.wire() as wire:
            for token, expected in (("wrong", 401), (self.token("main"), 200), ("wrong", 401), (self.token("main"), 200)):
                wire.send(post(script_body(OK), headers=[f"Authorization: Bearer {token}"]))
                self.assertEqual(wire.answer()[0], expected)


class FileTest(RunCase):
    def serve_with(self, text):
        """Exit status and stderr of a service that must not start."""
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "keys")
            if text is not None:
                with open(path, "wb") as file:
                    file.write(text)
            done = subprocess.run([BINARY, "serve", *LEVEL, "--listen", "127.0.0.1:0", "--keys", path], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                  env=environment(), timeout=STOP_S, check=False)
            self.assertEqual(done.stdout, b"")
            return done.returncode, done.stderr.decode().replace(path, "FILE")

    def test_a_bad_file_refuses_to_start_and_names_the_line(self):
        token, good = key_line("a")
        digest = good.split()[1]
        for bad, word in (("b", "none"), (f"b {token}", "64 hexadecimal digits"), (f"b {digest[:-1]}x", "digit 64"), (f"b! {digest}", "0x21"), (key_line("b", "rate=0")[1], "'0'"),
                          (key_line("b", "rate=-1")[1], "'-1'"), (key_line("b", "burst=2")[1], "rate"), (key_line("b", "typo=2")[1], "'typo'"), (key_line("b", "share=0")[1], "share"),
                          (key_line("b", "share=2", "share=2")[1], "twice"), (key_line("b", "rate")[1], "'='"), (key_line("a", "share=2")[1], "line 2"), (f"b {digest}", "line 2")):
            with self.subTest(bad=bad):
                status, said = self.serve_with(f"# keys\n{good}\n\n{bad}\n".encode())
                self.assertEqual(status, 1)
                self.assertTrue(said.startswith("vivary: FILE: line 4: "), said)
                self.assertIn(word, said)
                self.assertNotIn(token, said)
        self.assertTrue(self.serve_with(b"a\0b\n")[1].startswith("vivary: FILE: line 1: "))

    def test_a_file_that_is_not_there_refuses_to_start(self):
        status, said = self.serve_with(None)
        self.assertEqual(status, 1)
        self.assertIn("FILE", said)

    def test_a_file_without_keys_lets_nobody_in(self):
        with tempfile.NamedTemporaryFile("w") as file, Service("--preload", "", "--keys", file.name) as service:
            self.assertEqual([service.request("POST", "/execute", script_body(OK), headers)[0] for headers in ({}, {"Authorization": "Bearer "}, {"Authorization": "Bearer x"})], [401, 401, 401])


class NewTest(RunCase):
    def new(self, *names):
        return subprocess.run([BINARY, "key", "new", *names], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment(), timeout=STOP_S, check=False)

    def test_a_new_key_is_printed_once_and_opens(self):
        lines = [self.new("some.name-1").stdout.splitlines() for _ in range(2)]
        for token, line in lines:
            self.assertRegex(token, r"^vk_[A-Za-z0-9_-]{43}$")
            self.assertRegex(line, r"^some\.name-1 [0-9a-f]{64}$")
        self.assertEqual(len({token for token, _ in lines} | {line for _, line in lines}), 4)
        with tempfile.NamedTemporaryFile("w") as file:
            file.write(lines[0][1] + " rate=5 burst=2  # of a test\r\n")
            file.flush()
            with Service("--preload", "", "--keys", file.name) as service:
                self.assertEqual([service.request("POST", "/execute", script_body(OK), {"Authorization": f"Bearer {token}"})[0] for token, _ in lines], [200, 401])

    def test_a_name_that_is_none_is_refused(self):
        for names in ((), ("a", "b"), ("",), ("a b",), ("a=b",), ("ä",), ("x" * 64,), ("a\nb",)):
            with self.subTest(names=names):
                done = self.new(*names)
                self.assertEqual((done.returncode, done.stdout), (2, ""))
                self.assertTrue(done.stderr.startswith("vivary: "), done.stderr)
        self.assertEqual(self.new("x" * 63).returncode, 0)


class ReloadTest(KeysCase):
    LINES = (("main",), ("other",))

    def setUp(self):
        self.reload(self.LINES)

    def test_an_added_key_opens(self):
        self.assertEqual(self.status("added"), 401)
        self.reload((*self.LINES, ("added",)))
        self.assertEqual([self.status(name) for name in ("added", "main", "other")], [200, 200, 200])

    def test_a_removed_key_is_refused_and_its_runs_are_answered(self):
        with concurrent.futures.ThreadPoolExecutor(6) as pool:
            # Four run, and two wait.
            flying = [pool.submit(self.as_key, "other", WHEN, input=[1]) for _ in range(6)]
            eventually(lambda: self.metric(RUNNING) == 4 and self.metric("vivary_queue_depth") == 2, 5, "they run and wait")
            self.reload((("main",),))
            self.assertEqual(self.status("other"), 401)
            self.assertFalse(any(future.done() for future in flying))
            self.assertEqual([future.result()[0] for future in flying], [200] * 6)
        self.assertEqual((self.status("other"), self.status("main")), (401, 200))

    def test_a_file_that_is_wrong_changes_nothing(self):
        for text in ("added 123\n", key_line("added")[1] + "\n" + key_line("added")[1] + "\n"):
            self.reload(text=text)
            self.assertEqual([self.status(name) for name in ("main", "other", "added")], [200, 200, 401])
        self.assertIn("keys: line 1: ", self.service.log())

    def test_a_file_that_is_gone_changes_nothing(self):
        before = self.service.log().count("event=reload")
        os.unlink(self.file)
        os.kill(self.service.pid, signal.SIGHUP)
        eventually(lambda: self.service.log().count("event=reload") > before, 5, "it is logged")
        self.assertEqual([self.status(name) for name in ("main", "other", "added")], [200, 200, 401])

    def test_another_token_of_the_same_name_replaces_the_first(self):
        line = "main " + key_line("changed")[1].split()[1]
        with open(self.file, "w") as file:
            file.write(line + "\n")
        self.reload()
        self.assertEqual((self.status("main"), self.status("changed")), (401, 200))

    def test_a_changed_rate_counts_at_once(self):
        self.reload((("main", "rate=0.01", "burst=2"),))
        self.assertEqual([self.status("main") for _ in range(3)], [200, 200, 429])
        self.reload((("main",),))
        self.assertEqual([self.status("main") for _ in range(3)], [200, 200, 200])

    def test_many_reloads_lose_no_run(self):
        stop = threading.Event()

        def ask():
            found = []
            while not stop.is_set():
                found.append(self.status("main"))
            return found

        with concurrent.futures.ThreadPoolExecutor(3) as pool:
            futures = [pool.submit(ask) for _ in range(3)]
            try:
                for i in range(20):
                    # Not by the log: it has room for so many lines a second only.
                    self.write((("main",), (f"k{i}",)))
                    os.kill(self.service.pid, signal.SIGHUP)
                    eventually(lambda name=f"k{i}": self.status(name) == 200, 5, "the new key opens")
            finally:
                stop.set()
            statuses = [status for future in futures for status in future.result()]
        self.assertGreater(len(statuses), 20)
        self.assertEqual(set(statuses), {200})


class CrashTest(KeysCase):
    """Keys outlive the front; its process is this service's own."""

    LINES = (("main",),)

    def front_end(self):
        front = self.service.roles()["front"]
        os.kill(front, signal.SIGKILL)
        eventually(lambda: self.service.roles().get("front", front) != front, 10, "there is another front")

    def test_another_front_asks_for_keys_from_its_first_answer_on(self):
        front = self.service.roles()["front"]
        os.kill(front, signal.SIGKILL)
        seen = set()

        def opened():
            try:
                seen.add(self.service.request("POST", "/execute", script_body(OK))[0])
                return self.status("main") == 200
            except (OSError, http.client.HTTPException):
                return False

        eventually(opened, 10, "the key opens again")
        self.assertEqual(seen, {401})

    def test_a_bad_file_does_not_end_the_service_with_the_front(self):
        # A reload was refused, and the operator has not seen it yet.
        with tempfile.NamedTemporaryFile("w") as file:
            file.write(key_line("main")[1] + "\n")
            file.flush()
            service = Service("--preload", "", "--slots", "1", "--keys", file.name)
            try:
                file.write("broken\n")
                file.flush()
                front = service.roles()["front"]
                os.kill(front, signal.SIGKILL)

                def works():
                    if service.process.poll() is not None:
                        raise AssertionError(f"the service ended with {service.process.returncode}: {service.said()}")
                    try:
                        return service.request("POST", "/execute", script_body(OK), self.bearer("main"))[0] == 200
                    except (OSError, http.client.HTTPException):
                        return False

                eventually(works, 10, "the old keys open another front")
            finally:
                service.kill()


class RateTest(KeysCase):
    LINES = (("slow", "rate=0.01", "burst=3"), ("slow2", "rate=0.01"), ("quick", "rate=4", "burst=1"), ("free",), ("picky", "rate=0.01", "burst=1"))

    def test_a_burst_is_taken_and_then_refused_with_retry_after(self):
        found = [self.as_key("slow") for _ in range(5)]
        self.assertEqual([status for status, _, _ in found], [200, 200, 200, 429, 429])
        for _, headers, answer in found[3:]:
            self.assertTrue(98 <= int(headers["Retry-After"]) <= 100, headers["Retry-After"])
            self.assertEqual((headers["Content-Type"], answer["code"], answer["status"], answer["title"]), ("application/problem+json", "rate_limited", 429, "Too Many Requests"))
        status, headers, answer = self.service.request("POST", "/execute", script_body(OK), self.bearer("slow"))
        self.assertEqual((status, json.loads(answer)), (429, {"error": "This key has sent more runs than it may: try again later"}))
        self.assertTrue(98 <= int(headers["Retry-After"]) <= 100, headers["Retry-After"])
        self.assertEqual(self.status("free"), 200)

    def test_without_a_burst_one_is_taken(self):
        self.assertEqual([self.status("slow2") for _ in range(2)], [200, 429])

    def test_a_rate_comes_back_with_time(self):
        began = time.monotonic()
        for _ in range(4):
            eventually(lambda: self.status("quick") == 200, 2, "a token has come")
        took = time.monotonic() - began
        self.assertTrue(0.7 <= took <= 1.2, took)

    def test_what_is_refused_for_other_reasons_costs_nothing(self):
        for _ in range(3):
            self.assertEqual(self.ask(b"{", **self.bearer("picky"))[0], 400)
            self.assertEqual(self.ask({"code": OK, "limits": {"wall_ms": 10 ** 9}}, **self.bearer("picky"))[0], 422)
            self.assertEqual(self.service.request("GET", "/v1/runtimes", None, self.bearer("picky"))[0], 200)
        self.assertEqual([self.status("picky") for _ in range(2)], [200, 429])


class LimitsTest(KeysCase):
    LINES = (("small", "wall-ms=400", "cpu-ms=5000", "memory-mb=96", "output-kb=1", "files-mb=1", "processes=7"), ("large", "wall-ms=4000000000", "memory-mb=4000000000"), ("free",))

    def test_more_than_the_keys_limits_is_refused(self):
        for name, most in (("wall_ms", 400), ("cpu_ms", 5000), ("memory_mb", 96), ("output_kb", 1), ("files_mb", 1), ("processes", 7)):
            with self.subTest(name=name):
                status, headers, answer = self.as_key("small", limits={name: most + 1})
                self.assertEqual((status, headers["Content-Type"], answer["code"], answer["param"]), (422, "application/problem+json", "limit_above_maximum", f"limits.{name}"))
                self.assertIn(str(most), answer["detail"])
                self.assertEqual(self.as_key("small", limits={name: most})[0], 200)
                self.assertEqual(self.as_key("free", limits={name: most + 1})[0], 200)

    def test_a_keys_limits_hold_where_none_are_asked_for(self):
        answer = self.as_key("small", "import time\ndef main():\n    time.sleep(5)")[2]
        self.assertEqual((answer["status"], answer["limit"]["name"], answer["limit"]["max"]), ("wall_limit", "wall_ms", 400))
        answer = self.as_key("small", "def main():\n    return len(b'x' * (300 << 20))")[2]
        self.assertEqual((answer["status"], answer["limit"]["name"], answer["limit"]["max"]), ("memory_limit", "memory_mb", 96))
        answer = self.as_key("small", "def main():\n    print('x' * 5000)")[2]
        self.assertEqual((answer["status"], len(answer["stdout"]), answer["truncated"]), ("ok", 1024, ["stdout"]))

    def test_a_keys_limits_hold_for_execute(self):
        def execute(name, script):
            status, _, answer = self.service.request("POST", "/execute", script_body(script), self.bearer(name))
            return status, json.loads(answer)

        began = time.monotonic()
        self.assertEqual(execute("small", "import time\ndef main():\n    time.sleep(5)"), (400, SANDBOX_FAILED))
        self.assertTrue(0.4 <= time.monotonic() - began <= 1.5)
        much = "def main():\n    return {'n': len(b'x' * (300 << 20))}"
        self.assertEqual(execute("small", much)[0], 400)  # killed, or a MemoryError
        self.assertEqual(execute("free", much), (200, {"result": {"n": 300 << 20}, "stdout": ""}))
        self.assertEqual(execute("small", "def main():\n    print('x' * 5000)\n    return {}"), (200, {"result": {}, "stdout": "x" * 1024, "stdout_truncated": True}))

    def test_a_key_can_not_raise_the_operators_limits(self):
        self.assertEqual([self.as_key("large", limits=limits)[0] for limits in ({"wall_ms": 10001}, {"memory_mb": 513}, {"wall_ms": 10000, "memory_mb": 512})], [422, 422, 200])

    def test_runtimes_tell_the_keys_limits(self):
        def limits(name):
            return json.loads(self.service.request("GET", "/v1/runtimes", None, self.bearer(name))[2])["runtimes"][0]["limits"]

        whole = {"wall_ms": 10000, "cpu_ms": 10000, "memory_mb": 512, "output_kb": 1024, "files_mb": 16, "processes": 64}
        self.assertEqual(limits("small"), {"wall_ms": 400, "cpu_ms": 5000, "memory_mb": 96, "output_kb": 1, "files_mb": 1, "processes": 7})
        self.assertEqual((limits("large"), limits("free")), (whole, whole))


class AtOnceTest(KeysCase):
    LINES = (("one", "at-once=1"), ("two", "at-once=2"), ("free",))

    def overlaps(self, spans):
        """How many were there at once, at most."""
        marks = sorted([(began, 1) for began, _ in spans] + [(ended, -1) for _, ended in spans])
        found = now = 0
        for _, step in marks:
            now += step
            found = max(found, now)
        return found

    def test_at_once_holds_a_keys_own_runs_back_only(self):
        with concurrent.futures.ThreadPoolExecutor(12) as pool:
            ones = [pool.submit(self.times, "one", 0.15) for _ in range(4)]
            eventually(lambda: self.metric("vivary_queue_depth") == 3, 5, "three of them wait")
            twos = [pool.submit(self.times, "two", 0.15) for _ in range(4)]
            eventually(lambda: self.metric(RUNNING) == 3, 5, "two of the others run")
            free = self.times("free")
            ones, twos = ([future.result() for future in futures] for futures in (ones, twos))
        self.assertEqual((self.overlaps(ones), self.overlaps(twos)), (1, 2))
        self.assertLess(free[1], max(began for began, _ in ones))

    def test_a_run_that_is_cancelled_makes_room(self):
        wire, = self.hold("one")
        eventually(lambda: self.metric(RUNNING) == 1, 5, "it runs")
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            second = pool.submit(self.times, "one")
            eventually(lambda: self.metric("vivary_queue_depth") == 1, 5, "the second waits")
            closed = time.time()
            wire.socket.close()
            self.assertTrue(closed <= second.result(5)[0] <= closed + 1)


class TurnTest(KeysCase):
    """One slot, so that turns can be counted: by the scripts' own clock, not by when threads of here wake up."""

    LINES = (("a",), ("b",), ("c",), ("heavy", "share=3"), ("light",))
    OPTIONS = ("--slots", "1", "--queue-max", "300")

    def waiting(self, count):
        eventually(lambda: self.metric("vivary_queue_depth") == count, 10, f"{count} wait")

    def test_a_key_with_sixty_waiting_runs_adds_one_runs_time_to_anothers_wait(self):
        with concurrent.futures.ThreadPoolExecutor(61) as pool:
            wire, = self.hold("a")
            eventually(lambda: self.metric(RUNNING) == 1, 5, "the slot is taken")
            many = [pool.submit(self.times, "a", 0.03) for _ in range(60)]
            self.waiting(60)
            wire.socket.close()
            eventually(lambda: self.metric("vivary_queue_depth") <= 55, 5, "some have run")
            for _ in range(3):
                sent = time.time()
                began, _ = self.times("b")
                between = [ended for ended in (future.result()[1] for future in many if future.done()) if sent < ended <= began]
                self.assertLessEqual(len(between), 2)
            spans = [future.result() for future in many]
        self.assertLessEqual(len([ended for _, ended in spans if sent < ended <= began]), 2)
        self.assertLess(began, sorted(ended for _, ended in spans)[30], "too few of the sixty were still waiting")

    def test_three_keys_take_turns(self):
        with concurrent.futures.ThreadPoolExecutor(41) as pool:
            wire, = self.hold("light")
            eventually(lambda: self.metric(RUNNING) == 1, 5, "the slot is taken")
            futures = [(name, pool.submit(self.times, name)) for name, count in (("a", 24), ("b", 8), ("c", 8)) for _ in range(count)]
            self.waiting(40)
            wire.socket.close()
            order = [name for _, name in sorted((future.result()[0], name) for name, future in futures)]
        for turn in range(8):
            self.assertEqual(sorted(order[3 * turn:3 * turn + 3]), ["a", "b", "c"], order)

    def test_shares_are_turns(self):
        with concurrent.futures.ThreadPoolExecutor(61) as pool:
            wire, = self.hold("a")
            eventually(lambda: self.metric(RUNNING) == 1, 5, "the slot is taken")
            futures = [(name, pool.submit(self.times, name)) for name, count in (("light", 20), ("heavy", 40)) for _ in range(count)]
            self.waiting(60)
            wire.socket.close()
            order = [name for _, name in sorted((future.result()[0], name) for name, future in futures)]
        for end in (8, 20, 40):
            self.assertTrue(abs(order[:end].count("heavy") - end * 3 / 4) <= 1, order[:end])

    def test_who_had_nothing_to_do_has_saved_nothing_up(self):
        for _ in range(10):
            self.times("a")
        with concurrent.futures.ThreadPoolExecutor(21) as pool:
            wire, = self.hold("a")
            eventually(lambda: self.metric(RUNNING) == 1, 5, "the slot is taken")
            futures = [(name, pool.submit(self.times, name)) for name in ("a", "c") for _ in range(10)]
            self.waiting(20)
            wire.socket.close()
            order = [name for _, name in sorted((future.result()[0], name) for name, future in futures)]
        for end in range(4, 20, 2):
            self.assertTrue(abs(order[:end].count("c") - end / 2) <= 1, order)


class HeldBackTest(KeysCase):
    """Two slots, of which a key that is held back by at-once has one."""

    LINES = (("narrow", "at-once=1"), ("b",), ("c",))
    OPTIONS = ("--slots", "2", "--queue-max", "300")

    def test_a_key_that_was_held_back_gives_no_other_the_turns_that_it_missed(self):
        def waits(count):
            eventually(lambda: self.metric("vivary_queue_depth") == count, 10, f"{count} wait")

        narrow = self.hold("narrow")
        eventually(lambda: self.metric(RUNNING) == 1, 5, "its first runs")
        narrow += self.hold("narrow")
        waits(1)
        for _ in range(30):
            self.times("b")  # beside the one that is held back
        of_b, = self.hold("b")
        eventually(lambda: self.metric(RUNNING) == 2, 5, "both slots are taken")
        narrow[0].socket.close()  # now its second has its turn, thirty turns late
        waits(0)
        eventually(lambda: self.metric(RUNNING) == 2, 5, "the second runs")
        with concurrent.futures.ThreadPoolExecutor(40) as pool:
            futures = [(name, pool.submit(self.times, name)) for name in ("c", "b") for _ in range(20)]
            waits(40)
            of_b.socket.close()
            order = [name for _, name in sorted((future.result()[0], name) for name, future in futures)]
        narrow[1].socket.close()
        for end in range(4, 40, 2):
            self.assertTrue(abs(order[:end].count("b") - end / 2) <= 1, "".join(order))


class BurstTest(KeysCase):
    LINES = (("a",), ("b",), ("full",), ("other",))
    OPTIONS = ("--slots", "2", "--queue-max", "50")

    def test_a_burst_of_512_requests_from_128_connections_loses_none(self):
        start = threading.Barrier(128)

        def client(number):
            connection = self.service.connection()
            found = []
            try:
                connection.connect()
                start.wait(30)
                for i in range(4):
                    connection.request("POST", "/v1/run" if i % 2 else "/execute", json.dumps({"code": f"def main():\n    return {{'n': {number * 4 + i}}}"}) if i % 2
                                       else script_body(f"def main():\n    return {{'n': {number * 4 + i}}}"), self.bearer("ab"[number % 2]))
                    answer = connection.getresponse()
                    found.append((number * 4 + i, answer.status, answer.headers["Retry-After"], json.loads(answer.read())))
            finally:
                connection.close()
            return found

        with concurrent.futures.ThreadPoolExecutor(128) as pool:
            found = [row for rows in pool.map(client, range(128)) for row in rows]
        self.assertEqual(len(found), 512)
        for number, status, retry, answer in found:
            self.assertIn(status, (200, 503), answer)
            if status == 200:
                self.assertEqual(answer["result"], {"n": number})
            else:
                self.assertGreaterEqual(int(retry), 1)
        self.assertGreater(sum(status == 200 for _, status, _, _ in found), 100)
        self.assertEqual((self.metric("vivary_queue_depth"), self.metric(RUNNING)), (0, 0))

    def test_a_full_queue_of_one_key_is_not_anothers(self):
        wires = self.hold("full", 52)
        eventually(lambda: self.metric("vivary_queue_depth") == 50, 5, "its queue is full")
        status, headers, answer = self.as_key("full")
        self.assertEqual((status, answer["code"], headers["Retry-After"]), (503, "queue_full", "1"))
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            other = pool.submit(self.status, "other")
            eventually(lambda: self.metric("vivary_queue_depth") == 51, 5, "the other waits")
            for wire in wires:
                wire.socket.close()
            self.assertEqual(other.result(5), 200)


class SecretTest(KeysCase):
    LINES = (("main", "rate=0.01", "burst=3"), ("gone",))

    def test_a_token_is_in_no_log_and_no_metric(self):
        tokens = [self.token(name) for name in ("main", "gone", "never")]
        for _ in range(4):
            for name in ("main", "gone", "never"):
                self.as_key(name)
                self.service.request("GET", "/v1/runtimes", None, self.bearer(name))
                self.ask({"code": "def main():\n    1 / 0"}, Authorization=self.token(name))
        self.reload((("main",),))
        self.reload(text=f"main {self.token('main')}\n")
        self.reload(text=f"{self.token('main')} main\n")
        self.reload((("main",),))
        eventually(lambda: "event=run" in self.service.log(), 5, "runs are logged")
        for text in (self.service.log(), self.service.request("GET", "/metrics")[2].decode(), self.service.request("GET", "/readyz")[2].decode()):
            for token in tokens:
                self.assertNotIn(token, text)
                self.assertNotIn(token[10:], text)
            self.assertNotIn(key_line("main")[1].split()[1], text)


class OpenTest(unittest.TestCase):
    def warnings(self, listen, *options):
        with Service("--preload", "", "--slots", "1", *options, listen=listen) as service:
            self.assertTrue(service.process.poll() is None)
            return re.findall(r"^level=warning process=vivary event=open_to_everybody listen=(\S+) mend=--keys$", service.log(), re.M)

    def test_an_open_service_beyond_loopback_says_so(self):
        self.assertRegex(" ".join(self.warnings(("127.0.0.1:0", "0.0.0.0:0"))), r"^0\.0\.0\.0:\d+$")

    def test_on_loopback_or_with_keys_there_is_nothing_to_say(self):
        with tempfile.TemporaryDirectory() as folder:
            self.assertEqual(self.warnings(("127.0.0.1:0", "127.0.0.2:0", f"unix:{folder}/s")), [])
            path = os.path.join(folder, "keys")
            with open(path, "w") as file:
                file.write(key_line("a")[1])
            self.assertEqual(self.warnings(("127.0.0.1:0", "0.0.0.0:0"), "--keys", path), [])
        if socket.has_ipv6 and os.path.exists("/proc/net/if_inet6") and os.path.getsize("/proc/net/if_inet6") >= 0:
            with open("/proc/net/if_inet6") as file:
                if " lo" in file.read():
                    self.assertEqual(self.warnings(("127.0.0.1:0", "[::1]:0")), [])


if __name__ == "__main__":
    unittest.main()
