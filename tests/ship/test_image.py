"""The image, on the two releases of Debian on either side of its own base: in each kind of container that docs/deployment.md names, the level, the contract, 200 mixed runs, and
the attacks."""

import http.client
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import unittest

from image import PODMAN, ROOT, Image

sys.path.insert(0, os.path.join(ROOT, "tests", "http"))

from service import limit  # noqa: E402

SUITES = os.environ.get("VIVARY_TEST_BASES", "bookworm,trixie").split(",")
LEAST = ["--read-only", "--read-only-tmpfs=false", "--tmpfs", "/run/vivary", "--tmpfs", "/var/tmp", "--cap-drop", "ALL", "--cap-add", "SETUID", "--cap-add", "SETGID",
         "--cap-add", "KILL", "--security-opt", "no-new-privileges"]
FULL = ["--cap-drop", "all", "--cap-add", "SYS_ADMIN,CHOWN,DAC_OVERRIDE,FSETID,FOWNER,MKNOD,NET_RAW,SETGID,SETUID,SETFCAP,SETPCAP,NET_BIND_SERVICE,SYS_CHROOT,KILL,AUDIT_WRITE",
        "--security-opt", "seccomp=" + os.path.join(ROOT, "packaging", "docker", "seccomp-full.json"), "--security-opt", "unmask=all"]
KINDS = (("nothing added", [], "contained"), ("another user", ["--user", "1234"], "contained"), ("least", LEAST, "contained"), ("SYS_ADMIN and our profile", FULL, "full"))
KINDS = [kind for kind in KINDS if os.environ.get("VIVARY_TEST_KIND", "") in kind[0]]
RUNS, CLIENTS, START_S, ATTACK_S = 200, 4, 60, 600
OK = "def main():\n    return {'n': %d}"
FAILED = {"error": "Sandbox failed to run script"}
MIXED = ((OK, lambda n: (200, {"result": {"n": n}, "stdout": ""})),
         ("print(%d)\ndef main():\n    return {}", lambda n: (200, {"result": {}, "stdout": f"{n}\n"})),
         ("import pandas as pd\ndef main():\n    return {'n': int(pd.Series([%d]).sum())}", lambda n: (200, {"result": {"n": n}, "stdout": ""})),
         ("def main():\n    raise ValueError(%d)", lambda n: (400, {"error": f"Script execution failed: ValueError: {n}"})),
         ("import os\ndef main():\n    os._exit(%d %% 2)", lambda n: (400, FAILED)),
         ("import os\ndef main():\n    os.kill(os.getpid(), 9 + 0 * %d)", lambda n: (400, FAILED)))


class Unix(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost", timeout=START_S)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(START_S)
        self.sock.connect(self.path)


def request(path, method, target, body=None):
    connection = Unix(path)
    try:
        connection.request(method, target, body)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()


def unmet():
    lacks = ", ".join(tool for tool in ("podman", "runc", "mmdebstrap", "meson") if not shutil.which(tool))
    return "it takes root" if os.geteuid() != 0 else lacks and f"{lacks}: not installed"


@unittest.skipIf(unmet(), unmet() or "")
class ImageTest(unittest.TestCase):
    maxDiff = None

    def run_in(self, image, options, words, entry=None, seconds=300):
        done = subprocess.run(image.command(options, words, entry), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                              timeout=seconds, check=False)
        return done.returncode, done.stdout

    def serve(self, image, options, level):
        """Serves in a container as its image says, and stops it as `docker stop` does."""
        with tempfile.TemporaryDirectory(prefix="vivary-served-") as folder:
            os.chmod(folder, 0o777)
            path, name = os.path.join(folder, "socket"), "vivary-test-" + os.path.basename(folder)
            command = image.command(["--name", name, "-v", f"{folder}:/served", *options], ["serve", "--listen", "unix:/served/socket"])
            service = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
            try:
                self.assertIn(f"isolation: {level}", service.stdout.readline())
                self.assertEqual(request(path, "GET", "/readyz")[1]["level"], level)
                wrong = []

                def ask(first):
                    for number in range(first, RUNS, CLIENTS):
                        script, answer = MIXED[number % len(MIXED)]
                        said = request(path, "POST", "/execute", json.dumps({"script": script % number}))
                        if said != answer(number):
                            wrong.append((script % number, said))

                threads = [threading.Thread(target=ask, args=(first,)) for first in range(CLIENTS)]
                for thread in threads:
                    thread.start()
                for thread in threads:
                    thread.join()
                self.assertEqual(wrong, [])
                healthy = subprocess.run([*PODMAN, "exec", name, "/usr/bin/vivary", "health", "--listen", "unix:/served/socket"], check=False)
                self.assertEqual(healthy.returncode, 0)
                subprocess.run([*PODMAN, "stop", "--time", "30", name], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
                self.assertEqual(service.wait(START_S), 0)
            finally:
                if service.poll() is None:
                    subprocess.run([*PODMAN, "kill", name], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
                    service.wait(START_S)
                service.stdout.close()

    def check(self, suite):
        image = Image(suite)
        self.addCleanup(image.remove)
        print(f"\n| {suite} | level | contract | {RUNS} mixed runs | attacks |\n| --- | --- | --- | --- | --- |")
        for kind, options, level in KINDS:
            with self.subTest(suite=suite, kind=kind):
                status, said = self.run_in(image, options, ["doctor"])
                self.assertRegex(said, rf"(?m)^isolation level +{level}$")
                status, said = self.run_in(image, [*options, "-v", f"{ROOT}/tests:/tests:ro", "-e", "VIVARY_BINARY=/usr/bin/vivary"],
                                           ["-B", "/tests/run", "test_contract"], entry="/usr/bin/python3")
                contract = said.strip().splitlines()[-1]
                self.assertEqual(status, 0, said[-3000:])
                self.assertRegex(contract, r"^\d\d+ passed, 0 failed")
                self.serve(image, options, level)
                status, said = self.run_in(image, options, ["doctor", "--attack", "--quiet"], seconds=ATTACK_S)
                attacks = [line for line in said.splitlines() if " attacks: " in line or line.startswith(("GOT", "CONTROL"))]
                self.assertEqual(status, 0, attacks or said[-2000:])
                print(f"| {kind} | {level} | {contract} | all right | {attacks[-1]} |", flush=True)

    @limit(1500)
    def test_the_release_before(self):
        self.check(SUITES[0])

    @limit(1500)
    def test_the_release_after(self):
        self.check(SUITES[-1])


if __name__ == "__main__":
    unittest.main()
