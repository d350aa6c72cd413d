"""Whether an answer of the service is one that src/front/openapi.json describes. Does nothing where python3-jsonschema isn't to be had."""

import functools
import json
import os
import re
import sys

DOCUMENT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "src", "front", "openapi.json")
DEBIAN = "/usr/lib/python3/dist-packages"  # pure Python, so another interpreter than Debian's can use it as well
SHOWN = 600  # characters of an error
OF_OTHER_METHODS = ("400", "405", "413", "500")


def _jsonschema():
    """The module, or None, and then why."""
    before = set(sys.modules)
    try:
        import jsonschema
    except ImportError:
        sys.path.append(DEBIAN)
        try:
            import jsonschema
        except Exception as error:  # whatever comes of one interpreter's packages in another
            for name in set(sys.modules) - before:
                if (getattr(sys.modules[name], "__file__", None) or "").startswith(DEBIAN):
                    del sys.modules[name]
            return None, f"no jsonschema for this Python, {sys.executable}: {error}"
        finally:
            sys.path.remove(DEBIAN)
    if not hasattr(jsonschema, "Draft202012Validator"):
        return None, "jsonschema is older than 4.0, and doesn't know OpenAPI 3.1's schemas"
    return jsonschema, None


jsonschema, MISSING = _jsonschema()


@functools.lru_cache(None)
def document():
    with open(DOCUMENT, encoding="utf-8") as file:
        return json.load(file)


def resolved(reference):
    """What a $ref within the document leads to. KeyError if it leads nowhere."""
    if not reference.startswith("#/"):
        raise KeyError(reference)
    at = document()
    for part in reference[2:].split("/"):
        at = at[part.replace("~1", "/").replace("~0", "~")]
    return at


def inlined(node):
    """The same without $ref: nothing is to be looked up while answers are checked. No schema contains itself."""
    if isinstance(node, list):
        return [inlined(item) for item in node]
    if not isinstance(node, dict):
        return node
    rest = {name: inlined(item) for name, item in node.items() if name != "$ref"}
    if "$ref" not in node:
        return rest
    target = inlined(resolved(node["$ref"]))
    return {**rest, "allOf": [target, *rest.get("allOf", [])]} if rest else target


def validator(schema):
    return jsonschema.Draft202012Validator(inlined(schema))


def wrong_with(valid, value):
    """None, or a sentence."""
    if next(valid.iter_errors(value), None) is None:
        return None
    error = jsonschema.exceptions.best_match(valid.iter_errors(value))
    place = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in error.absolute_path)
    return f"${place}: {_short(error.message)}"


def _short(text):
    return text if len(text) <= SHOWN else f"{text[:SHOWN // 2]} ... {text[-SHOWN // 2:]}"


class _Answer:
    """One status of one operation, compiled."""

    def __init__(self, response):
        response = resolved(response["$ref"]) if "$ref" in response else response
        self.headers = []
        for name, header in response.get("headers", {}).items():
            header = resolved(header["$ref"]) if "$ref" in header else header
            self.headers.append((name, header.get("required", False), validator(header["schema"])))
        self.content = {}
        for kind, media in response.get("content", {}).items():
            events = {name: validator(schema) for name, schema in media.get("x-events", {}).items()}
            self.content[kind] = validator(media.get("schema", {})), events


@functools.lru_cache(None)
def _answer(path, method, status):
    """None if nothing is said of it."""
    item = document()["paths"].get(path)
    if item is None:
        others = document()["x-other-paths"]
        responses = others[max((prefix for prefix in others if path.startswith(prefix)), key=len)]
    elif method.lower() in item:
        responses = item[method.lower()]["responses"]
    elif method == "HEAD" and "get" in item:
        responses = item["get"]["responses"]
    else:
        responses = {code: response for code, response in next(iter(item.values()))["responses"].items() if code in OF_OTHER_METHODS}
    return _Answer(responses[status]) if status in responses else None


def _path_of(target):
    """As the service takes it: without a host, and without a query."""
    if target.startswith("http://"):
        target = "/" + target[7:].partition("/")[2]
    return target.partition("?")[0]


def _is_page(status, headers, body):
    """An answer of the HTTP library, to what it doesn't take for a request."""
    return "content-type" not in headers and status in document()["x-no-request"]["statuses"] and (not body or body.startswith(b"<html>"))


def _constant(name):
    raise ValueError(f"{name} is no JSON")


def _number(text):
    """An integer, unless Python thinks that it has too many digits."""
    return int(text) if len(text) < 4000 else float("inf") if text[0] != "-" else float("-inf")


def _parsed(text):
    """The value; ValueError if it isn't JSON, RecursionError if Python can't read what is."""
    try:
        return json.loads(text, parse_constant=_constant)
    except json.JSONDecodeError:
        raise
    except ValueError:
        return json.loads(text, parse_constant=_constant, parse_int=_number)


def events_of(text):
    """Those of a stream (the HTML standard, 9.2.6): kind and data. ValueError if the last isn't whole."""
    found, kind, data = [], "message", []
    lines = re.split(r"\r\n|\n|\r", text)
    for line in lines[:-1]:
        if line == "":
            if data:
                found.append((kind, "\n".join(data)))
            kind, data = "message", []
            continue
        name, _, value = line.partition(":")
        value = value[1:] if value.startswith(" ") else value
        if name == "event":
            kind = value
        elif name == "data":
            data.append(value)
        elif name != "":
            raise ValueError(f"a line of an unknown kind: {line[:80]!r}")
    if data or lines[-1] != "":
        raise ValueError("the stream ends within an event")
    return found


def _wrong_with_events(schemas, text):
    values = []
    for kind, data in events_of(text):
        if kind not in schemas:
            return f"an event of the kind {kind!r}"
        values.append((kind, _parsed(data)))
        wrong = wrong_with(schemas[kind], values[-1][1])
        if wrong is not None:
            return f"in an event of the kind {kind}: {wrong}"
    kinds = [kind for kind, _ in values]
    if len(kinds) < 2 or kinds[0] != "start" or kinds[-1] != "end" or set(kinds[1:-1]) - {"stdout", "stderr"}:
        return f"events in this order: {_short(str(kinds))}"
    end = values[-1][1]
    if values[0][1]["id"] != end["id"]:
        return "start and end are of two runs"
    for name in ("stdout", "stderr"):
        if "".join(value["text"] for kind, value in values if kind == name) != end[name]:
            return f"the events of {name}, joined, are not the {name} of the end"
    return None


def _wrong(method, path, status, headers, body):
    answer = _answer(_path_of(path), method, str(status))
    if answer is None:
        return "this status isn't described"
    for name, required, valid in answer.headers:
        value = headers.get(name.lower())
        wrong = ("it is missing" if required else None) if value is None else wrong_with(valid, value)
        if wrong is not None:
            return f"header {name}: {wrong}"
    kind = headers.get("content-type", "none").partition(";")[0].strip().lower()
    if kind not in answer.content:
        return f"the content type {kind} isn't described; there is {', '.join(answer.content)}"
    if method == "HEAD":
        return "an answer to HEAD has a body" if body else None
    valid, events = answer.content[kind]
    try:
        text = body.decode("utf-8")
        if events:
            return _wrong_with_events(events, text)
        return wrong_with(valid, _parsed(text) if kind.endswith("json") else text)
    except RecursionError:
        return None  # deeper than Python's json reads
    except ValueError as error:
        return str(error)


def check(method, path, status, headers, body):
    """Raises AssertionError with what is wrong. `headers`: anything with items(); `body`: bytes, without chunks; of a stream, all of it."""
    if jsonschema is None or status < 200:
        return
    headers = {name.lower(): value for name, value in headers.items()}
    if _is_page(status, headers, body):
        return
    wrong = _wrong(method, path, status, headers, body)
    if wrong is not None:
        shown = _short(body.decode("utf-8", "replace"))
        raise AssertionError(f"not as openapi.json has it: {method} {_short(path)} was answered {status}: {wrong}\nthe answer: {shown}")
