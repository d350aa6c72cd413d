"""More connections than there may be: who asks nothing makes room for who does."""

import contextlib
import json
import os
import tempfile
import unittest

from service import OK, Case, eventually, post, script_body

MOST = 20
SLOW = "import time\ndef main():\n    time.sleep(0.7)\n    return {'ok': True}"


class CrowdTest(Case):
    @classmethod
    def setUpClass(cls):
        cls.own_start("--preload", "", "--slots", "1", "--connections-max", str(MOST))

    @contextlib.contextmanager
    def crowd(self, count, data=b""):
        with contextlib.ExitStack() as stack:
            for _ in range(count):
                stack.enter_context(self.service.wire()).send_while_taken(data)
            yield

    def relieved(self):
        return self.service.metrics()["vivary_connections_relieved_total"]

    def test_silent_connections_keep_nobody_out(self):
        before = self.relieved()
        with self.crowd(3 * MOST):
            self.assertTrue(self.service.answers())
            self.assertGreater(self.relieved(), before + MOST)
        self.assert_serving()

    def test_half_a_head_keeps_nobody_out(self):
        with self.crowd(3 * MOST, b"POST /execute HTTP/1.1\r\nHost: viv"):
            self.assertTrue(self.service.answers())

    def test_a_run_on_its_way_is_not_cut_off(self):
        with self.service.wire() as wire:
            wire.send(post(script_body(SLOW)))
            eventually(lambda: self.service.metrics()['vivary_workers{state="running"}'] == 1, 5, "it runs")
            with self.crowd(3 * MOST):
                status, _, body = wire.answer()
        self.assertEqual((status, json.loads(body)["result"]), (200, {"ok": True}))

    def test_more_runs_than_connections_wait_outside(self):
        with contextlib.ExitStack() as stack:
            wires = [stack.enter_context(self.service.wire()) for _ in range(MOST + 10)]
            for wire in wires:
                wire.send(post(script_body(OK), headers=["Connection: close"]))
            self.assertEqual([wire.answer()[0] for wire in wires], [200] * len(wires))


class KeylessCrowdTest(Case):
    @classmethod
    def setUpClass(cls):
        with tempfile.NamedTemporaryFile("w", prefix="vivary-keys-", delete=False) as file:
            cls.addClassCleanup(os.unlink, file.name)
        cls.own_start("--preload", "", "--slots", "1", "--connections-max", str(MOST), "--keys", file.name)

    def test_a_body_without_a_key_keeps_nobody_out(self):
        with contextlib.ExitStack() as stack:
            for _ in range(3 * MOST):
                stack.enter_context(self.service.wire()).send_while_taken(post(script_body(OK))[:-5])
            self.assertEqual(self.service.request("GET", "/healthz")[0], 200)
            self.assertEqual(self.service.request("POST", "/execute", script_body(OK))[0], 401)


if __name__ == "__main__":
    unittest.main()
