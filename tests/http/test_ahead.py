"""What a worker does while it waits: it gets pages copied that a package's use would write to."""

import platform
import unittest

from service import Case, Service, eventually, not_in_gvisor

PAGES_AT_LEAST_KB = 700  # more than the lesson that every worker has learnt by heart leaves room for
MOST_KB = 2048


def private_kb(pid):
    with open(f"/proc/{pid}/smaps_rollup") as file:
        return sum(int(line.split()[1]) for line in file if line.startswith("Private_"))


class AheadTest(Case):
    @not_in_gvisor("it copies no pages beforehand")
    def test_a_worker_that_waits_gets_pages_of_pandas_and_stays_small(self):
        if tuple(int(part) for part in platform.release().split(".")[:2]) < (5, 14):
            self.skipTest("MADV_POPULATE_WRITE is of Linux 5.14")
        with Service("--slots", "1", "--spare", "0", "--deadline-ms", "20000") as service, Service("--slots", "1", "--spare", "0", "--preload", "") as plain:
            try:
                more, base = (eventually(lambda kept=kept: self.waiting_worker(kept), 30, "a worker waits") for kept in (service, plain))
                eventually(lambda: private_kb(more) >= private_kb(base) + PAGES_AT_LEAST_KB, 10, "the pages are its own")
            except PermissionError:
                self.skipTest("root may not look into other processes here")
            self.assertLess(private_kb(more), MOST_KB)
            status, answer = service.execute("import pandas as pd\ndef main():\n    return {'sum': int(pd.Series([1, 2, 3]).sum())}")
            self.assertEqual((status, answer["result"]), (200, {"sum": 6}))

    @staticmethod
    def waiting_worker(service):
        """Of the zygote that stays."""
        roles = service.roles_whole()
        if roles is None:
            return None
        found = [process.pid for process in service.processes() if process.parent == roles["zygote"] and process.state == "S"]
        return found[0] if found else None


if __name__ == "__main__":
    unittest.main()
