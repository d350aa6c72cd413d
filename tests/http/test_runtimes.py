"""Several runtimes: each its own interpreter, packages, folder, slots."""

import concurrent.futures
import glob
import json
import os
import subprocess
import tempfile
import unittest

from service import BINARY, RunCase, environment, level

PYTHON = "/usr/bin/python3"
COMMAND_S = 60


def has_matplotlib():
    return subprocess.run([PYTHON, "-c", "import importlib.util, sys; sys.exit(importlib.util.find_spec('matplotlib') is None)"], check=False).returncode == 0


def other_python():
    """Another CPython than Debian's, if there is one."""
    for path in sorted(glob.glob("/root/.pyenv/versions/3.1[2-9]*/bin/python3") + glob.glob(os.path.expanduser("~/.pyenv/versions/3.1[2-9]*/bin/python3"))):
        return path
    return None


class RuntimesTest(RunCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(cls.folder.cleanup)
        os.chmod(cls.folder.name, 0o755)
        with open(os.path.join(cls.folder.name, "shared.txt"), "w") as file:
            file.write("shared")
        share = f",share={cls.folder.name}" if level() == "full" else ""
        cls.other = other_python()
        cls.own_start("--preload", "", "--slots", "2", "--runtime", f"small={PYTHON},preload=json,slots=1{share}",
                      *(["--runtime", f"other={cls.other}"] if cls.other else []))

    def test_they_are_listed(self):
        status, _, body = self.service.request("GET", "/v1/runtimes")
        self.assertEqual(status, 200)
        runtimes = json.loads(body)["runtimes"]
        self.assertEqual([runtime["name"] for runtime in runtimes], ["default", "small", *(["other"] if self.other else [])])
        self.assertEqual([list(runtime["packages"]) for runtime in runtimes[:2]], [[], ["json"]])
        self.assertEqual(runtimes[0]["limits"], runtimes[1]["limits"])

    def test_a_run_says_which_it_was(self):
        for name in ("default", "small"):
            self.assertEqual(self.run_code("def main(): return 1", runtime=name)["runtime"]["name"], name)

    def test_another_interpreter_runs_it(self):
        if self.other is None:
            self.skipTest("there is no CPython from 3.12 on beside Debian's")
        answer = self.run_code("import sys\ndef main(): return list(sys.version_info[:2])", runtime="other")
        self.assertEqual(".".join(map(str, answer["result"])), ".".join(answer["runtime"]["python"].split(".")[:2]))
        self.assertNotEqual(answer["runtime"]["python"], self.run_code("def main(): pass")["runtime"]["python"])

    def test_each_has_its_own_folder(self):
        if level() != "full":
            self.skipTest("at level contained nothing can be mounted")
        code = "import os\ndef main(): return os.listdir('/app')"
        self.assertEqual((self.returned(code, runtime="small"), self.returned(code)), (["shared.txt"], []))

    def test_one_that_is_busy_keeps_no_other_waiting(self):
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            slow = [pool.submit(self.run_code, "import time\ndef main(): time.sleep(1)", runtime="small") for _ in range(3)]
            answer = self.run_code("def main(): return 1")
            self.assertLess(answer["usage"]["queue_ms"], 500)
            self.assertEqual([one.result()["status"] for one in slow], ["ok"] * 3)
        self.assertGreater(max(one.result()["usage"]["queue_ms"] for one in slow), 1000)  # it has one slot

    def test_they_share_nothing(self):
        self.returned("def main():\n    open('/tmp/left', 'w').close()\n    return 1", runtime="small")
        self.assertFalse(self.returned("import os\ndef main(): return os.path.exists('/tmp/left')"))

    def test_execute_uses_the_first(self):
        self.assertEqual(self.result("import sys\ndef main(): return {'json': 'json' in sys.modules}"), {"json": True})
        self.assertEqual(self.service.request("POST", "/execute", json.dumps({"script": "def main(): return {}", "runtime": "nowhere"}))[0], 200)

    def test_one_that_is_not_there_is_told(self):
        status, _, problem = self.ask({"code": "def main(): pass", "runtime": "nowhere"})
        self.assertEqual((status, problem["code"], problem["param"]), (404, "unknown_runtime", "runtime"))


class MatplotlibTest(RunCase):
    @classmethod
    def setUpClass(cls):
        if not has_matplotlib():
            raise unittest.SkipTest("python3-matplotlib isn't installed")
        cls.own_start("--preload", "", "--slots", "1", "--runtime", f"plots={PYTHON},preload=numpy+matplotlib.pyplot,slots=2")

    CODE = """import matplotlib.pyplot as plt
def main():
    plt.plot([1, 2, 3])
    plt.savefig('own.png')
    plt.figure(5)
    return plt.get_backend().lower()"""

    def test_figures_left_open_come_back(self):
        for runtime in ("plots", "default"):  # imported ahead, and by the script
            answer = self.run_code(self.CODE, runtime=runtime)
            self.assertEqual((answer["status"], answer["result"]), ("ok", "agg"), answer["error"])
            self.assertEqual([(file["path"], file["type"], file["content"][:8]) for file in answer["files"]],
                             [(name, "image/png", "iVBORw0K") for name in ("figure-1.png", "figure-5.png", "own.png")])

    def test_they_come_back_whatever_is_fetched(self):
        answer = self.run_code(self.CODE, runtime="plots", fetch=["none"])
        self.assertEqual([file["path"] for file in answer["files"]], ["figure-1.png", "figure-5.png"])


class WrongTest(unittest.TestCase):
    def test_what_is_wrong_is_named(self):
        for value, word in (("x", "NAME=PYTHON"), ("=/usr/bin/python3", "NAME=PYTHON"), ("a b=/usr/bin/python3", "NAME=PYTHON"), ("default=/usr/bin/python3", "default"),
                            ("a" * 32 + "=/usr/bin/python3", "31"), ("a=python3", "absolute"), ("a=/nowhere/python3", "/nowhere/python3"),
                            (f"a={PYTHON},foo=1", "foo=1"), (f"a={PYTHON},slots=0", "slots"), (f"a={PYTHON},preload=no_such_package_here", "no_such_package_here")):
            with self.subTest(value=value):
                done = subprocess.run([BINARY, "serve", "--listen", "127.0.0.1:0", "--preload", "", "--runtime", value], stdin=subprocess.DEVNULL, capture_output=True,
                                      text=True, timeout=COMMAND_S, env=environment(), check=False)
                self.assertIn(done.returncode, (1, 2), done.stderr)
                self.assertIn(word, done.stderr)
                self.assertEqual(done.stdout, "")

    def test_a_name_twice_is_refused(self):
        done = subprocess.run([BINARY, "serve", "--listen", "127.0.0.1:0", "--preload", "", "--runtime", f"a={PYTHON}", "--runtime", f"a={PYTHON}"],
                              stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=COMMAND_S, env=environment(), check=False)
        self.assertEqual(done.returncode, 1)
        self.assertRegex(done.stderr, "a is given twice")


if __name__ == "__main__":
    unittest.main()
