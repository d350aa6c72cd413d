"""docs/migrating.md, followed: a folder with exactly app.py, nsjail.cfg and requirements.txt, the command that stands there, and each row of the contract."""

import json
import os
import re
import shlex
import subprocess
import tempfile
import unittest

from service import BINARY, Case, Service, only_full
from test_contract import Rows

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

FILES = {
    "app.py": """from flask import Flask, jsonify, request
import subprocess

app = Flask(__name__)


@app.post("/execute")
def execute():
    script = request.get_json()["script"]
    done = subprocess.run(["nsjail", "--config", "/app/nsjail.cfg"], input=script, capture_output=True, text=True)
    return jsonify(stdout=done.stdout) if done.returncode == 0 else (jsonify(error=done.stderr), 400)
""",
    "nsjail.cfg": """name: "python"
mode: ONCE
time_limit: 2
rlimit_as: 512
rlimit_cpu: 2
rlimit_nproc: 32
rlimit_nofile: 128
clone_newnet: true
mount { src: "/app" dst: "/app" is_bind: true rw: false }
mount { dst: "/tmp" fstype: "tmpfs" options: "size=32m" rw: true }
exec_bin { path: "/usr/bin/python3" arg: "-" }
""",
    "requirements.txt": "flask\ngunicorn\nnumpy\npandas\n",
}


def folder_make(case):
    """The folder, and nothing else in it."""
    folder = tempfile.TemporaryDirectory()
    case.addClassCleanup(folder.cleanup)
    os.chmod(folder.name, 0o755)
    for name, text in FILES.items():
        with open(os.path.join(folder.name, name), "w", encoding="utf-8") as file:
            file.write(text)
    return folder.name


def document():
    with open(os.path.join(ROOT, "docs", "migrating.md"), encoding="utf-8") as file:
        return file.read()


def documented(folder):
    """The options of the document's command, for this folder, on a port that is free."""
    command = re.search(r"^vivary serve (--listen .*)$", document(), re.M)[1].replace("$PWD/app", folder)
    options = shlex.split(command)
    assert options[0] == "--listen", options
    return options[2:]


class Documented:
    """A service that was started as the document says."""

    @classmethod
    def setUpClass(cls):
        cls.folder = folder_make(cls)
        cls.own_start(*documented(cls.folder), variables={"DATABASE_PASSWORD": "hunter2"})


@only_full("no other folder can be mounted on /app")
class ContractTest(Documented, Rows, Case):
    def looping_service(self):
        """Its own limit, 2 s, is near enough."""
        return Service(*documented(self.folder))

    def test_numpy_and_pandas_are_there(self):
        self.assert_answer(
            r'{"script": "import pandas as pd, numpy as np\n\ndef main():\n arr = np.array([1,2,3])\n s = pd.Series(arr)\n '
            r'print(\"len:\", len(s))\n return {\"sum\": int(s.sum())}"}', 200, r'{"result": {"sum": 6}, "stdout": "len: 3\n"}')

    def test_app_is_empty_unless_shared(self):
        """The row of /app: here it is shared."""
        self.assert_answer('import os\ndef main():\n return {"files": sorted(os.listdir("/app"))}', 200,
                           '{"result": {"files": ["app.py", "nsjail.cfg", "requirements.txt"]}, "stdout": ""}')

    def test_the_service_says_that_it_is_there(self):
        status, headers, body = self.service.request("GET", "/healthz")
        self.assertEqual((status, headers["Content-Type"], body), (200, "application/json", b'{"status": "ok"}'))


@only_full("no other folder can be mounted on /app")
class SettingsTest(Documented, Case):
    """The tables: each setting has become a limit."""

    def test_the_files_are_read_as_they_are_and_not_written(self):
        found = self.result("import os\ndef main():\n    return {name: open('/app/' + name).read() for name in os.listdir('/app')}")
        self.assertEqual(found, FILES)
        for name in FILES:
            error = self.error(f"def main():\n    open('/app/{name}', 'w')")
            self.assertRegex(error, r"^Script execution failed: (PermissionError|OSError): ")

    def test_limits_are_those_of_the_configuration(self):
        status, _, body = self.service.request("GET", "/v1/runtimes")
        limits = json.loads(body)["runtimes"][0]["limits"]
        self.assertEqual((status, limits["wall_ms"], limits["cpu_ms"], limits["memory_mb"], limits["processes"]), (200, 2000, 2000, 512, 32))
        found = self.result("import os, resource\ndef main():\n    tmp = os.statvfs('/tmp')\n"
                            "    return {'descriptors': resource.getrlimit(resource.RLIMIT_NOFILE)[0], 'tmp': tmp.f_blocks * tmp.f_frsize, 'uid': os.getuid()}")
        self.assertEqual((found["descriptors"], found["tmp"], found["uid"]), (128, 32 << 20, 1000))
        self.assertEqual(json.loads(self.service.request("GET", "/readyz")[2])["slots"], 4)

    def test_nothing_of_the_environment_is_seen(self):
        found = self.result("import os\ndef main():\n    return dict(os.environ)")
        self.assertNotIn("DATABASE_PASSWORD", found)
        self.assertFalse([name for name in found if name.startswith("VIVARY_")])

    def test_every_option_of_the_tables_exists(self):
        known = set(re.findall(r"^  --([a-z-]+) ", subprocess.run([BINARY, "serve", "--help"], stdout=subprocess.PIPE, text=True, check=True).stdout, re.M))
        tables = "\n".join(line for line in document().splitlines() if line.startswith("|"))
        named = set()
        for line in tables.splitlines():
            cells = line.split("|")
            named |= set(re.findall(r"`--([a-z-]+)", cells[2]))
        self.assertGreater(len(named), 15)
        self.assertLessEqual(named, known)


@only_full("no other folder can be mounted on /app")
class DifferenceTest(Documented, Case):
    """The last table: what answers differently."""

    def test_a_killed_run_has_no_log_lines_in_its_error(self):
        for script in ("def main():\n    while True: pass", "import os\ndef main():\n    os.write(2, b'[E] a line of a log')\n    os.kill(os.getpid(), 9)"):
            self.assertEqual(self.run_script(script), (400, {"error": "Sandbox failed to run script"}))

    def test_an_exception_is_one_line_without_a_traceback(self):
        self.assertEqual(self.error("import sys\ndef main():\n    print('x', file=sys.stderr)\n    return {}['k']"), "Script execution failed: KeyError: 'k'")

    def test_long_output_is_cut_and_says_so(self):
        status, answer = self.run_script("def main():\n    print('x' * (2 << 20))\n    return {}")
        self.assertEqual((status, answer["stdout_truncated"], len(answer["stdout"])), (200, True, 1 << 20))

    def test_not_a_number_is_refused(self):
        self.assertTrue(self.error("def main():\n    return {'x': float('nan')}").startswith("Return value is not JSON-serializable: "))

    def test_what_is_no_proper_body_is_named(self):
        for body, said in ((b'{"script": "x", "script": "y"}', "repeats a key"), (b'{"script": "\xff"}', "not valid UTF-8"), (b"[]", "must be a JSON object")):
            status, answer = self.service.post(body)
            self.assertEqual(status, 400)
            self.assertIn(said, json.loads(answer)["error"])

    def test_no_content_type_is_needed(self):
        for headers in ({}, {"Content-Type": "text/plain"}):
            status, _, body = self.service.request("POST", "/execute", json.dumps({"script": "def main(): return {}"}).encode(), headers)
            self.assertEqual((status, json.loads(body)), (200, {"result": {}, "stdout": ""}))

    def test_errors_of_paths_methods_and_sizes_are_json(self):
        for method, path, body, wanted in (("GET", "/nothing", b"", 404), ("GET", "/execute", b"", 405), ("POST", "/execute", b" " * ((1 << 20) + 1), 413)):
            with self.service.wire() as wire:
                wire.send_while_taken(f"{method} {path} HTTP/1.1\r\nHost: vivary\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
                status, headers, answer = wire.answer()
            self.assertEqual((status, headers["content-type"]), (wanted, "application/json"))
            self.assertIn("error", json.loads(answer))

    def test_a_full_queue_is_told(self):
        with Service("--preload", "", "--slots", "1", "--queue-max", "0") as small:
            answers = []
            for status, body in small.execute_all(["import time\ndef main():\n    time.sleep(1)\n    return {}"] * 4):
                answers.append((status, body.get("error")))
            self.assertIn((200, None), answers)
            self.assertIn((503, "Service is busy: try again later"), answers)


if __name__ == "__main__":
    unittest.main()
