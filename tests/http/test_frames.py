"""A script has one socket, which leads to the front. Whatever it says there, it lies only about itself."""

import json
import threading
import unittest

from service import Case, SANDBOX_FAILED, script_body, shared_start as setUpModule, shared_stop as tearDownModule  # noqa: F401

TALK = """
import array, os, socket, struct
front = socket.socket(fileno=os.dup(1002))
def frame(kind, exchange, length, payload=b""):
    front.sendall(struct.pack("=IIQ", kind, exchange, length) + payload)
"""
RESULT, ERROR, END = 2, 3, 4


class FrameTest(Case):
    def assert_fails(self, *lines):
        body = "".join(f"    {line}\n" for line in lines)
        status, answer = self.run_script(f"{TALK}\ndef main():\n{body}")
        self.assertEqual((status, answer), (400, SANDBOX_FAILED))
        self.assert_serving()

    def test_a_forged_result_that_is_not_json_is_no_result(self):
        self.assert_fails(f"frame({RESULT}, 1, 4, b'{{bad')", "os._exit(0)")

    def test_a_forged_result_that_is_no_object_is_no_result(self):
        self.assert_fails(f"frame({RESULT}, 1, 3, b'[1]')", "os._exit(0)")

    def test_a_giant_error_is_refused_by_its_length(self):
        self.assert_fails(f"frame({ERROR}, 1, 1 << 40)", "os._exit(0)")

    def test_a_giant_result_is_refused_by_its_length(self):
        status, answer = self.run_script(f"{TALK}\ndef main():\n    frame({RESULT}, 1, 1 << 62)\n    os._exit(0)\n")
        self.assertEqual(status, 400)
        self.assertIn("too large", answer["error"])
        self.assert_serving()

    def test_another_exchange_is_refused(self):
        self.assert_fails(f"frame({RESULT}, 2, 2, b'{{}}')", "os._exit(0)")

    def test_a_type_that_a_worker_never_sends_is_refused(self):
        self.assert_fails("frame(99, 1, 0)", "return {}")

    def test_a_second_result_is_refused(self):
        self.assert_fails(f"frame({RESULT}, 1, 2, b'{{}}')", "return {'second': 1}")

    def test_an_end_before_a_result_is_refused(self):
        self.assert_fails(f"frame({END}, 1, 0)", "return {}")

    def test_a_frame_that_stops_in_the_middle_is_no_answer(self):
        self.assert_fails("front.sendall(b'xx')", "os._exit(0)")
        self.assert_fails(f"frame({RESULT}, 1, 100, b'{{')", "os._exit(0)")

    def test_descriptors_that_are_sent_along_go_nowhere(self):
        self.assert_fails("for _ in range(50):",
                          "    front.sendmsg([b'x'], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array('i', [0, 1, 2]))])", "return {}")

    def test_neighbours_get_their_own_answers_meanwhile(self):
        wrong, end = [], threading.Event()

        def ask():
            number = 0
            while not end.is_set():
                number += 1
                status, body = self.service.post(script_body(f"def main():\n    return {{'mine': {number}}}"))
                if (status, json.loads(body)) != (200, {"result": {"mine": number}, "stdout": ""}):
                    wrong.append((status, body))
            if number < 2:
                wrong.append("asked too little to tell")

        neighbour = threading.Thread(target=ask)
        neighbour.start()
        try:
            for _ in range(10):
                self.assert_fails(f"frame({RESULT}, 1, 9, b'{{\"a\": 1}}')", "return {'second': 1}")
        finally:
            end.set()
            neighbour.join()
        self.assertEqual(wrong, [])


if __name__ == "__main__":
    unittest.main()
