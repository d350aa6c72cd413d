"""GET /metrics: what Prometheus reads, counted exactly; and no label that a stranger can make grow."""

import json
import re
import shutil
import subprocess
import tempfile
import unittest

from service import OK, SPARE, Case, Service, eventually, key_line, limit, post, script_body

STATUSES = ["ok", "exception", "exit", "no_entry", "not_json", "wall_limit", "cpu_limit", "memory_limit", "output_limit", "process_limit", "disk_limit", "signal", "cancelled", "internal"]
HISTOGRAMS = ("vivary_run_seconds", "vivary_queue_seconds", "vivary_handover_seconds")


def runs(path, status):
    return f'vivary_runs_total{{path="{path}",status="{status}"}}'


def answers(digit):
    return f'vivary_http_answers_total{{class="{digit}xx"}}'


class MetricsCase(Case):
    @classmethod
    def setUpClass(cls):
        cls.own_start("--preload", "", "--slots", "3", "--queue-max", "2")

    def text(self):
        return self.service.request("GET", "/metrics")[2].decode()

    def run_code(self, code, headers=(), **fields):
        return self.service.request("POST", "/v1/run", json.dumps({"code": code, **fields}), {"Content-Type": "application/json", **dict(headers)})

    def difference(self, do):
        """What has changed, without times, memory and what comes and goes with connections."""
        eventually(lambda: self.service.metrics()['vivary_workers{state="waiting"}'] == 3 + SPARE, 5, "all workers wait")
        before = self.service.metrics()
        do()
        after = self.service.metrics()
        self.assertEqual([series for series in before if series not in after], [])
        return {series: value - before.get(series, 0) for series, value in after.items()
                if value != before.get(series, 0) and not re.match(r"\w+_seconds_(bucket|sum)|vivary_(workers|process_resident_bytes|descriptors|connections|forks_total|answer_bytes_total)", series)}


class FormTest(MetricsCase):
    def check(self, text):
        if shutil.which("promtool") is None:
            self.skipTest("promtool isn't installed: Debian has it in prometheus")
        done = subprocess.run(["promtool", "check", "metrics"], input=text, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        self.assertEqual((done.returncode, done.stdout), (0, ""))

    def test_promtool_finds_nothing_wrong(self):
        self.check(self.text())
        self.run_code("import socket, os\ndef main():\n    for family in (2, 10):\n        try:\n            socket.socket(family)\n        except OSError:\n            pass\n    try:\n        os.chroot('/')\n    except OSError:\n        pass\n    print('x')")
        self.service.post(b"{")
        text = self.text()
        self.assertIn('vivary_denied_calls_total{call="chroot"} 1\n', text)
        self.check(text)

    def test_it_is_prometheus_text(self):
        status, headers, body = self.service.request("GET", "/metrics")
        self.assertEqual((status, headers["Content-Type"]), (200, "text/plain; version=0.0.4"))
        self.assertTrue(body.endswith(b"\n"))
        status, headers, body = self.service.request("HEAD", "/metrics")
        self.assertEqual((status, body), (200, b""))
        status, headers, body = self.service.request("POST", "/metrics", b"")
        self.assertEqual((status, headers["Allow"]), (405, "GET, HEAD"))
        self.assertEqual(self.service.request("GET", "/metrics?x=1")[0], 200)

    def test_every_status_is_there_from_the_beginning(self):
        with Service("--preload", "", "--slots", "1", "--spare", "0") as service:
            found, text = service.metrics(), service.request("GET", "/metrics")[2].decode()
        for line in ('vivary_runs_total{path="run",runtime="default",status="ok"} 0', 'vivary_workers{runtime="default",state="waiting"} 1'):
            self.assertIn(f"\n{line}\n", text)
        self.assertEqual([series for series in found if series.startswith("vivary_runs_total")], [runs(path, status) for path in ("execute", "run") for status in STATUSES])
        self.assertEqual({value for series, value in found.items() if series.startswith(("vivary_runs_total", "vivary_http_answers_total", "vivary_denied_calls_total", *HISTOGRAMS))}, {0})
        self.assertEqual((found["vivary_slots"], found["vivary_request_bytes_total"], found["vivary_answer_bytes_total"]), (1, 0, 0))
        self.assertIn(found["vivary_zygotes_total"], (1, 2))  # the quick one, and the one that takes its place a moment later

    def test_histograms_add_up(self):
        for _ in range(5):
            self.run_code(OK)
        self.run_code("import time\ndef main():\n    time.sleep(0.06)")
        found = self.service.metrics()
        for name in HISTOGRAMS:
            buckets = [(re.search(r'le="(.*)"', series)[1], value) for series, value in found.items() if series.startswith(name + "_bucket")]
            bounds = [float(bound) for bound, _ in buckets]
            self.assertEqual(bounds, sorted(set(bounds)))
            self.assertEqual(buckets[-1][0], "+Inf")
            values = [value for _, value in buckets]
            self.assertEqual(values, sorted(values))
            self.assertEqual(values[-1], found[name + "_count"])
            self.assertGreaterEqual(found[name + "_count"], 6)
        self.assertGreater(found["vivary_run_seconds_sum"], 0.06)
        below = [value for series, value in found.items() if series.startswith("vivary_run_seconds_bucket") and float(re.search(r'le="(.*)"', series)[1]) < 0.06]
        self.assertLess(below[-1], found["vivary_run_seconds_count"])


class CountTest(MetricsCase):
    def run_counts(self, path, status, body, **more):
        """What one run and one look at /metrics count."""
        counts = {runs(path, status): 1, answers(2): 2, "vivary_request_bytes_total": len(body), "vivary_run_seconds_count": 1, "vivary_queue_seconds_count": 1, "vivary_handover_seconds_count": 1}
        counts.update(more)
        return counts

    def test_runs_are_counted_by_their_status(self):
        for status, code, fields in (("ok", OK, {}), ("exception", "def main():\n    1 / 0", {}), ("exit", "import sys\ndef main():\n    sys.exit(3)", {}), ("no_entry", "x = 1", {}),
                                     ("not_json", "def main():\n    return object()", {}), ("wall_limit", "def main():\n    while True: pass", {"limits": {"wall_ms": 100}}),
                                     ("cpu_limit", "def main():\n    while True: pass", {"limits": {"cpu_ms": 100}}), ("memory_limit", "def main():\n    return len(b'x' * (400 << 20))", {"limits": {"memory_mb": 64}}),
                                     ("output_limit", "def main():\n    open('a', 'wb').write(bytes(2 << 20))", {"limits": {"files_mb": 1}}),
                                     ("process_limit", "import threading\ngate = threading.Event()\ndef main():\n    try:\n        for _ in range(100):\n            threading.Thread(target=gate.wait).start()\n    finally:\n        gate.set()", {"limits": {"processes": 8}}),
                                     ("disk_limit", "import os\ndef main():\n    file = os.open('x', os.O_WRONLY | os.O_CREAT)\n    while True:\n        os.write(file, bytes(1 << 20))", {"fetch": []}),
                                     ("signal", "import os\ndef main():\n    os.kill(os.getpid(), 9)", {})):
            with self.subTest(status=status):
                body = json.dumps({"code": code, **fields}).encode()
                self.assertEqual(self.difference(lambda body=body: self.service.request("POST", "/v1/run", body)), self.run_counts("run", status, body))

    def test_runs_of_execute_are_counted_too(self):
        for status, script, digit in (("ok", OK, 2), ("exception", "def main():\n    1 / 0", 4), ("signal", "import os\ndef main():\n    os.kill(os.getpid(), 9)", 4)):
            with self.subTest(status=status):
                body = script_body(script)
                expected = self.run_counts("execute", status, body)
                if digit == 4:
                    expected.update({answers(2): 1, answers(4): 1})
                self.assertEqual(self.difference(lambda body=body: self.service.post(body)), expected)

    def test_denied_calls_are_counted_by_name(self):
        code = "import os, socket\ndef main(n):\n    for i in range(n):\n        for f in (lambda: socket.socket(2), lambda: socket.socket(10), lambda: os.chroot('/')):\n            try:\n                f()\n            except OSError:\n                pass\n    return {}"
        body = json.dumps({"code": code, "input": [5]}).encode()
        expected = {'vivary_denied_calls_total{call="socket"}': 10, 'vivary_denied_calls_total{call="chroot"}': 5}
        self.assertEqual(self.difference(lambda: self.service.request("POST", "/v1/run", body)), self.run_counts("run", "ok", body, **expected))
        body = script_body(code.replace("main(n)", "main(n=5)"))
        self.assertEqual(self.difference(lambda: self.service.post(body)), self.run_counts("execute", "ok", body, **expected))

    def test_answers_are_counted_by_class(self):
        def ask():
            for method, path, body in (("GET", "/healthz", None), ("GET", "/nowhere", None), ("GET", "/execute", None), ("POST", "/execute", b"{}"), ("POST", "/v1/run", b"{}"), ("HEAD", "/readyz", None), ("GET", "/openapi.json", None)):
                self.service.request(method, path, body)

        self.assertEqual(self.difference(ask), {answers(2): 4, answers(4): 4, "vivary_request_bytes_total": 4})

    def test_answers_bytes_are_those_that_were_sent(self):
        def sent(*requests):
            """What the series says, and what came. The look at the series is itself an answer, counted after it was made."""
            before = self.text()
            came = len(before)
            for request in requests:
                came += len(self.service.request(*request)[2])
            after = self.text()
            return [float(re.search(r"^vivary_answer_bytes_total (\d+)$", text, re.M)[1]) for text in (before, after)], came

        for name, requests in (("none", []), ("plain", [("GET", "/healthz"), ("POST", "/execute", script_body("def main():\n    return {'x': 'y' * 5000}")), ("GET", "/nowhere"), ("GET", "/openapi.json")]),
                               ("a head alone", [("HEAD", "/healthz")]), ("a stream", [("POST", "/v1/run", json.dumps({"code": "def main():\n    print('x' * 5000)", "stream": True}))])):
            with self.subTest(of=name):
                (before, after), came = sent(*requests)
                self.assertEqual(after - before, came)

    def test_a_cancelled_run_is_a_run(self):
        def cancel():
            wire = self.service.wire()
            body = json.dumps({"code": "import socket, time\ndef main():\n    try:\n        socket.socket()\n    except OSError:\n        print('x', flush=True)\n    time.sleep(60)", "stream": True}).encode()
            self.length = len(body)
            wire.send(post(body, "/v1/run"))
            while b"event: stdout" not in wire.buffer:
                wire._more()
            wire.socket.close()
            eventually(lambda: self.service.metrics()['vivary_workers{state="running"}'] == 0, 1, "it was cancelled")

        found = self.difference(cancel)
        found.pop(answers(2))
        self.assertEqual(found, {runs("run", "cancelled"): 1, "vivary_request_bytes_total": self.length, "vivary_run_seconds_count": 1, "vivary_queue_seconds_count": 1,
                                 'vivary_denied_calls_total{call="socket"}': 1})

    def test_gauges_tell_what_is(self):
        wires = [self.service.wire() for _ in range(5)]
        for wire in wires:
            wire.send(post(json.dumps({"code": "import time\ndef main():\n    time.sleep(60)"}).encode(), "/v1/run"))

        def gauges():
            found = self.service.metrics()
            return [found[name] for name in ('vivary_workers{state="running"}', 'vivary_workers{state="waiting"}', "vivary_queue_depth", "vivary_slots", "vivary_connections")]

        eventually(lambda: gauges() == [3, SPARE, 2, 3, 6], 5, "three run and two wait, beside the spare workers")
        self.assertEqual(self.run_code(OK)[0], 503)
        for wire in wires:
            wire.socket.close()
        eventually(lambda: gauges() == [0, 3 + SPARE, 0, 3, 1], 5, "all is quiet")
        found = self.service.metrics()
        self.assertEqual(sum(value for name, value in found.items() if name.startswith("vivary_workers")), 3 + SPARE)
        for process in ("front", "keeper"):
            self.assertTrue(1 << 20 <= found[f'vivary_process_resident_bytes{{process="{process}"}}'] <= 64 << 20, found)

    def test_workers_that_were_forked_are_counted(self):
        eventually(lambda: self.service.metrics()['vivary_workers{state="waiting"}'] == 3 + SPARE, 5, "all workers wait")
        before = self.service.metrics()["vivary_forks_total"]
        for _ in range(7):
            self.assertEqual(self.run_code(OK)[0], 200)
        eventually(lambda: self.service.metrics()["vivary_forks_total"] == before + 7, 5, "a new one for each")

    def test_renewals_of_the_zygote_are_counted(self):
        with Service("--preload", "", "--slots", "1", "--renew-runs", "3") as service:
            for _ in range(8):
                self.assertEqual(service.execute(OK)[0], 200)
            eventually(lambda: service.execute(OK)[0] == 200 and service.metrics()["vivary_zygotes_total"] >= 2, 10, "another zygote was counted")


class LabelTest(MetricsCase):
    @limit(90)
    def test_no_request_makes_a_label(self):
        with tempfile.NamedTemporaryFile("w") as file:
            token, line = key_line("main")
            file.write(line + "\n")
            file.flush()
            with Service("--preload", "", "--slots", "2", "--keys", file.name) as service:
                right = {"Authorization": f"Bearer {token}"}
                service.request("POST", "/v1/run", json.dumps({"code": OK}), right)
                before = set(service.metrics())
                for i in range(20):
                    odd = f"odd{i}"
                    service.request("GET", f"/{odd}?{odd}={odd}")
                    service.request("GET", f"/v1/{odd}")
                    service.request("GET", f"/metrics?{odd}")
                    service.request(odd.upper(), "/execute")
                    service.request("POST", "/v1/run", json.dumps({"code": OK}), {"Authorization": f"Bearer {odd}"})
                    service.request("POST", "/v1/run", json.dumps({"code": OK, "runtime": odd}), right)
                    service.request("POST", "/v1/run", json.dumps({"code": OK, odd: 1}), right)
                    service.request("POST", "/v1/run", json.dumps({"code": f"class {odd}(Exception): pass\ndef main():\n    raise {odd}()"}), {**right, "X-Request-Id": odd, "User-Agent": odd, "X-Forwarded-For": odd})
                    service.request("POST", "/execute", script_body(f"def main():\n    raise ValueError('{odd}')"), right)
                self.assertEqual(set(service.metrics()), before)
                self.assertNotIn("odd", service.request("GET", "/metrics")[2].decode())
                # Calls have as many names as the service knows, and one for all others.
                code = "import ctypes\ndef main():\n    libc = ctypes.CDLL(None)\n    for number in range(0, 470):\n        if number not in (0, 1, 3, 7, 12, 13, 15, 22, 23, 34, 35, 56, 57, 58, 59, 60, 61, 62, 109, 112, 130, 200, 202, 230, 231, 232, 233, 234, 247, 270, 271, 281, 322, 436, 435, 441, 449, 424, 10, 11, 9, 25):\n            libc.syscall(number, -1, 0, 0, 0, 0, 0)"
                service.request("POST", "/v1/run", json.dumps({"code": code, "limits": {"wall_ms": 2000}}), right)
                calls = [series for series in set(service.metrics()) - before]
                self.assertTrue(all(re.fullmatch(r'vivary_denied_calls_total\{call="[a-z0-9_]+"\}', series) for series in calls), calls)
                self.assertLessEqual(len(calls), 40)


if __name__ == "__main__":
    unittest.main()
