"""What the service makes of requests: of all kinds of clients, and of all kinds of nonsense."""

import json
import os
import select
import socket
import tempfile
import time
import unittest

from service import OK, Case, Service, Wire, free_port, post, script_body, shared_start as setUpModule, shared_stop as tearDownModule  # noqa: F401

BODY_MAX = 1 << 20
OK_ANSWER = b'{"result": {"ok": true}, "stdout": ""}'


def padded(size):
    """A request body of exactly so many bytes."""
    body = script_body(OK)[:-1] + b', "pad": "'
    return body + b"x" * (size - len(body) - 2) + b'"}'


class BodyTest(Case):
    def refused(self, body, *words, status=400):
        """The error names the problem: it holds one of the words."""
        got, answer = self.service.post(body)
        self.assertEqual(got, status, answer)
        answer = json.loads(answer)
        self.assertEqual(list(answer), ["error"])
        self.assertTrue(any(word.lower() in answer["error"].lower() for word in words), answer["error"])
        return answer["error"]

    def test_what_is_not_json_is_refused(self):
        for body in (b"def main(): return {}", b"{", b'{"script": "x"', b"{'script': 'x'}", b'{"script": "x",}', b'{"script": "x"} x',
                     b'{"script": "a\nb"}', b'{"script": NaN}', b'{"script": "\\x41"}', b'\xef\xbb\xbf{"script": "x"}', b"script=x"):
            with self.subTest(body=body):
                self.refused(body, "JSON")

    def test_an_empty_body_is_refused(self):
        self.refused(b"", "empty", "JSON")

    def test_what_is_not_an_object_is_refused(self):
        for body in (b"[]", b'"script"', b"1", b"null", b"true", b'[{"script": "x"}]'):
            with self.subTest(body=body):
                self.refused(body, "object")

    def test_a_script_that_is_no_string_is_refused(self):
        for value in ("1", "null", "true", "[]", '{"a": 1}', '["def main(): return {}"]'):
            with self.subTest(value=value):
                self.refused(b'{"script": %s}' % value.encode(), "string")

    def test_invalid_utf8_is_refused(self):
        for bad in (b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xc0\xaf", b"\xf4\x90\x80\x80", b"\x80"):
            with self.subTest(bad=bad):
                self.refused(b'{"script": "def main(): return {} #%s"}' % bad, "UTF-8")

    def test_a_nul_in_the_script_is_refused(self):
        self.refused(rb'{"script": "def main(): return {} #\u0000"}', "NUL")

    def test_a_lone_surrogate_in_the_script_is_refused(self):
        for half in (rb"\ud800", rb"\udfff", rb"\ud800x", rb"\udc00\ud800"):
            with self.subTest(half=half):
                self.refused(b'{"script": "def main(): return {} #%s"}' % half, "surrogate")

    def test_a_pair_of_surrogates_is_one_character(self):
        body = rb'{"script": "def main(): return {\"n\": len(\"\ud83d\udc0d\")}"}'
        self.assertEqual(self.service.post(body), (200, b'{"result": {"n": 1}, "stdout": ""}'))

    def test_a_repeated_key_is_refused(self):
        self.refused(b'{"script": "def main(): return {}", "script": "def main(): return {}"}', "repeat", "duplicate", "twice")

    def test_a_key_repeated_in_escapes_is_refused(self):
        self.refused(rb'{"script": "def main(): return {}", "\u0073cript": "def main(): return {}"}', "repeat", "duplicate", "twice")

    def test_an_escaped_key_is_the_same_key(self):
        self.assertEqual(self.service.post(rb'{"\u0073cript": "def main():\n return {}"}')[0], 200)

    def test_nesting_too_deep_is_refused(self):
        for deep in (b"[" * 100_000, b"[" * 100_000 + b"]" * 100_000, b'{"a":' * 100_000):
            with self.subTest(deep=deep[:10]):
                self.refused(b'{"script": "def main(): return {}", "x": ' + deep + b"}", "deep")

    def test_a_body_at_the_limit_is_taken(self):
        self.assertEqual(self.service.post(padded(BODY_MAX)), (200, OK_ANSWER))

    def test_a_body_past_the_limit_is_refused(self):
        with self.service.wire() as wire:
            wire.send_while_taken(post(padded(BODY_MAX + 1)))
            status, _, body = wire.answer()
        self.assertEqual(status, 413)
        self.assertRegex(json.loads(body)["error"], "(?i)large|limit|long|big|most")

    def test_a_chunked_body_past_the_limit_is_refused(self):
        part = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
        with self.service.wire() as wire:
            wire.send_while_taken(post(b"", headers=["Transfer-Encoding: chunked"], length=False))
            wire.send_while_taken(part * (BODY_MAX // 0x10000 + 1) + b"0\r\n\r\n")
            status, _, body = wire.answer()
        self.assertEqual(status, 413)
        self.assertRegex(json.loads(body)["error"], "(?i)large|limit|long|big|most")

    def test_the_limit_is_named_before_the_body_came(self):
        with self.service.wire() as wire:
            wire.send(post(b"", headers=["Expect: 100-continue", f"Content-Length: {BODY_MAX + 1}"], length=False))
            status, _, _ = wire.answer()
        self.assertEqual(status, 413)

    def test_an_absurd_length_is_refused(self):
        for length in ("99999999999999999999999999", "-1", "0x10", "1 2", "abc"):
            with self.subTest(length=length), self.service.wire() as wire:
                wire.send_while_taken(post(b"", headers=[f"Content-Length: {length}"], length=False))
                self.assertNotIn(b" 200 ", wire.rest()[:15])
        self.assert_serving()

    def test_any_content_type_will_do(self):
        for headers in ({}, {"Content-Type": "text/plain"}, {"Content-Type": "application/x-www-form-urlencoded"}, {"Content-Type": "nonsense"},
                        {"Content-Type": "application/json; charset=latin-1"}):
            with self.subTest(headers=headers):
                status, _, body = self.service.request("POST", "/execute", script_body(OK), headers)
                self.assertEqual((status, body), (200, OK_ANSWER))

    def test_white_space_around_the_object_is_taken(self):
        self.assertEqual(self.service.post(b" \r\n\t" + script_body(OK) + b"\n\n"), (200, OK_ANSWER))

    def test_non_ascii_text_arrives_as_it_was_sent(self):
        script = "def main():\n    return {'grün': '東京 🐍', 'n': len('é́')}"
        for body in (json.dumps({"script": script}).encode(), json.dumps({"script": script}, ensure_ascii=False).encode()):
            self.assertEqual(json.loads(self.service.post(body)[1])["result"], {"grün": "東京 🐍", "n": len("é́")})

    def test_a_large_script_is_run(self):
        script = "#" + "x" * 900_000 + "\n" + OK
        self.assertEqual(self.service.post(script_body(script)), (200, OK_ANSWER))


class PathTest(Case):
    def test_readyz_tells_the_level(self):
        status, headers, body = self.service.request("GET", "/readyz")
        said = json.loads(body)
        self.assertEqual((status, headers["content-type"], said["status"]), (200, "application/json", "ready"))
        self.assertIn(f"isolation: {said['level']}: {', '.join(said['layers'])}", self.service.start_line)
        if said["not_bounded"]:
            self.assertIn(f"; not bounded: {', '.join(said['not_bounded'])})", self.service.start_line)
        self.assertEqual(self.service.request("HEAD", "/readyz")[::2], (200, b""))
        self.assertEqual(self.service.request("POST", "/readyz", b"x")[0], 405)

    def test_healthz_answers(self):
        status, headers, body = self.service.request("GET", "/healthz")
        self.assertEqual((status, body), (200, b'{"status": "ok"}'))
        self.assertEqual(headers["Content-Type"], "application/json")

    def test_other_paths_are_not_found(self):
        for method, path in (("GET", "/"), ("POST", "/"), ("POST", "/execute/"), ("POST", "/Execute"), ("GET", "/healthz/x"), ("POST", "//execute"),
                             ("GET", "/../healthz"), ("GET", "/%00"), ("DELETE", "/nothing")):
            with self.subTest(method=method, path=path):
                status, headers, body = self.service.request(method, path, b"{}" if method == "POST" else None)
                self.assertEqual(status, 404)
                self.assertEqual(headers["Content-Type"], "application/json")
                self.assertEqual(list(json.loads(body)), ["error"])

    def test_other_methods_on_execute_are_not_allowed(self):
        for method in ("GET", "PUT", "DELETE", "PATCH", "OPTIONS"):
            with self.subTest(method=method):
                status, headers, body = self.service.request(method, "/execute")
                self.assertEqual(status, 405)
                self.assertEqual([name.strip() for name in headers["Allow"].split(",")], ["POST"])
                self.assertEqual(list(json.loads(body)), ["error"])

    def test_other_methods_on_healthz_are_not_allowed(self):
        for method in ("POST", "PUT", "DELETE"):
            with self.subTest(method=method):
                status, headers, body = self.service.request(method, "/healthz", b"" if method != "DELETE" else None)
                self.assertEqual(status, 405)
                self.assertIn("GET", [name.strip() for name in headers["Allow"].split(",")])
                self.assertEqual(list(json.loads(body)), ["error"])

    def test_a_query_does_not_change_the_path(self):
        self.assertEqual(self.service.request("GET", "/healthz?now=1")[0], 200)


class ConnectionTest(Case):
    def test_head_is_answered_without_a_body(self):
        with self.service.wire() as wire:
            wire.send(b"HEAD /healthz HTTP/1.1\r\nHost: vivary\r\n\r\n")
            self.assertEqual(wire.answer(head=True)[0], 200)
            wire.send(b"GET /healthz HTTP/1.1\r\nHost: vivary\r\n\r\n")
            self.assertEqual(wire.answer()[::2], (200, b'{"status": "ok"}'))

    def test_head_on_execute_is_not_allowed_and_has_no_body(self):
        with self.service.wire() as wire:
            wire.send(b"HEAD /execute HTTP/1.1\r\nHost: vivary\r\nConnection: close\r\n\r\n")
            text = wire.rest()
        self.assertTrue(text.startswith(b"HTTP/1.1 405 "), text[:80])
        self.assertIn(b"\r\nallow:", text.lower())
        self.assertTrue(text.endswith(b"\r\n\r\n"), text)

    def test_a_connection_serves_many_requests(self):
        connection = self.service.connection()
        self.addCleanup(connection.close)
        socket_used = None
        for number in range(20):
            connection.request("POST", "/execute", script_body(f"def main():\n    return {{'n': {number}}}"))
            answer = connection.getresponse()
            self.assertEqual(json.loads(answer.read())["result"], {"n": number})
            socket_used = socket_used or connection.sock
            self.assertIs(connection.sock, socket_used)

    def test_a_refused_script_keeps_the_connection(self):
        with self.service.wire() as wire:
            wire.send(post(b'{"script": ""}'))
            self.assertEqual(wire.answer()[0], 400)
            wire.send(post(script_body(OK)))
            self.assertEqual(wire.answer()[::2], (200, OK_ANSWER))

    def test_pipelined_requests_are_answered_in_order(self):
        with self.service.wire() as wire:
            slow = "import time\ndef main():\n    time.sleep(0.2)\n    return {'n': 0}"
            wire.send(post(script_body(slow)) + b"".join(post(script_body(f"def main():\n    return {{'n': {n}}}")) for n in range(1, 10)))
            self.assertEqual([json.loads(wire.answer()[2])["result"]["n"] for _ in range(10)], list(range(10)))

    def test_a_chunked_body_is_put_together(self):
        body = script_body(OK)
        chunks = b"".join(b"%x\r\n%s\r\n" % (len(body[at:at + 7]), body[at:at + 7]) for at in range(0, len(body), 7))
        with self.service.wire() as wire:
            wire.send(post(chunks + b"0\r\n\r\n", headers=["Transfer-Encoding: chunked"], length=False))
            self.assertEqual(wire.answer()[::2], (200, OK_ANSWER))
            wire.send(post(body))
            self.assertEqual(wire.answer()[::2], (200, OK_ANSWER))

    def test_a_body_in_single_bytes_is_put_together(self):
        with self.service.wire() as wire:
            wire.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for byte in post(script_body(OK)):
                wire.send(bytes([byte]))
            self.assertEqual(wire.answer()[::2], (200, OK_ANSWER))

    def test_expect_is_answered_with_continue(self):
        body = script_body(OK)
        with self.service.wire() as wire:
            wire.send(post(b"", headers=["Expect: 100-continue", f"Content-Length: {len(body)}"], length=False))
            self.assertEqual(wire.answer()[0], 100)
            wire.send(body)
            self.assertEqual(wire.answer()[::2], (200, OK_ANSWER))

    def test_a_client_of_http_1_0_is_answered_and_left(self):
        body = script_body(OK)
        text = self.service.exchange(b"POST /execute HTTP/1.0\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
        self.assertRegex(text[:16], rb"^HTTP/1\.[01] 200 ")
        self.assertTrue(text.endswith(b"\r\n\r\n" + OK_ANSWER), text)

    def test_a_client_that_asks_to_close_is_left(self):
        text = self.service.exchange(post(script_body(OK), headers=["Connection: close"]))
        self.assertTrue(text.startswith(b"HTTP/1.1 200 "), text[:80])
        self.assertTrue(text.endswith(b"\r\n\r\n" + OK_ANSWER), text)

    def test_what_is_not_http_is_refused(self):
        for data in (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", b"hello\r\n\r\n", b"GET\r\n\r\n", b"POST /execute HTTP/9.9\r\n\r\n"):
            with self.subTest(data=data):
                self.assertNotIn(b" 200 ", self.service.exchange(data)[:15])
        self.assert_serving()

    def test_headers_without_end_are_refused(self):
        text = self.service.exchange(b"GET /healthz HTTP/1.1\r\nHost: vivary\r\n" + b"X-Pad: " + b"x" * (1 << 20) + b"\r\n\r\n")
        self.assertNotIn(b" 200 ", text[:15])
        self.assert_serving()

    def test_two_lengths_are_refused(self):
        body = script_body(OK)
        text = self.service.exchange(post(body, headers=["Content-Length: 5"]))
        self.assertTrue(text.startswith(b"HTTP/1.1 400 "), text[:80])
        self.assertEqual(text.count(b"HTTP/1.1 "), 1)

    def test_a_length_beside_chunks_is_refused(self):
        text = self.service.exchange(post(b"0\r\n\r\n" + post(script_body(OK)), headers=["Transfer-Encoding: chunked"]))
        self.assertTrue(text.startswith(b"HTTP/1.1 400 "), text[:80])
        self.assertEqual(text.count(b"HTTP/1.1 "), 1)

    def test_a_client_that_hangs_up_costs_nothing(self):
        for _ in range(40):
            with self.service.wire() as wire:
                wire.send(post(script_body(OK)))
        for _ in range(40):
            with self.service.wire() as wire:
                wire.send(post(script_body(OK))[:60])
        self.assert_serving()


class SlowClientTest(Case):
    @classmethod
    def setUpClass(cls):
        cls.own_start("--preload", "", "--slots", "1", "--request-ms", "700", "--idle-ms", "700")

    def assert_cut_off(self, data):
        with self.service.wire(15) as wire:
            wire.send_while_taken(data)
            self.assertNotIn(b" 200 ", wire.rest()[:15])  # returns only once the service closed

    def test_a_silent_client_is_cut_off(self):
        self.assert_cut_off(b"")

    def test_half_a_head_is_cut_off(self):
        self.assert_cut_off(b"POST /execute HTTP/1.1\r\nHost: viv")

    def test_half_a_body_is_cut_off(self):
        self.assert_cut_off(post(script_body(OK))[:-5])

    def test_half_a_chunk_is_cut_off(self):
        self.assert_cut_off(post(b"50\r\n{", headers=["Transfer-Encoding: chunked"], length=False))

    def test_an_idle_connection_is_closed(self):
        with self.service.wire(15) as wire:
            wire.send(b"GET /healthz HTTP/1.1\r\nHost: vivary\r\n\r\n")
            self.assertEqual(wire.answer()[0], 200)
            wire.rest()

    def test_a_byte_now_and_then_does_not_help(self):
        data = post(b" " * 1000 + script_body(OK))
        start = time.monotonic()
        with self.service.wire(15) as wire:
            for byte in data:
                wire.send_while_taken(bytes([byte]))
                if select.select([wire.socket], [], [], 0.05)[0]:  # the pace, until there is news
                    break
            self.assertNotIn(b" 200 ", wire.rest()[:15])
        self.assertLess(time.monotonic() - start, 10)

    def test_slow_clients_cost_no_worker(self):
        waiting = [self.service.wire() for _ in range(20)]
        try:
            for wire in waiting:
                wire.send(post(script_body(OK))[:-5])
            start = time.monotonic()
            self.assert_serving()
            self.assertLess(time.monotonic() - start, 5)
        finally:
            for wire in waiting:
                wire.socket.close()

    def test_a_run_may_take_longer_than_the_request(self):
        self.assertEqual(self.result("import time\ndef main():\n    time.sleep(1.5)\n    return {'slept': 1}"), {"slept": 1})


class QueueTest(Case):
    @classmethod
    def setUpClass(cls):
        cls.own_start("--preload", "", "--slots", "1", "--queue-max", "1")

    def test_a_full_queue_says_when_to_come_again(self):
        wires = [self.service.wire() for _ in range(8)]
        try:
            for wire in wires:
                wire.send(post(script_body("import time\ndef main():\n    time.sleep(1.5)\n    return {'slept': 1}")))
            answers = [wire.answer() for wire in wires]
        finally:
            for wire in wires:
                wire.socket.close()
        refused = [(headers, body) for status, headers, body in answers if status == 503]
        served = [body for status, _, body in answers if status == 200]
        self.assertEqual(len(refused) + len(served), 8, answers)
        self.assertGreaterEqual(len(served), 1)
        self.assertGreaterEqual(len(refused), 4)
        for headers, body in refused:
            self.assertGreaterEqual(int(headers["retry-after"]), 1)
            self.assertEqual(list(json.loads(body)), ["error"])
            self.assertEqual(headers["content-type"], "application/json")
        self.assertEqual(set(served), {b'{"result": {"slept": 1}, "stdout": ""}'})
        self.assert_serving()

    def test_a_queued_request_waits_for_its_turn(self):
        with self.service.wire() as first, self.service.wire() as second:
            first.send(post(script_body("import time\ndef main():\n    time.sleep(0.5)\n    return {}")))
            second.send(post(script_body(OK)))
            self.assertEqual(first.answer()[0], 200)
            self.assertEqual(second.answer()[::2], (200, OK_ANSWER))

    def test_health_is_answered_while_all_slots_are_taken(self):
        with self.service.wire() as wire:
            wire.send(post(script_body("import time\ndef main():\n    time.sleep(1)\n    return {}")))
            self.assertEqual(self.service.request("GET", "/healthz")[0], 200)
            self.assertEqual(wire.answer()[0], 200)


class ListenTest(Case):
    def unix_wire(self, path):
        connected = socket.socket(socket.AF_UNIX)
        connected.connect(path)
        return Wire(connected)

    def test_a_unix_socket_is_served_beside_an_address(self):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "vivary.socket")
            with Service("--preload", "", listen=("127.0.0.1:0", f"unix:{path}")) as service:
                self.assertTrue(service.answers())
                with self.unix_wire(path) as wire:
                    wire.send(post(script_body(OK)))
                    self.assertEqual(wire.answer()[::2], (200, OK_ANSWER))
            self.assertFalse(os.path.exists(path))

    def test_a_unix_socket_alone_is_served(self):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "vivary.socket")
            with Service("--preload", "", listen=(f"unix:{path}",)) as service:
                self.assertIn(f"unix:{path}", service.start_line)
                with self.unix_wire(path) as wire:
                    wire.send(post(script_body(OK)))
                    self.assertEqual(wire.answer()[::2], (200, OK_ANSWER))

    def test_port_is_honoured_without_an_address(self):
        port = free_port()
        with Service("--preload", "", listen=(), variables={"PORT": str(port)}) as service:
            self.assertEqual(service.port, port)
            self.assertTrue(service.answers())

    def test_an_address_wins_over_port(self):
        port = free_port()
        with Service("--preload", "", variables={"PORT": str(port)}) as service:
            self.assertTrue(service.answers())
            with self.assertRaises(ConnectionRefusedError):
                socket.create_connection(("127.0.0.1", port), timeout=5).close()

    def test_an_option_comes_from_the_environment(self):
        with Service("--preload", "", variables={"VIVARY_STDOUT_MAX": "3"}) as service:
            self.assertEqual(service.execute("def main():\n    print('abcdef')\n    return {}"), (200, {"result": {}, "stdout": "abc", "stdout_truncated": True}))

    def test_an_option_comes_from_the_configuration_file(self):
        with tempfile.NamedTemporaryFile("w", suffix=".conf") as file:
            file.write("stdout-max = 4\n")
            file.flush()
            with Service("--config", file.name, "--preload", "") as service:
                self.assertEqual(service.execute("def main():\n    print('abcdef')\n    return {}")[1]["stdout"], "abcd")

    def test_the_command_line_wins_over_the_environment(self):
        with Service("--preload", "", "--stdout-max", "2", variables={"VIVARY_STDOUT_MAX": "3"}) as service:
            self.assertEqual(service.execute("def main():\n    print('abcdef')\n    return {}")[1]["stdout"], "ab")


if __name__ == "__main__":
    unittest.main()
