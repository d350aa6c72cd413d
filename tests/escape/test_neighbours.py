"""What one caller's runs may take from another's."""

import os
import threading
import unittest

from service import Case, limit

SPINS = "import os, time\ndef main():\n    for _ in range(20):\n        if os.fork() == 0:\n            break\n    while True:\n        pass"
WORKS = """
import time
def main():
    wall, cpu = time.monotonic(), time.process_time()
    while time.monotonic() - wall < 1.5:
        pass
    return {"share": (time.process_time() - cpu) / (time.monotonic() - wall)}
"""


class ShareTest(Case):
    @classmethod
    def setUpClass(cls):
        cls.own_start("--slots", "2", "--preload", "", "--deadline-ms", "6000", "--cpu-ms", "60000")

    @limit(90)
    def test_many_processes_get_no_more_than_one(self):
        if not any("/cpu" in folder for folder in self.service.cgroups()):
            self.skipTest("the service has no cgroup that divides processor time")
        bomb = threading.Thread(target=self.service.execute, args=(SPINS,))
        bomb.start()
        self.addCleanup(bomb.join)
        status, answer = self.service.execute(WORKS)
        self.assertEqual(status, 200, answer)
        # Half of the processors is its due, but no more than one, as it has one process. By processes it would be a twentieth.
        due = min(1, len(os.sched_getaffinity(0)) / 2)
        self.assertGreater(answer["result"]["share"], due / 3)


if __name__ == "__main__":
    unittest.main()
