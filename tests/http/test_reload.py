"""SIGHUP: other settings take over while the service serves; wrong ones change nothing."""

import json
import os
import signal
import tempfile
import threading
import unittest

from service import Case, Service, eventually

TAKEN_S = 20


class ReloadTest(Case):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        self.path = os.path.join(self.folder.name, "vivary.conf")
        self.write("deadline-ms = 3000")
        self.own = Service("--config", self.path)
        self.addCleanup(self.own.stop)

    def write(self, *lines):
        with open(self.path, "w") as file:
            file.write("\n".join(["preload =", "slots = 2", *lines]) + "\n")

    def reload(self):
        os.kill(self.own.pid, signal.SIGHUP)

    def deadline(self):
        return json.loads(self.own.request("GET", "/v1/runtimes")[2])["runtimes"][0]["limits"]["wall_ms"]

    def test_other_settings_are_taken_and_no_request_fails(self):
        stop, failed, done = threading.Event(), [], []

        def load():
            while not stop.is_set():
                try:
                    status, answer = self.own.execute("def main(): return {}")
                except OSError as error:
                    failed.append(repr(error))
                else:
                    (done if status == 200 else failed).append((status, answer))

        slow = []
        threads = [threading.Thread(target=load, daemon=True) for _ in range(3)]
        threads.append(threading.Thread(target=lambda: slow.append(self.own.execute("import time\ndef main():\n    time.sleep(1.5)\n    return {'slow': 1}"))))
        for thread in threads:
            thread.start()
        for deadline in (5000, 4000):
            self.write(f"deadline-ms = {deadline}")
            self.reload()
            eventually(lambda deadline=deadline: self.deadline() == deadline, TAKEN_S, "the settings are taken")
            threads[-1].join()  # what the past generation had begun it finishes; it is gone before the next comes
            eventually(lambda: sum(process.parent == self.own.pid for process in self.own.processes()) == 2, TAKEN_S, "the past generation is gone")
        stop.set()
        for thread in threads:
            thread.join()
        self.assertEqual((failed, slow), ([], [(200, {"result": {"slow": 1}, "stdout": ""})]))
        self.assertGreater(len(done), 20)

    def test_a_file_that_is_wrong_changes_nothing_and_is_told(self):
        for line, said in (("bogus = 1", "there is no option 'bogus'"), ("slots = 0", "slots"), ("python = /nowhere/python3", "/nowhere/python3")):
            with self.subTest(line=line):
                self.write("deadline-ms = 5000", line) if not line.startswith("slots") else self.write_bad_slots()
                self.reload()
                eventually(lambda said=said: said in self.own.log(), TAKEN_S, "it is told")
                self.assertEqual(self.deadline(), 3000)
        self.assertTrue(self.own.answers())

    def write_bad_slots(self):
        with open(self.path, "w") as file:
            file.write("preload =\nslots = 0\n")


if __name__ == "__main__":
    unittest.main()
