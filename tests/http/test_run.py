"""The other commands: `vivary run`, `vivary doctor`, and what the program says of itself."""

import json
import os
import signal
import subprocess
import tempfile
import unittest

from service import BINARY, descendants, environment, eventually, is_alive

COMMAND_S = 60
OPTIONS = ("config", "listen", "python", "preload", "share", "slots", "queue-max", "deadline-ms", "cpu-ms", "memory-mb", "processes", "tmp-mb", "descriptors",
           "request-ms", "body-max", "result-max", "stdout-max")


def command(*arguments, text=None, **variables):
    """What `vivary ARGUMENTS` said, and its exit status."""
    return subprocess.run([BINARY, *arguments], input=text, stdin=subprocess.DEVNULL if text is None else None, capture_output=True, text=True,
                          timeout=COMMAND_S, env=environment(**variables), check=False)


class RunTest(unittest.TestCase):
    maxDiff = None

    def run_text(self, script, *arguments):
        with tempfile.NamedTemporaryFile("w", suffix=".py") as file:
            file.write(script)
            file.flush()
            return command("run", file.name, "--preload", "", *arguments)

    def test_it_prints_what_was_printed_and_then_the_result(self):
        done = self.run_text("def main():\n    print('hello')\n    return {'n': 2**70, 's': 'ä'}")
        self.assertEqual((done.returncode, done.stdout), (0, 'hello\n{"n": 1180591620717411303424, "s": "ä"}\n'), done.stderr)

    def test_a_result_without_output_is_one_line(self):
        done = self.run_text("def main():\n    return {}")
        self.assertEqual((done.returncode, done.stdout), (0, "{}\n"), done.stderr)

    def test_the_preloaded_packages_are_there(self):
        done = command("run", "-", text="import numpy as np, pandas as pd\ndef main():\n    return {'n': int(pd.Series(np.arange(4)).sum())}")
        self.assertEqual((done.returncode, done.stdout), (0, '{"n": 6}\n'), done.stderr)

    def test_a_dash_is_standard_input(self):
        done = command("run", "-", "--preload", "", text="def main():\n    return {'from': 'stdin'}")
        self.assertEqual((done.returncode, done.stdout), (0, '{"from": "stdin"}\n'), done.stderr)

    def test_json_leaves_nothing_but_json_on_stdout(self):
        done = self.run_text("def main():\n    print('hello')\n    return {'n': 1}", "--json")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn('{"n": 1}', done.stdout)
        self.assertIsInstance(json.loads(done.stdout), dict)

    def test_it_takes_what_a_request_takes(self):
        with tempfile.TemporaryDirectory() as folder:
            with open(os.path.join(folder, "in.csv"), "w") as file:
                file.write("a,b\n")
            back = os.path.join(folder, "back")
            os.mkdir(back)
            script = ("import os, sys\ndef start(k):\n    print('out')\n    print('err', file=sys.stderr)\n    os.makedirs('sub')\n"
                      "    open('sub/b.bin', 'wb').write(bytes(range(256)))\n    open('o.txt', 'w').write(open('data.csv').read() * 2)\n    return [k, float('nan')]")
            done = self.run_text(script, "--entry", "start", "--input", '{"k": 5}', "--file", folder + "/in.csv=data.csv", "--fetch-to", back, "--limit", "wall_ms=5000")
            self.assertEqual((done.returncode, done.stdout, done.stderr), (0, "out\n[5, null]\n", "err\n"))
            with open(back + "/o.txt") as text, open(back + "/sub/b.bin", "rb") as binary:
                self.assertEqual((text.read(), binary.read()), ("a,b\na,b\n", bytes(range(256))))
            self.assertEqual(sorted(os.listdir(back)), ["o.txt", "sub"])

    def test_a_file_that_comes_back_follows_no_link(self):
        with tempfile.TemporaryDirectory() as folder:
            outside = os.path.join(folder, "outside")
            back = os.path.join(folder, "back")
            os.mkdir(back)
            os.symlink(outside, back + "/o.txt")
            os.symlink(folder, back + "/sub")
            done = self.run_text("import os\ndef main():\n    os.mkdir('sub')\n    open('sub/f', 'w').write('x')\n    open('o.txt', 'w').write('x')", "--fetch-to", back)
            self.assertEqual(done.returncode, 1)
            self.assertIn("o.txt", done.stderr)
            self.assertEqual(sorted(os.listdir(folder)), ["back"])

    def test_what_ended_it_is_told(self):
        done = self.run_text("def main():\n    while True: pass", "--limit", "wall_ms=300")
        self.assertEqual((done.returncode, done.stdout), (1, ""))
        self.assertRegex(done.stderr, r'status: wall_limit, limit: {"name": "wall_ms", "max": 300, "used": [0-9.]+}')
        done = self.run_text("def main(n):\n    return 1 / n", "--input", "[0]")
        self.assertEqual((done.returncode, done.stdout), (1, ""))
        self.assertIn("ZeroDivisionError: division by zero", done.stderr)
        self.assertIn("line 2, in main", done.stderr)

    def test_a_request_that_is_wrong_is_told(self):
        for arguments, word in ((("--limit", "wall_ms=0"), "limits.wall_ms"), (("--input", "{"), "JSON"), (("--file", "/nowhere/x"), "/nowhere/x"),
                                (("--fetch-to", "/nowhere"), "/nowhere"), (("--limit", "walls=1"), "walls")):
            with self.subTest(arguments=arguments):
                done = self.run_text("def main(): return 1", *arguments)
                self.assertEqual((done.returncode, done.stdout), (1, ""))
                self.assertIn(word, done.stderr)

    def test_json_prints_the_whole_answer(self):
        done = self.run_text("def main():\n    print('x')\n    return 7", "--json")
        answer = json.loads(done.stdout)
        self.assertEqual((done.returncode, answer["status"], answer["result"], answer["stdout"]), (0, "ok", 7, "x\n"))

    def test_an_error_goes_to_stderr(self):
        for script, error in (("def main():\n    1/0", "Script execution failed: ZeroDivisionError: division by zero"),
                              ("def foo(): pass", "Script must define a function main()"),
                              ("def main():\n    return 1", "main() must return a JSON object (dict)"),
                              ("import os\ndef main():\n    os._exit(0)", "Sandbox failed to run script")):
            with self.subTest(error=error):
                done = self.run_text(script)
                self.assertEqual((done.returncode, done.stdout), (1, ""))
                self.assertIn(error, done.stderr)

    def test_the_script_is_in_a_cell(self):
        done = self.run_text("import os\ndef main():\n    return {'uid': os.getuid() != 0, 'work': os.path.exists(%r)}" % os.path.dirname(os.path.abspath(__file__)))
        self.assertEqual((done.returncode, done.stdout), (0, '{"uid": true, "work": false}\n'), done.stderr)

    def test_the_limits_hold(self):
        done = self.run_text("def main():\n    while True:\n        pass", "--deadline-ms", "1000")
        self.assertEqual(done.returncode, 1)
        self.assertIn("Sandbox failed to run script", done.stderr)

    def test_a_signal_leaves_nothing_behind(self):
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            for arguments in ((), ("--json",)):
                with self.subTest(number=number, arguments=arguments), tempfile.NamedTemporaryFile("w", suffix=".py") as file:
                    file.write("import time\nprint('on', flush=True)\ntime.sleep(60)\ndef main():\n    return {}")
                    file.flush()
                    running = subprocess.Popen([BINARY, "run", file.name, "--preload", "", "--deadline-ms", "60000", *arguments],
                                               stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment())
                    try:
                        if not arguments:
                            self.assertEqual(running.stdout.readline(), b"on\n")
                        else:
                            eventually(lambda: len(descendants(running.pid)) > 3, COMMAND_S, "its processes are there")
                        family = descendants(running.pid)
                        running.send_signal(number)
                        self.assertEqual(running.wait(COMMAND_S), 1)
                    finally:
                        running.kill()
                        running.wait()
                        running.stdout.close()
                    eventually(lambda: not any(map(is_alive, family)), 5, "all its processes are gone")
                    self.assertEqual([folder for folder, _, _ in os.walk("/sys/fs/cgroup") if f"vivary-{running.pid}" in folder], [])

    def test_a_file_that_is_missing_is_named(self):
        done = command("run", "/nowhere/missing.py", "--preload", "")
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("/nowhere/missing.py", done.stderr)

    def test_a_missing_argument_is_told(self):
        done = command("run")
        self.assertEqual(done.returncode, 2)
        self.assertIn("FILE", done.stderr)


class DoctorTest(unittest.TestCase):
    def test_it_prints_a_table_of_the_host(self):
        done = command("doctor")
        self.assertIn(done.returncode, (0, 1), done.stderr)
        rows = done.stdout.lower()
        for what in ("kernel", "user", "pid", "mount", "net", "ipc", "uts", "cgroup", "landlock", "seccomp", "memory", "python", "numpy", "pandas"):
            self.assertIn(what, rows)
        self.assertIn(os.uname().release.lower(), rows)
        self.assertGreater(len(rows.splitlines()), 12)

    def test_a_package_that_is_missing_is_named_with_its_remedy(self):
        done = command("doctor", "--preload", "no_such_package_here")
        self.assertEqual(done.returncode, 1)
        self.assertIn("no_such_package_here", done.stdout)
        self.assertIn("apt-get install", done.stdout)

    def test_a_python_that_is_missing_is_told(self):
        done = command("doctor", "--python", "/nowhere/python3")
        self.assertEqual(done.returncode, 1)
        self.assertIn("/nowhere/python3", done.stdout)


class HelpTest(unittest.TestCase):
    def test_help_names_each_option(self):
        done = command("serve", "--help")
        self.assertEqual(done.returncode, 0)
        for name in OPTIONS:
            self.assertRegex(done.stdout, rf"--{name}\b")
        self.assertIn("VIVARY_", done.stdout)
        self.assertIn("PORT", done.stdout)

    def test_an_unknown_option_is_named_and_all_is_said(self):
        done = command("serve", "--no-such-option", "1")
        self.assertEqual((done.returncode, done.stdout), (2, ""))
        self.assertIn("no-such-option", done.stderr)
        for name in OPTIONS:
            self.assertRegex(done.stderr, rf"--{name}\b")

    def test_values_that_are_wrong_are_named(self):
        for arguments, word in ((("--slots", "0"), "slots"), (("--slots", "many"), "slots"), (("--deadline-ms", "-5"), "deadline-ms"), (("--listen", "nowhere"), "nowhere"),
                                (("--level", "none"), "level"), (("--slots",), "slots"), (("stray",), "stray"), (("--python", "python3"), "python"),
                                (("--config", "/nowhere/vivary.conf"), "/nowhere/vivary.conf")):
            with self.subTest(arguments=arguments):
                done = command("serve", *arguments)
                self.assertIn(done.returncode, (1, 2))
                self.assertIn(word, done.stderr)
                self.assertEqual(done.stdout, "")

    def test_an_unknown_variable_is_named(self):
        done = command("serve", VIVARY_SLOT="3")
        self.assertEqual(done.returncode, 2)
        self.assertIn("SLOT", done.stderr)

    def test_an_unknown_line_in_the_file_is_named(self):
        with tempfile.NamedTemporaryFile("w", suffix=".conf") as file:
            file.write("slots = 3\nno-such-option = 1\n")
            file.flush()
            done = command("serve", "--config", file.name)
        self.assertEqual(done.returncode, 2)
        self.assertIn("no-such-option", done.stderr)

    def test_a_python_without_the_packages_is_told(self):
        done = command("serve", "--listen", "127.0.0.1:0", "--preload", "no_such_package_here")
        self.assertEqual((done.returncode, done.stdout), (1, ""))
        self.assertIn("no_such_package_here", done.stderr)

    def test_the_program_tells_its_commands(self):
        done = command("--help")
        self.assertEqual(done.returncode, 0)
        for name in ("serve", "run", "doctor"):
            self.assertIn(f"vivary {name}", done.stdout)
        self.assertEqual(command().returncode, 2)
        self.assertEqual(command("fly").returncode, 2)
        self.assertIn("fly", command("fly").stderr)


class KeeperTest(unittest.TestCase):
    def test_the_keeper_links_libc_alone(self):
        keeper = os.path.join(os.path.dirname(os.path.abspath(BINARY)), "vivary-keeper")
        if not os.path.exists(keeper):
            self.skipTest("the keeper isn't beside the program")
        listed = subprocess.run(["ldd", keeper], capture_output=True, text=True, timeout=COMMAND_S, check=True).stdout
        libraries = [line.split()[0] for line in listed.splitlines() if "=>" in line]
        self.assertEqual([name for name in libraries if not name.startswith(("libc.so", "libasan", "libubsan", "libm.so", "libgcc_s"))], [])
        self.assertTrue(libraries)


if __name__ == "__main__":
    unittest.main()
