"""POST /v1/run: what a request may say, what is refused before a worker is taken, and what one run leaves to the next: nothing."""

import base64
import json
import os
import signal
import socket
import time
import unittest

from service import (RunCase, Service, eventually, only_with_children, only_with_sums, post,  # noqa: F401
                     shared_start as setUpModule, shared_stop as tearDownModule)

ARGUMENTS = "def main(*args, **named):\n    return [list(args), named]"
NOTHING = "def main():\n    pass"
SLOW = "import time\ndef main():\n    time.sleep(1)"


class FieldTest(RunCase):
    """What arrives of each field."""

    def test_an_object_gives_named_arguments(self):
        self.assertEqual(self.returned(ARGUMENTS, input={"k": 2, "größe": [1.5, None, True]}), [[], {"k": 2, "größe": [1.5, None, True]}])

    def test_an_array_gives_arguments_in_order(self):
        self.assertEqual(self.returned(ARGUMENTS, input=[1, {"a": "b"}, [2]]), [[1, {"a": "b"}, [2]], {}])

    def test_without_input_there_are_no_arguments(self):
        self.assertEqual(self.returned(ARGUMENTS), [[], {}])
        self.assertEqual(self.returned(ARGUMENTS, input=None), [[], {}])
        self.assertEqual(self.returned(ARGUMENTS, input={}), [[], {}])
        self.assertEqual(self.returned(ARGUMENTS, input=[]), [[], {}])

    def test_arguments_that_do_not_fit_are_an_exception(self):
        answer = self.run_code("def main(k):\n    return k", input={"j": 1})
        self.assertEqual((answer["status"], answer["error"]["name"]), ("exception", "TypeError"))
        self.assertEqual(answer["error"]["value"], "main() got an unexpected keyword argument 'j'")

    def test_numbers_of_the_input_keep_their_digits(self):
        self.assertEqual(self.returned("def main(a, b):\n    return [str(a), repr(b)]", input=[2**70, 0.1]), ["1180591620717411303424", "0.1"])

    def test_a_script_is_code_by_another_name(self):
        status, _, answer = self.ask({"script": "def main():\n    return 7"})
        self.assertEqual((status, answer["status"], answer["result"]), (200, "ok", 7))

    def test_another_entry_is_called(self):
        code = "def main():\n    return 'main'\ndef go(n=1):\n    return n\nclass K(int):\n    pass\ngröße = lambda: 5"
        self.assertEqual(self.returned(code, entry="go", input=[9]), 9)
        self.assertEqual(self.returned(code, entry="K"), 0)
        self.assertEqual(self.returned(code, entry="größe"), 5)

    def test_without_an_entry_only_the_module_is_run(self):
        answer = self.run_code("import sys\nprint(__name__, sys.modules['__main__'].__name__)\ndef main():\n    print('main')\n", entry=None)
        self.assertEqual((answer["status"], answer["result"], answer["stdout"]), ("ok", None, "__main__ __main__\n"))

    def test_without_an_entry_no_function_is_needed(self):
        answer = self.run_code("print(6 * 7)", entry=None, input=[1])
        self.assertEqual((answer["status"], answer["result"], answer["stdout"]), ("ok", None, "42\n"))

    def test_stdin_is_read(self):
        self.assertEqual(self.returned("import sys\ndef main():\n    return [input(), sys.stdin.read()]", stdin="grün\n2\n\n"), ["grün", "2\n\n"])

    def test_stdin_of_a_megabyte_is_read_whole(self):
        text = "0123456789abcde\n" * (1 << 16)
        found = self.returned("import sys, hashlib\ndef main():\n    text = sys.stdin.read()\n    return [len(text), text[-16:]]", stdin=text)
        self.assertEqual(found, [1 << 20, text[-16:]])

    def test_absent_stdin_is_at_its_end(self):
        self.assertEqual(self.returned("import sys\ndef main():\n    return sys.stdin.read()"), "")
        self.assertEqual(self.returned("import sys\ndef main():\n    return sys.stdin.read()", stdin=""), "")

    @only_with_children
    def test_stdin_is_a_childs_as_well(self):
        self.assertEqual(self.returned("import subprocess\ndef main():\n    return subprocess.run(['cat'], capture_output=True, text=True).stdout", stdin="to cat"), "to cat")

    def test_argv_follows_the_scripts_name(self):
        found = self.returned("import sys\ndef main():\n    return [sys.argv[0] == __file__, sys.argv[1:]]", argv=["--fast", "", "ä b", "-"])
        self.assertEqual(found, [True, ["--fast", "", "ä b", "-"]])

    def test_absent_argv_is_the_scripts_name_alone(self):
        self.assertEqual(self.returned("import sys\ndef main():\n    return len(sys.argv)"), 1)

    def test_env_is_there_beside_what_was(self):
        found = self.returned("import os\ndef main():\n    return [os.environ.get(n) for n in ('A', 'größe', 'EMPTY')] + ['PATH' in os.environ]",
                              env={"A": "b=c", "größe": "ä", "EMPTY": ""})
        self.assertEqual(found, ["b=c", "ä", "", True])

    @only_with_children
    def test_env_is_a_childs_as_well(self):
        self.assertEqual(self.returned("import subprocess\ndef main():\n    return subprocess.run(['env'], capture_output=True, text=True).stdout.count('MARK=x y\\n')",
                                       env={"MARK": "x y"}), 1)

    def test_a_time_zone_counts_at_once(self):
        code = "import time, datetime\ndef main():\n    return [time.strftime('%H:%M', time.localtime(0)), time.tzname[0], str(datetime.datetime.fromtimestamp(86400 * 180))]"
        self.assertEqual(self.returned(code, env={"TZ": "Europe/Paris"}), ["01:00", "CET", "1970-06-30 01:00:00"])
        self.assertEqual(self.returned(code, env={"TZ": "XYZ-3"}), ["03:00", "XYZ", "1970-06-30 03:00:00"])
        self.assertEqual(self.returned(code)[0], "00:00")

    def test_an_async_main_is_awaited(self):
        self.assertEqual(self.returned("import asyncio\nasync def main(n):\n    await asyncio.sleep(0.01)\n    return {'n': n}", input={"n": 3}), {"n": 3})

    def test_any_json_value_may_be_returned(self):
        for value in (None, True, 0, -1.5, "", "ä", [], [1, [2]], {}, {"a": {"b": None}}):
            with self.subTest(value=value):
                self.assertEqual(self.returned("def main(v):\n    return v", input=[value]), value)

    def test_the_default_runtime_can_be_named(self):
        answer = self.run_code("import platform\ndef main():\n    return platform.python_version()", runtime="default")
        self.assertEqual((answer["runtime"]["name"], answer["runtime"]["python"]), ("default", answer["result"]))
        self.assertIn(answer["runtime"]["isolation"], ("full", "contained"))

    def test_null_stands_for_an_absent_field(self):
        absent = dict.fromkeys(("input", "stdin", "argv", "env", "files", "fetch", "limits", "runtime"))
        self.assertEqual(self.returned("def main():\n    return 1", **absent), 1)

    def test_an_answer_has_all_its_fields(self):
        answer = self.run_code(NOTHING)
        self.assertEqual(list(answer), ["id", "status", "result", "stdout", "stderr", "truncated", "exit_code", "signal", "error", "limit", "denied", "files",
                                        "usage", "runtime"])
        self.assertRegex(answer["id"], r"^run_[0-9a-f]{16}$")
        self.assertNotEqual(answer["id"], self.run_code(NOTHING)["id"])
        self.assertEqual({name: answer[name] for name in list(answer)[1:12]},
                         {"status": "ok", "result": None, "stdout": "", "stderr": "", "truncated": [], "exit_code": 0, "signal": None, "error": None,
                          "limit": None, "denied": None if answer["denied"] is None else [], "files": []})
        self.assertEqual(list(answer["runtime"]), ["name", "python", "isolation"])

    def test_content_types_of_json_will_do(self):
        for kind in ("application/json", "application/json; charset=utf-8", "Application/JSON"):
            with self.subTest(kind=kind):
                self.assertEqual(self.ask({"code": NOTHING}, **{"Content-Type": kind})[0], 200)
        self.assertEqual(self.service.request("POST", "/v1/run", json.dumps({"code": NOTHING}).encode())[0], 200)

    def test_execute_is_as_it_was(self):
        self.assertEqual(self.service.post(b'{"script": "def main():\\n print(1)\\n return {}", "code": 1, "limits": 2}'), (200, b'{"result": {}, "stdout": "1\\n"}'))


class Refused(RunCase):
    """How a refusal is checked."""

    def assert_problem(self, found, status, code, param, title):
        got, headers, problem = found
        self.assertEqual(got, status, str(problem)[:500])
        self.assertEqual(headers["Content-Type"], "application/problem+json")
        self.assertEqual(list(problem), ["type", "title", "status", "code", "param", "detail"])
        self.assertEqual((problem["type"], problem["title"], problem["status"]), ("about:blank", title, status))
        self.assertEqual((problem["code"], problem["param"]), (code, param), problem["detail"])
        self.assertTrue(problem["detail"])
        return problem["detail"]

    def assert_bad(self, request, param):
        return self.assert_problem(self.ask(request), 400, "bad_request", param, "Bad Request")

    def assert_field_bad(self, param, **fields):
        """A field that is wrong; the error names it, or its part."""
        return self.assert_bad({"code": NOTHING, **fields}, param)

    def ask_only_head(self, length):
        """The answer to a request that names its length, before any of its body was sent."""
        with self.service.wire() as wire:
            wire.send(post(b"", "/v1/run", [f"Content-Length: {length}"], length=False))
            status, headers, body = wire.answer()
        return status, {"Content-Type": headers["content-type"]}, json.loads(body)

    def assert_kinds_bad(self, name, values):
        for value in values:
            with self.subTest(value=str(value)[:60]):
                self.assertTrue(self.assert_field_bad(name, **{name: value}).startswith(name + " must be "))


class WrongTypeTest(Refused):
    def test_code_must_be_there(self):
        self.assertEqual(self.assert_bad({}, "code"), "code is required: the Python to run")

    def test_code_must_be_a_string(self):
        for value in (None, 1, [], {}, True):
            with self.subTest(value=value):
                self.assertEqual(self.assert_bad({"code": value}, "code"), "code must be a string")
                self.assertEqual(self.assert_bad({"script": value}, "script"), "script must be a string")

    def test_code_must_not_be_blank(self):
        for value in ("", " \n\t\u2003"):
            with self.subTest(value=value):
                self.assertEqual(self.assert_bad({"code": value}, "code"), "code must not be empty")

    def test_code_must_hold_no_nul(self):
        self.assertEqual(self.assert_bad({"code": "x = 1\0"}, "code"), "code must not contain a NUL character")

    def test_code_and_script_exclude_each_other(self):
        self.assert_bad({"code": NOTHING, "script": NOTHING}, "script")

    def test_an_unknown_field_is_named(self):
        detail = self.assert_field_bad("inputs", inputs={"k": 1})
        self.assertIn("inputs", detail)
        self.assertIn("input,", detail)  # what would be right

    def test_unknown_fields_of_any_name_get_an_answer_that_is_json(self):
        for name in ("ä" * 100, "a" + "ä" * 100, "\0", 'q"\\', "x" * 100000, "</script>", ""):
            with self.subTest(name=name[:20]):
                status, headers, problem = self.ask(json.dumps({"code": NOTHING, name: 1}, ensure_ascii=False).encode())
                self.assertEqual((status, headers["Content-Type"], problem["code"]), (400, "application/problem+json", "bad_request"))
                self.assertLess(len(problem["param"] or ""), 100)

    def test_entry_must_be_a_name(self):
        self.assert_kinds_bad("entry", (1, True, [], {}, "", "a.b", "1a", "a b", "main()", "a-b", "a\0", "a\n", "é" * 200))

    def test_input_must_be_an_object_or_an_array(self):
        self.assert_kinds_bad("input", (1, 1.5, "k", True))

    def test_stdin_must_be_a_string(self):
        self.assert_kinds_bad("stdin", (1, [], {}, False))

    def test_argv_must_be_an_array_of_strings(self):
        self.assert_kinds_bad("argv", ("--fast", 1, {}, True))
        for value in (1, None, [], {}):
            with self.subTest(value=value):
                self.assertEqual(self.assert_field_bad("argv[1]", argv=["a", value]), "argv[1] must be a string")
        self.assertEqual(self.assert_field_bad("argv[0]", argv=["a\0b"]), "argv[0] must not contain a NUL character")

    def test_argv_has_bounds(self):
        self.assertEqual(self.returned("import sys\ndef main():\n    return len(sys.argv)", argv=["x"] * 256), 257)
        self.assertEqual(self.assert_field_bad("argv", argv=["x"] * 257), "argv has more than 256 entries")
        self.assertEqual(self.returned("import sys\ndef main():\n    return len(sys.argv[1])", argv=["x" * 65536]), 65536)
        self.assertEqual(self.assert_field_bad("argv", argv=["x" * 65537]), "argv is larger than 64 KiB")

    def test_env_must_be_an_object_of_strings(self):
        self.assert_kinds_bad("env", ("A=b", 1, [], True))
        for value in (1, None, [], {}):
            with self.subTest(value=value):
                self.assertEqual(self.assert_field_bad("env.B", env={"A": "", "B": value}), "env.B must be a string")
        self.assertEqual(self.assert_field_bad("env.B", env={"B": "a\0b"}), "env.B must not contain a NUL character")

    def test_names_in_env_must_be_names(self):
        self.assert_field_bad("env.A=B", env={"A=B": "c"})
        self.assert_field_bad("env.=", env={"=": "c"})
        self.assert_field_bad("env.", env={"": "c"})
        self.assert_field_bad("env.A\\u0000", env={"A\0": "c"})

    def test_env_has_bounds(self):
        self.assertEqual(self.assert_field_bad("env", env={f"N{i}": "" for i in range(257)}), "env has more than 256 entries")
        self.assertEqual(self.assert_field_bad("env", env={"N": "x" * 65536}), "env is larger than 64 KiB")

    def test_runtime_must_be_a_name(self):
        self.assert_kinds_bad("runtime", (1, [], {}, "", "x" * 100, "default\0"))

    def test_an_unknown_runtime_is_not_found(self):
        detail = self.assert_problem(self.ask({"code": NOTHING, "runtime": "plots"}), 404, "unknown_runtime", "runtime", "Not Found")
        self.assertEqual(detail, "There is no runtime 'plots': GET /v1/runtimes lists them")


class WrongFilesTest(Refused):
    def path_bad(self, path):
        return self.assert_field_bad("files[1].path", files=[{"path": "ok", "content": ""}, {"path": path, "content": ""}])

    def test_files_must_be_an_array_of_objects(self):
        self.assert_kinds_bad("files", ("a", 1, {}, True))
        for value in ("a", 1, None, [], True):
            with self.subTest(value=value):
                self.assert_field_bad("files[1]", files=[{"path": "a", "content": ""}, value])

    def test_path_and_content_are_needed_and_strings(self):
        for value in (1, None, [], {}):
            with self.subTest(value=value):
                self.assertEqual(self.assert_field_bad("files[0].path", files=[{"path": value, "content": ""}]), "files[0].path must be a string")
                self.assertEqual(self.assert_field_bad("files[0].content", files=[{"path": "a", "content": value}]), "files[0].content must be a string")
        self.assert_field_bad("files[0].path", files=[{"content": ""}])
        self.assert_field_bad("files[0].content", files=[{"path": "a"}])

    def test_an_encoding_must_be_known(self):
        for value in ("base32", "UTF8", "", 1, None, []):
            with self.subTest(value=value):
                self.assertEqual(self.assert_field_bad("files[0].encoding", files=[{"path": "a", "content": "", "encoding": value}]),
                                 'files[0].encoding must be "utf8" or "base64"')

    def test_an_unknown_field_of_a_file_is_named_with_its_place(self):
        self.assert_field_bad("files[1].mode", files=[{"path": "a", "content": ""}, {"path": "b", "content": "", "mode": 7}])

    def test_a_path_that_leaves_the_folder_is_refused(self):
        for path in ("..", "../a", "a/../b", "a/..", "a/../../b"):
            with self.subTest(path=path):
                self.assertIn("'..'", self.path_bad(path))

    def test_an_absolute_path_is_refused(self):
        for path in ("/etc/passwd", "/", "//a"):
            with self.subTest(path=path):
                self.assertEqual(self.path_bad(path), "files[1].path must be relative to the working folder")

    def test_a_path_with_odd_parts_is_refused(self):
        for path in ("", ".", "./a", "a/./b", "a//b", "a/", "a\0b", "\0"):
            with self.subTest(path=path):
                self.path_bad(path)

    def test_a_path_that_is_too_long_is_refused(self):
        self.assertEqual(self.path_bad("/".join(["d" * 250] * 5)), "files[1].path is too long")
        self.assertEqual(self.path_bad("n" * 256), "files[1].path has a part of more than 255 bytes")
        self.assertEqual(self.path_bad("ä" * 128), "files[1].path has a part of more than 255 bytes")
        self.assertEqual(self.path_bad("/".join("d" * 17)), "files[1].path has more than 16 parts")

    def test_a_path_as_long_as_may_be_is_taken(self):
        self.assertEqual(self.returned("def main(p):\n    return open(p).read()", input=["n" * 255], files=[{"path": "n" * 255, "content": "x"}]), "x")
        deep = "/".join("d" * 16)
        self.assertEqual(self.returned("def main(p):\n    return open(p).read()", input=[deep], files=[{"path": deep, "content": "x"}]), "x")

    def test_a_repeated_path_is_refused(self):
        self.assertEqual(self.assert_field_bad("files", files=[{"path": "a/b", "content": ""}, {"path": "c", "content": ""}, {"path": "a/b", "content": ""}]),
                         "files has the path 'a/b' twice")

    def test_a_file_that_is_a_folder_as_well_is_refused(self):
        for paths in (("a", "a/b"), ("a/b/c", "a-x", "a/b"), ("a", "a-", "a/b/c")):
            with self.subTest(paths=paths):
                self.assertIn("as a file and as a folder", self.assert_field_bad("files", files=[{"path": path, "content": ""} for path in paths]))

    def test_wrong_base64_is_refused(self):
        for content in ("a", "ab", "abc", "ab=c", "ab==cd==", "====", "a===", "ab\ncd===", "ab cd+/=", "ab-_", "ä===", "YWJj\n"):
            with self.subTest(content=content):
                self.assertIn("base64", self.assert_field_bad("files[0].content", files=[{"path": "a", "content": content, "encoding": "base64"}]))

    def test_a_hundred_thousand_files_are_refused(self):
        self.assertEqual(self.assert_field_bad("files", files=[{"path": f"f{i}", "content": ""} for i in range(100_000)]), "files holds more than 1000 files")

    def test_a_thousand_files_are_taken_and_one_more_is_refused(self):
        files = [{"path": f"f{i}", "content": ""} for i in range(1001)]
        self.assertEqual(self.returned("import os\ndef main():\n    return len(os.listdir())", files=files[:1000]), 1000)
        self.assert_field_bad("files", files=files)

    def test_files_beyond_their_limit_are_too_large(self):
        files = [{"path": "a", "content": "x" * (1 << 20)}, {"path": "b", "content": "", "encoding": "base64"}]
        self.assertEqual(self.returned("import os\ndef main():\n    return os.stat('a').st_size", files=files, limits={"files_mb": 1}, fetch=[]), 1 << 20)
        whole = 16 << 20
        halves = [{"path": name, "content": base64.b64encode(bytes(size)).decode(), "encoding": "base64"} for name, size in (("a", whole // 2), ("b", whole // 2 + 1))]
        detail = self.assert_problem(self.ask({"code": NOTHING, "files": halves}), 413, "too_large", "files", "Content Too Large")
        self.assertEqual(detail, "files hold more than 16 MiB")


class WrongFetchTest(Refused):
    def test_fetch_must_be_an_array_of_strings(self):
        self.assert_kinds_bad("fetch", ("*.png", 1, {}, True))
        for value in (1, None, [], {}):
            with self.subTest(value=value):
                self.assertEqual(self.assert_field_bad("fetch[1]", fetch=["a", value]), "fetch[1] must be a string")

    def test_patterns_that_leave_the_folder_are_refused(self):
        for value in ("/etc/*", "..", "../*", "a/../*", "", "a//b", "./a", "a\0"):
            with self.subTest(value=value):
                self.assert_field_bad("fetch[0]", fetch=[value])

    def test_patterns_that_would_explode_are_refused(self):
        self.assertIn("'**'", self.assert_field_bad("fetch[0]", fetch=["**/a/**/a/**/a/**/a/**/a"]))
        self.assert_field_bad("fetch[0]", fetch=["/".join(["**"] * 16)])
        self.assert_field_bad("fetch[0]", fetch=["*" * 300])
        self.assertEqual(self.assert_field_bad("fetch", fetch=["*"] * 33), "fetch has more than 32 patterns")

    def test_patterns_that_are_hard_to_match_take_no_time(self):
        files = [{"path": "/".join(["a" * 60] * 16), "content": ""}, {"path": "a" * 250, "content": ""}]
        fetch = ["*a" * 120 + "b", "**/" + "*a/" * 10 + "**/*b", "**/**/**/**", "?" * 250, "[a-z]" * 50] * 6
        start = time.monotonic()
        found = self.run_code(NOTHING, files=files, fetch=fetch)
        self.assertEqual(found["status"], "ok")
        self.assertEqual({file["path"] for file in found["files"]}, {file["path"] for file in files})
        self.assertLess(time.monotonic() - start, 2)

    def test_odd_patterns_are_only_patterns(self):
        found = self.run_code("def main():\n    open('[', 'w').write('1')", fetch=["[", "[z-a]", "[!]", "[]", "\\", "(", "a{1,9999999}", "(?P<x"])
        self.assertEqual((found["status"], [file["path"] for file in found["files"]]), ("ok", ["["]))


class WrongLimitTest(Refused):
    LEAST = {"wall_ms": 1, "cpu_ms": 1, "memory_mb": 16, "output_kb": 1, "files_mb": 1, "processes": 1}
    MOST = {"wall_ms": 10000, "cpu_ms": 10000, "memory_mb": 512, "output_kb": 1024, "files_mb": 16, "processes": 64}

    def test_limits_must_be_an_object(self):
        self.assert_kinds_bad("limits", (1, [], "wall_ms", True))

    def test_an_unknown_limit_is_named_with_its_place(self):
        self.assertIn("wall_ms", self.assert_field_bad("limits.wall_s", limits={"wall_s": 1}))

    def test_a_limit_must_be_a_whole_number(self):
        for name, least in self.LEAST.items():
            for value in ("0", "-1", "1.5", "100.0", "1e2", "1E2", '"100"', "null", "true", "[]", "{}", "0.99999999999999999999", "-100000000000000000000",
                          "100000000000000000000.5", "1e400"):
                with self.subTest(name=name, value=value):
                    detail = self.assert_bad(b'{"code": "1", "limits": {"%s": %s}}' % (name.encode(), value.encode()), f"limits.{name}")
                    self.assertEqual(detail, f"limits.{name} must be a whole number from {least} to {self.MOST[name]}")

    def test_less_memory_than_an_interpreter_needs_is_refused(self):
        self.assert_field_bad("limits.memory_mb", limits={"memory_mb": 15})

    def test_no_limit_can_be_raised(self):
        for name, most in self.MOST.items():
            for value in (most + 1, 2**32, 2**32 + 1, 2**63, 2**64 - 1, 2**64, 2**64 + 1, 10**30, 10**300):
                with self.subTest(name=name, value=value):
                    detail = self.assert_problem(self.ask({"code": NOTHING, "limits": {name: value}}), 422, "limit_above_maximum", f"limits.{name}",
                                                 "Unprocessable Content")
                    self.assertEqual(detail, f"limits.{name} must be a whole number from {self.LEAST[name]} to {most}")

    def test_limits_at_their_bounds_are_taken(self):
        self.assertEqual(self.returned("def main():\n    return 1", limits=self.MOST), 1)
        self.assertEqual(self.returned("def main():\n    return 1", limits={"memory_mb": 16, "output_kb": 1, "files_mb": 1, "processes": 1}), 1)
        self.assertEqual(self.returned("def main():\n    return 1", limits={}), 1)


class WrongBodyTest(Refused):
    def test_what_is_not_json_is_refused(self):
        for body, field in ((b"", None), (b"{", None), (b"code", None), (b'{"code": "1",}', None), (b'{"code": "1"} x', None), (b"{'code': '1'}", None),
                            (b'{"code": "1", "input": [NaN]}', "input"), (b"\xff\xfe", None), (b'{"code": "\xff"}', "code")):
            with self.subTest(body=body):
                self.assert_bad(body, field)

    def test_what_is_not_an_object_is_refused(self):
        for body in (b"[]", b'"code"', b"1", b"null", b'[{"code": "1"}]'):
            with self.subTest(body=body):
                self.assertIn("JSON object", self.assert_bad(body, None))

    def test_a_repeated_key_is_refused(self):
        self.assertIn("repeats a key", self.assert_bad(b'{"code": "1", "code": "2"}', None))
        self.assertIn("repeats a key", self.assert_bad(b'{"code": "1", "input": {"a": 1, "a": 2}}', "input"))

    def test_a_lone_surrogate_is_refused(self):
        self.assertIn("lone surrogate", self.assert_bad(b'{"code": "1", "stdin": "\\ud800"}', "stdin"))

    def test_deep_input_is_refused_by_its_name(self):
        self.assertEqual(self.returned("def main(x):\n    return len(str(x))", input=json.loads("[" * 120 + "]" * 120)), 238)
        self.assertIn("nested too deeply", self.assert_bad(b'{"code": "1", "input": ' + b"[" * 200 + b"]" * 200 + b"}", "input"))
        self.assertIn("nested too deeply", self.assert_bad(b'{"code": "1", "input": ' + b"[" * 200_000 + b"]" * 200_000 + b"}", "input"))

    def test_giant_input_is_too_large(self):
        most = 24 << 20
        detail = self.assert_problem(self.ask_only_head(most + 1), 413, "too_large", None, "Content Too Large")
        self.assertEqual(detail, f"Request body is larger than {most} bytes")

    def test_a_giant_chunked_body_is_too_large(self):
        with self.service.wire() as wire:
            wire.send_while_taken(post(b"%x\r\n" % (25 << 20) + b" " * (25 << 20) + b"\r\n0\r\n\r\n", "/v1/run", ["Transfer-Encoding: chunked"], length=False))
            status, headers, body = wire.answer()
        self.assert_problem((status, {"Content-Type": headers["content-type"]}, json.loads(body)), 413, "too_large", None, "Content Too Large")

    def test_many_keys_are_only_keys(self):
        """Of the answer as well, which is checked by the same code."""
        named = {f"k{i}": i for i in range(5000)}
        self.assertEqual(self.returned("def main(**named):\n    return named", input=named), named)
        status, answer = self.service.post(json.dumps({"script": "def main(): return {}", **named}).encode())
        self.assertEqual((status, answer), (200, b'{"result": {}, "stdout": ""}'))

    def test_a_megabyte_of_input_arrives(self):
        self.assertEqual(self.returned("def main(x, y):\n    return [len(x), sum(y)]", input={"x": "ä" * (1 << 20), "y": [1] * 100_000}), [1 << 20, 100_000])

    def test_other_content_types_are_refused(self):
        for kind in ("text/plain", "application/x-www-form-urlencoded", "application/jsonp", "multipart/form-data; boundary=x", "", "json"):
            with self.subTest(kind=kind):
                self.assert_problem(self.ask({"code": NOTHING}, **{"Content-Type": kind}), 415, "unsupported_media_type", None, "Unsupported Media Type")

    def test_other_methods_are_not_allowed(self):
        for method in ("GET", "PUT", "DELETE", "PATCH", "OPTIONS"):
            with self.subTest(method=method):
                status, headers, body = self.service.request(method, "/v1/run")
                self.assert_problem((status, headers, json.loads(body)), 405, "method_not_allowed", None, "Method Not Allowed")
                self.assertEqual(headers["Allow"], "POST")

    def test_other_paths_are_not_found(self):
        for path in ("/v1/", "/v1/runs", "/v1/run/", "/v1/run%2f", "/v1/../execute"):
            with self.subTest(path=path):
                status, headers, body = self.service.request("POST", path, b"{}")
                self.assert_problem((status, headers, json.loads(body)), 404, "not_found", None, "Not Found")

    def test_what_is_no_request_at_all_is_a_problem_as_well(self):
        for header in ("Host: other", "Content-Length: 3", "Transfer-Encoding: chunked"):
            with self.subTest(header=header):
                with self.service.wire() as wire:
                    wire.send(post(b"{}", "/v1/run", [header]))
                    status, headers, body = wire.answer()
                self.assert_problem((status, {"Content-Type": headers["content-type"]}, json.loads(body)), 400, "bad_request", None, "Bad Request")

    def test_a_refusal_keeps_the_connection(self):
        with self.service.wire() as wire:
            for _ in range(3):
                wire.send(post(b'{"code": 1}', "/v1/run"))
                self.assertEqual(wire.answer()[0], 400)
            wire.send(post(b'{"code": "def main(): return 3"}', "/v1/run"))
            self.assertEqual(json.loads(wire.answer()[2])["result"], 3)


class WorkerTest(Refused):
    """One slot, whose worker can be told by its pid."""

    @classmethod
    def setUpClass(cls):
        cls.own_start("--preload", "", "--slots", "1", "--queue-max", "0")

    def pids(self):
        return frozenset(process.pid for process in self.service.processes())

    def pids_at_rest(self):
        """Once the next worker waits."""
        eventually(self.service.answers, 10, "a run")
        seen = []

        def same():
            seen.append(self.pids())
            return len(seen) >= 6 and len(set(seen[-6:])) == 1  # the distance between two looks is longer than a worker takes to be there

        eventually(same, 10, "no process comes or goes")
        return seen[-1]

    def test_what_is_refused_costs_no_worker(self):
        before = self.pids_at_rest()
        for fields in ({"code": 1}, {"x": 1}, {"entry": "1"}, {"input": 1}, {"stdin": 1}, {"argv": [1]}, {"env": {"=": ""}}, {"files": [{"path": "..", "content": ""}]},
                       {"files": [{"path": "a", "content": "a", "encoding": "base64"}]}, {"fetch": ["/"]}, {"limits": {"wall_ms": 0}}):
            self.assertEqual(self.ask({"code": NOTHING, **fields})[0], 400, fields)
        self.assertEqual(self.ask({"code": NOTHING, "limits": {"wall_ms": 1 << 40}})[0], 422)
        self.assertEqual(self.ask({"code": NOTHING, "runtime": "x"})[0], 404)
        self.assertEqual(self.ask({"code": NOTHING}, **{"Content-Type": "text/plain"})[0], 415)
        self.assertEqual(self.ask_only_head(1 << 30)[0], 413)
        self.assertEqual(self.service.request("GET", "/v1/run")[0], 405)
        self.assertEqual(self.pids(), before)
        self.assertEqual(self.run_code(NOTHING)["status"], "ok")
        eventually(lambda: self.pids() != before, 10, "another worker: the pids do tell")

    def test_a_full_queue_says_when_to_come_again(self):
        self.pids_at_rest()
        wires = [self.service.wire() for _ in range(4)]
        try:
            for wire in wires:
                wire.send(post(json.dumps({"code": SLOW}).encode(), "/v1/run"))
            answers = [wire.answer() for wire in wires]
        finally:
            for wire in wires:
                wire.socket.close()
        self.assertEqual(sorted(status for status, _, _ in answers), [200, 503, 503, 503])
        for status, headers, body in answers:
            if status == 503:
                self.assert_problem((status, {"Content-Type": headers["content-type"]}, json.loads(body)), 503, "queue_full", None, "Service Unavailable")
                self.assertGreaterEqual(int(headers["retry-after"]), 1)


class DrainingTest(Refused):
    def test_a_service_that_stops_says_so(self):
        service = Service("--preload", "", "--slots", "2", "--drain-ms", "3000")
        try:
            with service.wire() as first, service.wire() as second:
                second.send(post(json.dumps({"code": NOTHING}).encode(), "/v1/run"))
                self.assertEqual(second.answer()[0], 200)
                first.send(post(json.dumps({"code": SLOW}).encode(), "/v1/run"))
                os.kill(service.pid, signal.SIGTERM)
                eventually(lambda: service.request("GET", "/readyz")[2] == b'{"status": "stopping"}', 3, "it is about to stop")
                with service.wire() as late:
                    late.send(post(json.dumps({"code": NOTHING}).encode(), "/v1/run"))
                    status, headers, body = late.answer()
                self.assert_problem((status, {"Content-Type": headers["content-type"]}, json.loads(body)), 503, "draining", None, "Service Unavailable")
                self.assertGreaterEqual(int(headers["retry-after"]), 1)
                self.assertEqual(headers["connection"], "close")
                # Whoever was there before is served, once more.
                second.send(post(json.dumps({"code": NOTHING}).encode(), "/v1/run"))
                status, headers, body = second.answer()
                self.assertEqual((status, json.loads(body)["status"], headers["connection"]), (200, "ok", "close"))
                status, _, body = first.answer()
                self.assertEqual((status, json.loads(body)["status"]), (200, "ok"))
            self.assertEqual(service.process.wait(25), 0)
        finally:
            service.kill()


class NextRunTest(RunCase):
    """One slot, so that each run follows the one before in it."""

    @classmethod
    def setUpClass(cls):
        cls.own_start("--preload", "", "--slots", "1")
        eventually(cls.own.roles_whole, 20, "it has settled")  # until then another interpreter gets ready, and takes processor time

    def test_two_runs_share_nothing(self):
        code = """
import builtins, json, os, sys, tempfile
found = [os.listdir(), sorted(set(os.listdir(tempfile.gettempdir())) - {os.path.basename(os.getcwd())}), os.environ.get("MARK"), os.environ.get("TZ"), sys.argv[1:],
         sys.stdin.read(), hasattr(builtins, "mark"), hasattr(json, "mark"), "helper" in sys.modules, os.path.basename(os.getcwd())]
def main():
    builtins.mark = json.mark = os.environ["OTHER"] = "x"
    open("left", "w").write("x")
    open(os.path.join(tempfile.gettempdir(), "left"), "w").write("x")
    os.mkdir("folder")
    os.chdir("folder")
    try:
        import helper
    except ImportError:
        pass
    return found
"""
        first = self.returned(code, files=[{"path": "helper.py", "content": ""}], env={"MARK": "a", "TZ": "XYZ-3"}, argv=["b"], stdin="c")
        self.assertEqual(first[:9], [["helper.py"], [], "a", "XYZ-3", ["b"], "c", False, False, False])
        for _ in range(3):
            self.assertEqual(self.returned(code), [[], [], None, None, [], "", False, False, False, first[9]])
        self.assertEqual(self.service.execute("import os\ndef main():\n    return {'mark': os.environ.get('MARK'), 'left': os.path.exists('left')}")[1]["result"],
                         {"mark": None, "left": False})

    def test_output_belongs_to_its_run(self):
        for number in range(20):
            answer = self.run_code("import sys\ndef main(n):\n    print(n)\n    print(-n, file=sys.stderr)\n    return n", input=[number])
            self.assertEqual((answer["result"], answer["stdout"], answer["stderr"]), (number, f"{number}\n", f"{-number}\n"))

    LOW = {"wall_ms": 400, "cpu_ms": 200, "memory_mb": 32, "output_kb": 1, "files_mb": 1, "processes": 2}
    MUCH = """
import threading, time
def main():
    hold = b"x" * (100 << 20)
    gate = threading.Event()
    threads = [threading.Thread(target=gate.wait) for _ in range(20)]
    for thread in threads:
        thread.start()
    gate.set()
    end = time.process_time() + 0.5
    while time.process_time() < end:
        pass
    open("much", "wb").write(b"x" * (2 << 20))
    print("x" * 4000)
    return {"n": len(hold)}
"""

    @only_with_sums
    def test_low_limits_are_gone_with_their_run(self):
        for ending in ("pass", "hold = bytes(200 << 20)", "import mmap\n    m = mmap.mmap(-1, 60 << 20)\n    for i in range(0, 60 << 20, 4096):\n        m[i] = 1", "__import__('os')._exit(3)"):
            with self.subTest(ending=ending):
                self.run_code(f"def main():\n    {ending}", limits=self.LOW)
                answer = self.run_code(self.MUCH)
                self.assertEqual((answer["status"], answer["result"]), ("ok", {"n": 100 << 20}), answer["error"])
                self.assertEqual((len(answer["stdout"]), [file["size"] for file in answer["files"]]), (4001, [2 << 20]))

    @only_with_sums
    def test_low_limits_are_gone_for_execute_as_well(self):
        self.assertEqual(self.run_code("def main():\n    while True:\n        pass", limits=self.LOW)["status"], "cpu_limit")
        status, answer = self.service.execute(self.MUCH)
        self.assertEqual((status, answer["result"]), (200, {"n": 100 << 20}))

    def test_a_script_cannot_raise_its_limits(self):
        code = """
import resource
def main():
    raised = []
    for name in ("RLIMIT_DATA", "RLIMIT_CPU", "RLIMIT_NPROC", "RLIMIT_FSIZE"):
        number = getattr(resource, name)
        for most in (resource.RLIM_INFINITY, resource.getrlimit(number)[1] + 1):
            try:
                resource.setrlimit(number, (most, most))
                raised.append(name)
            except (ValueError, OSError, OverflowError):
                pass
    return raised
"""
        self.assertEqual([name for name in self.returned(code, limits={"memory_mb": 64, "processes": 8, "cpu_ms": 2000}) if name != "RLIMIT_NPROC"], [])


@only_with_children
class HangUpTest(RunCase):
    """A run that only its child shows from outside."""

    SLEEP = json.dumps({"code": "import subprocess\ndef main():\n    subprocess.run(['sleep', '60'])"}).encode()

    @classmethod
    def setUpClass(cls):
        cls.own_start("--preload", "", "--slots", "1")

    def sleeps(self):
        return [process for process in self.service.processes() if process.name == "sleep" and process.state != "Z"]

    def test_a_client_that_hangs_up_cancels_its_run(self):
        with self.service.wire() as wire:
            wire.send(post(self.SLEEP, "/v1/run"))
            eventually(self.sleeps, 10, "the run is on")
        eventually(lambda: not self.sleeps(), 4, "the run has ended with its client")
        self.assertEqual(self.returned("def main():\n    return 1"), 1)

    def test_a_client_that_resets_cancels_its_run(self):
        with self.service.wire() as wire:
            wire.send(post(self.SLEEP, "/v1/run"))
            eventually(self.sleeps, 10, "the run is on")
            wire.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        eventually(lambda: not self.sleeps(), 4, "the run has ended with its client")

    def test_a_client_that_waits_and_hangs_up_leaves_the_queue(self):
        with self.service.wire() as first:
            first.send(post(self.SLEEP, "/v1/run"))
            eventually(self.sleeps, 10, "the run is on")
            for _ in range(3):  # each would take its slot for 10 s
                with self.service.wire() as waiting:
                    waiting.send(post(self.SLEEP, "/v1/run"))
        start = time.monotonic()
        self.assertEqual(self.returned("def main():\n    return 1"), 1)
        self.assertLess(time.monotonic() - start, 4)


if __name__ == "__main__":
    unittest.main()
