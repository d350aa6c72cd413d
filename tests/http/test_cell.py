"""What a script lives in, seen from inside by the scripts and from outside by the host."""

import os
import platform
import socket
import threading
import time
import unittest
import uuid

from service import Case, SANDBOX_FAILED, Service, eventually, in_gvisor, level, not_in_gvisor, one_process, only_full, read_only_root, only_with_children, only_with_sums, pids_with_argument, shared_start as setUpModule, shared_stop as tearDownModule  # noqa: F401

ERRNO = """
import os
def errno_of(call, *arguments):
    try:
        call(*arguments)
    except OSError as error:
        return error.errno
    return 0
"""

STUBBORN = """
import signal, time
for number in range(1, 65):
    try:
        signal.signal(number, signal.SIG_IGN)
    except (OSError, ValueError):
        pass
print("up", flush=True)
while True:
    time.sleep(100)
"""


def stubborn_script(mark, end):
    """Starts a grandchild in a session of its own that ignores signals and carries the mark, then does `end`."""
    return f"""
import os, subprocess, sys
def main():
    if (child := os.fork()) == 0:
        process = subprocess.Popen([sys.executable, "-c", {STUBBORN!r}, {mark!r}], stdout=subprocess.PIPE, start_new_session=True)
        process.stdout.readline()
        os._exit(0)
    os.waitpid(child, 0)
    {end}
"""


class CredentialsTest(Case):
    def status(self):
        text = self.result("def main():\n    return {'status': open('/proc/self/status').read()}")["status"]
        return dict(line.split(":\t", 1) for line in text.splitlines() if ":\t" in line)

    def test_it_is_nobody_special(self):
        found = self.result("import os\ndef main():\n    return {'u': os.getresuid(), 'g': os.getresgid(), 'groups': os.getgroups()}")
        self.assertNotIn(0, found["u"] + found["g"] + found["groups"])
        self.assertEqual(len(set(found["u"])), 1)
        self.assertEqual(len(set(found["g"])), 1)

    @not_in_gvisor("its status doesn't show all sets")
    def test_it_has_no_capabilities(self):
        status = self.status()
        # Who has no CAP_SETPCAP, number 8, can't empty the bounding set, nor use it.
        kept = one_process() or (level() == "contained" and not int(status["CapBnd"], 16) >> 8 & 1)
        for name in ("CapInh", "CapPrm", "CapEff", "CapAmb") if kept else ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
            self.assertEqual(int(status[name], 16), 0, name)

    def test_it_gains_no_privileges_and_is_filtered(self):
        status = self.status()
        self.assertEqual(status["Seccomp"], "2")
        found = self.result("import ctypes\ndef main():\n    return {'no_new_privs': ctypes.CDLL(None).prctl(39, 0, 0, 0, 0)}")
        self.assertEqual(found, {"no_new_privs": 1})

    def test_it_has_one_thread(self):
        self.assertEqual(self.status()["Threads"], "1")

    def test_it_cannot_become_another_user(self):
        found = self.result(ERRNO + "def main():\n    return {'uid': errno_of(os.setuid, 0), 'gid': errno_of(os.setgid, 0), 'groups': errno_of(os.setgroups, [0])}")
        for name, errno in found.items():
            self.assertIn(errno, (1, 22), name)  # 22: the number isn't mapped

    @only_full("nothing is mounted")
    def test_setuid_bits_do_not_count(self):
        found = self.result("import os\ndef main():\n    return {p: bool(os.statvfs(p).f_flag & os.ST_NOSUID) for p in ('/', '/usr', '/tmp', '/dev/shm')}")
        self.assertEqual(found, {path: True for path in found})


class SightTest(Case):
    @only_full("/proc is shut")
    def test_only_its_own_processes_are_in_proc(self):
        found = self.result("import os\ndef main():\n    return {'pids': [int(n) for n in os.listdir('/proc') if n.isdigit()], 'own': os.getpid()}")
        self.assertIn(found["own"], found["pids"])
        self.assertLessEqual(len(found["pids"]), 2)
        self.assertLess(max(found["pids"]), 100)

    @only_full("no namespaces")
    def test_its_host_has_another_name(self):
        self.assertNotEqual(self.result("import os\ndef main():\n    return {'n': os.uname().nodename}")["n"], socket.gethostname())

    @only_full("no namespaces")
    def test_its_namespaces_are_its_own(self):
        found = self.result("import os\ndef main():\n    return {n: os.readlink('/proc/self/ns/' + n) for n in os.listdir('/proc/self/ns')}")
        for name in ("pid", "mnt", "net", "ipc", "uts") if in_gvisor() else ("user", "pid", "mnt", "net", "ipc", "uts", "cgroup"):
            self.assertNotEqual(found[name], os.readlink(f"/proc/self/ns/{name}"), name)

    @only_full("no namespaces")
    def test_a_slots_next_run_finds_nothing_of_its_sockets(self):
        """The network namespace is the slot's: more runs than there are slots, each taking the same name."""
        script = ("import socket\ndef main():\n    one = socket.socket(socket.AF_UNIX)\n    one.bind('\\0left-behind')\n"
                  "    one.listen()\n    return {'names': open('/proc/self/net/unix').read().count('left-behind')}")
        for _ in range(40):
            self.assertEqual(self.result(script), {"names": 1})

    @only_full("no namespaces")
    def test_two_runs_at_once_do_not_share_namespaces(self):
        script = "import os, time\ndef main():\n    time.sleep(0.5)\n    return {n: os.readlink('/proc/self/ns/' + n) for n in ('pid', 'mnt', 'net', 'ipc')}"
        answers = []
        threads = [threading.Thread(target=lambda: answers.append(self.run_script(script))) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        (first_status, first), (second_status, second) = answers
        self.assertEqual((first_status, second_status), (200, 200), answers)
        for name in first["result"]:
            self.assertNotEqual(first["result"][name], second["result"][name], name)

    @only_full("they are in sight, and shut")
    def test_the_files_of_the_host_are_out_of_sight(self):
        here = os.path.dirname(os.path.abspath(__file__))
        with open("/tmp/vivary-test-" + uuid.uuid4().hex, "w") as file:
            self.addCleanup(os.remove, file.name)
        paths = [here, file.name, "/etc/shadow", "/root/.bashrc", "/proc/1/root", "/proc/kcore", "/sys/kernel", "/sys/fs/cgroup"]
        found = self.result(f"import os\ndef main():\n    return {{p: os.path.exists(p) for p in {paths!r}}}")
        self.assertEqual(found, {path: False for path in paths})

    def test_the_environment_holds_nothing_of_the_host(self):
        found = self.marked_environment("dict(os.environ)")
        self.assertNotIn("HOST_SECRET", found)
        self.assertNotIn("mark-of-the-host", str(found))
        self.assertFalse([name for name in found if name.startswith(("VIVARY", "SSH", "SUDO"))])

    @only_full("/proc is shut")
    def test_no_process_in_sight_shows_the_environment_of_the_host(self):
        found = self.marked_environment("{p: read(p) for p in ['self', *[n for n in os.listdir('/proc') if n.isdigit()]]}")
        self.assertNotIn("mark-of-the-host", str(found))

    def marked_environment(self, expression):
        with Service("--preload", "", variables={"HOST_SECRET": "mark-of-the-host"}) as service:
            status, answer = service.execute(f"""
import os
def read(pid):
    try:
        return open("/proc/%s/environ" % pid, errors="replace").read()
    except OSError as error:
        return error.errno
def main():
    return {{"found": {expression}}}
""")
        self.assertEqual(status, 200, answer)
        self.assertTrue(answer["result"]["found"])
        return answer["result"]["found"]

    @only_full("its folders are too")
    def test_only_its_own_descriptors_are_open(self):
        found = self.result("""
import os, stat
def main():
    found = {}
    for fd in map(int, os.listdir("/proc/self/fd")):
        try:
            found[fd] = stat.S_ISSOCK(os.fstat(fd).st_mode)
        except OSError:
            pass  # the folder that was listed
    return found
""")
        self.assertLessEqual({"0", "1", "2"}, set(found))
        others = {fd: is_socket for fd, is_socket in found.items() if fd not in ("0", "1", "2")}
        self.assertEqual(list(others.values()), [True], found)

    @only_full("it has five")
    def test_a_child_that_it_executes_has_three_descriptors(self):
        script = """
import subprocess, sys
LIST = "import os, stat; print([fd for fd in map(int, os.listdir('/proc/self/fd')) if os.path.exists('/proc/self/fd/%d' % fd)])"
def main():
    subprocess.run([sys.executable, "-c", LIST], close_fds=False)
    return {}
"""
        self.assertEqual(self.output(script), "[0, 1, 2]\n")

    def test_nonsense_on_its_socket_fails_only_itself(self):
        script = """
import os, stat
def main():
    for fd in map(int, os.listdir("/proc/self/fd")):
        try:
            if fd > 2 and stat.S_ISSOCK(os.fstat(fd).st_mode):
                os.write(fd, b"nonsense " * 1000)
        except OSError:
            pass
    return {"x": 1}
"""
        self.assertEqual(self.run_script(script), (400, SANDBOX_FAILED))
        self.assert_serving()


class FilesTest(Case):
    @only_full("/dev/shm can not be listed")
    def test_tmp_is_empty_and_writable(self):
        self.assertEqual(self.result("""
import os
def main():
    found = {}
    for folder in ("/tmp", "/dev/shm"):
        before = os.listdir(folder)
        with open(folder + "/x", "w") as file:
            file.write("text")
        os.mkdir(folder + "/folder")
        found[folder] = [before, open(folder + "/x").read(), sorted(os.listdir(folder))]
    return found
"""), {folder: [[], "text", ["folder", "x"]] for folder in ("/tmp", "/dev/shm")})

    @only_full("/dev/shm has the names of all runs")
    def test_tmp_is_private_to_each_run(self):
        script = """
import os
def main():
    found = [os.path.join(at, name) for folder in ("/tmp", "/dev/shm") for at, names, files in os.walk(folder) for name in names + files]
    for folder in ("/tmp", "/dev/shm"):
        open(folder + "/left", "w").close()
    return {"found": found}
"""
        for _ in range(20):
            self.assertEqual(self.result(script), {"found": []})

    @only_full("it is by the size of each file, and a watcher")
    def test_tmp_is_limited_in_size(self):
        for folder in ("/tmp", "/dev/shm"):
            with self.subTest(folder=folder):
                found = self.result(f"""
import os
def main():
    part, written = b"x" * (1 << 20), 0
    try:
        with open("{folder}/large", "wb", buffering=0) as file:
            while written < 200 << 20:
                written += file.write(part)
    except OSError as error:
        return {{"errno": error.errno, "mib": written / (1 << 20)}}
    return {{"errno": 0, "mib": written / (1 << 20)}}
""")
                self.assertEqual(found["errno"], 28)
                self.assertLessEqual(found["mib"], 64)
                self.assertGreaterEqual(found["mib"], 60)

    @only_full("a watcher ends the run")
    @not_in_gvisor("its tmpfs doesn't count files")
    def test_tmp_is_limited_in_files(self):
        found = self.result("""
def main():
    made = 0
    try:
        while made < 20_000:
            open("/tmp/%d" % made, "w").close()
            made += 1
    except OSError as error:
        return {"errno": error.errno, "made": made}
    return {"errno": 0, "made": made}
""")
        self.assertEqual(found["errno"], 28)
        self.assertLessEqual(found["made"], 4096)
        self.assertGreaterEqual(found["made"], 4000)

    @only_full("the rest of /dev is shut, not absent")
    def test_dev_holds_little(self):
        found = self.result("import os\ndef main():\n    return {'dev': os.listdir('/dev')}")["dev"]
        wanted = {"null", "zero", "full", "random", "urandom", "shm", "pts", "ptmx", "fd", "stdin", "stdout", "stderr"}
        self.assertEqual(set(found), wanted)

    def test_devices_work(self):
        self.assertEqual(self.result(ERRNO + """
def main():
    return {"null": open("/dev/null", "rb").read(3).hex(), "zero": open("/dev/zero", "rb").read(3).hex(),
            "random": len(open("/dev/random", "rb").read(3)), "urandom": len(open("/dev/urandom", "rb").read(3)),
            "full": errno_of(lambda: os.write(os.open("/dev/full", os.O_WRONLY), b"x")),
            "sink": os.write(os.open("/dev/null", os.O_WRONLY), b"xyz")}
"""), {"null": "", "zero": "000000", "random": 3, "urandom": 3, "full": 28, "sink": 3})

    @unittest.skipIf(read_only_root(), "the container is read-only, and a write says so")
    def test_writing_elsewhere_is_denied(self):
        folders = ("/etc", "/usr", "/usr/lib", "/", "/app", "/dev", "/bin", "/var", "/home")
        found = self.result(ERRNO + f"""
def main():
    return {{f: [errno_of(open, f + "/new", "w"), errno_of(os.mkdir, f + "/newfolder"), errno_of(os.symlink, "x", f + "/newlink")]
            for f in {folders!r} if os.path.exists(f)}}
""")
        self.assertLessEqual({"/etc", "/usr", "/", "/app", "/dev"}, set(found))
        self.assertEqual(found, {folder: [13, 13, 13] for folder in found})

    @unittest.skipIf(read_only_root(), "the container is read-only, and a write says so")
    def test_changing_what_is_there_is_denied(self):
        self.assertEqual(self.result(ERRNO + """
def main():
    return {"remove": errno_of(os.remove, "/etc/passwd"), "write": errno_of(open, "/etc/passwd", "a"), "truncate": errno_of(os.truncate, "/etc/passwd", 0),
            "rename": errno_of(os.rename, "/etc/passwd", "/etc/passwd2"), "rmdir": errno_of(os.rmdir, "/usr/lib"),
            "program": errno_of(open, "/usr/bin/env", "r+b"), "chmod": errno_of(os.chmod, "/usr/bin/env", 0o777),
            "chown": errno_of(os.chown, "/usr/bin/env", os.getuid(), -1), "utime": errno_of(os.utime, "/usr/bin/env")}
"""), {"remove": 13, "write": 13, "truncate": 13, "rename": 13, "rmdir": 13, "program": 13, "chown": 1,
       # Where all have one uid, a change of mode is said to be done, and isn't.
       **({"chmod": 0, "utime": 1} if one_process() else {"chmod": 1, "utime": 13})})

    @only_full("most of /etc is shut, not absent")
    def test_etc_tells_nothing_of_the_host(self):
        found = self.result("def main():\n    return {'passwd': open('/etc/passwd').read(), 'hostname': open('/etc/hostname').read()}")
        self.assertLess(len(found["passwd"].splitlines()), 40)
        self.assertNotEqual(found["hostname"].strip(), socket.gethostname())


class NetworkTest(Case):
    def test_no_interface_is_up(self):
        found = self.result("""
import fcntl, socket, struct
def main():
    up = []
    try:
        names = [name for _, name in socket.if_nameindex()]
    except OSError:
        names = []
    for name in {*names, "lo", "eth0"}:
        try:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
                flags = struct.unpack_from("H", fcntl.ioctl(probe, 0x8913, struct.pack("40s", name.encode())), 16)[0]
            if flags & 1:
                up.append(name)
        except OSError:
            pass
    return {"up": up, "others": [name for name in names if name != "lo"]}
""")
        self.assertEqual(found, {"up": [], "others": []})

    def test_the_service_itself_cannot_be_reached(self):
        self.assertIn(self.result(ERRNO + f"""
import socket
def main():
    return {{"errno": errno_of(lambda: socket.create_connection(("127.0.0.1", {self.service.port}), timeout=3))}}
""")["errno"], (1, 13, 97, 99, 101, 111))

    def test_the_world_cannot_be_reached(self):
        found = self.result(ERRNO + """
import socket
def attempt(kind, address):
    with socket.socket(socket.AF_INET, kind) as s:
        s.settimeout(3)
        s.connect(address)
        s.send(b"x")
def main():
    return {"tcp": errno_of(attempt, socket.SOCK_STREAM, ("1.1.1.1", 53)), "udp": errno_of(attempt, socket.SOCK_DGRAM, ("1.1.1.1", 53)),
            "raw": errno_of(attempt, socket.SOCK_RAW, ("1.1.1.1", 1))}
""")
        for name, errno in found.items():
            self.assertIn(errno, (1, 13, 93, 97, 101), name)

    def test_a_name_is_not_resolved_and_that_soon(self):
        start = time.monotonic()
        self.assertEqual(self.result("""
import socket
def main():
    try:
        return {"found": str(socket.getaddrinfo("example.com", 80))}
    except OSError as error:
        return {"error": type(error).__name__}
"""), {"error": "gaierror"})
        self.assertLess(time.monotonic() - start, 8)

    @only_with_children
    def test_abstract_sockets_of_the_host_cannot_be_reached(self):
        name = "vivary-test-" + uuid.uuid4().hex
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind("\0" + name)
            listener.listen()
            with socket.socket(socket.AF_UNIX) as probe:
                probe.connect("\0" + name)  # from here it works
            errno = self.result(ERRNO + f"""
import socket
def main():
    return {{"errno": errno_of(socket.socket(socket.AF_UNIX).connect, "\\0{name}")}}
""")["errno"]
        self.assertIn(errno, (1, 13, 111))


class LimitTest(Case):
    def test_a_memory_hog_is_stopped(self):
        for script in ("def main():\n    x = bytearray(1 << 30)\n    return {'n': len(x)}",
                       "def main():\n    x = b'x'\n    while True:\n        x += x",
                       "def main():\n    x = []\n    while True:\n        x.append('y' * 100_000 + str(len(x)))"):
            with self.subTest(script=script):
                error = self.error(script)
                self.assertTrue(error == SANDBOX_FAILED["error"] or error.startswith("Script execution failed: MemoryError: "), error)
                self.assert_serving()

    def test_memory_near_the_limit_is_given(self):
        self.assertEqual(self.result("def main():\n    x = bytearray(256 << 20)\n    x[::4096] = b'x' * len(x[::4096])\n    return {'n': len(x)}"), {"n": 256 << 20})

    @only_with_children
    @only_with_sums
    def test_processes_share_one_memory_limit(self):
        if "without cgroup" in self.service.start_line:
            self.skipTest("this host gives no cgroup limits: memory is bounded for each process alone")
        status, answer = self.run_script("""
import os
def main():
    reads, held = [], 0
    for _ in range(6):
        read, write = os.pipe()
        if os.fork() == 0:
            hold = b"x" * (150 << 20)
            os.write(write, b"y")
            os.read(os.pipe()[0], 1)
        os.close(write)
        held += os.read(read, 1) == b"y"
    # What had its memory may have been killed since, for another's sake.
    alive = 6
    while alive and os.waitpid(-1, os.WNOHANG)[0]:
        alive -= 1
    return {"held": min(held, alive)}
""")
        if status == 200:
            self.assertLessEqual(answer["result"]["held"], 3)
        else:
            self.assertEqual((status, answer), (400, SANDBOX_FAILED))
        self.assert_serving()

    @only_with_children
    def test_processes_are_limited(self):
        found = self.result("""
import os, signal
def main():
    children = []
    try:
        while len(children) < 500:
            pid = os.fork()
            if pid == 0:
                signal.pause()
            children.append(pid)
    except OSError as error:
        return {"errno": error.errno, "children": len(children)}
    return {"errno": 0, "children": len(children)}
""")
        self.assertEqual(found["errno"], 11)
        self.assertLess(found["children"], 65 if in_gvisor() else 64)  # the first of the uid isn't counted there
        self.assertGreaterEqual(found["children"], 60)
        self.assert_serving()

    @only_with_children
    def test_threads_are_limited(self):
        found = self.result("""
import threading
def main():
    end, threads = threading.Event(), []
    try:
        while len(threads) < 500:
            thread = threading.Thread(target=end.wait)
            thread.start()
            threads.append(thread)
    except RuntimeError as error:
        return {"error": str(error), "threads": len(threads)}
    finally:
        end.set()
    return {"error": "", "threads": len(threads)}
""")
        self.assertEqual(found["error"], "can't start new thread")
        self.assertLess(found["threads"], 65 if in_gvisor() else 64)
        self.assertGreaterEqual(found["threads"], 60)

    def test_descriptors_are_limited(self):
        found = self.result("""
import os
def main():
    opened = []
    try:
        while len(opened) < 2000:
            opened.append(os.open("/dev/null", os.O_RDONLY))
    except OSError as error:
        return {"errno": error.errno, "opened": len(opened), "most": max(opened)}
    return {"errno": 0, "opened": len(opened), "most": max(opened)}
""")
        self.assertEqual(found["errno"], 24)
        self.assertLess(found["most"], 256)
        self.assertGreaterEqual(found["opened"], 240)

    def test_limits_cannot_be_raised(self):
        found = self.result("""
import resource
def main():
    found = {}
    for name in ("NOFILE", "NPROC", "CPU", "DATA", "CORE", "FSIZE", "MEMLOCK"):
        kind = getattr(resource, "RLIMIT_" + name)
        before = resource.getrlimit(kind)[1]
        try:
            resource.setrlimit(kind, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        except (ValueError, OSError):
            pass
        found[name] = [before, resource.getrlimit(kind)[1]]
    return found
""")
        for name, (before, after) in found.items():
            self.assertEqual(before, after, name)
            self.assertNotEqual(after, -1, name)


class TimeTest(Case):
    """With limits that are near, and without packages, to be quick."""

    @classmethod
    def setUpClass(cls):
        cls.own_start("--preload", "", "--deadline-ms", "2000")

    def test_a_sleep_past_the_deadline_is_cut(self):
        start = time.monotonic()
        self.assert_sandbox_failed("import time\ndef main():\n    time.sleep(60)\n    return {}")
        self.assertGreater(time.monotonic() - start, 1.9)
        self.assertLess(time.monotonic() - start, 8)

    def test_a_loop_at_import_is_cut(self):
        self.assert_sandbox_failed("while True:\n    pass")

    def test_a_script_that_ignores_signals_is_cut(self):
        self.assert_sandbox_failed("import signal\ndef main():\n    for n in range(1, 65):\n        try:\n            signal.signal(n, signal.SIG_IGN)\n"
                                   "        except (OSError, ValueError):\n            pass\n    while True:\n        pass")

    def test_a_stopped_script_is_cut(self):
        self.assert_sandbox_failed("import os, signal\ndef main():\n    os.kill(os.getpid(), signal.SIGSTOP)\n    return {}")

    def test_exit_handlers_do_not_hold_up_for_ever(self):
        start = time.monotonic()
        status, answer = self.run_script("import atexit, time\natexit.register(time.sleep, 60)\ndef main():\n    return {'x': 1}")
        self.assertLess(time.monotonic() - start, 8)
        self.assertIn((status, answer), [(200, {"result": {"x": 1}, "stdout": ""}), (400, SANDBOX_FAILED)])

    def test_a_fork_bomb_is_contained(self):
        self.assert_sandbox_failed("import os\ndef main():\n    while True:\n        try:\n            os.fork()\n        except OSError:\n            pass")

    @only_with_children
    def test_a_chain_of_forks_is_contained(self):
        """Each child forks and leaves, so that nobody who looks finds it."""
        status, answer = self.run_script("""
import os
def main():
    if os.fork() == 0:
        while True:
            try:
                if os.fork():
                    os._exit(0)
            except OSError:
                pass
    while True:
        pass
""")
        self.assertEqual((status, answer), (400, SANDBOX_FAILED))
        self.assert_serving()

    @only_with_children
    def test_a_grandchild_is_gone_after_the_deadline(self):
        mark = "vivary-stubborn-" + uuid.uuid4().hex
        answers = []
        run = threading.Thread(target=lambda: answers.append(self.run_script(stubborn_script(mark, "import time; time.sleep(60)"))))
        run.start()
        try:
            eventually(lambda: pids_with_argument(mark), 10, "the grandchild is seen from outside")
        finally:
            run.join()
        self.assertEqual(answers, [(400, SANDBOX_FAILED)])
        eventually(lambda: not pids_with_argument(mark), 5, "the grandchild is gone")


class ProcessorTimeTest(Case):
    @classmethod
    def setUpClass(cls):
        cls.own_start("--preload", "", "--cpu-ms", "1000")

    def test_a_loop_past_its_processor_time_is_cut(self):
        start = time.monotonic()
        self.assert_sandbox_failed("def main():\n    while True:\n        pass")
        self.assertLess(time.monotonic() - start, 7)

    def test_waiting_costs_no_processor_time(self):
        self.assertEqual(self.result("import time\ndef main():\n    time.sleep(1.5)\n    return {'slept': 1}"), {"slept": 1})

    @only_with_children
    @only_with_sums
    def test_children_share_the_processor_time(self):
        if "without cgroup" in self.service.start_line:
            self.skipTest("this host gives no cgroup limits: processor time is bounded for each process alone")
        start = time.monotonic()
        self.assert_sandbox_failed("import os\ndef main():\n    for _ in range(8):\n        if os.fork() == 0:\n            while True:\n                pass\n"
                                   "    import time\n    time.sleep(9)\n    return {}")
        self.assertLess(time.monotonic() - start, 7)


class DeathTest(Case):
    @only_with_children
    def test_every_kind_of_death_is_answered(self):
        for how in ("os.kill(os.getpid(), signal.SIGKILL)", "os.kill(os.getpid(), signal.SIGTERM)", "os.kill(os.getpid(), signal.SIGSEGV)",
                    "os.kill(os.getpid(), signal.SIGHUP)", "os.abort()", "os._exit(0)", "os._exit(3)", "ctypes.string_at(0)",
                    "os.execv('/bin/true', ['true'])"):
            with self.subTest(how=how):
                self.assert_sandbox_failed(f"import ctypes, os, signal\ndef main():\n    {how}\n    return {{}}")

    def test_a_death_at_import_is_answered(self):
        self.assert_sandbox_failed("import os\nos._exit(0)\ndef main():\n    return {}")

    @only_with_children
    def test_a_child_that_dies_does_no_harm(self):
        self.assertEqual(self.result("import os\ndef main():\n    pid = os.fork()\n    if pid == 0:\n        os._exit(7)\n    return {'status': os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])}"),
                         {"status": 7})

    @only_with_children
    def test_a_forked_child_that_returns_does_no_harm(self):
        status, answer = self.run_script("import os\ndef main():\n    return {'child': os.fork() == 0}")
        self.assertIn(status, (200, 400))
        if status == 400:
            self.assertEqual(answer, SANDBOX_FAILED)
        self.assert_serving()

    @only_with_children
    def test_a_grandchild_that_ignores_signals_is_gone_after_the_answer(self):
        mark = "vivary-stubborn-" + uuid.uuid4().hex
        self.assertEqual(self.result(stubborn_script(mark, "return {'up': 1}")), {"up": 1})
        eventually(lambda: not pids_with_argument(mark), 5, "the grandchild is gone")


class RenewalTest(Case):
    def test_randomness_differs_between_runs(self):
        script = """
import os, random, secrets, ssl, tempfile, uuid
import numpy as np
def main():
    return {"random": random.random(), "Random": random.Random().random(), "secrets": secrets.token_hex(8), "uuid4": str(uuid.uuid4()), "ssl": ssl.RAND_bytes(8).hex(),
            "tempfile": tempfile.mktemp(), "urandom": os.urandom(8).hex(), "numpy": np.random.random(), "normal": np.random.normal(),
            "permutation": np.random.permutation(30).tolist(), "default_rng": np.random.default_rng().random(), "shuffled": random.sample(range(1000), 10)}
"""
        runs = [self.result(script) for _ in range(20)]
        for name in runs[0]:
            self.assertEqual(len({str(run[name]) for run in runs}), 20, name)

    def test_a_seed_gives_what_it_gives_everywhere(self):
        import random

        random.seed(42)
        wanted = random.random()
        self.assertEqual(self.result("import random\nimport numpy as np\ndef main():\n    random.seed(42)\n    np.random.seed(42)\n    return {'r': random.random(), 'n': np.random.rand()}"),
                         {"r": wanted, "n": 0.3745401188473625})

    def test_no_state_is_left_between_runs(self):
        script = """
import builtins, json, os, sys, types
import numpy
def main():
    found = [hasattr(json, "left"), hasattr(builtins, "left"), "left" in sys.modules, "LEFT" in os.environ, hasattr(numpy, "left"), "/left" in sys.path,
             os.getcwd() == "/tmp/left", os.path.exists("/runtime/left"), sys.getrecursionlimit() == 123456, len is not builtins.len]
    json.left = builtins.left = numpy.left = 1
    sys.modules["left"] = types.ModuleType("left")
    os.environ["LEFT"] = "1"
    sys.path.append("/left")
    os.mkdir("/tmp/left")
    os.chdir("/tmp/left")
    try:
        open("/runtime/left", "w").close()
    except OSError:
        pass
    sys.setrecursionlimit(123456)
    return {"found": found}
"""
        for _ in range(20):
            self.assertEqual(self.result(script), {"found": [False] * 10})

    def test_changed_builtins_do_not_last(self):
        self.run_script("import builtins\nbuiltins.print = builtins.len = None\ndef main():\n    return {}")
        for _ in range(20):
            self.assertEqual(self.run_script("def main():\n    print(len('abc'))\n    return {}"), (200, {"result": {}, "stdout": "3\n"}))


@unittest.skipUnless(platform.machine() == "x86_64", "the numbers of system calls are those of x86_64")
class SystemCallTest(Case):
    def test_system_calls_that_no_script_needs_fail(self):
        calls = {
            "mount": "165, b'none', b'/tmp', b'tmpfs', 0, 0", "mount bind": "165, b'/usr', b'/tmp', 0, 4096, 0", "umount2": "166, b'/tmp', 2",
            "pivot_root": "155, b'/tmp', b'/tmp'", "chroot": "161, b'/tmp'", "unshare user": "272, 0x10000000", "unshare mount": "272, 0x20000",
            "unshare net": "272, 0x40000000", "setns": "308, os.open('/proc/self/ns/user', 0), 0", "clone user": "56, 0x10000011, 0, 0, 0, 0",
            "clone3": "435, ctypes.create_string_buffer(b'\\0\\0\\0\\x10' + bytes(84)), 88",
            "ptrace me": "101, 0, 0, 0, 0", "ptrace attach": "101, 16, 1, 0, 0", "process_vm_readv": "310, 1, 0, 0, 0, 0, 0",
            "bpf": "321, 0, buffer, 64", "keyctl": "250, 0, -3, 1", "add_key": "248, b'user', b'x', b'y', 1, -3", "request_key": "249, b'user', b'x', 0, -3",
            "io_uring_setup": "425, 1, buffer", "perf_event_open": "298, buffer, 0, -1, -1, 0", "userfaultfd": "323, 0", "init_module": "175, buffer, 10, b''",
            "kexec_load": "246, 0, 0, 0, 0", "reboot": "169, 0xfee1dead, 672274793, 0, 0", "swapon": "167, b'/tmp/x', 0", "settimeofday": "164, buffer, 0",
            "sethostname": "170, b'x', 1", "open_by_handle_at": "304, -100, buffer, 0", "quotactl": "179, 0, b'', 0, 0", "acct": "163, b'/tmp/x'",
            "syslog": "103, 3, buffer, 100", "fsopen": "430, b'tmpfs', 0", "open_tree": "428, -100, b'/tmp', 1", "move_mount": "429, -100, b'/tmp', -100, b'/tmp', 0",
            "mknod block": "133, b'/tmp/disk', 0o60666, 0x800", "mknod char": "133, b'/tmp/memory', 0o20666, 0x101", "iopl": "172, 3", "ioperm": "173, 0x70, 1, 1",
        }
        # getpid shows that the probe would see a success.
        for name, arguments in {"getpid": "39", **calls}.items():
            with self.subTest(call=name):
                status, answer = self.run_script(f"""
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
def main():
    buffer = ctypes.create_string_buffer(4096)
    returned = libc.syscall({arguments})
    if returned == 0 and "{name}".startswith("clone"):
        os._exit(0)
    return {{"returned": returned, "errno": ctypes.get_errno()}}
""")
                if name == "getpid":
                    self.assertEqual(status, 200, answer)
                    self.assertGreater(answer["result"]["returned"], 0)
                elif status == 200:
                    self.assertEqual(answer["result"]["returned"], -1)
                    self.assertIn(answer["result"]["errno"], (1, 13, 38), answer)
                else:
                    self.assertEqual((status, answer), (400, SANDBOX_FAILED))
        self.assert_serving()


if __name__ == "__main__":
    unittest.main()
