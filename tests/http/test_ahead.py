"""What a worker has copied before its script comes: pages that a package's use writes to."""

import platform
import unittest

from service import Case, Service, eventually, not_in_gvisor

WAITING_KB = 700  # of pandas' pages, for a worker that waits
ALL_KB = 200  # and the rest of them
MOST_KB = 2048
PANDAS = "import pandas as pd\ndef main():\n    return {'sum': int(pd.Series([1, 2, 3]).sum())}"
PLAIN = "def main():\n    return {'sum': 6}"
RUNS = 9  # of the last eight, more than half count


def private_kb(pid):
    with open(f"/proc/{pid}/smaps_rollup") as file:
        return sum(int(line.split()[1]) for line in file if line.startswith("Private_"))


@not_in_gvisor("it copies no pages beforehand")
class AheadTest(Case):
    def setUp(self):
        if tuple(int(part) for part in platform.release().split(".")[:2]) < (5, 14):
            self.skipTest("MADV_POPULATE_WRITE is of Linux 5.14")

    def start(self, *options):
        service = Service("--slots", "1", "--spare", "0", "--deadline-ms", "20000", *options)
        self.addCleanup(service.stop)
        return service

    def waiting_kb(self, service):
        """What the worker that waits has of its own, of the zygote that stays; None for none."""
        roles = service.roles_whole()
        workers = roles and [process.pid for process in service.processes() if process.parent == roles["zygote"] and process.state == "S"]
        try:
            return private_kb(workers[0]) if workers else None
        except FileNotFoundError:
            return None
        except PermissionError:
            return self.skipTest("root may not look into other processes here")

    def run_all(self, service, script):
        for _ in range(RUNS):
            status, answer = service.execute(script)
            self.assertEqual((status, answer.get("result")), (200, {"sum": 6}))

    def test_a_worker_that_waits_gets_pages_of_pandas_and_stays_small(self):
        base = eventually(lambda plain=self.start("--preload", ""): self.waiting_kb(plain), 30, "a worker waits")
        service = self.start()
        found = eventually(lambda: (kb := self.waiting_kb(service)) is not None and kb >= base + WAITING_KB and kb, 30, "the pages are its own")
        self.assertLess(found, MOST_KB)
        self.run_all(service, PANDAS)

    def test_workers_are_made_for_what_most_runs_use(self):
        service = self.start()
        eventually(lambda: self.waiting_kb(service), 30, "a worker waits")
        self.run_all(service, PLAIN)
        part = self.rested_kb(service)
        self.run_all(service, PANDAS)
        self.assertGreater(self.rested_kb(service), part + ALL_KB)
        self.run_all(service, PLAIN)
        self.assertLess(self.rested_kb(service), part + ALL_KB)

    def rested_kb(self, service):
        """Once it is told the same twice, of a worker that has had all that it gets before its script."""
        seen = []

        def rests():
            seen.append(self.waiting_kb(service))
            return seen[-1] if len(seen) > 1 and seen[-1] is not None and seen[-1] == seen[-2] >= WAITING_KB else None

        return eventually(rests, 10, "the worker rests")


if __name__ == "__main__":
    unittest.main()
