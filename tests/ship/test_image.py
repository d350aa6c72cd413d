"""The image, on the two releases of Debian on either side of its own base: in each kind of container that docs/deployment.md names, the level, the contract, 200 mixed runs, and
the attacks."""

import contextlib
import http.client
import json
import os
import re
import shlex
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


DOCUMENTS = ("README.md", "docs/deployment.md", "docs/migrating.md", "docs/operations.md")
# Podman's words for Docker's; and what podman mounts into a read-only container, and Docker doesn't.
DOCKER_WORDS = {"systempaths=unconfined": ["unmask=all"], "--read-only": ["--read-only", "--read-only-tmpfs=false"]}
ASK = """import json, sys, urllib.request
body = json.dumps({"script": "import os\\ndef main():\\n    return {'app': os.listdir('/app')}"}).encode()
print(urllib.request.urlopen(f"http://127.0.0.1:{sys.argv[1]}/execute", body, 30).read().decode())"""


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


def docker_runs():
    """What stands behind `docker run` in the documents, up to the image's name: each once, as options for podman, and the port inside."""
    found = {}
    for name in DOCUMENTS:
        with open(os.path.join(ROOT, name), encoding="utf-8") as file:
            text = file.read().replace("\\\n", " ")
        for block in re.findall(r"^```\n(.*?)^```", text, re.S | re.M):
            for line in re.findall(r"docker run (.*?) vivary(?: *#.*)?$", block, re.M):
                found[line] = name
    for line, name in found.items():
        options, words, port = [], shlex.split(line), None
        while words:
            word = words.pop(0)
            if word == "-p":  # the container has no network but its own loopback
                port = words.pop(0).split(":")[1]
            else:
                options += DOCKER_WORDS.get(word, [word])
        yield f"{name}: {line}", options, port


@unittest.skipIf(unmet(), unmet() or "")
class ImageTest(unittest.TestCase):
    maxDiff = None
    images = {}

    @classmethod
    def tearDownClass(cls):
        while cls.images:
            cls.images.popitem()[1].remove()

    def image_of(self, suite):
        if suite not in self.images:
            self.images[suite] = Image(suite)
        return self.images[suite]

    def run_in(self, image, options, words, entry=None, seconds=300):
        done = subprocess.run(image.command(options, words, entry), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                              timeout=seconds, check=False)
        return done.returncode, done.stdout

    @contextlib.contextmanager
    def served(self, command, name):
        """A container that serves, stopped as `docker stop` does."""
        service = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=ROOT)
        try:
            yield service
            subprocess.run([*PODMAN, "stop", "--time", "30", name], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
            self.assertEqual(service.wait(START_S), 0)
        finally:
            if service.poll() is None:
                subprocess.run([*PODMAN, "kill", name], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
                service.wait(START_S)
            service.stdout.close()

    def serve(self, image, options, level):
        """Serves in a container as its image says, and stops it as `docker stop` does."""
        with tempfile.TemporaryDirectory(prefix="vivary-served-") as folder:
            os.chmod(folder, 0o777)
            path, name = os.path.join(folder, "socket"), "vivary-test-" + os.path.basename(folder)
            command = image.command(["--name", name, "-v", f"{folder}:/served", *options], ["serve", "--listen", "unix:/served/socket"])
            with self.served(command, name) as service:
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

    def check(self, suite):
        image = self.image_of(suite)
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

    @limit(900)
    def test_what_the_documents_say_to_docker_works(self):
        image, runs = self.image_of(SUITES[0]), list(docker_runs())
        self.assertGreaterEqual(len(runs), 9)
        with tempfile.TemporaryDirectory(prefix="vivary-documents-") as folder:
            os.chmod(folder, 0o755)
            os.mkdir(os.path.join(folder, "app"))
            with open(os.path.join(folder, "app", "shared.txt"), "w", encoding="utf-8") as file:
                file.write("shared")
            for number, (said, options, port) in enumerate(runs):
                with self.subTest(said=said):
                    options = [option.replace("$PWD", folder) for option in options]
                    self.serve_documented(image, [*options, "--name", f"vivary-documented-{os.getpid()}-{number}"], port)

    def serve_documented(self, image, options, port):
        """As the image does by itself: on all addresses, here seen from inside."""
        name, shared = options[-1], any("/app" in option for option in options)
        with self.served(image.command(options, []), name) as service:
            self.assertIn(f"http://0.0.0.0:{port} ", service.stdout.readline())
            asked = subprocess.run([*PODMAN, "exec", name, "/usr/bin/python3", "-c", ASK, port], capture_output=True, text=True, timeout=START_S, check=False)
            self.assertEqual(asked.returncode, 0, asked.stderr[-1000:])
            self.assertEqual(json.loads(asked.stdout), {"result": {"app": ["shared.txt"] if shared else []}, "stdout": ""})
            healthy = subprocess.run([*PODMAN, "exec", name, "/usr/bin/vivary", "health"], check=False)
            self.assertEqual(healthy.returncode, 0)

    @limit(1500)
    def test_the_release_before(self):
        self.check(SUITES[0])

    @limit(1500)
    def test_the_release_after(self):
        self.check(SUITES[-1])


if __name__ == "__main__":
    unittest.main()
