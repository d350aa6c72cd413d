"""POST /v1/run as Server-Sent Events: what comes, in which form, when; clients that go away, or don't read."""

import concurrent.futures
import json
import os
import random
import signal
import socket
import statistics
import time
import unittest

from service import RunCase, Service, Wire, eventually, only_with_children, pids_with_argument, post

STREAM = "Accept: text/event-stream"
CANCELLED = 'vivary_runs_total{path="%s",status="cancelled"}'
RUNNING = 'vivary_workers{state="running"}'
BEAT = ": still running\n\n"

shared = beat = None
pool = concurrent.futures.ThreadPoolExecutor(1)


class Stream:
    """A streamed answer, read as it comes: by RFC 9112's chunks, and the HTML standard's rules for events."""

    def __init__(self, wire):
        self.wire = wire
        while b"\r\n\r\n" not in wire.buffer:
            wire._more()
        head, wire.buffer = wire.buffer.split(b"\r\n\r\n", 1)
        lines = head.decode("latin-1").split("\r\n")
        self.status_line, self.status = lines[0], int(lines[0].split(" ")[1])
        self.headers = dict((part.strip() for part in line.split(":", 1)) for line in lines[1:])
        self.chunked = self.headers.get("Transfer-Encoding") == "chunked"
        self.text = bytearray()  # without the chunks' lines
        self.taken = self.searched = 0
        self.ended = False

    def more(self):
        """Takes in what comes next."""
        if not self.chunked:
            try:
                if not self.wire.buffer:
                    self.wire._more()
            except EOFError:
                self.ended = True
            self.text += self.wire.buffer
            self.wire.buffer = b""
            return
        while b"\r\n" not in self.wire.buffer:
            self.wire._more()
        size, rest = self.wire.buffer.split(b"\r\n", 1)
        size = int(size, 16)
        self.wire.buffer = rest
        while len(self.wire.buffer) < size + 2:
            self.wire._more()
        assert self.wire.buffer[size:size + 2] == b"\r\n", self.wire.buffer[size:size + 2]
        self.text += self.wire.buffer[:size]
        self.wire.buffer = self.wire.buffer[size + 2:]
        self.ended = size == 0

    def block(self):
        """The next event or comment, as it came, and when; None at the end."""
        while (end := self.text.find(b"\n\n", self.searched)) < 0:
            if self.ended:
                assert self.taken == len(self.text), self.text[self.taken:]
                return None
            self.searched = max(self.taken, len(self.text) - 1)
            self.more()
        found = self.text[self.taken:end + 2].decode()
        self.taken = self.searched = end + 2
        return found, time.time()

    def event(self):
        """The next event: kind, data and when it came; None at the end. Comments are passed over."""
        found = self.block()
        if found is None or not found[0].startswith(":"):
            return found and (*event_read(found[0]), found[1])
        return self.event()

    def events(self):
        """All that come until the end: kind and data."""
        return [event[:2] for event in iter(self.event, None)]


def event_read(block):
    kind, data = None, []
    for line in block[:-2].replace("\r\n", "\n").replace("\r", "\n").split("\n"):
        field, value = line.split(": ", 1)
        if field == "event":
            kind = value
        elif field == "data":
            data.append(value)
        else:
            raise AssertionError(block)
    return kind, json.loads("\n".join(data))


def body(code, **fields):
    return json.dumps({"code": code, **fields}).encode()


def setUpModule():
    global shared, beat
    shared = Service("--preload", "", "--slots", "4", "--deadline-ms", "20000")
    beat = pool.submit(beat_watch)


def tearDownModule():
    pool.shutdown()
    shared.stop()


def beat_watch():
    """Of a run that is silent for longer than ten seconds: its blocks, and when each came."""
    with shared.wire() as wire:
        wire.send(post(body("import time\ndef main():\n    print('a', end='')\n    time.sleep(10.7)\n    return 1"), "/v1/run", [STREAM]))
        stream = Stream(wire)
        return list(iter(stream.block, None))


class StreamCase(RunCase):
    @property
    def service(self):
        return self.own or shared

    def streamed(self, code, headers=(STREAM,), version="1.1", **fields):
        """The events of a run: kind and data."""
        with self.service.wire() as wire:
            wire.send(post(body(code, **fields), "/v1/run", headers, version))
            stream = Stream(wire)
            self.assertEqual((stream.status, stream.headers["Content-Type"]), (200, "text/event-stream"))
            return stream.events()

    def assert_whole(self, events):
        """start, what was written, end with all of it; returns the end's answer."""
        self.assertEqual((events[0][0], events[-1][0]), ("start", "end"))
        self.assertEqual(events[0][1], {"id": events[-1][1]["id"], "runtime": "default"})
        self.assertEqual({kind for kind, _ in events[1:-1]} - {"stdout", "stderr"}, set())
        for kind in ("stdout", "stderr"):
            texts = [data for name, data in events if name == kind]
            self.assertEqual([list(data) for data in texts], [["text"]] * len(texts))
            self.assertEqual("".join(data["text"] for data in texts), events[-1][1][kind])
            self.assertEqual([data for data in texts if data["text"] == ""], [], f"an event of {kind} says nothing")
        return events[-1][1]


class FormTest(StreamCase):
    def test_events_have_the_form_of_the_standard_and_come_in_order(self):
        code = "import os, time\ndef main():\n    for i in range(3):\n        os.write(1, b'o%d\\n' % i)\n        time.sleep(0.05)\n        os.write(2, b'e%d\\n' % i)\n        time.sleep(0.05)\n    return 7"
        with self.service.wire() as wire:
            wire.send(post(body(code), "/v1/run", [STREAM]))
            blocks = [block for block, _ in iter(Stream(wire).block, None)]
        name = json.loads(blocks[0].split("data: ")[1])["id"]
        self.assertRegex(name, r"^run_[0-9a-f]{16}$")
        self.assertEqual(blocks[:-1], [f'event: start\ndata: {{"id": "{name}", "runtime": "default"}}\n\n',
                                       *(f'event: std{kind}\ndata: {{"text": "{kind[0]}{i}\\n"}}\n\n' for i in range(3) for kind in ("out", "err"))])
        self.assertEqual(blocks[-1].count("\n"), 3)
        self.assertTrue(blocks[-1].startswith(f'event: end\ndata: {{"id": "{name}", "status": "ok", "result": 7, '), blocks[-1])

    def test_headers_keep_proxies_from_collecting(self):
        with self.service.wire() as wire:
            wire.send(post(body("def main():\n    pass"), "/v1/run", [STREAM]))
            stream = Stream(wire)
            stream.events()
        self.assertEqual(stream.status_line, "HTTP/1.1 200 OK")
        del stream.headers["Date"]
        self.assertEqual(stream.headers, {"Content-Type": "text/event-stream", "Cache-Control": "no-store", "X-Accel-Buffering": "no", "Transfer-Encoding": "chunked"})

    def test_a_stream_is_asked_for_by_header_or_by_field(self):
        code = "def main():\n    print('x')\n    return 1"
        for headers, fields in (([STREAM], {}), ([], {"stream": True}), ([STREAM], {"stream": True}), (["Accept: application/json, text/event-stream"], {}),
                                (["accept: Text/Event-Stream; charset=utf-8"], {}), (["Accept: application/json"], {"stream": True})):
            with self.subTest(headers=headers, fields=fields):
                self.assertEqual(self.assert_whole(self.streamed(code, headers, **fields))["stdout"], "x\n")
        for headers, fields in (({}, {}), ({}, {"stream": False}), ({"Accept": "*/*"}, {}), ({"Accept": "text/*"}, {}), ({"Accept": "application/json"}, {})):
            with self.subTest(headers=headers, fields=fields):
                status, got, answer = self.ask({"code": code, **fields}, **headers)
                self.assertEqual((status, got["Content-Type"], answer["stdout"]), (200, "application/json", "x\n"))

    def test_execute_has_no_stream(self):
        status, headers, answer = self.service.request("POST", "/execute", json.dumps({"script": "def main():\n    return {}"}), {"Accept": "text/event-stream"})
        self.assertEqual((status, headers["Content-Type"], json.loads(answer)), (200, "application/json", {"result": {}, "stdout": ""}))

    def test_the_end_is_the_answer_without_a_stream(self):
        line = "import sys\ndef main(x=1):\n    print('out')\n    print('err', file=sys.stderr)\n    "
        for code, fields in ((line + "return {'x': [x, None, 1.5]}", {"input": [5]}), (line + "1 / 0", {}), (line + "sys.exit(3)", {}), (line + "return object()", {}),
                             ("x = 1", {}), ("x = = 1", {}), (line + "open('f.bin', 'wb').write(b'\\0\\1')", {}), (line + "import os; os.kill(os.getpid(), 9)", {}),
                             (line + "while True: pass", {"limits": {"wall_ms": 200}}), (line + "return 'x' * 2000", {"limits": {"output_kb": 1}}),
                             (line + "import socket\n    try:\n        socket.socket()\n    except OSError as e:\n        return e.errno", {}), (line + "return 1", {"entry": None}),
                             (line + "bytes(400 << 20)", {"limits": {"memory_mb": 64}}), (line + "print('y' * 5000)", {"limits": {"output_kb": 1}})):
            with self.subTest(code=code[len(line):] or code):
                streamed = self.assert_whole(self.streamed(code, **fields))
                plain = self.run_code(code, **fields)
                self.assertEqual(list(streamed), list(plain))
                for answer in (streamed, plain):
                    del answer["id"], answer["usage"]
                    if answer["limit"] is not None:
                        del answer["limit"]["used"]
                self.assertEqual(streamed, plain)

    def test_line_ends_in_strings_break_no_event(self):
        text = "a\nb\r\nc\rd\u2028e\u2029f\x85g\x0b\x0c\0\n\ndata: x\n\nevent: end\n\n: y"
        answer = self.assert_whole(self.streamed("import sys\ndef main(text):\n    sys.stdout.write(text)\n    sys.stderr.write(text)\n    return {text: [text]}", input=[text]))
        self.assertEqual((answer["result"], answer["stdout"], answer["stderr"]), ({text: [text]}, text, text))

    def test_http_1_0_gets_events_until_the_connection_ends(self):
        with self.service.wire() as wire:
            wire.send(post(body("def main():\n    print('x')\n    return 1"), "/v1/run", [STREAM], "1.0"))
            stream = Stream(wire)
            self.assertEqual((stream.chunked, stream.headers["Content-Type"]), (False, "text/event-stream"))
            events = stream.events()
        self.assertEqual(self.assert_whole(events)["result"], 1)

    def test_the_connection_serves_on_afterwards(self):
        with self.service.wire() as wire:
            for i in range(3):
                wire.send(post(body("def main(i):\n    print(i)\n    return i", input=[i]), "/v1/run", [STREAM]))
                self.assertEqual(self.assert_whole(Stream(wire).events())["result"], i)
                wire.send(post(b'{"script": "def main():\\n    return {}"}'))
                self.assertEqual(wire.answer()[::2], (200, b'{"result": {}, "stdout": ""}'))

    def test_streams_at_once_keep_apart(self):
        code = "import os, time\ndef main(name):\n    for i in range(50):\n        os.write(1, name.encode())\n        time.sleep(0.001)\n    return name"
        with concurrent.futures.ThreadPoolExecutor(3) as workers:
            found = list(workers.map(lambda name: self.streamed(code, input=[name]), "abc"))
        for name, events in zip("abc", found):
            answer = self.assert_whole(events)
            self.assertEqual((answer["result"], answer["stdout"]), (name, name * 50))


class TextTest(StreamCase):
    def test_each_write_arrives_within_20_ms(self):
        code = "import os, time\ndef main():\n    for i in range(20):\n        os.write(1 + i % 2, b'%.6f' % time.time())\n        time.sleep(0.02)"
        with self.service.wire() as wire:
            wire.send(post(body(code), "/v1/run", [STREAM]))
            late = [came - float(data["text"]) for kind, data, came in iter(Stream(wire).event, None) if kind in ("stdout", "stderr")]
        self.assertEqual(len(late), 20)
        self.assertLess(sorted(late)[17], 0.02, late)

    def test_print_is_not_held_back(self):
        code = "import time\ndef main():\n    for i in range(5):\n        print('%.6f' % time.time())\n        time.sleep(0.02)"
        with self.service.wire() as wire:
            wire.send(post(body(code), "/v1/run", [STREAM]))
            # The line's end is a write of its own, and may be an event of its own.
            late = [came - float(data["text"]) for kind, data, came in iter(Stream(wire).event, None) if kind == "stdout" and data["text"] != "\n"]
        self.assertEqual(len(late), 5)
        self.assertLess(statistics.median(late), 0.02, late)

    @only_with_children
    def test_what_a_subprocess_writes_is_streamed(self):
        events = self.streamed("import subprocess\ndef main():\n    subprocess.run(['sh', '-c', 'echo out; echo err >&2'])")
        self.assertEqual(sorted((kind, data["text"]) for kind, data in events[1:-1]), [("stderr", "err\n"), ("stdout", "out\n")])
        self.assert_whole(events)

    def test_a_character_in_two_writes_arrives_whole(self):
        code = "import os, time\ndef main(parts):\n    for part in parts:\n        os.write(1, bytes.fromhex(part))\n        time.sleep(0.03)"
        for text in ("ä", "€", "😀", "aä", "a😀b"):
            for cut in range(1, len(text.encode())):
                parts = [text.encode()[:cut].hex(), text.encode()[cut:].hex()]
                with self.subTest(parts=parts):
                    events = self.streamed(code, input=[parts])
                    self.assertNotIn("\ufffd", str(events))
                    self.assertEqual(self.assert_whole(events)["stdout"], text)

    def test_what_is_not_utf_8_is_the_same_in_pieces_and_whole(self):
        code = "import os, time\ndef main(parts):\n    for part in parts:\n        os.write(1, bytes.fromhex(part))\n        time.sleep(0.002)"
        dice = random.Random(6)
        pieces = [[b"a\xff\0b"], [b"\xc3"], [b"\xf0\x9f", b"\x98", b"x"], [b"\x80", b"\x80\x80", b"\x80"], [b"\xed\xa0", b"\x80"], [b"\xe2", b"\x28\xa1"], [b"\xf5\x80\x80", b"\x80"],
                  [b"\xe2\x82", b"\xe2\x82\xac"], [b"\xc0", b"\xaf"]]
        pieces += [[bytes(dice.choices(b"a\x80\xa0\xc3\xe2\x82\xac\xf0\x9f\xed\xff", k=dice.randint(1, 4))) for _ in range(8)] for _ in range(20)]
        for parts in pieces:
            with self.subTest(parts=parts):
                events = self.streamed(code, input=[[part.hex() for part in parts]])
                text = self.assert_whole(events)["stdout"]
                self.assertEqual(text, b"".join(parts).decode(errors="replace"))

    def test_stdout_over_its_limit_is_cut_and_told(self):
        for size in (1025, 5000, 10 << 20):
            with self.subTest(size=size):
                events = self.streamed("import sys\ndef main(size):\n    sys.stdout.write('x' * size)\n    sys.stderr.write('e')\n    return 1", input=[size], limits={"output_kb": 1})
                answer = self.assert_whole(events)
                self.assertEqual((answer["status"], answer["stdout"], answer["stderr"], answer["truncated"]), ("ok", "x" * 1024, "e", ["stdout"]))

    def test_a_cut_leaves_no_half_of_a_character(self):
        answer = self.assert_whole(self.streamed("def main():\n    print('a' + 'ä' * 1000)", limits={"output_kb": 1}))
        self.assertEqual((answer["stdout"], answer["truncated"]), ("a" + "ä" * 511, ["stdout"]))
        # All that had room has come before the half of which nothing is told.
        code = "import os, time\ndef main():\n    os.write(1, ('a' + 'ä' * 511).encode())\n    time.sleep(0.05)\n    os.write(1, b'\\xc3\\xa4')"
        answer = self.assert_whole(self.streamed(code, limits={"output_kb": 1}))
        self.assertEqual((answer["stdout"], answer["truncated"]), ("a" + "ä" * 511, ["stdout"]))

    def test_a_megabyte_of_each_comes_whole(self):
        answer = self.assert_whole(self.streamed("import sys\ndef main():\n    for i in range(1 << 10):\n        sys.stdout.write('x' * 1023 + '\\n')\n        sys.stderr.write('y' * 1023 + '\\n')"))
        self.assertEqual((answer["stdout"], answer["stderr"], answer["truncated"]), (("x" * 1023 + "\n") * 1024, ("y" * 1023 + "\n") * 1024, []))


class RefusedTest(StreamCase):
    def test_what_never_ran_is_an_ordinary_problem(self):
        for request, status, code in ((b"{", 400, "bad_request"), (b"[]", 400, "bad_request"), (b'{"code": "x", "typo": 1}', 400, "bad_request"), (b'{"stream": true}', 400, "bad_request"),
                                      (b'{"code": "x", "stream": 1}', 400, "bad_request"), (body("x", runtime="gone"), 404, "unknown_runtime"),
                                      (body("x", stream=True, limits={"wall_ms": 10 ** 9}), 422, "limit_above_maximum")):
            with self.subTest(request=request):
                got, headers, answer = self.ask(request, Accept="text/event-stream")
                self.assertEqual((got, headers["Content-Type"], answer["code"], answer["status"]), (status, "application/problem+json", code, status))
        status, headers, answer = self.service.request("POST", "/v1/run", b"x", {"Accept": "text/event-stream", "Content-Type": "text/plain"})
        self.assertEqual((status, headers["Content-Type"]), (415, "application/problem+json"))
        status, headers, answer = self.service.request("GET", "/v1/run", None, {"Accept": "text/event-stream"})
        self.assertEqual((status, headers["Content-Type"], headers["Allow"]), (405, "application/problem+json", "POST"))


class LeavingTest(StreamCase):
    @classmethod
    def setUpClass(cls):
        cls.own_start("--preload", "", "--slots", "2", "--queue-max", "2")

    def cancelled(self, path="run"):
        return self.service.metrics()[CANCELLED % path]

    def assert_cancelled_by(self, leave, path="run", count=1):
        before = self.cancelled(path)
        leave()
        eventually(lambda: self.cancelled(path) == before + count, 1, "the run was cancelled")
        eventually(lambda: self.service.metrics()[RUNNING] == 0, 1, "no worker runs")

    CODE = "import subprocess, os, time\ndef main(mark):\n    os.write(1, b'x')\n    if mark:\n        subprocess.run(['sh', '-c', 'read line; exit 1', mark], stdin=os.fdopen(os.pipe()[0]))\n    time.sleep(60)"

    def test_a_client_that_leaves_a_stream_cancels_its_run(self):
        wire = self.service.wire()
        wire.send(post(body(self.CODE, input=[""]), "/v1/run", [STREAM]))
        stream = Stream(wire)
        self.assertEqual([stream.event()[0], stream.event()[0]], ["start", "stdout"])
        self.assert_cancelled_by(wire.socket.close)

    def test_a_client_that_leaves_without_a_stream_cancels_its_run(self):
        for path, request in (("run", post(body(self.CODE, input=[""]), "/v1/run")), ("execute", post(b'{"script": "import time\\ndef main():\\n    time.sleep(60)"}'))):
            with self.subTest(path=path):
                wire = self.service.wire()
                wire.send(request)
                eventually(lambda: self.service.metrics()[RUNNING] == 1, 5, "it runs")
                self.assert_cancelled_by(wire.socket.close, path)

    def test_a_client_that_resets_the_connection_cancels_its_run(self):
        wire = self.service.wire()
        wire.send(post(body(self.CODE, input=[""]), "/v1/run", [STREAM]))
        stream = Stream(wire)
        self.assertEqual([stream.event()[0], stream.event()[0]], ["start", "stdout"])
        wire.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.assert_cancelled_by(wire.socket.close)

    def test_a_client_that_leaves_while_much_is_written_cancels_its_run(self):
        wire = self.service.wire()
        wire.send(post(body("import os\ndef main():\n    while True:\n        os.write(1, b'x' * 1000)"), "/v1/run", [STREAM]))
        stream = Stream(wire)
        self.assertEqual([stream.event()[0], stream.event()[0]], ["start", "stdout"])
        self.assert_cancelled_by(wire.socket.close)

    @only_with_children
    def test_a_cancelled_run_leaves_no_process(self):
        for headers in ([STREAM], []):
            with self.subTest(headers=headers):
                mark = f"mark-{os.getpid()}-{len(headers)}-cancelled"
                wire = self.service.wire()
                wire.send(post(body(self.CODE, input=[mark]), "/v1/run", headers))
                eventually(lambda: pids_with_argument(mark), 5, "its child runs")
                wire.socket.close()
                eventually(lambda: not pids_with_argument(mark), 1, "its child is gone")

    def test_a_stream_that_waits_for_a_slot_leaves_the_queue_with_its_client(self):
        wires = [self.service.wire() for _ in range(4)]
        for wire in wires:
            wire.send(post(body(self.CODE, input=[""]), "/v1/run", [STREAM]))
        eventually(lambda: self.service.metrics()["vivary_queue_depth"] == 2, 5, "two wait")
        status, headers, answer = self.ask({"code": self.CODE}, Accept="text/event-stream")
        self.assertEqual((status, headers["Content-Type"], answer["code"], headers["Retry-After"]), (503, "application/problem+json", "queue_full", "1"))
        self.assertEqual([Stream(wire).event()[0] for wire in wires[:2]], ["start", "start"])
        self.assertEqual([wire.buffer for wire in wires[2:]], [b"", b""])
        wires[2].socket.close()
        wires[3].socket.close()
        eventually(lambda: self.service.metrics()["vivary_queue_depth"] == 0, 1, "none waits")
        self.assert_cancelled_by(lambda: [wire.socket.close() for wire in wires[:2]], count=2)


class UnreadTest(StreamCase):
    """Clients that don't read, for which there is a second."""

    @classmethod
    def setUpClass(cls):
        cls.own_start("--preload", "", "--slots", "4", "--request-ms", "1500")

    MUCH = "import os\ndef main(n):\n    for i in range(n):\n        os.write(1, b'x' * 1000)\n        os.write(2, b'y' * 1000)\n    return 'z' * 8000000"

    def small_wire(self):
        connected = socket.socket()
        connected.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connected.connect(("127.0.0.1", self.service.port))
        return Wire(connected)

    def test_a_client_that_does_not_read_stops_nobody(self):
        wires = [self.small_wire() for _ in range(3)]
        for wire in wires:
            wire.send(post(body(self.MUCH, input=[1000]), "/v1/run", [STREAM]))
        began = time.monotonic()
        took = []
        for i in range(30):
            start = time.monotonic()
            self.assertEqual(self.assert_whole(self.streamed("def main(i):\n    print(i)\n    return i", input=[i]))["result"], i)
            took.append(time.monotonic() - start)
        self.assertLess(time.monotonic() - began, 1.5, "the clients were given up already")
        self.assertLess(statistics.median(took), 0.05, took)
        eventually(lambda: self.service.metrics()["vivary_connections"] == 1, 5, "their connections were ended")
        for wire in wires:
            self.assertNotIn(b"0\r\n\r\n", wire.rest()[-10:])  # cut off is not ended
            wire.socket.close()

    def test_a_client_that_reads_late_misses_nothing(self):
        with self.small_wire() as wire:
            wire.send(post(body(self.MUCH, input=[1000]), "/v1/run", [STREAM]))
            ended = 'vivary_runs_total{path="run",status="ok"}'
            before = self.service.metrics()[ended]
            eventually(lambda: self.service.metrics()[ended] == before + 1, 1, "the run has ended unread")
            answer = self.assert_whole(Stream(wire).events())
        self.assertEqual((answer["stdout"], answer["stderr"], answer["result"]), ("x" * 1000000, "y" * 1000000, "z" * 8000000))


class StoppingTest(StreamCase):
    def test_a_stream_in_flight_ends_well_when_the_service_stops(self):
        service = Service("--preload", "", "--slots", "1")
        with service.wire() as wire:
            wire.send(post(body("import time\ndef main():\n    print('a', flush=True)\n    time.sleep(0.5)\n    print('b', flush=True)\n    return 1"), "/v1/run", [STREAM]))
            stream = Stream(wire)
            first = [stream.event()[:2] for _ in range(2)]
            os.kill(service.pid, signal.SIGTERM)
            events = first + stream.events()
        service.stop(0)
        self.assertEqual(self.assert_whole(events)["stdout"], "a\nb\n")


class WaitingTest(StreamCase):
    def test_a_silent_run_is_told_to_live_every_ten_seconds(self):
        blocks = beat.result(20)
        self.assertEqual([block.split("\n")[0] for block, _ in blocks], ["event: start", "event: stdout", BEAT.strip(), "event: end"])
        self.assertEqual(blocks[2][0], BEAT)
        self.assertTrue(9.9 <= blocks[2][1] - blocks[1][1] <= 10.4, blocks[2][1] - blocks[1][1])


if __name__ == "__main__":
    unittest.main()
