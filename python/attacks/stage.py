"""What attacks are aimed at on the host: files, sockets and a process that stand for other people's. All of it is gone afterwards."""

import hashlib
import os
import pwd
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import threading

from canaries import Canaries

# What a cell's root shows as well.
COMMON = {"app", "bin", "dev", "etc", "home", "lib", "lib32", "lib64", "libx32", "proc", "root", "run", "runtime", "sbin", "sys", "tmp", "usr", "var",
          "vivary"}
UIDS_OF_CELLS = 1 << 30
SECRET = "what only root may read"


class Stage:
    def __init__(self):
        self.closing = []
        self.marker = "vivary-attack-" + secrets.token_hex(8)
        self.variable, self.variable_value = "CANARY_TOKEN", secrets.token_hex(16)
        self.reached = []  # connections that came
        self.folder = tempfile.mkdtemp(prefix="vivary-stage-", dir="/var/tmp")
        os.chmod(self.folder, 0o755)
        self.secret, self.open_file, self.open_folder = (os.path.join(self.folder, name) for name in ("secret", "readable", "writable"))
        for path, mode in ((self.secret, 0o600), (self.open_file, 0o644)):
            with open(path, "w") as file:
                file.write(SECRET)
            os.chmod(path, mode)
        os.mkdir(self.open_folder)
        os.chmod(self.open_folder, 0o777)
        self.abstract = self.marker + "-abstract"
        self.unix = os.path.join(self.folder, "socket")
        self.tcp = self._listen(socket.AF_INET, ("127.0.0.1", 0)).getsockname()[1]
        self._listen(socket.AF_UNIX, "\0" + self.abstract)
        self._listen(socket.AF_UNIX, self.unix)
        os.chmod(self.unix, 0o777)
        self.udp = self._echo()
        nobody = pwd.getpwnam("nobody").pw_uid
        code = f"import os, time\nif os.getuid() == 0: os.setuid({nobody})\nprint(flush=True)\ntime.sleep(100000)"
        self.victim = subprocess.Popen([sys.executable, "-I", "-S", "-c", code, self.marker + "-victim"], stdout=subprocess.PIPE)
        self.victim.stdout.readline()
        self.share = os.path.join(self.folder, "share")
        os.mkdir(self.share)
        for name, size in (("small", 100), ("large", 1 << 20)):
            with open(os.path.join(self.share, name), "wb") as file:
                file.write(bytes(size))
        self.canaries = Canaries(self.marker + "-key")
        self.before, self.told = self.state(), set()

    def _listen(self, family, address):
        server = socket.socket(family)
        server.bind(address)
        server.listen(16)
        self.closing.append(server)

        def serve():
            while True:
                try:
                    taken, _ = server.accept()
                except OSError:
                    return
                self.reached.append(str(address))
                taken.sendall(b"reached")
                taken.close()

        threading.Thread(target=serve, daemon=True).start()
        return server

    def _echo(self):
        server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        server.bind(("127.0.0.1", 0))
        self.closing.append(server)

        def serve():
            while True:
                try:
                    _, sender = server.recvfrom(100)
                except OSError:
                    return
                self.reached.append("udp")
                server.sendto(b"reached", sender)

        threading.Thread(target=serve, daemon=True).start()
        return server.getsockname()[1]

    def facts(self, service):
        disk = os.stat("/").st_dev
        return {
            "secret_file": self.secret, "open_file": self.open_file, "open_folder": self.open_folder, "folder": self.folder, "marker": self.marker,
            "variable": self.variable, "variable_value": self.variable_value, "tcp": self.tcp, "udp": self.udp, "abstract": self.abstract,
            "unix": self.unix, "victim": self.victim.pid, "service": service, "hostname": socket.gethostname(),
            "namespaces": {kind: os.readlink("/proc/self/ns/" + kind) for kind in os.listdir("/proc/self/ns") if not kind.endswith("_for_children")},
            "disk": [os.major(disk), os.minor(disk)], "root_only": [name for name in os.listdir("/") if name not in COMMON],
            "null_device": [os.stat("/dev/null").st_dev, os.stat("/dev/null").st_ino], **self.canaries.facts(),
            "users": [user.pw_name for user in pwd.getpwall() if 0 < user.pw_uid < 60000],
        }

    def environment(self):
        return {**os.environ, self.variable: self.variable_value}

    def state(self):
        """What attacks must not have changed."""
        seen = [sorted(os.listdir(folder)) for folder in (self.folder, self.open_folder, self.share)]
        for path in (self.secret, self.open_file):
            with open(path, "rb") as file:
                seen.append((path, oct(os.stat(path).st_mode), hashlib.sha256(file.read()).hexdigest()))
        # System V objects on the host that belong to a cell's uid; others come and go by themselves.
        for kind, column in (("shm", 7), ("sem", 4), ("msg", 7)):
            if not os.path.exists("/proc/sysvipc/" + kind):
                continue  # gVisor lists none
            with open("/proc/sysvipc/" + kind) as file:
                seen.append([line for line in file.readlines()[1:] if int(line.split()[column]) >= UIDS_OF_CELLS])
        return seen

    def harm_seen(self):
        """In words; empty when all is as it was. What one attack has changed isn't told of the next."""
        seen = []
        if self.victim.poll() is not None:
            seen.append("the victim is dead")
        if (harm := self.canaries.harm_seen()) and harm not in self.told:
            self.told.add(harm)
            seen.append(harm)
        if (state := self.state()) != self.before:
            seen.append("files or objects of the host have changed")
            self.before = state
        if self.reached:
            seen.append("reached " + ", ".join(self.reached))
        return "; ".join(seen)

    def left_behind(self):
        """Processes that carry the mark and are not the victim."""
        found = []
        for entry in os.listdir("/proc"):
            if not entry.isdigit() or int(entry) in (self.victim.pid, os.getpid()):
                continue
            try:
                with open(f"/proc/{entry}/cmdline", "rb") as file:
                    if self.marker.encode() in file.read().split(b"\0"):
                        found.append(int(entry))
            except OSError:
                continue
        return found

    def close(self):
        self.canaries.close()
        self.victim.kill()
        self.victim.wait()
        self.victim.stdout.close()
        for one in self.closing:
            one.close()
        shutil.rmtree(self.folder, ignore_errors=True)
