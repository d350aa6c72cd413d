"""src/front/openapi.json: it is an OpenAPI document, its examples are as it says, it says what the source does, and the service gives it out.

What the source does is read from its tables. A field, status or code that is new there and isn't described fails here."""

import json
import os
import re
import unittest

import openapi_check
from openapi_check import check, document, inlined, resolved, validator, wrong_with
from service import Case

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.join(HERE, "..", "..")
RULES = os.path.join(HERE, "openapi_rules.json")

needs_jsonschema = unittest.skipIf(openapi_check.MISSING, openapi_check.MISSING)


def walk(node, path="#"):
    """All objects of the document, with where they are."""
    if isinstance(node, dict):
        yield path, node
        for name, item in node.items():
            yield from walk(item, f"{path}/{name}")
    elif isinstance(node, list):
        for number, item in enumerate(node):
            yield from walk(item, f"{path}/{number}")


def operations():
    for path, item in document()["paths"].items():
        for method, operation in item.items():
            yield path, method, operation


def responses():
    """All of them, whoever has them: where, status (None: of a component), response."""
    for path, method, operation in operations():
        for status, response in operation["responses"].items():
            yield f"{method} {path}", status, response
    for prefix, others in document()["x-other-paths"].items():
        for status, response in others.items():
            yield f"other paths {prefix}", status, response


def schema_of(name):
    return document()["components"]["schemas"][name]


def source(*parts):
    with open(os.path.join(ROOT, *parts), encoding="utf-8") as file:
        return file.read()


def front_sources():
    """Of the front's C files; the ablation build's has answers that are nobody's business."""
    folder = os.path.join(ROOT, "src", "front")
    return {name: source("src", "front", name) for name in sorted(os.listdir(folder)) if name.endswith(".c") and name != "takeover.c"}


def function(text, name):
    """From its name to the brace that ends it."""
    found = re.search(rf"^[^\n;]*\b{name}\([^;]*?\n\{{\n(.*?)^\}}", text, re.M | re.S)
    if not found:
        raise AssertionError(f"there is no function {name}() any more: this test reads it")
    return found[1]


def table(text, name):
    """The rows of an array."""
    found = re.search(rf"\b{name}\[\w*\] = \{{\n(.*?)^\s*\}};", text, re.M | re.S)
    if not found:
        raise AssertionError(f"there is no table {name}[] any more: this test reads it")
    return found[1]


def calls(text, name):
    """The arguments of each call: lists of their texts."""
    for found in re.finditer(rf"\b{name}\(", text):
        arguments, depth, begin, at = [], 0, found.end(), found.end()
        while depth >= 0:
            if text[at] == '"':
                at = re.compile(r'"(?:[^"\\]|\\.)*"').match(text, at).end()
                continue
            depth += (text[at] in "({[") - (text[at] in ")}]")
            if depth < 0 or (depth == 0 and text[at] == ","):
                arguments.append(text[begin:at].strip())
                begin = at + 1
            at += 1
        yield arguments


def strings(text):
    return re.findall(r'"([^"\\]+)"', text)


def keys_written(text):
    """The keys of the JSON that C string literals make."""
    return set(re.findall(r'\\"(\w+)\\": ', text))


def constants():
    header = source("src", "front", "run_request.h")
    found = {name: eval(value) for name, value in re.findall(r"\b(RUN_\w+) = ([0-9<() ]+),", header)}  # "64 << 10"
    found["RUNTIME_ROOM"] = int(re.search(r"char runtime\[(\d+)\]", header)[1])
    return found


class RulesTest(unittest.TestCase):
    maxDiff = None

    @needs_jsonschema
    def test_the_document_keeps_the_rules_of_openapi(self):
        with open(RULES, encoding="utf-8") as file:
            rules = json.load(file)
        openapi_check.jsonschema.Draft202012Validator.check_schema(rules)
        errors = openapi_check.jsonschema.Draft202012Validator(rules).iter_errors(document())
        self.assertEqual([f"{'/'.join(map(str, error.absolute_path))}: {error.message[:300]}" for error in errors], [])

    @needs_jsonschema
    def test_its_schemas_are_schemas(self):
        for path, node in walk(document()):
            if isinstance(node.get("schema"), dict):
                openapi_check.jsonschema.Draft202012Validator.check_schema(inlined(node["schema"]))
        for name, schema in document()["components"]["schemas"].items():
            with self.subTest(name=name):
                openapi_check.jsonschema.Draft202012Validator.check_schema(schema)

    def test_every_reference_leads_somewhere_and_every_component_is_used(self):
        used = set()
        for path, node in walk(document()):
            if "$ref" in node:
                with self.subTest(path=path):
                    resolved(node["$ref"])
                used.add(node["$ref"])
        made = {f"#/components/{kind}/{name}" for kind, members in document()["components"].items() if kind != "securitySchemes" for name in members}
        self.assertEqual(used, made)

    def test_names_of_operations_and_security_schemes_are_known(self):
        names = [operation["operationId"] for _, _, operation in operations()]
        self.assertEqual(len(names), len(set(names)))
        tags = {tag["name"] for tag in document()["tags"]}
        for path, _, operation in operations():
            self.assertLessEqual(set(operation["tags"]), tags, path)
            for wanted in operation["security"]:
                self.assertLessEqual(set(wanted), set(document()["components"]["securitySchemes"]), path)

    def test_no_key_stands_twice(self):
        def once(pairs):
            self.assertEqual(len(pairs), len(dict(pairs)), [name for name, _ in pairs])
            return dict(pairs)

        json.loads(source("src", "front", "openapi.json"), object_pairs_hook=once)

    def test_every_field_is_described_and_shown(self):
        for path, node in walk(document()):
            # What only narrows a schema that it refers to says nothing of its own.
            if "/schema" not in path or node.get("type") != "object" or "properties" not in node or "/allOf/" in path:
                continue
            for name, field in node["properties"].items():
                with self.subTest(field=f"{path}/{name}"):
                    target = resolved(field["$ref"]) if "$ref" in field else field
                    self.assertTrue(target.get("description"))
                    self.assertTrue({"examples", "enum", "const", "properties", "items"} & set(target), "no example")

    def test_every_object_says_whether_there_may_be_more(self):
        for name, schema in document()["components"]["schemas"].items():
            for path, node in walk(schema, name):
                if node.get("type") == "object" and "properties" in node:
                    self.assertIs(node.get("additionalProperties"), name == "ExecuteRequest", path)

    def test_every_status_has_an_example(self):
        for where, status, response in responses():
            response = resolved(response["$ref"]) if "$ref" in response else response
            for kind, media in response["content"].items():
                self.assertTrue(media.get("examples"), f"{where} {status} {kind}")


@needs_jsonschema
class ExamplesTest(unittest.TestCase):
    def test_examples_are_as_their_schemas_say(self):
        count = 0
        for path, node in walk(document()):
            if isinstance(node.get("schema"), dict):  # a media type, header or parameter
                examples = [example["value"] for example in node.get("examples", {}).values()] + ([node["example"]] if "example" in node else [])
                schema = node["schema"]
            elif "/schema" in path and not path.endswith("/properties") and ("examples" in node or "default" in node):
                examples = node.get("examples", []) + ([node["default"]] if "default" in node else [])
                schema = node
            else:
                continue
            valid = validator(schema)
            for example in examples:
                count += 1
                with self.subTest(path=path, example=str(example)[:200]):
                    self.assertIsNone(wrong_with(valid, example))
        self.assertGreater(count, 150)  # else this test doesn't see them any more

    def test_examples_of_answers_are_answers(self):
        for path, method, operation in operations():
            for status, response in operation["responses"].items():
                response = resolved(response["$ref"]) if "$ref" in response else response
                headers = {}
                for name, header in response["headers"].items():
                    header = resolved(header["$ref"]) if "$ref" in header else header
                    headers[name] = header.get("example", header["schema"].get("const"))
                for kind, media in response["content"].items():
                    for example in media["examples"].values():
                        body = json.dumps(example["value"]) if kind.endswith("json") else example["value"]
                        with self.subTest(path=path, status=status, kind=kind):
                            check(method.upper(), path, int(status), {**headers, "Content-Type": kind}, body.encode())


class SourceTest(unittest.TestCase):
    maxDiff = None

    def test_the_version_is_the_projects(self):
        self.assertEqual(document()["info"]["version"], re.search(r"version: '([^']+)'", source("meson.build"))[1])

    def test_paths_are_those_that_are_routed(self):
        found = re.findall(r'length == (\d+) && strncmp\(path, "([^"]+)", (\d+)\) == 0', source("src", "front", "route.c"))
        self.assertEqual({path for _, path, _ in found}, set(document()["paths"]))
        self.assertEqual([path for whole, path, compared in found if not int(whole) == int(compared) == len(path)], [])

    def test_fields_of_a_request_are_those_that_are_taken(self):
        rows = re.findall(r'\{ "(\w+)", \w+, (true|false) \}', table(source("src", "front", "run_request.c"), "FIELDS"))
        fields = schema_of("RunRequest")["properties"]
        self.assertEqual({name for name, _ in rows}, set(fields))
        takes_null = {name for name, field in fields.items() if "null" in field["type"]}
        self.assertEqual({name for name, null in rows if null == "true"} | {"entry"}, takes_null)

    def test_fields_of_a_file_are_those_that_are_taken(self):
        found = re.findall(r'json_key_is\(key, "(\w+)"\)', function(source("src", "front", "run_request.c"), "file_member"))
        self.assertEqual(set(found), set(schema_of("FileIn")["properties"]))

    def test_limits_are_those_that_are_taken(self):
        rows = re.findall(r'\{ "(\w+)", offsetof\([^)]*\), (\w+) \}', table(source("src", "front", "run_request.c"), "LIMITS"))
        least = {name: int(number) if number.isdigit() else constants()[number] for name, number in rows}
        limits = schema_of("RunRequest")["properties"]["limits"]["properties"]
        self.assertEqual(least, {name: limit["minimum"] for name, limit in limits.items()})
        self.assertEqual(set(least), set(schema_of("Runtime")["properties"]["limits"]["properties"]))
        above = resolved("#/components/responses/LimitAboveMaximumProblem")["content"]["application/problem+json"]["schema"]["properties"]
        self.assertEqual({f"limits.{name}" for name in least}, set(above["param"]["enum"]))

    def test_limits_are_bounded_by_what_can_be_configured(self):
        rows = re.findall(r'NUMBER\("([\w-]+)", \w+, (\d+), (\d+), (\d+),', source("src", "settings", "option.c"))
        options = {name: (int(standard), int(most)) for name, _, standard, most in rows}
        options["stdout-kb"] = tuple(number >> 10 for number in options["stdout-max"])
        limits = schema_of("RunRequest")["properties"]["limits"]["properties"]
        for limit, option in (("wall_ms", "deadline-ms"), ("cpu_ms", "cpu-ms"), ("memory_mb", "memory-mb"), ("output_kb", "stdout-kb"), ("files_mb", "files-mb"),
                              ("processes", "processes")):
            self.assertEqual((limits[limit]["default"], limits[limit]["maximum"]), options[option], limit)
        self.assertEqual(schema_of("Ready")["properties"]["slots"]["maximum"], options["slots"][1])

    def test_bounds_are_those_of_the_source(self):
        fields, known = schema_of("RunRequest")["properties"], constants()
        self.assertEqual(fields["files"]["maxItems"], known["RUN_FILES_MAX"])
        self.assertEqual(schema_of("RunAnswer")["properties"]["files"]["maxItems"], known["RUN_FILES_MAX"])
        self.assertEqual(fields["fetch"]["maxItems"], known["RUN_PATTERNS_MAX"])
        self.assertEqual((fields["fetch"]["items"]["maxLength"], fields["entry"]["maxLength"]), (known["RUN_PATTERN_MAX"],) * 2)
        self.assertEqual((fields["argv"]["maxItems"], fields["env"]["maxProperties"]), (known["RUN_WORDS_MAX"],) * 2)
        self.assertEqual(schema_of("FileIn")["properties"]["path"]["maxLength"], known["RUN_PATH_MAX"])
        self.assertEqual(fields["runtime"]["maxLength"], known["RUNTIME_ROOM"] - 1)
        task = source("python", "vivary", "task.py")
        number = {name: eval(value) for name, value in re.findall(r"^(\w+_MAX) = ([0-9* ]+)", task, re.M)}
        error = schema_of("ScriptError")["properties"]
        self.assertEqual(error["value"]["maxLength"], number["TEXT_MAX"] + len(" ..."))
        self.assertEqual(error["traceback"]["maxLength"], number["TRACEBACK_MAX"] + len("\n...\n"))
        self.assertEqual(error["frames"]["maxItems"], number["FRAMES_MAX"])
        problem, problem_h = schema_of("Problem")["properties"], source("src", "front", "problem.h")
        self.assertEqual(problem["param"]["maxLength"], int(re.search(r"char param\[(\d+)\]", problem_h)[1]) - 1)
        self.assertEqual(problem["detail"]["maxLength"], int(re.search(r"PROBLEM_TEXT_MAX = (\d+)", problem_h)[1]) - 1)

    def test_statuses_of_a_run_are_those_that_it_may_come_to(self):
        found = re.findall(r'\] = "(\w+)"', table(source("src", "front", "report.c"), "STATUSES"))
        self.assertEqual(found, schema_of("RunAnswer")["properties"]["status"]["enum"])

    def test_limits_that_end_a_run_are_those_that_are_told(self):
        found = {name for arguments in calls(source("src", "front", "report.c"), "limit_set") for name in strings(arguments[2])}
        self.assertEqual(found, set(schema_of("Limit")["properties"]["name"]["enum"]))

    def test_fields_of_an_answer_are_those_that_are_written(self):
        def fields(*names):
            return {field for name in names for field in schema_of(name)["properties"]}

        report, front = source("src", "front", "report.c"), front_sources()
        task, files = source("python", "vivary", "task.py"), source("python", "vivary", "files.py")
        written = keys_written("".join(function(report, name) for name in ("body_write", "limit_write", "usage_write")))
        self.assertEqual(written, fields("RunAnswer", "Limit", "Usage") | set(schema_of("RunAnswer")["properties"]["runtime"]["properties"]))
        self.assertEqual(keys_written(front["denied.c"]), fields("Denied"))
        self.assertEqual(keys_written(front["problem.c"]), fields("Problem"))
        self.assertEqual(keys_written(front["answer.c"]), fields("ExecuteAnswer", "Error"))
        self.assertEqual(keys_written(front["stream.c"]), fields("StartEvent", "OutputEvent"))
        self.assertEqual(keys_written(function(source("src", "cli", "level.c"), "level_json")) | set(strings(" ".join(arguments[1] for arguments in calls(
            function(source("src", "cli", "level.c"), "level_json"), "array_write")))), fields("Ready"))
        self.assertEqual(set(re.findall(r'"(\w+)": ', re.search(r"def _error\(.*", task, re.S)[0])), fields("ScriptError"))
        self.assertEqual(set(re.findall(r'"(\w+)": ', re.search(r"frames\.append\((.*)\)", task)[1])), fields("Frame"))
        self.assertEqual(set(re.findall(r'"(\w+)": ', re.search(r"return \(f'\{\{.*?\n\n", files, re.S)[0])), fields("FileOut"))

    def test_events_are_those_that_are_sent(self):
        stream = source("src", "front", "stream.c")
        found = set(re.findall(r'"event: (\w+)', stream)) | {name for arguments in calls(function(stream, "stream_output"), "output_add") for name in strings(arguments[1])}
        self.assertEqual(found, set(document()["paths"]["/v1/run"]["post"]["responses"]["200"]["content"]["text/event-stream"]["x-events"]))

    def test_codes_are_those_that_problems_have(self):
        found = set(re.findall(r'return "(\w+)"', function(source("src", "front", "route.c"), "code_of")))
        for text in front_sources().values():
            for arguments in calls(text, "problem_set"):
                found.update(strings(arguments[2]))
        self.assertEqual(found, set(schema_of("Problem")["properties"]["code"]["enum"]))

    def test_http_statuses_are_those_that_are_answered(self):
        found = set()
        for text in front_sources().values():
            found.update(re.findall(r"\bcall_(?:fail|say)\(call, (\d{3})\b", text))
            found.update(re.findall(r"\bproblem_set\([^,]+, (\d{3})\b", text))
            for value in re.findall(r"->status = ([^;]+);", text):
                found.update(re.findall(r"\b[1-5]\d\d\b", value))
        self.assertEqual(found, {status for _, status, _ in responses()})

    def test_titles_are_those_of_the_statuses(self):
        titles = {int(status): title for status, title in re.findall(r'\{ (\d{3}), "([^"]+)" \}', table(source("src", "front", "problem.c"), "TITLES"))}
        problem = schema_of("Problem")["properties"]
        self.assertEqual([titles[status] for status in problem["status"]["enum"]], problem["title"]["enum"])
        codes = set()
        for where, status, response in responses():
            media = resolved(response["$ref"])["content"].get("application/problem+json") if "$ref" in response else None
            if media is not None:
                narrowed = media["schema"]["properties"]
                self.assertEqual((narrowed["status"]["const"], narrowed["title"]["const"]), (int(status), titles[int(status)]), where)
                codes.update(narrowed["code"].get("enum", [narrowed["code"].get("const")]))
        self.assertEqual(codes, set(problem["code"]["enum"]))  # each can be met somewhere


@needs_jsonschema
class CheckTest(unittest.TestCase):
    """The check itself: what it must not let through."""

    JSON = {"Content-Type": "application/json"}
    PROBLEM = {"Content-Type": "application/problem+json"}

    def example(self, name, kind="application/json"):
        return document()["paths"]["/v1/run"]["post"]["responses"]["200"]["content"][kind]["examples"][name]["value"]

    def assert_wrong(self, words, method, path, status, headers, body):
        with self.assertRaisesRegex(AssertionError, words):
            check(method, path, status, headers, body if isinstance(body, bytes) else json.dumps(body).encode())

    def test_an_answer_that_is_described_is_taken(self):
        check("POST", "/execute", 200, self.JSON, b'{"result": {}, "stdout": ""}')
        check("POST", "http://vivary/execute?x=1", 200, {"content-type": "application/json; charset=utf-8"}, b'{"result": {"a": 1}, "stdout": ""}')
        check("HEAD", "/healthz", 200, self.JSON, b"")
        check("DELETE", "/v1/run", 405, {**self.PROBLEM, "Allow": "POST"}, json.dumps({
            "type": "about:blank", "title": "Method Not Allowed", "status": 405, "code": "method_not_allowed", "param": None, "detail": "x"}).encode())
        check("GET", "/execute", 431, {"Connection": "close"}, b"<html>too large</html>")
        check("POST", "/execute", 100, {}, b"")

    def test_what_is_not_described_is_told(self):
        self.assert_wrong("this status isn't described", "POST", "/execute", 418, self.JSON, {})
        self.assert_wrong("this status isn't described", "POST", "/healthz", 200, self.JSON, {"status": "ok"})
        self.assert_wrong("this status isn't described", "GET", "/nowhere", 200, self.JSON, {})
        self.assert_wrong("content type text/html", "GET", "/healthz", 200, {"Content-Type": "text/html"}, b"")
        self.assert_wrong("content type none", "GET", "/healthz", 200, {}, {"status": "ok"})
        self.assert_wrong("content type application/json", "GET", "/v1/nowhere", 404, self.JSON, {"error": "x"})
        self.assert_wrong("HEAD has a body", "HEAD", "/healthz", 200, self.JSON, {"status": "ok"})

    def test_a_body_that_is_otherwise_is_told(self):
        self.assert_wrong("'stdout' is a required property", "POST", "/execute", 200, self.JSON, {"result": {}})
        self.assert_wrong("'more' was unexpected", "POST", "/execute", 200, self.JSON, {"result": {}, "stdout": "", "more": 1})
        self.assert_wrong(r"\$\.result", "POST", "/execute", 200, self.JSON, {"result": [], "stdout": ""})
        self.assert_wrong("Expecting property name", "GET", "/healthz", 200, self.JSON, b"{")
        self.assert_wrong("NaN is no JSON", "POST", "/execute", 200, self.JSON, b'{"result": {"a": NaN}, "stdout": ""}')
        self.assert_wrong("can't decode", "POST", "/execute", 200, self.JSON, b'{"result": {}, "stdout": "\xff"}')

    def test_headers_that_are_missing_or_wrong_are_told(self):
        self.assert_wrong("header Allow: it is missing", "GET", "/execute", 405, self.JSON, {"error": "x"})
        self.assert_wrong("header Allow", "GET", "/execute", 405, {**self.JSON, "Allow": "GET"}, {"error": "x"})
        self.assert_wrong("header Retry-After: it is missing", "POST", "/execute", 503, self.JSON, {"error": "x"})
        self.assert_wrong("header Retry-After", "POST", "/execute", 503, {**self.JSON, "Retry-After": "0"}, {"error": "x"})
        self.assert_wrong("header X-Request-Id", "GET", "/healthz", 200, {**self.JSON, "X-Request-Id": "a b"}, {"status": "ok"})

    def test_fields_of_a_run_that_contradict_each_other_are_told(self):
        for changed in ({"status": "odd"}, {"status": "exit", "result": 1}, {"signal": "SIGKILL"}, {"status": "signal"}, {"limit": {"name": "files", "max": 1, "used": 2}},
                        {"status": "wall_limit"}, {"exit_code": 256}, {"truncated": ["stdout", "stdout"]}, {"denied": [{}]}, {"error": {}}, {"id": "run_1"}):
            with self.subTest(changed=changed):
                self.assert_wrong("not as openapi.json has it", "POST", "/v1/run", 200, self.JSON, {**self.example("ok"), **changed})

    def test_a_problem_of_another_status_is_told(self):
        problem = {"type": "about:blank", "title": "Bad Request", "status": 400, "code": "bad_request", "param": None, "detail": "x"}
        check("POST", "/v1/run", 400, self.PROBLEM, json.dumps(problem).encode())
        for changed in ({"status": 404}, {"code": "internal"}, {"param": ""}, {"detail": ""}, {"title": "Not Found"}):
            with self.subTest(changed=changed):
                self.assert_wrong("not as openapi.json has it", "POST", "/v1/run", 400, self.PROBLEM, {**problem, **changed})

    def test_streams_that_are_not_as_they_should_be_are_told(self):
        stream = self.example("stream", "text/event-stream")
        kind = {"Content-Type": "text/event-stream", "X-Accel-Buffering": "no", "Cache-Control": "no-store"}
        check("POST", "/v1/run", 200, kind, stream.encode())
        begin, end = stream.index("event: stdout"), stream.index("event: end")
        for changed, words in ((stream[:end], "in this order"), (stream[:-1], "ends within"), (stream[:begin] + stream[end:], "joined"), (stream[begin:], "in this order"),
                               (stream.replace("event: stdout", "event: other"), "'other'"), (stream.replace('"text"', '"txt"'), "text"),
                               (stream.replace("data: ", "datum: "), "unknown kind"), (stream.replace("hello", "\nhello", 1), "unknown kind"),
                               (stream.replace('"run_6', '"run_7', 1), "two runs"), (stream + stream, "in this order")):
            with self.subTest(words=words):
                self.assert_wrong(words, "POST", "/v1/run", 200, kind, changed.encode())

    def test_what_python_reads_with_difficulty_is_taken(self):
        check("POST", "/execute", 200, self.JSON, b'{"result": {"a": 1' + b"0" * 5000 + b'}, "stdout": ""}')
        check("POST", "/execute", 200, self.JSON, b'{"result": {"a": ' + b"[" * 50000 + b"]" * 50000 + b'}, "stdout": ""}')


class ServiceTest(Case):
    """What is described is there."""

    GETS = [path for path, method, _ in operations() if method == "get"]

    @classmethod
    def setUpClass(cls):
        cls.own_start("--preload", "", "--slots", "1")

    def test_the_service_gives_out_the_document(self):
        status, headers, body = self.service.request("GET", "/openapi.json")
        self.assertEqual((status, headers["Content-Type"]), (200, "application/json"))
        self.assertEqual(body.decode(), source("src", "front", "openapi.json"))

    def test_every_path_answers_as_it_is_described(self):
        for path in [*document()["paths"], "/nowhere", "/v1/nowhere"]:
            for method in ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"):
                with self.subTest(path=path, method=method):
                    answer = self.service.request(method, path, headers={"X-Request-Id": "job-17.3"})
                    check(method, path, *answer)
                    self.assertEqual(answer[1]["X-Request-Id"], "job-17.3")
                    wanted = 404 if "nowhere" in path else 400 if method == "POST" and path not in self.GETS else 200 if method in ("GET", "HEAD") and path in self.GETS else 405
                    self.assertEqual(answer[0], wanted)


if __name__ == "__main__":
    unittest.main()
