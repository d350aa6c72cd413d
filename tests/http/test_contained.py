"""Level contained, on any host that has Landlock: what holds where nothing can be mounted, and nothing dies by itself."""

import glob
import os
import time
import unittest

from service import Case, SANDBOX_FAILED, Service, eventually, limit, post, processes_all, script_body

OPTIONS = ("--level", "contained", "--preload", "", "--slots", "4", "--memory-mb", "128", "--tmp-mb", "8", "--tmp-files", "200", "--processes", "32",
           "--deadline-ms", "5000")

# A run leaves these behind: in a session of their own, without its pipes, deaf to signals.
LEAVE = """
import os, signal, time
def leave(count, then=signal.pause):
    for _ in range(count):
        if os.fork() == 0:
            os.setsid()
            for number in range(1, 32):
                if number not in (9, 19):
                    signal.signal(number, signal.SIG_IGN)
            os.closerange(0, 900)
            then()
            os._exit(0)
"""


def owned(uid):
    """Pids of processes whose real uid it is, but for zombies."""
    found = []
    for process in processes_all():
        try:
            with open(f"/proc/{process.pid}/status") as file:
                text = file.read()
        except OSError:
            continue
        if f"\nUid:\t{uid}\t" in text and process.state != "Z":
            found.append(process.pid)
    return found


class ContainedCase(Case):
    @classmethod
    def setUpClass(cls):
        try:
            cls.own_start(*OPTIONS, level=())
        except AssertionError as error:
            if "Landlock" in str(error) or "CAP_SETUID" in str(error):
                raise unittest.SkipTest(f"level contained can't be had here: {error}") from None
            raise

    def setUp(self):
        self.assertIn("isolation: contained", self.own.start_line)
        self.alone = "one process for each run" in self.own.start_line

    def need_children(self):
        if self.alone:
            self.skipTest("a run is one process here")


class OwnUidTest(ContainedCase):
    def test_two_runs_at_once_have_different_uids_and_no_capability(self):
        self.need_children()
        script = """
import os, time
def main():
    time.sleep(0.3)
    status = dict(line.split(':\\t', 1) for line in open('/proc/self/status').read().splitlines() if ':\\t' in line)
    return {"uids": os.getresuid(), "gids": os.getresgid(), "groups": os.getgroups(), "caps": [status[name] for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")],
            "privs": status["NoNewPrivs"]}
"""
        eventually(self.own.roles_whole, 30, "all slots are in use")
        found = self.own.execute_all([script] * 4)
        self.assertEqual([status for status, _ in found], [200] * 4, found)
        results = [answer["result"] for _, answer in found]
        self.assertEqual(len({tuple(result["uids"]) for result in results}), 4, results)
        for result in results:
            self.assertEqual(len(set(result["uids"] + result["gids"])), 1, result)
            self.assertGreater(result["uids"][0], 1 << 30)
            self.assertEqual(result["groups"], [])
            self.assertEqual(set(result["caps"][:3] + result["caps"][4:]), {"0000000000000000"})
            self.assertEqual(result["privs"], "1")

    def test_other_processes_can_not_be_touched(self):
        found = self.result("""
import errno, os
def main():
    said = set()
    for pid in [entry for entry in range(1, 400)] + [os.getppid()]:
        if pid == os.getpid():
            continue
        for what in (lambda: os.kill(pid, 0), lambda: os.sched_setaffinity(pid, {0}), lambda: os.setpriority(os.PRIO_PROCESS, pid, 19),
                     lambda: open(f"/proc/{pid}/environ"), lambda: open(f"/proc/{pid}/status"), lambda: os.listdir(f"/proc/{pid}/fd")):
            try:
                what()
                said.add(f"{pid} could be touched")
            except OSError as error:  # of a kernel thread, the kernel says EINVAL before it looks at who asks
                if error.errno not in (errno.EPERM, errno.EACCES, errno.ESRCH, errno.ENOENT, errno.EINVAL):
                    said.add(f"{pid}: {error}")
    return {"said": sorted(said)}
""")
        self.assertEqual(found["said"], [])


class FilesTest(ContainedCase):
    def test_what_is_written_is_gone_with_the_run(self):
        self.need_children()
        write = """
import os, tempfile
def main():
    here = tempfile.gettempdir()
    assert os.path.realpath(here) == os.getcwd()
    os.makedirs(here + "/deep/er")
    open(here + "/deep/er/file", "w").write("mine")
    os.chmod(here + "/deep/er", 0)
    os.symlink("/", here + "/link")
    os.mkfifo(here + "/fifo")
    open("/dev/shm/vivary-test-left", "w").write("mine")
    os.makedirs("/dev/shm/vivary-test-folder/in/it")
    at = os.getcwd()
    for _ in range(40):
        os.mkdir("d" * 100)
        os.chdir("d" * 100)
    os.chdir(at)
    os.chmod(here, 0o500)
    return {"here": here}
"""
        look = "import os\ndef main():\n return {'seen': os.listdir(os.getcwd()), 'left': [os.path.exists(p) for p in ('/dev/shm/vivary-test-left', '/dev/shm/vivary-test-folder')]}"
        for _ in range(2):  # each slot more than once
            for status, answer in self.own.execute_all([write] * 1 + [look] * 3):
                self.assertEqual(status, 200, answer)
            eventually(lambda: not glob.glob("/dev/shm/vivary-test-*"), 5, "what it left in /dev/shm is gone")
        for status, answer in self.own.execute_all([look] * 4):
            self.assertEqual((status, answer["result"]), (200, {"seen": [], "left": [False, False]}))

    def test_other_runs_folders_are_shut(self):
        found = self.result("""
import os
def mode_change(path):
    before = os.stat(path).st_mode
    os.chmod(path, 0o777)
    if os.stat(path).st_mode == before:
        raise PermissionError
def main():
    here = os.getcwd()
    parent, own = os.path.split(here)
    said = []
    for slot in range(4):
        for kind in ("tmp", "runtime"):
            path = f"{parent}/{kind}-{slot}"
            if path == here or path == os.path.realpath(os.path.dirname(__file__)):
                continue
            for what in (lambda: os.listdir(path), lambda: open(path + "/x", "w"), lambda: mode_change(path), lambda: os.rename(path, path + "x")):
                try:
                    what()
                    said.append(path)
                except PermissionError:
                    pass
    for path in (parent, here + "/..", "/var/tmp", "/", "/root", "/etc/shadow", "/proc", "/proc/1", "/run"):
        try:
            os.listdir(path) if os.path.isdir(path) else open(path)
            said.append(path)
        except (PermissionError, FileNotFoundError):
            pass
    return {"said": said}
""")
        self.assertEqual(found["said"], [])

    def test_its_folders_can_not_be_lost(self):
        self.need_children()
        found = self.result("""
import ctypes, os, subprocess, sys
def main():
    libc = ctypes.CDLL(None, use_errno=True)
    said = {}
    for name, call in (("close", lambda: libc.close(1000)), ("dup2", lambda: libc.dup2(0, 1001)), ("dup3", lambda: libc.dup3(0, 1000, 0)),
                       ("cloexec", lambda: libc.fcntl(1000, 2, 1)), ("close_range", lambda: libc.syscall(436, 3, 5000, 0)),
                       ("all from 3 on", lambda: libc.syscall(436, 3, 0xffffffff, 0)),
                       ("high bits", lambda: libc.syscall(3, ctypes.c_ulong(1000 | 1 << 32)))):
        ctypes.set_errno(0)
        said[name] = (call(), ctypes.get_errno())
    os.closerange(3, 900)
    child = subprocess.run([sys.executable, "-c", "import os, tempfile\\nwith tempfile.TemporaryFile() as f: f.write(b'x')\\nprint(os.stat(1000).st_ino == os.stat('.').st_ino)"],
                           capture_output=True, text=True)
    return {"said": said, "child": child.stdout + child.stderr}
""")
        self.assertEqual(found["said"], {"close": [-1, 9], "dup2": [-1, 9], "dup3": [-1, 9], "cloexec": [-1, 9], "close_range": [-1, 38],
                                         "all from 3 on": [0, 0], "high bits": [-1, 9]})
        self.assertEqual(found["child"], "True\n")

    def test_a_child_can_be_spawned_as_newer_pythons_do(self):
        """subprocess leaves the closing of descriptors to posix_spawn() from Python 3.13 on."""
        self.need_children()
        found = self.result("""
import ctypes, os
def main():
    libc = ctypes.CDLL(None, use_errno=True)
    actions, pid = ctypes.create_string_buffer(256), ctypes.c_int()
    assert libc.posix_spawn_file_actions_init(actions) == 0
    assert libc.posix_spawn_file_actions_addclosefrom_np(actions, 3) == 0
    words = (ctypes.c_char_p * 4)(b"sh", b"-c", b"echo spawned; : > there", None)
    error = libc.posix_spawn(ctypes.byref(pid), b"/bin/sh", actions, None, words, None)
    status = os.waitpid(pid.value, 0)[1] if error == 0 else None
    return {"error": error, "status": status, "there": os.path.exists("there")}
""")
        self.assertEqual(found, {"error": 0, "status": 0, "there": True})

    def test_a_file_is_limited_in_size(self):
        found = self.result("""
import os, signal, time
def main():
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        with open("big", "wb") as file:
            for _ in range(20):
                file.write(bytes(1 << 20))
    except OSError as error:
        time.sleep(0.5)  # the watcher sees it, and lets it be
        os.remove("big")
        return {"errno": error.errno}
""")
        self.assertEqual(found, {"errno": 27})


class WatcherTest(ContainedCase):
    def ended(self, script):
        begun = time.monotonic()
        status, answer = self.run_script(script)
        self.assertEqual((status, answer), (400, SANDBOX_FAILED))
        self.assertLess(time.monotonic() - begun, 4, "it was ended by its time, not by the watcher")
        self.assertEqual(self.run_script("def main():\n return {}")[0], 200)

    def test_too_many_files_end_the_run(self):
        self.ended("import time\ndef main():\n for n in range(1000):\n  open(str(n), 'w').close()\n time.sleep(4.5)\n return {}")

    def test_too_much_on_disk_ends_the_run(self):
        self.ended("import time\ndef main():\n for n in range(20):\n  open(str(n), 'wb').write(bytes(1 << 20))\n time.sleep(4.5)\n return {}")

    def test_files_in_a_shut_folder_count(self):
        self.need_children()
        self.ended("import os, time\ndef main():\n os.mkdir('a')\n for n in range(300):\n  open('a/' + str(n), 'w').close()\n os.chmod('a', 0)\n time.sleep(4.5)\n return {}")

    def test_files_in_shared_memory_count(self):
        self.need_children()
        self.ended("import time\ndef main():\n for n in range(20):\n  open(f'/dev/shm/vivary-test-{n}', 'wb').write(bytes(1 << 20))\n time.sleep(4.5)\n return {}")
        eventually(lambda: not glob.glob("/dev/shm/vivary-test-*"), 5, "they are removed")


class LeftoversTest(ContainedCase):
    def uid_of(self, script):
        status, answer = self.run_script(script)
        self.assertEqual(status, 200, answer)
        return answer["result"]["uid"]

    def test_nothing_outlives_its_run(self):
        self.need_children()
        for then in ("signal.pause", "lambda: any(iter(int, 1))"):
            with self.subTest(then=then):
                uid = self.uid_of(LEAVE + f"def main():\n leave(20, {then})\n return {{'uid': os.getuid()}}")
                eventually(lambda: len(owned(uid)) <= 1, 5, "its processes are gone, but for the slot's next worker")

    @limit(120)
    def test_fork_bombs_are_ended(self):
        self.need_children()
        bomb = LEAVE + """
def bomb():
    while True:
        try:
            if os.fork() == 0:
                os.setsid()
        except OSError:
            pass
        try:
            os.kill(-1, 9)  # whom may it end? those of its own uid
        except OSError:
            pass
def main():
    leave(3, bomb)
    return {"uid": os.getuid()}
"""
        for _ in range(10):
            uid = self.uid_of(bomb.replace("os.kill(-1, 9)", "pass"))
            eventually(lambda: len(owned(uid)) <= 1, 10, "the bomb is gone, but for the slot's next worker")
        for _ in range(5):
            self.run_script(bomb)  # it ends itself as well
        self.assertEqual(self.run_script("def main():\n return {}")[0], 200)

    def test_they_go_with_a_killed_keeper(self):
        self.need_children()
        with Service(*OPTIONS, "--spare", "0", level=()) as service:
            status, answer = service.execute("import os\ndef main():\n return {'uid': os.getuid()}")
            self.assertEqual(status, 200, answer)
            first = answer["result"]["uid"]
            folder = glob.glob(f"/run/vivary-{service.pid}-*") + glob.glob(f"/run/vivary/vivary-{service.pid}-*")
            with service.wire() as wire:
                wire.send(post(script_body(LEAVE + "def main():\n leave(5)\n time.sleep(4)\n return {}")))
                slots = range(first - 4, first + 5)
                eventually(lambda: sum(len(owned(uid)) for uid in slots) >= 4 + 5, 10, "the run is on")
                keeper = [process for process in service.processes() if process.name == "vivary-keeper" and process.parent == service.pid]
                os.kill(keeper[0].pid, 9)
                eventually(lambda: service.answers(), 20, "it serves again")
            # A new keeper's workers and zygote have the same uids.
            eventually(lambda: sum(len(owned(uid)) for uid in slots) <= 4 + 1, 10, "what the old keeper's runs left is gone")
        self.assertEqual([path for path in folder if os.path.exists(path)], [])


class LevelTest(unittest.TestCase):
    def test_a_folder_that_can_not_be_mounted_is_refused(self):
        with self.assertRaises(AssertionError) as caught:
            Service(*OPTIONS, "--share", "/usr", level=())
        self.assertIn("--share takes /app itself", str(caught.exception))

