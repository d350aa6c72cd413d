"""The table of POST /execute, row by row: exact status, exact bytes."""

import json
import os
import tempfile
import unittest

from service import Case, Service, only_full, read_only_root, shared_start as setUpModule, shared_stop as tearDownModule  # noqa: F401


class Answers:
    """How a row is checked."""

    def assert_answer(self, request, status, body, service=None):
        """`request` is the JSON text as a client writes it, or a script."""
        if not request.startswith("{"):
            request = json.dumps({"script": request})
        got_status, headers, got = (service or self.service).request("POST", "/execute", request.encode())
        self.assertEqual(got.decode(), body)
        self.assertEqual(got_status, status)
        self.assertEqual(headers["Content-Type"], "application/json")

    def assert_failed(self, script, message):
        self.assert_answer(script, 400, json.dumps({"error": message}, ensure_ascii=False))


class Rows(Answers):
    """Rows that need no package. A mixin: test_versions holds other interpreters to them as well."""

    def looping_service(self):
        """One whose time limit is near. The caller stops it."""
        return Service("--preload", "", "--deadline-ms", "1000")

    def test_a_dict_comes_back(self):
        self.assert_answer(r'{"script": "def main():\n return {\"cloud\": \"ok\"}"}', 200, '{"result": {"cloud": "ok"}, "stdout": ""}')

    def test_what_was_printed_comes_beside_the_result(self):
        self.assert_answer(r'{"script": "def main():\n print(\"inside main\")\n return {\"ok\": True}"}', 200,
                           r'{"result": {"ok": true}, "stdout": "inside main\n"}')

    def test_other_fields_are_ignored(self):
        self.assert_answer(r'{"timeout": [1, {}], "script": "def main(): return {}", "x": null}', 200, '{"result": {}, "stdout": ""}')

    def test_a_missing_script_is_named(self):
        self.assert_answer(r'{"code": "def main(): return {\"a\": 1}"}', 400, '{"error": "\'script\' field is required"}')

    def test_an_empty_script_is_refused(self):
        self.assert_answer('{"script": ""}', 400, '{"error": "\'script\' must not be empty"}')

    def test_a_script_of_white_space_is_refused(self):
        self.assert_answer(r'{"script": " \n\t \r\n"}', 400, '{"error": "\'script\' must not be empty"}')

    def test_a_script_without_main_is_refused(self):
        self.assert_answer(r'{"script": "def foo():\n return {\"x\": 1}"}', 400, '{"error": "Script must define a function main()"}')

    def test_a_main_that_is_no_function_is_refused(self):
        self.assert_failed("main = 3", "Script must define a function main()")

    def test_a_number_is_no_result(self):
        self.assert_answer(r'{"script": "def main():\n return 123"}', 400, '{"error": "main() must return a JSON object (dict)"}')

    def test_nothing_is_no_result(self):
        self.assert_failed("def main():\n    pass", "main() must return a JSON object (dict)")

    def test_a_set_is_not_serializable(self):
        self.assert_answer(r'{"script": "def main():\n return {\"s\": {1,2,3}}"}', 400,
                           '{"error": "Return value is not JSON-serializable: Object of type set is not JSON serializable"}')

    @unittest.skipIf(read_only_root(), "the container is read-only, and a write says so")
    def test_removing_a_system_file_is_denied(self):
        self.assert_answer('import os\n\ndef main():\n try:\n  os.remove("/etc/passwd")\n except Exception as e:\n  return {"error": str(e)}', 200,
                           '{"result": {"error": "[Errno 13] Permission denied: \'/etc/passwd\'"}, "stdout": ""}')

    def test_the_secrets_of_the_host_are_not_there(self):
        self.assert_answer('import os\n\ndef main():\n try:\n  os.listdir("/var/run/secrets")\n except Exception as e:\n  return {"error": str(e)}', 200,
                           '{"result": {"error": "[Errno 2] No such file or directory: \'/var/run/secrets\'"}, "stdout": ""}')

    def test_an_endless_loop_ends_at_the_time_limit(self):
        service = self.looping_service()
        self.addCleanup(service.stop)
        self.assert_answer("def main():\n while True:\n  pass", 400, '{"error": "Sandbox failed to run script"}', service)

    @only_full("there is /app or there is not")
    def test_app_is_empty_unless_shared(self):
        self.assert_answer('import os\ndef main():\n return {"files": os.listdir("/app")}', 200, '{"result": {"files": []}, "stdout": ""}')

    def test_a_division_by_zero_is_told(self):
        self.assert_failed("def main():\n    return {'x': 1/0}", "Script execution failed: ZeroDivisionError: division by zero")

    def test_an_error_at_import_is_told(self):
        self.assert_failed("1/0\ndef main():\n    return {}", "Script execution failed: ZeroDivisionError: division by zero")

    def test_a_syntax_error_is_told_with_its_line(self):
        self.assert_failed("def main():\n    x = = 1\n", "Script execution failed: SyntaxError: invalid syntax (script.py, line 2)")

    def test_a_main_that_needs_arguments_is_told(self):
        self.assert_failed("def main(a):\n    return {}",
                           "Script execution failed: TypeError: main() missing 1 required positional argument: 'a'")

    def test_sys_exit_is_told(self):
        self.assert_failed("import sys\ndef main():\n    sys.exit(1)", "Script execution failed: SystemExit: 1")

    def test_sys_exit_at_import_is_told(self):
        self.assert_failed("import sys\nsys.exit('enough')\ndef main():\n    return {}", "Script execution failed: SystemExit: enough")

    def test_a_keyboard_interrupt_is_told(self):
        self.assert_failed("def main():\n    raise KeyboardInterrupt('stop')", "Script execution failed: KeyboardInterrupt: stop")

    def test_a_recursion_error_is_told(self):
        error = self.error("def main():\n    return main()")
        self.assertTrue(error.startswith("Script execution failed: RecursionError: maximum recursion depth exceeded"), error)

    def test_an_exception_that_cannot_be_shown_is_told(self):
        error = self.error("class Odd(Exception):\n    def __str__(self):\n        raise ValueError('no')\ndef main():\n    raise Odd()")
        self.assertTrue(error.startswith("Script execution failed: Odd: "), error)

    def test_an_exception_of_non_ascii_text_is_told_whole(self):
        self.assert_failed("def main():\n    raise ValueError('grün 🐍')", "Script execution failed: ValueError: grün 🐍")

    def test_os_exit_is_no_answer(self):
        self.assert_failed("import os\ndef main():\n    os._exit(0)", "Sandbox failed to run script")

    def test_a_kill_by_itself_is_no_answer(self):
        self.assert_failed("import os\ndef main():\n    os.kill(os.getpid(), 9)", "Sandbox failed to run script")

    def test_a_segmentation_fault_is_no_answer(self):
        self.assert_failed("import ctypes\ndef main():\n    ctypes.string_at(0)", "Sandbox failed to run script")


class ContractTest(Rows, Case):
    def test_numpy_and_pandas_are_there(self):
        self.assert_answer(
            r'{"script": "import pandas as pd, numpy as np\n\ndef main():\n arr = np.array([1,2,3])\n s = pd.Series(arr)\n '
            r'print(\"len:\", len(s))\n return {\"sum\": int(s.sum())}"}', 200, r'{"result": {"sum": 6}, "stdout": "len: 3\n"}')

    def test_memory_over_the_limit_is_no_success(self):
        error = self.error("def main():\n    hold = [bytearray(1 << 20) for _ in range(1024)]\n    return {'n': len(hold)}")
        self.assertTrue(error == "Sandbox failed to run script" or error.startswith("Script execution failed: MemoryError: "), error)


@only_full("no other folder can be mounted on /app")
class ShareTest(Answers, Case):
    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        os.chmod(folder.name, 0o755)
        for name in ("requirements.txt", "app.py", "nsjail.cfg"):
            with open(os.path.join(folder.name, name), "w") as file:
                file.write(name)
        cls.own_start("--preload", "", "--share", folder.name)

    def test_app_shows_the_shared_folder(self):
        self.assert_answer('import os\ndef main():\n return {"files": sorted(os.listdir("/app"))}', 200,
                           '{"result": {"files": ["app.py", "nsjail.cfg", "requirements.txt"]}, "stdout": ""}')

    def test_app_can_be_read_and_not_written(self):
        found = self.result("""
import os
def attempt(call):
    try:
        call()
    except OSError as error:
        return error.errno
    return 0
def main():
    return {"text": open("/app/app.py").read(), "new": attempt(lambda: open("/app/new", "w")),
            "over": attempt(lambda: open("/app/app.py", "w")), "gone": attempt(lambda: os.remove("/app/app.py"))}
""")
        self.assertEqual(found["text"], "app.py")
        for attempt in ("new", "over", "gone"):
            self.assertIn(found[attempt], (13, 30), attempt)


if __name__ == "__main__":
    unittest.main()
