"""POST /v1/run: how a run ended, and who says so; what is kept of it; what it cost."""

import concurrent.futures
import os
import subprocess
import sys
import unittest

from service import RunCase, only_with_children, only_with_sums, shared_start as setUpModule, shared_stop as tearDownModule  # noqa: F401

LINE = "print('before')"


class Ended(RunCase):
    """How an ending is checked."""

    def assert_ended(self, code, status, exit_code, signal=None, stdout="before\n", **fields):
        answer = self.run_code(code, **fields)
        self.assertEqual((answer["status"], answer["exit_code"], answer["signal"], answer["stdout"]), (status, exit_code, signal, stdout), str(answer)[:2000])
        return answer

    def assert_no_limit(self, answer):
        self.assertIsNone(answer["limit"])

    def assert_limit(self, answer, name, most):
        self.assertEqual(list(answer["limit"]), ["name", "max", "used"])
        self.assertEqual((answer["limit"]["name"], answer["limit"]["max"]), (name, most))
        return answer["limit"]["used"]

    def assert_own_frames(self, answer):
        """Nothing of the harness is shown, wherever it might be."""
        text = str(answer["error"]) + answer["stderr"]
        for mark in ("vivary", "task.py", "worker.py", "values.py", "_run", "/runtime/"):
            self.assertNotIn(mark, text)


class WordTest(Ended):
    """Endings that the script's process tells itself."""

    def test_a_run_that_goes_well_is_ok(self):
        answer = self.assert_ended(f"import sys\ndef main():\n    {LINE}\n    print('grün', file=sys.stderr)\n    return [1]", "ok", 0)
        self.assertEqual((answer["result"], answer["error"], answer["stderr"], answer["truncated"]), ([1], None, "grün\n", []))
        self.assert_no_limit(answer)

    def test_an_exception_is_told_with_its_lines(self):
        answer = self.assert_ended(f"def f(x):\n    return 1 / x\n\n\ndef main():\n    {LINE}\n    return f(0)\n", "exception", 1)
        self.assertIsNone(answer["result"])
        self.assert_no_limit(answer)
        error = answer["error"]
        self.assertEqual(list(error), ["name", "value", "line", "traceback", "frames"])
        self.assertEqual((error["name"], error["value"], error["line"]), ("ZeroDivisionError", "division by zero", 2))
        self.assertEqual(error["frames"], [{"file": "script.py", "line": 7, "function": "main", "code": "return f(0)"},
                                           {"file": "script.py", "line": 2, "function": "f", "code": "return 1 / x"}])
        lines = [line for line in error["traceback"].splitlines() if line.strip(" ~^")]  # 3.11 and later underline
        self.assertEqual(lines, ["Traceback (most recent call last):", '  File "script.py", line 7, in main', "    return f(0)",
                                 '  File "script.py", line 2, in f', "    return 1 / x", "ZeroDivisionError: division by zero"])
        self.assert_own_frames(answer)

    def test_an_exception_at_import_is_told(self):
        answer = self.assert_ended(f"{LINE}\nx = {{}}\nx['gone']\ndef main():\n    pass", "exception", 1)
        self.assertEqual((answer["error"]["name"], answer["error"]["value"], answer["error"]["line"]), ("KeyError", "'gone'", 3))
        self.assertEqual([frame["function"] for frame in answer["error"]["frames"]], ["<module>"])
        self.assert_own_frames(answer)

    def test_the_line_is_the_scripts_own_where_a_library_raises(self):
        answer = self.assert_ended(f"import json\ndef main():\n    {LINE}\n    json.loads('{{')", "exception", 1)
        self.assertEqual((answer["error"]["name"], answer["error"]["line"]), ("JSONDecodeError", 4))
        self.assertEqual(answer["error"]["frames"][0], {"file": "script.py", "line": 4, "function": "main", "code": "json.loads('{')"})
        self.assertTrue(answer["error"]["frames"][-1]["file"].endswith("json/decoder.py"))
        self.assert_own_frames(answer)

    def test_what_an_exception_came_of_is_shown_without_the_harness(self):
        answer = self.assert_ended(f"def main():\n    {LINE}\n    try:\n        1 / 0\n    except Exception as e:\n        raise ValueError('x') from e", "exception", 1)
        text = answer["error"]["traceback"]
        self.assertIn("ZeroDivisionError: division by zero\n\nThe above exception was the direct cause of the following exception:", text)
        self.assertTrue(text.endswith("ValueError: x\n"))
        self.assertEqual(answer["error"]["line"], 6)
        self.assert_own_frames(answer)

    def test_an_exception_in_an_async_main_is_told(self):
        answer = self.assert_ended(f"async def main():\n    {LINE}\n    raise LookupError('gone')", "exception", 1)
        self.assertEqual((answer["error"]["name"], answer["error"]["value"], answer["error"]["line"]), ("LookupError", "gone", 3))
        self.assert_own_frames(answer)

    def test_an_exception_of_a_module_that_came_with_the_request_is_told(self):
        answer = self.run_code("import helper\ndef main():\n    helper.go()", files=[{"path": "helper.py", "content": "def go():\n    raise ValueError('in helper')\n"}])
        self.assertEqual((answer["status"], answer["error"]["value"], answer["error"]["line"]), ("exception", "in helper", 3))
        self.assertEqual([frame["function"] for frame in answer["error"]["frames"]], ["main", "go"])
        self.assertTrue(answer["error"]["frames"][1]["file"].endswith("helper.py"))

    def test_main_called_wrongly_is_told_without_frames(self):
        answer = self.run_code("def main(a):\n    pass")
        self.assertEqual(answer["error"], {"name": "TypeError", "value": "main() missing 1 required positional argument: 'a'", "line": None,
                                           "traceback": "TypeError: main() missing 1 required positional argument: 'a'\n", "frames": []})

    def test_endless_recursion_is_an_exception_of_bounded_length(self):
        answer = self.assert_ended(f"{LINE}\ndef main():\n    return main()", "exception", 1)
        self.assertEqual((answer["error"]["name"], answer["error"]["line"]), ("RecursionError", 3))
        self.assertLessEqual(len(answer["error"]["frames"]), 64)
        self.assertLess(len(answer["error"]["traceback"]), 1000)

    def test_a_long_message_is_cut(self):
        error = self.run_code("def main():\n    raise ValueError('x' * 10_000_000)")["error"]
        self.assertEqual(error["value"], "x" * 16384 + " ...")
        self.assertLess(len(error["traceback"]), 70_000)

    def test_a_syntax_error_is_an_exception_with_its_line(self):
        answer = self.assert_ended("def main():\n    x = = 1\n", "exception", 1, stdout="")
        self.assertEqual((answer["error"]["name"], answer["error"]["line"], answer["error"]["frames"]), ("SyntaxError", 2, []))
        self.assertIn("invalid syntax", answer["error"]["value"])
        self.assertIn('  File "script.py", line 2\n    x = = 1\n', answer["error"]["traceback"])
        self.assert_own_frames(answer)
        self.assertEqual(self.run_code("def main(:\n")["error"]["line"], 1)
        self.assertEqual(self.run_code("def main():\npass\n")["error"]["name"], "IndentationError")

    def test_an_exception_whose_str_fails_is_told(self):
        # RuntimeError and OSError are looked at for limits as well.
        for base in ("Exception", "BaseException", "RuntimeError", "OSError", "MemoryError", "SyntaxError"):
            with self.subTest(base=base):
                answer = self.run_code(f"class Odd({base}):\n    def __str__(self):\n        raise ValueError('no')\ndef main():\n    {LINE}\n    raise Odd()")
                self.assertEqual((answer["status"], answer["exit_code"]), ("memory_limit" if base == "MemoryError" else "exception", 1), answer["stderr"])
                self.assertEqual((answer["error"]["name"], answer["error"]["value"], answer["error"]["line"]), ("Odd", "<Odd whose str() failed>", 6))
                self.assert_own_frames(answer)

    def test_an_exception_whose_attributes_fail_is_told(self):
        answer = self.run_code("class Odd(OSError):\n    @property\n    def errno(self):\n        raise ValueError('no')\ndef main():\n    raise Odd()")
        self.assertEqual((answer["status"], answer["error"] and answer["error"]["name"]), ("exception", "Odd"), answer["stderr"])
        self.assert_own_frames(answer)

    def test_an_exception_of_odd_text_is_told_whole(self):
        error = self.run_code("def main():\n    raise ValueError('grün 🐍 \\ud800 \\0 \"')")["error"]
        self.assertEqual(error["value"], 'grün 🐍 \ud800 \0 "')

    def test_a_keyboard_interrupt_is_the_scripts_own(self):
        self.assertEqual(self.run_code("def main():\n    raise KeyboardInterrupt('stop')")["error"]["name"], "KeyboardInterrupt")

    def test_sys_exit_with_nothing_or_zero_is_ok(self):
        for code in ("", "0", "None", "False"):
            with self.subTest(code=code):
                answer = self.assert_ended(f"import sys\ndef main():\n    {LINE}\n    sys.exit({code})", "ok", 0)
                self.assertEqual((answer["result"], answer["error"], answer["stderr"]), (None, None, ""))

    def test_sys_exit_with_a_number_is_an_exit(self):
        for code, told in ((1, 1), (3, 3), (255, 255), (-1, 255), (True, 1)):
            with self.subTest(code=code):
                answer = self.assert_ended(f"import sys\ndef main():\n    {LINE}\n    sys.exit({code})", "exit", told)
                self.assertEqual((answer["result"], answer["stderr"]), (None, ""))
                self.assert_no_limit(answer)

    def test_sys_exit_with_text_says_it(self):
        answer = self.assert_ended(f"import sys\n{LINE}\nsys.exit('enough')", "exit", 1)
        self.assertEqual(answer["stderr"], "enough\n")

    def test_sys_exit_with_something_odd_is_an_exit(self):
        answer = self.run_code("import sys\nclass Odd:\n    def __eq__(self, other):\n        raise ValueError('no')\n    def __str__(self):\n        raise ValueError('no')\n"
                               "def main():\n    sys.exit(Odd())")
        self.assertEqual((answer["status"], answer["exit_code"], answer["files"]), ("exit", 1, []))
        self.assert_own_frames(answer)

    def test_os_exit_is_an_exit(self):
        for code in (0, 7):
            with self.subTest(code=code):
                answer = self.assert_ended(f"import os\ndef main():\n    {LINE}\n    os._exit({code})", "exit", code)
                self.assertEqual((answer["result"], answer["error"]), (None, None))
                self.assert_no_limit(answer)

    def test_a_script_without_the_entry_is_no_entry(self):
        answer = self.run_code(f"{LINE}\ndef foo():\n    pass")
        self.assertEqual((answer["status"], answer["result"], answer["signal"], answer["stdout"]), ("no_entry", None, None, "before\n"))
        self.assertEqual(answer["error"]["value"], "the script defines no function main()")
        self.assertIn("go()", self.run_code("def main():\n    pass", entry="go")["error"]["value"])
        self.assertEqual(self.run_code("main = 3")["status"], "no_entry")
        self.assertEqual(self.run_code("x = 3", entry="class")["status"], "no_entry")

    def test_what_has_no_json_form_is_named_by_its_path(self):
        answer = self.run_code(f"def main():\n    {LINE}\n    return {{'a': [1, {{'b': {{1, 2}}}}]}}")
        self.assertEqual((answer["status"], answer["result"], answer["signal"], answer["stdout"]), ("not_json", None, None, "before\n"))
        self.assertEqual(answer["error"]["value"], "$.a[1].b: Object of type set is not JSON serializable")
        self.assert_no_limit(answer)

    def test_exit_handlers_still_print(self):
        answer = self.assert_ended(f"import atexit\ndef main():\n    {LINE}\n    atexit.register(print, 'after')\n    return 1", "ok", 0, stdout="before\nafter\n")
        self.assertEqual(answer["result"], 1)


class LimitTest(Ended):
    """Endings that keeper and kernel tell, or that a limit caused."""

    def test_wall_time_over_its_limit(self):
        answer = self.assert_ended(f"import sys, time\ndef main():\n    {LINE}\n    print('err', file=sys.stderr)\n    time.sleep(60)", "wall_limit", None, "SIGKILL",
                                   limits={"wall_ms": 300})
        used = self.assert_limit(answer, "wall_ms", 300)
        self.assertTrue(300 <= used < 1300, used)
        self.assertEqual(used, answer["usage"]["wall_ms"])
        self.assertLess(answer["usage"]["user_ms"] + answer["usage"]["system_ms"], 200)
        self.assertEqual((answer["stderr"], answer["result"], answer["error"]), ("err\n", None, None))

    def test_wall_time_counts_after_the_result_as_well(self):
        answer = self.assert_ended(f"import threading, time\ndef main():\n    {LINE}\n    threading.Thread(target=time.sleep, args=(60,)).start()\n    return 1", "wall_limit", None,
                                   "SIGKILL", limits={"wall_ms": 300})
        self.assert_limit(answer, "wall_ms", 300)

    def test_processor_time_over_its_limit(self):
        answer = self.assert_ended(f"def main():\n    {LINE}\n    while True:\n        pass", "cpu_limit", None, "SIGKILL", limits={"cpu_ms": 300})
        used = self.assert_limit(answer, "cpu_ms", 300)
        self.assertTrue(300 <= used < 800, used)

    @only_with_sums
    @only_with_children
    def test_processor_time_of_children_counts(self):
        answer = self.assert_ended(f"import os\ndef main():\n    {LINE}\n    for _ in range(3):\n        if os.fork() == 0:\n            while True:\n                pass\n    os.wait()",
                                   "cpu_limit", None, "SIGKILL", limits={"cpu_ms": 300})
        self.assertGreaterEqual(self.assert_limit(answer, "cpu_ms", 300), 300)

    def test_memory_over_its_limit_is_a_memory_error(self):
        answer = self.assert_ended(f"def main():\n    {LINE}\n    return len(bytes(400 << 20))", "memory_limit", 1, limits={"memory_mb": 128})
        self.assertLessEqual(self.assert_limit(answer, "memory_mb", 128), 128)
        self.assertEqual((answer["error"]["name"], answer["error"]["line"], answer["result"]), ("MemoryError", 3, None))
        self.assert_own_frames(answer)

    def test_a_memory_error_that_was_caught_is_no_end(self):
        answer = self.assert_ended(f"def main():\n    {LINE}\n    try:\n        bytes(400 << 20)\n    except MemoryError:\n        return 'caught'", "ok", 0, limits={"memory_mb": 128})
        self.assertEqual(answer["result"], "caught")
        self.assert_no_limit(answer)

    def test_memory_that_is_full_to_the_brim_is_a_memory_limit(self):
        # Held by the module as well, so that nothing of it is free again when the report is made.
        for kind in ("bytes(1000)", "object()", "bytes(1 << 20)"):
            for place in ("global kept\n    kept = []", "kept = []"):
                with self.subTest(kind=kind, place=place):
                    answer = self.run_code(f"def main():\n    {LINE}\n    {place}\n    while True:\n        kept.append({kind})", limits={"memory_mb": 64})
                    self.assertEqual((answer["status"], answer["stdout"]), ("memory_limit", "before\n"))
                    self.assert_limit(answer, "memory_mb", 64)
                    self.assert_own_frames(answer)

    @only_with_sums
    def test_memory_that_only_the_kernel_counts(self):
        code = f"import mmap\ndef main():\n    {LINE}\n    shared = mmap.mmap(-1, 200 << 20)\n    for at in range(0, 200 << 20, 4096):\n        shared[at] = 1"
        answer = self.assert_ended(code, "memory_limit", None, "SIGKILL", limits={"memory_mb": 128})
        used = self.assert_limit(answer, "memory_mb", 128)
        self.assertTrue(120 <= used <= 128, used)
        self.assertEqual(used, answer["usage"]["memory_peak_mb"])
        self.assertIsNone(answer["error"])

    @only_with_sums
    @only_with_children
    def test_memory_of_children_counts(self):
        code = (f"import os\ndef main():\n    {LINE}\n    children = []\n    for _ in range(3):\n        children.append(os.fork())\n        if children[-1] == 0:\n"
                "            hold = b'x' * (40 << 20)\n            os.read(0, 1)\n            os._exit(0)\n    return [os.waitpid(child, 0)[1] for child in children]")
        answer = self.run_code(code, limits={"memory_mb": 64})
        self.assertTrue(40 <= answer["usage"]["memory_peak_mb"] <= 64, answer["usage"])
        # Version 2 ends all of a run; version 1 the one process, of which its parent hears.
        if answer["status"] != "memory_limit":
            self.assertEqual(answer["status"], "ok", answer)
            self.assertIn(9, answer["result"])

    def test_a_result_over_its_limit(self):
        most = 16 << 20
        answer = self.assert_ended(f"def main():\n    {LINE}\n    return 'x' * {most - 1}", "output_limit", 0)
        used = self.assert_limit(answer, "result_kb", most >> 10)
        self.assertGreaterEqual(used, most >> 10)
        self.assertEqual((answer["result"], answer["error"]["value"]), (None, f"the result is too large: {most + 1} bytes of JSON, at most {most} are allowed"))

    def test_files_over_their_limit(self):
        answer = self.assert_ended(f"def main():\n    {LINE}\n    open('a', 'wb').write(b'a' * (1 << 20))\n    open('b', 'wb').write(b'b' * (1 << 19))\n    return 5", "output_limit", 0,
                                   limits={"files_mb": 1})
        self.assertEqual(self.assert_limit(answer, "files_mb", 1), 1.5)
        self.assertEqual((answer["result"], [(file["path"], file["size"]) for file in answer["files"]]), (5, [("a", 1 << 20)]))
        self.assertEqual(answer["error"]["value"], f"there are 2 files of {3 << 19} bytes; at most 1000 and 1 MiB come back")

    def test_threads_over_the_limit_of_processes(self):
        code = f"import threading\ngate = threading.Event()\ndef main():\n    {LINE}\n    try:\n        for _ in range(100):\n            threading.Thread(target=gate.wait).start()\n    finally:\n        gate.set()"
        answer = self.assert_ended(code, "process_limit", 1, limits={"processes": 8})
        self.assertEqual(self.assert_limit(answer, "processes", 8), 8)
        self.assertEqual(answer["error"]["value"], "can't start new thread")

    @only_with_children
    def test_forks_over_the_limit_of_processes(self):
        answer = self.assert_ended(f"import os\ndef main():\n    {LINE}\n    while os.fork():\n        pass\n    os.read(os.pipe()[0], 1)", "process_limit", 1, limits={"processes": 8})
        self.assertEqual(self.assert_limit(answer, "processes", 8), 8)
        self.assertEqual((answer["error"]["name"], answer["error"]["line"]), ("BlockingIOError", 4))

    @only_with_children
    def test_programs_over_the_limit_of_processes(self):
        answer = self.assert_ended(f"import subprocess\ndef main():\n    {LINE}\n    while True:\n        subprocess.Popen(['sleep', '60'])", "process_limit", 1, limits={"processes": 8})
        self.assertEqual((self.assert_limit(answer, "processes", 8), answer["error"]["line"]), (8, 5))

    def test_processes_within_their_limit_are_no_end(self):
        code = "import threading\ngate = threading.Event()\ndef main():\n    threads = [threading.Thread(target=gate.wait) for _ in range(5)]\n    for t in threads:\n        t.start()\n    gate.set()\n    return 5"
        self.assertEqual(self.returned(code, limits={"processes": 8}), 5)

    def test_a_disk_that_is_full(self):
        answer = self.assert_ended(f"import os\ndef main():\n    {LINE}\n    file = os.open('x', os.O_WRONLY | os.O_CREAT)\n    while True:\n        os.write(file, bytes(1 << 20))",
                                   "disk_limit", 1, fetch=[])
        self.assertEqual(self.assert_limit(answer, "disk_mb", 64), 64)
        self.assertEqual((answer["error"]["name"], answer["error"]["line"]), ("OSError", 6))

    def test_a_signal_is_named(self):
        for number, name in ((9, "SIGKILL"), (11, "SIGSEGV"), (15, "SIGTERM"), (6, "SIGABRT"), (10, "SIGUSR1"), (40, "SIG40")):
            with self.subTest(number=number):
                answer = self.assert_ended(f"import os\ndef main():\n    {LINE}\n    os.kill(os.getpid(), {number})", "signal", None, name)
                self.assert_no_limit(answer)
                self.assertEqual((answer["result"], answer["error"]), (None, None))

    def test_a_crash_is_a_signal(self):
        self.assert_ended(f"import ctypes\ndef main():\n    {LINE}\n    ctypes.string_at(0)", "signal", None, "SIGSEGV")
        self.assert_ended(f"import os\ndef main():\n    {LINE}\n    os.abort()", "signal", None, "SIGABRT")

    def test_much_output_is_kept_through_a_kill(self):
        answer = self.run_code("import os\ndef main():\n    for i in range(20000):\n        print('line', i)\n    os.kill(os.getpid(), 9)")
        self.assertEqual((answer["status"], answer["stdout"]), ("signal", "".join(f"line {i}\n" for i in range(20000))))

    @only_with_children
    def test_output_of_a_child_is_kept_through_a_kill(self):
        answer = self.run_code("import subprocess, time\ndef main():\n    subprocess.run(['sh', '-c', 'echo out; echo err >&2'])\n    time.sleep(60)", limits={"wall_ms": 600})
        self.assertEqual((answer["status"], answer["stdout"], answer["stderr"]), ("wall_limit", "out\n", "err\n"))


class OutputTest(Ended):
    PRINT = "import sys\ndef main(out, err):\n    sys.stdout.write('x' * out)\n    sys.stderr.write('y' * err)\n    return 'done'"

    def test_output_at_its_limit_comes_whole(self):
        answer = self.run_code(self.PRINT, input=[1024, 1024], limits={"output_kb": 1})
        self.assertEqual((answer["stdout"], answer["stderr"], answer["truncated"]), ("x" * 1024, "y" * 1024, []))

    def test_output_over_its_limit_is_only_cut(self):
        for out, err, cut in ((1025, 0, ["stdout"]), (0, 1025, ["stderr"]), (5000, 5000, ["stdout", "stderr"]), (10 << 20, 0, ["stdout"]), (0, 10 << 20, ["stderr"])):
            with self.subTest(out=out, err=err):
                answer = self.run_code(self.PRINT, input=[out, err], limits={"output_kb": 1})
                self.assertEqual((answer["status"], answer["result"], answer["exit_code"], answer["truncated"]), ("ok", "done", 0, cut))
                self.assertEqual((answer["stdout"], answer["stderr"]), ("x" * min(out, 1024), "y" * min(err, 1024)))
                self.assert_no_limit(answer)

    def test_a_cut_leaves_no_half_of_a_character(self):
        answer = self.run_code("def main():\n    print('a' + 'ä' * 1000)", limits={"output_kb": 1})
        self.assertEqual((answer["stdout"], answer["truncated"]), ("a" + "ä" * 511, ["stdout"]))

    def test_a_megabyte_comes_whole_by_default(self):
        answer = self.run_code(self.PRINT, input=[1 << 20, 1 << 20])
        self.assertEqual((len(answer["stdout"]), len(answer["stderr"]), answer["truncated"]), (1 << 20, 1 << 20, []))

    def test_bytes_that_are_no_text_are_answered_as_json(self):
        answer = self.run_code("import os\ndef main():\n    os.write(1, b'a\\xff\\0b')\n    os.write(2, b'\\xc3')")
        self.assertEqual((answer["status"], answer["stdout"][0], answer["stdout"][-2:]), ("ok", "a", "\0b"))


class UsageTest(Ended):
    def test_all_of_it_is_there(self):
        usage = self.run_code("def main():\n    pass")["usage"]
        self.assertEqual(list(usage), ["queue_ms", "wall_ms", "user_ms", "system_ms", "memory_peak_mb", "faults"])
        for name, value in usage.items():
            self.assertIsInstance(value, int if name == "faults" else (int, float), name)
            self.assertGreaterEqual(value, 0, name)
        self.assertGreater(usage["wall_ms"], 0)
        self.assertLess(usage["wall_ms"], 2000)
        self.assertGreater(usage["memory_peak_mb"], 0)

    def test_processor_time_of_a_loop_is_plausible(self):
        for code in ("end = time.process_time() + 0.3\n    while time.process_time() < end:\n        pass", "end = time.thread_time() + 0.3\n    while time.thread_time() < end:\n        sum(range(1000))"):
            usage = self.run_code(f"import time\ndef main():\n    {code}")["usage"]
            spent = usage["user_ms"] + usage["system_ms"]
            self.assertTrue(200 <= spent <= 600, usage)
            self.assertGreaterEqual(usage["wall_ms"], 290)

    @only_with_children
    def test_processor_time_of_children_is_counted(self):
        code = "import os, time\ndef main():\n    if os.fork() == 0:\n        while time.process_time() < 0.3:\n            pass\n        os._exit(0)\n    os.wait()"
        usage = self.run_code(code)["usage"]
        self.assertTrue(200 <= usage["user_ms"] + usage["system_ms"] <= 600, usage)

    def test_sleeping_costs_no_processor_time(self):
        usage = self.run_code("import time\ndef main():\n    time.sleep(0.3)")["usage"]
        self.assertGreaterEqual(usage["wall_ms"], 300)
        self.assertLess(usage["user_ms"] + usage["system_ms"], 100)

    def test_memory_of_fifty_megabytes_is_plausible(self):
        usage = self.run_code("def main():\n    return len(b'x' * (50 << 20))")["usage"]
        self.assertTrue(45 <= usage["memory_peak_mb"] <= 80, usage)
        self.assertGreater(usage["faults"], 1000)
        small = self.run_code("def main():\n    pass")["usage"]
        self.assertLess(small["memory_peak_mb"], 20)  # not that of the run before
        self.assertLess(small["faults"], usage["faults"])

    def test_usage_is_whole_while_others_take_the_processors(self):
        # However late the keeper hears of a run: what it used is counted from its beginning.
        peaks = []
        others = [subprocess.Popen([sys.executable, "-c", "while True:\n    pass"]) for _ in range(2 * (os.cpu_count() or 1))]
        try:
            for _ in range(30):
                self.run_code("def main():\n    pass")
                peaks.append(self.run_code("def main():\n    return len(b'x' * (50 << 20))")["usage"]["memory_peak_mb"])
        finally:
            for other in others:
                other.kill()
                other.wait()
        self.assertEqual([peak for peak in peaks if not 45 <= peak <= 80], [])

    def test_usage_is_told_of_what_was_killed(self):
        usage = self.run_code("import os\ndef main():\n    hold = b'x' * (50 << 20)\n    os.kill(os.getpid(), 9)")["usage"]
        self.assertTrue(45 <= usage["memory_peak_mb"] <= 80, usage)


class QueueTest(Ended):
    @classmethod
    def setUpClass(cls):
        cls.own_start("--preload", "", "--slots", "1")

    def test_the_wait_for_a_slot_is_no_time_of_the_run(self):
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            answers = list(pool.map(lambda _: self.run_code("import time\ndef main():\n    time.sleep(0.4)", limits={"wall_ms": 700}), range(2)))
        self.assertEqual([answer["status"] for answer in answers], ["ok", "ok"])
        first, second = sorted((answer["usage"] for answer in answers), key=lambda usage: usage["queue_ms"])
        self.assertGreaterEqual(second["queue_ms"], 300)
        self.assertLess(first["queue_ms"], 300)
        for usage in (first, second):
            self.assertTrue(400 <= usage["wall_ms"] < 700, usage)


class FullDiskTest(Ended):
    """A small disk, and a small result."""

    @classmethod
    def setUpClass(cls):
        cls.own_start("--preload", "", "--slots", "2", "--tmp-files", "100", "--tmp-mb", "4", "--result-max", "2000")

    def test_too_many_files_are_a_disk_limit(self):
        answer = self.assert_ended(f"def main():\n    {LINE}\n    for i in range(200):\n        open(f'f{{i}}', 'w').close()", "disk_limit", 1, fetch=[])
        self.assertEqual(answer["error"]["line"], 4)
        # It wasn't megabytes that ran out.
        self.assertNotEqual(answer["limit"], {"name": "disk_mb", "max": 4, "used": 4})

    def test_files_of_the_request_that_do_not_fit_are_a_disk_limit(self):
        answer = self.run_code("def main():\n    pass", files=[{"path": "a", "content": "x" * (5 << 20)}])
        self.assertEqual(answer["status"], "disk_limit")
        self.assert_limit(answer, "disk_mb", 4)
        self.assert_own_frames(answer)

    def test_a_small_cap_of_the_result_holds_exactly(self):
        self.assertEqual(self.returned("def main():\n    return 'x' * 1998"), "x" * 1998)
        answer = self.assert_ended("def main():\n    return 'x' * 1999", "output_limit", 0, stdout="")
        self.assertEqual(answer["error"]["value"], "the result is too large: 2001 bytes of JSON, at most 2000 are allowed")
        self.assertGreater(self.assert_limit(answer, "result_kb", 1), 1)


if __name__ == "__main__":
    unittest.main()
