"""What a script writes: to descriptor 1, by whatever means, in order."""

import time
import unittest

from service import Case, only_with_children, script_body, shared_start as setUpModule, shared_stop as tearDownModule  # noqa: F401

CAP = 1 << 20


class OutputTest(Case):
    @only_with_children
    def test_all_ways_to_write_come_in_order(self):
        self.assertEqual(self.output("""
import os, subprocess, sys
def main():
    print("print")
    os.write(1, b"os.write\\n")
    os.system("echo os.system")
    subprocess.run(["echo", "child"])
    sys.stdout.write("sys.stdout\\n")
    subprocess.run([sys.executable, "-c", "print('python')"])
    sys.stdout.buffer.write(b"buffer\\n") if hasattr(sys.stdout, "buffer") else None
    sys.stdout.flush()
    with open("/dev/stdout", "w") as file:
        file.write("file\\n")
    print("end", end="")
    return {}
"""), "print\nos.write\nos.system\nchild\nsys.stdout\npython\nbuffer\nfile\nend")

    def test_c_code_comes_in_order_when_it_flushes(self):
        self.assertEqual(self.output("""
import ctypes
libc = ctypes.CDLL(None)
def main():
    print("before")
    libc.printf(b"from C %d\\n", 42)
    libc.fflush(None)
    print("after")
    return {}
"""), "before\nfrom C 42\nafter\n")

    def test_c_code_that_leaves_the_flush_to_exit_is_heard(self):
        self.assertEqual(self.output("import ctypes\ndef main():\n    ctypes.CDLL(None).printf(b'from C')\n    return {}"), "from C")

    def test_import_time_and_exit_handlers_are_heard(self):
        self.assertEqual(self.output("""
import atexit
print("import")
atexit.register(print, "exit")
def main():
    print("main")
    return {}
"""), "import\nmain\nexit\n")

    def test_a_thread_that_outlives_main_is_heard(self):
        self.assertEqual(self.output("""
import threading, time
def late():
    time.sleep(0.2)
    print("thread")
def main():
    threading.Thread(target=late).start()
    print("main")
    return {}
"""), "main\nthread\n")

    @only_with_children
    def test_forked_children_are_heard(self):
        self.assertEqual(self.output("""
import os
def main():
    for n in range(3):
        pid = os.fork()
        if pid == 0:
            os.write(1, b"child %d\\n" % n)
            os._exit(0)
        os.waitpid(pid, 0)
    return {}
"""), "child 0\nchild 1\nchild 2\n")

    @only_with_children
    def test_a_child_that_goes_on_is_not_waited_for(self):
        start = time.monotonic()
        self.assertEqual(self.output("import subprocess\ndef main():\n    subprocess.Popen(['sleep', '60'])\n    print('main')\n    return {}"), "main\n")
        self.assertLess(time.monotonic() - start, 8)

    def test_invalid_bytes_become_replacement_characters(self):
        self.assertEqual(self.output("import os\ndef main():\n    os.write(1, b'a\\xffb\\xc3\\n\\xf0\\x9f\\x90\\x8d\\xed\\xa0\\x80')\n    return {}"),
                         b"a\xffb\xc3\n\xf0\x9f\x90\x8d\xed\xa0\x80".decode(errors="replace"))

    def test_control_characters_and_quotes_come_whole(self):
        text = "".join(map(chr, range(0x80))) + "\x80\u2028\uffff🐍"
        self.assertEqual(self.output(f"def main():\n    print({text!a}, end='')\n    return {{}}"), text)

    def test_output_at_the_cap_is_whole(self):
        status, answer = self.run_script(f"def main():\n    print('x' * {CAP}, end='')\n    return {{}}")
        self.assertEqual((status, answer), (200, {"result": {}, "stdout": "x" * CAP}))

    def test_output_past_the_cap_is_cut_and_marked(self):
        status, body = self.service.post(script_body(f"def main():\n    print('x' * {CAP + 1}, end='')\n    return {{}}"))
        self.assertEqual(status, 200)
        self.assertEqual(body, b'{"result": {}, "stdout": "' + b"x" * CAP + b'", "stdout_truncated": true}')

    def test_a_flood_does_not_hang(self):
        start = time.monotonic()
        status, answer = self.run_script("import os\ndef main():\n    for _ in range(1024):\n        os.write(1, b'y' * 65536)\n    return {'done': 1}")
        self.assertEqual((status, answer["result"], answer["stdout_truncated"]), (200, {"done": 1}, True))
        self.assertEqual(answer["stdout"], "y" * CAP)
        self.assertLess(time.monotonic() - start, 9)

    def test_a_flood_of_errors_does_not_hang(self):
        self.assertEqual(self.run_script("import os\ndef main():\n    for _ in range(512):\n        os.write(2, b'y' * 65536)\n    return {'done': 1}"),
                         (200, {"result": {"done": 1}, "stdout": ""}))

    def test_stderr_is_not_shown(self):
        self.assertEqual(self.output("""
import logging, os, sys, warnings
def main():
    print("error", file=sys.stderr)
    os.write(2, b"error")
    os.system("echo error >&2")
    logging.warning("error")
    warnings.warn("error")
    print("fine")
    return {}
"""), "fine\n")

    def test_input_sees_the_end_of_the_file(self):
        self.assertEqual(self.result("""
import os, sys
def main():
    try:
        input()
    except EOFError as error:
        return {"input": type(error).__name__, "read": sys.stdin.read(), "fd": os.read(0, 10).decode()}
"""), {"input": "EOFError", "read": "", "fd": ""})

    def test_a_closed_stdout_is_no_failure(self):
        self.assertEqual(self.run_script("import os\ndef main():\n    print('before')\n    os.close(1)\n    os.close(2)\n    return {'ok': 1}"),
                         (200, {"result": {"ok": 1}, "stdout": "before\n"}))

    def test_a_replaced_stdout_keeps_its_text(self):
        self.assertEqual(self.run_script("""
import contextlib, io
def main():
    kept = io.StringIO()
    with contextlib.redirect_stdout(kept):
        print("kept")
    print("shown")
    return {"kept": kept.getvalue()}
"""), (200, {"result": {"kept": "kept\n"}, "stdout": "shown\n"}))

    def test_an_error_comes_without_output(self):
        self.assertEqual(self.run_script("def main():\n    print('before')\n    raise ValueError('x')"),
                         (400, {"error": "Script execution failed: ValueError: x"}))

    def test_output_that_does_not_end_in_a_line_comes_whole(self):
        self.assertEqual(self.output("import sys\ndef main():\n    sys.stdout.write('half')\n    return {}"), "half")


if __name__ == "__main__":
    unittest.main()
