"""Level full where there are no pidfds, as in gVisor: a cell's init is the zygote's child there, and the zygote ends it on the keeper's order."""
import os
import platform
import threading
import unittest
import uuid

from service import BINARY, Case, HERE, SANDBOX_FAILED, SPARE, Service, descendants, eventually, is_alive, pids_with_argument

CHILD = """
import os, subprocess, sys, time
def main():
    subprocess.Popen([sys.executable, "-I", "-S", "-c", "import signal, time\\nsignal.signal(15, signal.SIG_IGN)\\nprint(flush=True)\\ntime.sleep(1000)", %r],
                     stdout=subprocess.PIPE, start_new_session=True).stdout.readline()
    %s
    return {"pid": os.getpid(), "ppid": os.getppid(), "uid": os.stat("/usr").st_uid}
"""


OPTIONS = ("--preload", "", "--slots", "2", "--level", "full", "--deadline-ms", "2000")
HOW = {"level": [], "binary": os.path.join(HERE, "without_pidfds.py"), "variables": {"REAL_BINARY": os.path.abspath(BINARY)}}


@unittest.skipUnless(os.geteuid() == 0, "without pidfds level full needs root")
@unittest.skipUnless(platform.machine() == "x86_64", "the filter that hides pidfds is for x86_64")
class WithoutPidfdsTest(Case):
    @classmethod
    def setUpClass(cls):
        cls.own_start(*OPTIONS, **HOW)

    def test_it_says_so(self):
        self.assertIn("full", self.own.start_line)
        self.assertIn("own uid for each slot", self.own.start_line)
        self.assertIn("what gVisor tells of itself", self.own.start_line)

    def test_a_run_is_answered_and_leaves_nothing(self):
        mark = "vivary-left-" + uuid.uuid4().hex
        found = self.result(CHILD % (mark, "pass"))
        self.assertGreater(found["pid"], 1)
        self.assertEqual(found["ppid"], 1)  # the cell's init
        self.assertEqual(found["uid"], 65534)  # nobody's that has a number there
        eventually(lambda: not pids_with_argument(mark), 5, "what the run has left is gone")

    def test_the_time_limit_ends_all_of_it(self):
        mark = "vivary-left-" + uuid.uuid4().hex
        self.assertEqual(self.run_script(CHILD % (mark, "time.sleep(60)")), (400, SANDBOX_FAILED))
        eventually(lambda: not pids_with_argument(mark), 5, "what the run has left is gone")

    def test_ends_of_all_kinds_are_told(self):
        self.assertEqual(self.run_script("import os\ndef main():\n    os._exit(3)"), (400, SANDBOX_FAILED))
        self.assertEqual(self.run_script("import os\ndef main():\n    os.kill(os.getpid(), 9)"), (400, SANDBOX_FAILED))
        self.assert_serving()

    def test_its_init_can_not_be_ended_from_inside(self):
        found = self.result("import os\ndef main():\n    try:\n        os.kill(1, 9)\n    except OSError as error:\n        return {'errno': error.errno}")
        self.assertEqual(found, {"errno": 1})

    def test_many_runs_leave_no_process_and_no_descriptor(self):
        def held():
            everyone = descendants(self.own.pid)
            return len(everyone), sum(len(os.listdir(f"/proc/{process.pid}/fd")) for process in everyone)

        def settled():
            """Once there is a worker and its init in each of the two slots and the spare ones, beside the service's own four."""
            eventually(self.own.roles_whole, 20, "one zygote is left")
            return eventually(lambda: (seen := held())[0] == 4 + 2 * (2 + SPARE) and seen == held() and seen, 10, "all slots are full")

        before = settled()
        threads = [threading.Thread(target=lambda: [self.result("def main():\n    return {'ok': 1}") for _ in range(50)]) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(settled(), before)

    def test_nothing_stays_when_it_is_killed(self):
        service = Service(*OPTIONS, **HOW)
        everyone, mark = descendants(service.pid), "vivary-left-" + uuid.uuid4().hex

        def ask():
            try:
                service.execute(CHILD % (mark, "time.sleep(60)"))
            except (OSError, EOFError):
                pass  # its service is killed

        run = threading.Thread(target=ask)
        run.start()
        try:
            self.assertGreater(len(everyone), 4)
            eventually(lambda: pids_with_argument(mark), 10, "it runs")
        finally:
            service.kill()
            run.join()
        eventually(lambda: not pids_with_argument(mark) and not any(is_alive(process) for process in everyone), 10, "all has ended")
