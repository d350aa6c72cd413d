"""The log: a line for each run, and what must never stand there; what a client calls its request."""

import concurrent.futures
import json
import os
import re
import signal
import subprocess
import tempfile
import threading
import unittest

from service import BINARY, OK, STOP_S, RunCase, Service, environment, eventually, key_line, post, script_body

TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
FIELDS = ["level", "process", "event", "id", "path", "key", "status", "queue_ms", "wall_ms"]
USED = ["user_ms", "system_ms", "memory_peak_kb", "faults"]


def line_parse(line):
    """Of logfmt without white space in values."""
    return dict(part.split("=", 1) for part in line.split(" "))


def line_json(line):
    """An object in which each key stands once."""
    pairs = json.loads(line, object_pairs_hook=list)
    assert len(dict(pairs)) == len(pairs), line
    return dict(pairs)


class LogCase(RunCase):
    parse = staticmethod(line_parse)

    @classmethod
    def setUpClass(cls):
        cls.own_start("--preload", "", "--slots", "4", "--log-format", "logfmt")

    def run_lines(self, service=None):
        return [found for found in map(self.parse, (service or self.service).log().splitlines()) if found["event"] == "run"]

    def lines_of(self, do, count=1):
        """The lines of runs that `do` makes; each is there before its answer is. A second has room for so many lines, of which few are used here."""
        before = len(self.run_lines())
        got = do()
        lines = self.run_lines()[before:]
        self.assertEqual(len(lines), count, self.service.said())
        return lines[0] if count == 1 else lines, got


class LineTest(LogCase):
    def test_a_run_has_one_line_with_its_fields(self):
        for status, code, fields in (("ok", "def main():\n    return 1", {}), ("exception", "def main():\n    1 / 0", {}), ("exit", "import os\ndef main():\n    os._exit(3)", {}), ("no_entry", "x = 1", {}),
                                     ("wall_limit", "import time\ndef main():\n    time.sleep(5)", {"limits": {"wall_ms": 100}}), ("signal", "import os\ndef main():\n    os.kill(os.getpid(), 9)", {}),
                                     ("ok", "def main():\n    print('x')", {"stream": True})):
            with self.subTest(status=status):
                line, answer = self.lines_of(lambda code=code, fields=fields: self.service.request("POST", "/v1/run", json.dumps({"code": code, **fields}))[2].decode())
                self.assertEqual(list(line), FIELDS + USED)
                self.assertEqual([line[name] for name in FIELDS[:7] if name != "id"], ["info", "front", "run", "run", "-", status])
                self.assertIn(f'"id": "{line["id"]}"', answer)
                for name in FIELDS[7:] + USED:
                    self.assertRegex(line[name], r"^\d+$")

    def test_a_run_of_execute_has_a_line_too(self):
        for status, script in (("ok", OK), ("exception", "def main():\n    1 / 0"), ("signal", "import os\ndef main():\n    os.kill(os.getpid(), 9)")):
            with self.subTest(status=status):
                line, _ = self.lines_of(lambda script=script: self.service.execute(script))
                self.assertEqual(list(line), FIELDS)
                self.assertEqual((line["path"], line["status"], line["key"]), ("execute", status, "-"))
                self.assertRegex(line["id"], r"^run_[0-9a-f]{16}$")

    def test_numbers_are_the_answers(self):
        line, answer = self.lines_of(lambda: self.run_code("import time\ndef main():\n    end = time.process_time() + 0.1\n    while time.process_time() < end:\n        pass\n    time.sleep(0.1)\n    return len(b'x' * (30 << 20))"))
        usage = answer["usage"]
        self.assertEqual((int(line["user_ms"]), int(line["system_ms"]), int(line["faults"])), (int(usage["user_ms"]), int(usage["system_ms"]), usage["faults"]))
        self.assertAlmostEqual(int(line["memory_peak_kb"]), usage["memory_peak_mb"] * 1024, delta=1)
        self.assertAlmostEqual(int(line["wall_ms"]), usage["wall_ms"], delta=5)

    def test_a_cancelled_run_has_a_line(self):
        def cancel():
            wire = self.service.wire()
            wire.send(post(json.dumps({"code": "import time\ndef main():\n    print('x', flush=True)\n    time.sleep(60)", "stream": True}).encode(), "/v1/run", ["X-Request-Id: gone"]))
            while b"event: stdout" not in wire.buffer:
                wire._more()
            wire.socket.close()
            eventually(lambda: self.service.metrics()['vivary_workers{state="running"}'] == 0, 1, "it was cancelled")

        line, _ = self.lines_of(cancel)
        self.assertEqual((line["status"], line["request_id"]), ("cancelled", "gone"))

    def test_what_never_ran_has_no_line(self):
        self.lines_of(lambda: [self.service.request(*what) for what in (("POST", "/v1/run", b"{"), ("POST", "/execute", b"{"), ("GET", "/nowhere"), ("GET", "/execute"), ("GET", "/healthz"), ("GET", "/metrics"))], 0)

    def test_script_output_and_what_came_with_it_are_never_there(self):
        words = [f"sEcReT{i}" for i in range(12)]
        code = (f"import sys\n# {words[0]}\ndef main(**given):\n    print('{words[1]}')\n    print('{words[2]}', file=sys.stderr)\n    open('{words[3]}', 'w').write('{words[4]}')\n    "
                f"given.get('fail') and exec(\"raise ValueError('{words[5]}')\")\n    return '{words[6]}'")
        given = {"input": {words[7]: words[8]}, "stdin": words[9], "argv": [words[10]], "env": {words[11]: words[11]}, "files": [{"path": words[3] + "x", "content": words[4]}]}
        for more in ({}, {"stream": True}, {"input": {"fail": 1}}, {"input": 5}, {"entry": words[0]}, {"files": [{"path": "../" + words[3], "content": ""}]}, {words[0]: 1}, {"runtime": words[1]}):
            self.service.request("POST", f"/v1/run?{words[0]}", json.dumps({"code": code, **given, **more}), {"User-Agent": words[2], "Cookie": words[3], "Authorization": f"Bearer {words[4]}"})
        self.service.execute(code)
        self.service.execute(code.replace("**given", f"given={{'fail': '{words[0]}'}}"))
        self.service.request("GET", f"/{words[0]}")
        self.assertNotIn("sEcReT", self.service.log())

    def test_each_line_is_of_the_form(self):
        self.run_code("import sys, os\ndef main():\n    os.write(2, b'level=error event=forged\\n')\n    os.write(1, b'level=error event=forged\\n')")
        for line in self.service.log().splitlines():
            self.assertEqual(list(self.parse(line))[:3], ["level", "process", "event"])
        self.assertNotIn("forged", self.service.log())


class NameTest(LogCase):
    """What a client calls its request."""

    def ids(self, headers, method="POST", path="/v1/run", body=json.dumps({"code": OK})):
        got = self.service.request(method, path, body, headers)[1]
        return got["X-Request-Id"], got["traceparent"]

    def test_names_are_given_back_and_logged(self):
        headers = {"X-Request-Id": "a-Z_0.9", "traceparent": TRACE}
        for path, body in (("/v1/run", json.dumps({"code": OK})), ("/execute", script_body(OK)), ("/v1/run", json.dumps({"code": OK, "stream": True}))):
            with self.subTest(path=path):
                line, got = self.lines_of(lambda path=path, body=body: self.ids(headers, path=path, body=body))
                self.assertEqual(got, ("a-Z_0.9", TRACE))
                self.assertEqual((line["request_id"], line["traceparent"], list(line)[-2:]), ("a-Z_0.9", TRACE, ["request_id", "traceparent"]))
        line, got = self.lines_of(lambda: self.ids({}))
        self.assertEqual((got, "request_id" in line, "traceparent" in line), ((None, None), False, False))

    def test_names_are_given_back_with_every_answer(self):
        headers = {"X-Request-Id": "x1", "traceparent": TRACE}
        for method, path, body in (("GET", "/healthz", None), ("GET", "/readyz", None), ("GET", "/metrics", None), ("GET", "/openapi.json", None), ("GET", "/v1/runtimes", None), ("GET", "/nowhere", None), ("GET", "/execute", None),
                                   ("POST", "/v1/run", b"{"), ("POST", "/execute", b"{"), ("POST", "/v1/run", b'{"code": "x", "runtime": "gone"}')):
            with self.subTest(method=method, path=path):
                self.assertEqual(self.ids(headers, method, path, body), ("x1", TRACE))
        with self.service.wire() as wire:
            wire.send(post(b"", "/execute", [f"Content-Length: {2 << 20}", "X-Request-Id: x1", f"traceparent: {TRACE}"], length=False))
            status, got, _ = wire.answer()
            self.assertEqual((status, got["x-request-id"], got["traceparent"]), (413, "x1", TRACE))

    def test_a_long_name_is_taken_up_to_128_bytes(self):
        line, got = self.lines_of(lambda: self.ids({"X-Request-Id": "x" * 128, "traceparent": TRACE}))
        self.assertEqual((got, line["request_id"], line["traceparent"]), (("x" * 128, TRACE), "x" * 128, TRACE))

    def test_a_name_with_odd_characters_is_not_taken(self):
        for name in ("a b", "a=b", 'a"b', "a\\b", "a,b", "a;b", "a\tb", "a%0ab", "ä", "<a>", "a/b", "a:b", "{a}", "x" * 129, "x" * 2000, "\x7f", "\x1b[31m"):
            with self.subTest(name=name):
                with self.service.wire() as wire:
                    def ask(name=name, wire=wire):
                        wire.send(post(script_body(OK), headers=[f"X-Request-Id: {name}"]))
                        return wire.answer()

                    line, (status, headers, _) = self.lines_of(ask)
                    self.assertEqual((status, "x-request-id" in headers, "request_id" in line), (200, False, False))

    def test_a_traceparent_that_is_none_is_not_taken(self):
        for trace in ("", "x", TRACE[:-1], TRACE + "0", TRACE.upper(), "01" + TRACE[2:], "ff" + TRACE[2:], TRACE.replace("-", "_"), TRACE.replace("4", "g"), " ".join(TRACE.split("-")), TRACE + "-x"):
            with self.subTest(trace=trace):
                line, got = self.lines_of(lambda trace=trace: self.ids({"traceparent": trace}))
                self.assertEqual((got, "traceparent" in line), ((None, None), False))

    def test_a_traceparent_of_zeros_is_not_taken(self):
        # "All bytes as zero is considered an invalid value": Trace Context, 3.2.2.3 and 3.2.2.4.
        for trace in ("00-" + "0" * 32 + TRACE[35:], TRACE[:36] + "0" * 16 + "-01"):
            with self.subTest(trace=trace):
                self.assertEqual(self.ids({"traceparent": trace}), (None, None))


class KeyTest(LogCase):
    def test_a_line_has_the_keys_name_and_never_the_token(self):
        with tempfile.NamedTemporaryFile("w") as file:
            token, line = key_line("some.name-1")
            file.write(line)
            file.flush()
            with Service("--preload", "", "--slots", "1", "--keys", file.name) as service:
                for path, body in (("/v1/run", json.dumps({"code": OK})), ("/execute", script_body(OK))):
                    self.assertEqual(service.request("POST", path, body, {"Authorization": f"Bearer {token}"})[0], 200)
                    self.assertEqual(service.request("POST", path, body, {"Authorization": f"Bearer {token}x"})[0], 401)
                self.assertEqual([(row["key"], row["path"]) for row in self.run_lines(service)], [("some.name-1", "run"), ("some.name-1", "execute")])
                self.assertNotIn(token, service.log())


class JsonTest(LineTest):
    """All that holds of lines in the other form, too."""

    parse = staticmethod(line_json)

    @classmethod
    def setUpClass(cls):
        cls.own_start("--preload", "", "--slots", "4", "--log-format", "json")

    def test_a_file_with_a_space_in_its_name_is_one_value(self):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, 'my keys "a" b')
            with open(path, "w") as file:
                file.write(key_line("a")[1])
            with Service("--preload", "", "--slots", "1", "--keys", path, "--log-format", "json") as service:
                os.kill(service.pid, signal.SIGHUP)
                eventually(lambda: '"reload"' in service.log() and service.log().count('"keys_taken"') == 2, 5, "it is logged")
                lines = [line_json(line) for line in service.log().splitlines()]
            self.assertEqual([line["event"] for line in lines if line["process"] == "vivary"], ["reload"])
            self.assertEqual(len({tuple(line) for line in lines if line["event"] == "reload"} - {("level", "process", "event", "keys")}), 0)

    def test_all_processes_have_the_form(self):
        with Service("--preload", "", "--slots", "1", "--log-format", "json") as service:
            zygote = eventually(service.roles_whole, 5, "its processes are there")["zygote"]
            os.kill(zygote, signal.SIGKILL)
            eventually(lambda: '"zygote_died"' in service.log(), 5, "the keeper has logged it")
            eventually(service.answers, 20, "it serves again")
            self.assertEqual({line_json(line)["process"] for line in service.log().splitlines()}, {"front", "keeper"})

    def test_the_format_is_one_of_two(self):
        done = subprocess.run([BINARY, "serve", "--listen", "127.0.0.1:0", "--log-format", "xml"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                              env=environment(), timeout=STOP_S, check=False)
        self.assertEqual((done.returncode, done.stdout), (2, ""))
        self.assertIn("log-format takes logfmt or json, not 'xml'", done.stderr)


class BudgetTest(LogCase):
    def flood(self, service, count, stop=None):
        def some(_):
            connection = service.connection()
            done = 0
            try:
                for _ in range(count // 8):
                    connection.request("POST", "/execute", script_body(OK))
                    done += connection.getresponse().read() == b'{"result": {"ok": true}, "stdout": ""}'
            except OSError:
                if stop is None:
                    raise
            finally:
                connection.close()
            return done

        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            return sum(pool.map(some, range(8)))

    def test_lines_that_are_left_out_are_counted(self):
        before = len(self.run_lines())
        self.assertEqual(self.flood(self.service, 400), 400)
        made = 400

        def told():
            nonlocal made
            self.assertEqual(self.service.execute(OK)[0], 200)
            made += 1
            lines = self.run_lines()[before:]
            return len(lines) + sum(int(line.get("dropped", 0)) for line in lines) == made

        eventually(told, 3, "the lines, and those that are told as left out, are all runs")
        self.assertLess(len(self.run_lines()) - before, made)

    def test_many_runs_keep_no_error_out(self):
        with Service("--preload", "", "--slots", "4") as service:
            keeper = eventually(service.roles_whole, 5, "its processes are there")["keeper"]
            flood = threading.Thread(target=lambda: self.flood_until_it_ends(service))
            flood.start()
            try:
                # In a second of which run lines are left out.
                eventually(lambda: re.search(r"process=front event=run dropped=", service.log()), 5, "lines were left out")
                os.kill(service.pid, signal.SIGSTOP)  # who else would end the front before it has told
                eventually(lambda: self.full_second(service), 5, "this second's lines are used up")
                os.kill(keeper, signal.SIGKILL)
                eventually(lambda: "level=error process=front event=keeper_" in service.log(), 5, "the front's error is there")
            finally:
                os.kill(service.pid, signal.SIGCONT)
                self.over = True
                flood.join()
            eventually(service.answers, 20, "it serves again")

    over = False

    def full_second(self, service):
        """Whether runs go on, and no line of theirs comes."""
        seen, ended = service.log().count("event=run"), service.metrics()['vivary_runs_total{path="execute",status="ok"}']
        return service.metrics()['vivary_runs_total{path="execute",status="ok"}'] > ended and service.log().count("event=run") == seen

    def flood_until_it_ends(self, service):
        while not self.over:
            try:
                self.flood(service, 80, stop=True)
            except Exception:  # noqa: BLE001: the service is being broken
                return


if __name__ == "__main__":
    unittest.main()
