"""What the service does when the machine fails it: it says so, and goes on when it can."""

import json
import os
import resource
import signal
import subprocess
import unittest

import service as service_module
from service import BINARY, Case, SANDBOX_FAILED, Service, environment, eventually, limit, processes_all

HTTP = os.path.dirname(os.path.abspath(service_module.__file__))
CONTAINER = os.path.join(os.path.dirname(HTTP), "hosts", "container.py")

RECOVERY_S = 30
SETTINGS = ("--slots", "2", "--preload", "", "--deadline-ms", "3000")


def answers_at(port):
    import http.client

    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=RECOVERY_S)
    try:
        connection.request("POST", "/execute", json.dumps({"script": "def main():\n    return {'ok': True}"}))
        return json.loads(connection.getresponse().read()) == {"result": {"ok": True}, "stdout": ""}
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def own_group(controller):
    """This process's folder in a cgroup v1 hierarchy of its own, or None."""
    with open("/proc/self/cgroup") as file:
        for line in file:
            _, controllers, path = line.rstrip("\n").split(":", 2)
            if controller in controllers.split(","):
                folder = f"/sys/fs/cgroup/{controller}{path}"
                return folder if os.path.isdir(folder) else None
    return None


class DescriptorTest(unittest.TestCase):
    def serve(self, most, *options):
        return subprocess.run([BINARY, "serve", "--listen", "127.0.0.1:0", *options], env=environment(), stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, timeout=RECOVERY_S, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (most, most)))

    def test_too_few_descriptors_are_told_at_the_start(self):
        done = self.serve(200, *SETTINGS)
        self.assertEqual(done.returncode, 1)
        self.assertIn("need 1024 open files at once, and the hard limit is 200", done.stderr)

    def test_too_few_for_many_slots_are_told(self):
        done = self.serve(1024, "--slots", "200", "--preload", "")
        self.assertEqual(done.returncode, 1)
        self.assertIn("200 slots and 4 spare ones need 4756 open files", done.stderr)

    def test_the_least_is_enough(self):
        most = resource.getrlimit(resource.RLIMIT_NOFILE)
        pid_limited = lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (1024, 1024))  # noqa: E731
        process = subprocess.Popen([BINARY, "serve", "--listen", "127.0.0.1:0", *SETTINGS], env=environment(), stdin=subprocess.DEVNULL,
                                   stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, preexec_fn=pid_limited)
        self.addCleanup(process.stdout.close)
        self.addCleanup(process.wait, RECOVERY_S)
        self.addCleanup(process.send_signal, signal.SIGTERM)
        port = int(process.stdout.readline().split(b"127.0.0.1:")[1].split()[0])
        import http.client

        for _ in range(6):
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=RECOVERY_S)
            connection.request("POST", "/execute", json.dumps({"script": "def main():\n    return {'ok': True}"}))
            self.assertEqual(json.loads(connection.getresponse().read()), {"result": {"ok": True}, "stdout": ""})
            connection.close()
        self.assertEqual(resource.getrlimit(resource.RLIMIT_NOFILE), most)


class ForkTest(unittest.TestCase):
    def test_processes_that_cannot_be_had_are_waited_for(self):
        parent = own_group("pids")
        if parent is None or not os.access(parent, os.W_OK):
            self.skipTest("there is no cgroup v1 pids hierarchy to limit the service by")
        service = Service(*SETTINGS)
        self.addCleanup(service.stop)
        roles = eventually(service.roles_whole, RECOVERY_S, "the service is whole")
        folder = f"{parent}/fault-{os.getpid()}"
        os.mkdir(folder)
        self.addCleanup(eventually, lambda: os.rmdir(folder) or True, RECOVERY_S, "the group is empty")
        self.addCleanup(service.stop)
        for pid in roles.values():
            with open(folder + "/cgroup.procs", "w") as file:
                file.write(str(pid))
        with open(folder + "/pids.max", "w") as file:
            file.write("1")  # less than there are: each further fork is EAGAIN
        # Workers that wait already answer; then there are no more, and a request waits.
        answered = 0
        wires = []
        for _ in range(6):
            wire = service.wire(RECOVERY_S)
            self.addCleanup(wire.__exit__)
            body = json.dumps({"script": "def main():\n    return {'ok': True}"}).encode()
            wire.send(b"POST /execute HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
            wires.append(wire)
        eventually(lambda: "EAGAIN" in service.said(), RECOVERY_S, "the log names the call that failed")
        self.assertIsNone(service.process.poll())
        with open(folder + "/pids.max", "w") as file:
            file.write("max")
        for wire in wires:
            status, _, body = wire.answer()
            answered += (status, json.loads(body)) == (200, {"result": {"ok": True}, "stdout": ""})
        self.assertEqual(answered, 6)
        self.assertTrue(service.answers())


class FullTest(unittest.TestCase):
    def test_a_log_that_takes_nothing_stops_nothing(self):
        """The disk below the log is full: what is lost is the log."""
        with open("/dev/full", "w") as full:
            process = subprocess.Popen([BINARY, "serve", "--listen", "127.0.0.1:0", *SETTINGS], env=environment(), stdin=subprocess.DEVNULL,
                                       stdout=subprocess.PIPE, stderr=full)
        self.addCleanup(process.stdout.close)
        self.addCleanup(process.wait, RECOVERY_S)
        self.addCleanup(process.send_signal, signal.SIGTERM)
        port = int(process.stdout.readline().split(b"127.0.0.1:")[1].split()[0])
        keeper = [child for child in processes_all() if child.parent == process.pid and child.name == "vivary-keeper"]
        os.kill(keeper[0].pid, signal.SIGKILL)  # which is worth a line of the log
        eventually(lambda: answers_at(port), RECOVERY_S, "it serves again")

    @limit(120)
    def test_a_full_disk_is_the_script_s_to_see(self):
        """At level contained runs write to a disk. Here it has 3 MiB, and a run may take 8."""
        if os.geteuid() != 0:
            self.skipTest("making a container needs root")
        script = """
import os
def main():
    try:
        with open("big", "wb") as file:
            for _ in range(6):
                file.write(bytes(1 << 20))
    except OSError as error:
        return {"errno": error.errno}
    return {"errno": 0}
"""
        code = f"""
import os, sys
sys.path.insert(0, {HTTP!r})
from service import Service
with Service("--preload", "", "--slots", "2", "--tmp-mb", "8") as service:
    told = [service.execute({script!r})[1] for _ in range(4)]
    # Or the watcher ended the run, as little was left.
    print([one for one in told if one not in ({{"result": {{"errno": 28}}, "stdout": ""}}, {{"error": "Sandbox failed to run script"}})], service.answers())
"""
        made = subprocess.run(["/usr/bin/python3", CONTAINER, "--disk-mb", "3", "--", "/usr/bin/python3", "-c", code], stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, timeout=100, env={**environment(), "VIVARY_BINARY": BINARY}, check=False)
        if "Operation not permitted" in made.stderr:
            self.skipTest(f"no container can be made: {made.stderr.splitlines()[-1]}")
        self.assertEqual((made.stdout, made.returncode), ("[] True\n", 0), made.stderr)


class MemoryTest(unittest.TestCase):
    @limit(120)
    def test_a_group_without_memory_ends_runs_and_not_the_service(self):
        """The service as a whole may take less than its runs could: the kernel ends runs."""
        parent = own_group("memory")
        if parent is None or not os.access(parent, os.W_OK):
            self.skipTest("there is no cgroup v1 memory hierarchy to limit the service by")
        folder = f"{parent}/fault-memory-{os.getpid()}"
        os.mkdir(folder)
        self.addCleanup(eventually, lambda: os.rmdir(folder) or True, RECOVERY_S, "the group is empty")
        with open(folder + "/memory.limit_in_bytes", "w") as file:
            file.write(str(300 << 20))

        own = os.path.join(parent, "cgroup.procs")
        with open(folder + "/cgroup.procs", "w") as file:
            file.write(str(os.getpid()))
        try:
            service = Service("--slots", "4", "--preload", "", "--deadline-ms", "5000", "--memory-mb", "512")
        finally:
            with open(own, "w") as file:
                file.write(str(os.getpid()))
        self.addCleanup(service.stop)
        roles = eventually(service.roles_whole, RECOVERY_S, "the service is whole")
        greedy = "def main():\n kept = []\n for _ in range(40):\n  kept.append(bytearray(10 << 20))\n return {}"
        for _ in range(3):
            for status, answer in service.execute_all([greedy] * 4):
                self.assertIn((status, answer), [(400, SANDBOX_FAILED), (200, {"result": {}, "stdout": ""}), (400, {"error": "Script execution failed: MemoryError: "})])
        self.assertEqual(service.execute("def main():\n return {'n': 1}"), (200, {"result": {"n": 1}, "stdout": ""}))
        self.assertEqual(eventually(service.roles_whole, RECOVERY_S, "the service is whole"), roles)


class GroupTest(Case):
    @limit(90)
    def test_a_group_that_does_not_empty_stops_nothing(self):
        service = Service(*SETTINGS)
        groups = [folder for folder in service.cgroups() if folder.endswith("slot-0")]
        if not groups:
            service.stop()
            self.skipTest("the service has no cgroups here")
        stranger = subprocess.Popen(["sleep", "1000"])
        self.addCleanup(stranger.wait)
        self.addCleanup(stranger.kill)
        with open(groups[0] + "/cgroup.procs", "w") as file:
            file.write(str(stranger.pid))
        for _ in range(8):
            self.assertTrue(service.answers())
        service.stop()
        self.assertIsNone(stranger.poll())
        self.assertTrue(os.path.isdir(groups[0]))
        stranger.kill()
        stranger.wait()
        eventually(lambda: os.rmdir(groups[0]) or True, RECOVERY_S, "the group is empty")
        os.rmdir(os.path.dirname(groups[0]))
