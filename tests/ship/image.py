"""The image as the Dockerfile makes it, on a base that mmdebstrap made, for podman and runc: Docker itself isn't packaged by Debian. What the Dockerfile's last stage says is read
from it; what its first stage compiles is compiled here."""

import json
import os
import re
import shutil
import subprocess
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
PODMAN = ["podman", "--cgroup-manager", "cgroupfs", "--runtime", "runc"]
# A host may lack CAP_SYS_RESOURCE, which podman's own defaults want.
LIMITS = ["--ulimit", "nofile=4096:4096", "--ulimit", "nproc=20000:20000"]
DOCKERS = "CHOWN,DAC_OVERRIDE,FSETID,FOWNER,MKNOD,NET_RAW,SETGID,SETUID,SETFCAP,SETPCAP,NET_BIND_SERVICE,SYS_CHROOT,KILL,AUDIT_WRITE"
NAMESPACE_FLAGS = 0x7E020000
MAKE_S = 900


def run(command, **options):
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=MAKE_S, check=False, **options)
    if done.returncode != 0:
        raise AssertionError(f"{' '.join(command)}: {done.returncode}\n" + done.stdout[-3000:])
    return done.stdout


def last_stage():
    """Of the Dockerfile: its packages, its commands but the installing one, and what it declares."""
    with open(os.path.join(ROOT, "Dockerfile"), encoding="utf-8") as file:
        stage = file.read().rpartition("\nFROM ")[2].replace("\\\n", " ")
    install = re.search(r"--no-install-recommends([\w\s.+-]+?)&&", stage)
    commands = [line[4:] for line in stage.splitlines() if line.startswith("RUN ") and "apt-get" not in line]
    declared = []
    for line in stage.splitlines():
        if line.startswith("ENV "):  # podman import takes one variable at a time
            declared += ["ENV " + word for word in line.split()[1:]]
        elif re.match(r"(EXPOSE|ENTRYPOINT|CMD) ", line):
            declared.append(line)
    return install[1].split(), commands, declared


def default_profile():
    """Docker's default for its fourteen capabilities: ours, less what level full asks for."""
    with open(os.path.join(ROOT, "packaging", "docker", "seccomp-full.json"), encoding="utf-8") as file:
        profile = json.load(file)
    profile["syscalls"] = [entry for entry in profile["syscalls"] if not entry.get("comment", "").startswith("level full")]
    profile["syscalls"].append({"names": ["clone"], "action": "SCMP_ACT_ALLOW",
                                "args": [{"index": 0, "value": NAMESPACE_FLAGS, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ"}]})
    return profile


class Image:
    """For one release of Debian. Needs root."""

    def __init__(self, suite):
        self.folder = tempfile.TemporaryDirectory(prefix="vivary-image-", dir="/var/tmp")
        self.name = f"localhost/vivary-test-{suite}"
        self.default = os.path.join(self.folder.name, "default.json")
        packages, commands, declared = last_stage()
        root, build = os.path.join(self.folder.name, "root"), os.path.join(self.folder.name, "build")
        archive = root + ".tar"
        try:
            run(["mmdebstrap", "--quiet", "--variant=minbase", "--include=" + ",".join(packages), suite, archive])
            os.mkdir(root)
            run(["tar", "-xf", archive, "-C", root, "--exclude=./dev/*"])
            os.unlink(archive)
            run(["meson", "setup", build, ROOT, "--prefix=/usr", "--buildtype=release"])
            run(["ninja", "-C", build])
            run(["meson", "install", "-C", build, "--no-rebuild"], env={**os.environ, "DESTDIR": root})
            for command in commands:
                run(["chroot", root, "/bin/sh", "-c", command])
            changes = [word for line in declared for word in ("--change", line)]
            run([*PODMAN, "import", "--quiet", *changes, self.packed(root), self.name])
        except BaseException:
            self.remove()
            raise
        with open(self.default, "w", encoding="utf-8") as file:
            json.dump(default_profile(), file)

    def packed(self, root):
        archive = os.path.join(self.folder.name, "image.tar")
        run(["tar", "-cf", archive, "-C", root, "."])
        shutil.rmtree(root)
        return archive

    def command(self, options, words, entry=None):
        """As `docker run` would with these options."""
        default = [] if any(option.startswith("seccomp=") for option in options) else ["--security-opt", "seccomp=" + self.default]
        capabilities = [] if "--cap-drop" in options else ["--cap-drop", "all", "--cap-add", DOCKERS]
        entry = ["--entrypoint", entry] if entry else []
        return [*PODMAN, "run", "--rm", "--network", "none", *LIMITS, *capabilities, *default, *options, *entry, self.name, *words]

    def remove(self):
        subprocess.run([*PODMAN, "rmi", "--force", self.name], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
        self.folder.cleanup()
