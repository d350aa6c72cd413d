"""The service's own processes: what the keeper holds, what a front that was taken over can do, what a zygote is."""

import errno
import http.client
import json
import os
import platform
import struct
import subprocess
import unittest

from service import Case, Service, eventually

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
BINARY = os.environ["VIVARY_BINARY"]
ABLATION = os.path.join(ROOT, "build-ablation", "vivary")
RECOVERY_S = 30
# src/keeper/jail.c: CHOWN, DAC_OVERRIDE, DAC_READ_SEARCH, KILL, SETGID, SETUID, SYS_CHROOT, SYS_ADMIN
KEEPER_CAPABILITIES = sum(1 << number for number in (0, 1, 2, 5, 6, 7, 18, 21))
SETTINGS = ("--slots", "2", "--preload", "", "--deadline-ms", "3000")


def status_of(pid):
    with open(f"/proc/{pid}/status") as file:
        return dict(line.rstrip("\n").split(":\t", 1) for line in file if ":\t" in line)


class ProcessTest(Case):
    @classmethod
    def setUpClass(cls):
        cls.own_start(*SETTINGS)

    def roles(self):
        return eventually(self.service.roles_whole, RECOVERY_S, "front, keeper and zygote are there")

    def test_the_keeper_has_the_capabilities_that_are_listed(self):
        status = status_of(self.roles()["keeper"])
        for held in ("CapPrm", "CapEff", "CapBnd"):
            self.assertEqual(int(status[held], 16) & ~KEEPER_CAPABILITIES, 0, (held, status[held]))
        self.assertEqual((int(status["CapInh"], 16), int(status["CapAmb"], 16)), (0, 0))

    def test_the_keeper_is_filtered(self):
        status = status_of(self.roles()["keeper"])
        self.assertEqual((status["Seccomp"], status["NoNewPrivs"]), ("2", "1"))

    def test_the_keeper_links_libc_alone(self):
        said = subprocess.run(["ldd", os.path.join(os.path.dirname(BINARY), "vivary-keeper")], capture_output=True, text=True, check=True).stdout
        libraries = {line.split()[0].split("/")[-1].split(".")[0] for line in said.splitlines()}
        self.assertLessEqual(libraries, {"linux-vdso", "libc", "ld-linux-x86-64", "ld-linux-aarch64"}, said)

    def test_the_front_holds_nothing(self):
        pid = self.roles()["front"]
        status = status_of(pid)
        self.assertEqual([int(status[held], 16) for held in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")], [0] * 5)
        self.assertEqual((status["Seccomp"], status["NoNewPrivs"]), ("2", "1"))
        self.assertTrue(all(int(uid) >= 1 << 30 for uid in status["Uid"].split() + status["Gid"].split()), status["Uid"])
        self.assertEqual(os.listdir(f"/proc/{pid}/root"), [])

    def test_a_cells_init_holds_nothing(self):
        roles = self.roles()
        inits = [process for process in self.service.processes() if process.name == "vivary-keeper" and process.pid != roles["keeper"]]
        self.assertGreater(len(inits), 0)
        for init in inits:
            self.assertEqual(os.listdir(f"/proc/{init.pid}/fd"), [])
            status = status_of(init.pid)
            self.assertEqual(([int(status[held], 16) for held in ("CapPrm", "CapEff", "CapBnd")], status["Seccomp"]), ([0, 0, 0], "2"))

    def test_a_zygote_is_nobody_on_the_host(self):
        status = status_of(self.roles()["zygote"])
        self.assertTrue(all(int(uid) >= 1 << 30 for uid in status["Uid"].split() + status["Gid"].split()), status["Uid"])
        self.assertEqual((status["Seccomp"], status["NoNewPrivs"]), ("2", "1"))
        for kind in ("user", "mnt", "pid", "net", "ipc", "uts", "cgroup"):
            self.assertNotEqual(os.readlink(f"/proc/{self.roles()['zygote']}/ns/{kind}"), os.readlink(f"/proc/self/ns/{kind}"), kind)


@unittest.skipUnless(os.access(ABLATION, os.X_OK), "there is no build-ablation: ./dev test makes it")
@unittest.skipUnless(platform.machine() == "x86_64", "the numbers of system calls are those of x86_64")
class TakenFrontTest(unittest.TestCase):
    """The test build's front makes any system call that it is asked for, as one would that runs a stranger's code."""

    OPEN, SOCKET, CONNECT, CLONE, FORK, EXECVE, KILL, PTRACE, SENDTO, MOUNT, STAT, PRLIMIT = 2, 41, 42, 56, 57, 59, 62, 101, 44, 165, 262, 302

    def start(self, without=""):
        service = Service(*SETTINGS, binary=ABLATION, variables={"WITHOUT_LAYER": without} if without else None)
        self.addCleanup(service.stop)
        return service

    def call(self, service, *words):
        """(result, errno); None when the front died of it."""
        connection = service.connection(10)
        try:
            connection.request("POST", "/takeover", " ".join(map(str, words)))
            answer = connection.getresponse()
            return tuple(map(int, json.loads(answer.read())["error"].split()))
        except (http.client.HTTPException, OSError):
            return None
        finally:
            connection.close()

    def assert_ends_the_front(self, service, *words):
        before = eventually(service.roles_whole, RECOVERY_S, "the service is whole")
        self.assertIsNone(self.call(service, *words), words)
        eventually(service.answers, RECOVERY_S, "a new front serves")
        self.assertNotEqual(eventually(service.roles_whole, RECOVERY_S, "the service is whole")["front"], before["front"])

    def test_the_switch_works(self):
        service = self.start()
        front = eventually(service.roles_whole, RECOVERY_S, "the service is whole")["front"]
        self.assertEqual(self.call(service, 39), (front, 0))  # getpid

    def test_what_a_front_has_no_need_of_ends_it(self):
        service = self.start()
        for words in ((self.OPEN, "@/etc/passwd", 0), (self.SOCKET, 2, 1, 0), (self.SOCKET, 1, 1, 0), (self.FORK,), (self.EXECVE, "@/bin/sh", 0, 0),
                      (self.KILL, service.pid, 9), (self.PTRACE, 16, service.pid), (self.MOUNT, "@x", "@/", "@tmpfs", 0, 0)):
            with self.subTest(words=words):
                self.assert_ends_the_front(service, *words)

    def test_nothing_is_in_its_root(self):
        service = self.start()
        result, code = self.call(service, self.STAT, -100, "@/etc/passwd", "@" + "x" * 200, 0)
        self.assertEqual(result, -1)
        self.assertIn(code, (errno.ENOENT, errno.EACCES))

    def test_it_limits_nobody(self):
        service = self.start()
        self.assertEqual(self.call(service, self.PRLIMIT, service.pid, 7, 0, "@" + "x" * 32)[0], -1)

    def test_without_its_filter_the_others_hold(self):
        service = self.start("seccomp")
        roles = eventually(service.roles_whole, RECOVERY_S, "the service is whole")
        victim = subprocess.Popen(["sleep", "100"])
        self.addCleanup(victim.wait)
        self.addCleanup(victim.kill)
        self.assertEqual(self.call(service, self.OPEN, "@/etc/passwd", 0)[0], -1)
        self.assertEqual(self.call(service, self.OPEN, "@/x", os.O_CREAT | os.O_WRONLY, 0o600)[0], -1)
        self.assertEqual(self.call(service, self.KILL, roles["keeper"], 9)[0], -1)
        self.assertEqual(self.call(service, self.KILL, victim.pid, 9)[0], -1)
        self.assertEqual(self.call(service, self.KILL, roles["zygote"], 9)[0], -1)
        self.assertEqual(self.call(service, self.PTRACE, 16, victim.pid)[0], -1)
        self.assertEqual(self.call(service, self.MOUNT, "@x", "@/", "@tmpfs", 0, 0)[0], -1)
        self.assertEqual(self.call(service, self.EXECVE, "@/bin/sh", 0, 0)[0], -1)
        self.assertIsNone(victim.poll())
        self.assertTrue(service.answers())

    def test_nonsense_to_the_keeper_ends_the_front(self):
        service = self.start()
        for length in (1, 8, 24, 200):
            with self.subTest(length=length):
                before = eventually(service.roles_whole, RECOVERY_S, "the service is whole")
                self.call(service, self.SENDTO, 5, "@" + "\x07" * length, length, 0, 0, 0)  # 5: its socket to the keeper
                eventually(lambda before=before: service.roles().get("front") not in (None, before["front"]), RECOVERY_S, "another front")
                eventually(service.answers, RECOVERY_S, "it serves")

    def test_valid_messages_out_of_turn_harm_nobody(self):
        service = self.start()
        for kind in range(1, 12):
            with self.subTest(kind=kind):
                eventually(service.roles_whole, RECOVERY_S, "the service is whole")
                for length in (16, 24, 32):
                    message = struct.pack("<IIQQQ", kind, 0, 1, 0, 0)[:length]
                    if b"\0" in message and b" " not in message:
                        # text ends at a zero byte in the request's words only where the call reads it, and the kernel reads by length
                        self.raw(service, message)
                eventually(service.answers, RECOVERY_S, "it serves")

    def raw(self, service, message):
        connection = service.connection(10)
        try:
            connection.request("POST", "/takeover", f"{self.SENDTO} 3 @".encode() + message + b" %d 0 0 0" % len(message))
            connection.getresponse().read()
        except (http.client.HTTPException, OSError):
            pass
        finally:
            connection.close()
