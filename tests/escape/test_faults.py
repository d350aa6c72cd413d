"""What the service does when the machine fails it: it says so, and goes on when it can."""

import json
import os
import resource
import signal
import subprocess
import unittest

from service import BINARY, Case, Service, environment, eventually, limit

RECOVERY_S = 30
SETTINGS = ("--slots", "2", "--preload", "", "--deadline-ms", "3000")


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
        self.assertIn("200 slots need 2464 open files", done.stderr)

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
