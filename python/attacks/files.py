"""Other people's files: reading, writing, and paths that lead out."""

from inside import TMP, attack, file_roundtrip, full_only, own_memory_reads, proc_is_there

import os


def _read(path):
    with open(path, "rb") as file:
        return file.read(200)


def _append(path):
    with open(path, "ab") as file:
        file.write(b"#")
    return f"wrote to {path}"


@attack("reads", file_roundtrip)
def host_secret_file(facts):
    """Reads a file of root's, outside of what a cell shows."""
    return _read(facts["secret_file"])


@attack("reads", file_roundtrip)
def host_readable_file(facts):
    """Reads a file that anyone on the host may read."""
    return _read(facts["open_file"])


@attack("writes", file_roundtrip)
def host_writable_folder(facts):
    """Makes a file in a folder that anyone on the host may write to."""
    return _append(facts["open_folder"] + "/from-a-cell")


@attack("reads", file_roundtrip)
def shadow(facts):
    """Reads the host's password hashes."""
    return _read("/etc/shadow")


@attack("reads", file_roundtrip)
def host_passwd(facts):
    """Finds the host's users in /etc/passwd."""
    full_only(facts, "the users are the container's")
    return [user for user in facts["users"] if (user + ":").encode() in _read("/etc/passwd")]


@attack("reads", file_roundtrip)
def root_keys(facts):
    """Looks into root's home."""
    return os.listdir("/root") or os.listdir("/root/.ssh")


@attack("reads", file_roundtrip)
def machine_id(facts):
    """Reads what names this machine."""
    return _read("/etc/machine-id")


@attack("reads", file_roundtrip)
def host_environment(facts):
    """Looks for the operator's environment in its own."""
    return facts["variable"] in os.environ and os.environ[facts["variable"]]


@attack("learns", file_roundtrip)
def host_root_listing(facts):
    """Finds names of the host's root folder in its own."""
    return [name for name in os.listdir("/") if name in facts["root_only"]]


@attack("reads", proc_is_there)
def out_by_proc_root(facts):
    """Reaches the secret by /proc/self/root."""
    return _read("/proc/self/root" + facts["secret_file"])


@attack("reads", file_roundtrip)
def out_by_dots(facts):
    """Reaches the secret by climbing above the root."""
    return _read("../" * 40 + facts["secret_file"].lstrip("/"))


@attack("reads", proc_is_there)
def out_by_init_root(facts):
    """Reaches the secret by the root of the cell's first process."""
    return _read("/proc/1/root" + facts["secret_file"])


@attack("reads", proc_is_there)
def out_by_cwd(facts):
    """Reaches the secret by the working folder of another process."""
    return _read("/proc/1/cwd/" + facts["secret_file"].lstrip("/"))


@attack("reads", file_roundtrip)
def template_folders(facts):
    """Finds the folders that the root was made of."""
    return [path for path in ("/lower", "/upper", "/old", "/oldroot", "/.old", "/put_old") if os.path.exists(path)]


@attack("writes", file_roundtrip)
def write_passwd(facts):
    """Adds a user to /etc/passwd."""
    return _append("/etc/passwd")


@attack("writes", file_roundtrip)
def remove_passwd(facts):
    """Removes /etc/passwd."""
    os.remove("/etc/passwd")
    return "removed"


@attack("writes", file_roundtrip)
def write_program(facts):
    """Changes a program that others run."""
    return _append("/usr/bin/env")


@attack("writes", file_roundtrip)
def write_interpreter(facts):
    """Changes the interpreter."""
    import sys

    return _append(sys.executable)


@attack("writes", file_roundtrip)
def write_library(facts):
    """Changes a module of the standard library, for later runs."""
    return _append(os.__file__)


@attack("writes", file_roundtrip)
def write_bytecode(facts):
    """Plants bytecode beside a module of the standard library."""
    folder = os.path.dirname(os.__file__) + "/__pycache__"
    os.makedirs(folder, exist_ok=True)
    return _append(folder + "/planted.cpython-311.pyc")


@attack("writes", file_roundtrip)
def write_harness(facts):
    """Changes Vivary's own files."""
    return _append("/vivary/vivary/worker.py")


@attack("writes", file_roundtrip)
def write_app(facts):
    """Writes into the folder that the operator shares."""
    return _append("/app/from-a-cell")


@attack("writes", file_roundtrip)
def make_folder_in_root(facts):
    """Makes a folder in /."""
    os.mkdir("/evil")
    return "made"


@attack("writes", file_roundtrip)
def rename_system_folder(facts):
    """Moves /etc away."""
    os.rename("/etc", TMP + "/etc")
    return "moved"


@attack("writes", file_roundtrip)
def change_mode(facts):
    """Makes a program writable for all."""
    os.chmod("/usr/bin/env", 0o777)  # where all have one uid, this is said to be done
    return os.stat("/usr/bin/env").st_mode & 0o022 and "changed"


@attack("writes", file_roundtrip)
def change_owner(facts):
    """Takes a program's ownership."""
    os.chown("/usr/bin/env", os.getuid(), os.getgid())
    return "taken"


@attack("writes", file_roundtrip)
def change_times(facts):
    """Changes the times of a system file."""
    os.utime("/usr/bin/env", (0, 0))
    return "changed"


@attack("writes", file_roundtrip)
def truncate_library(facts):
    """Empties a library that all programs use."""
    import ctypes.util

    for line in open("/proc/self/maps"):
        if "libc.so" in line or "libc-" in line:
            os.truncate(line.split()[-1], 0)
            return "emptied"
    os.truncate("/usr/bin/env", 0)
    return "emptied"


@attack("writes", file_roundtrip)
def set_attribute(facts):
    """Sets an extended attribute on a system file."""
    os.setxattr("/usr/bin/env", "user.vivary", b"1")
    return "set"


@attack("writes", file_roundtrip)
def write_by_symlink(facts):
    """Writes to /etc/passwd by a link in /tmp."""
    os.symlink("/etc/passwd", TMP + "/link")
    return _append(TMP + "/link")


@attack("writes", file_roundtrip)
def link_hard(facts):
    """Links a system file into /tmp, to keep or to change it there."""
    os.link("/usr/bin/env", TMP + "/env")
    return "linked"


@attack("writes", file_roundtrip)
def unnamed_file_in_system(facts):
    """Makes an unnamed file on the system's mount."""
    os.close(os.open("/usr/lib", os.O_TMPFILE | os.O_RDWR, 0o600))
    return "made"


@attack("writes", proc_is_there)
def write_by_descriptor_link(facts):
    """Opens its read-only descriptor of a system file for writing, by /proc/self/fd."""
    fd = os.open("/usr/bin/env", os.O_RDONLY)
    return _append(f"/proc/self/fd/{fd}")


@attack("privilege", file_roundtrip)
def setuid_file(facts):
    """Makes a file in /tmp that would run as root."""
    with open(TMP + "/root", "w") as file:
        file.write("#!/bin/sh\n")
    os.chown(TMP + "/root", 0, 0)
    os.chmod(TMP + "/root", 0o4755)
    return "made"


@attack("privilege", file_roundtrip)
def setuid_copy_runs(facts):
    """Runs a set-user-id copy of a program, to see if the bit counts in /tmp."""
    import shutil
    import subprocess

    shutil.copy("/usr/bin/id", TMP + "/id")
    os.chmod(TMP + "/id", 0o6755)
    said = subprocess.run([TMP + "/id"], capture_output=True, text=True).stdout
    return said if "euid=" in said else None


@attack("privilege", file_roundtrip)
def setuid_programs(facts):
    """Becomes root by one of the system's set-user-id programs."""
    import subprocess

    for path in ("/usr/bin/mount", "/usr/bin/newgrp", "/usr/bin/su", "/usr/bin/sudo", "/usr/bin/pkexec"):
        if os.path.exists(path) and os.stat(path).st_mode & 0o4000:
            try:
                done = subprocess.run([path, "-c", "id -u"], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=0.1)
            except subprocess.TimeoutExpired:
                continue  # it asks for a password
            if "uid=0" in done.stdout or done.stdout.strip() == "0":
                return path
    return None


@attack("reads", own_memory_reads)
def zygote_leftovers(facts):
    """Searches its own memory, which was the zygote's, for the operator's environment."""
    import re

    needle = facts["variable_value"].encode()
    with open("/proc/self/maps") as maps, open("/proc/self/mem", "rb", buffering=0) as memory:
        for line in maps:
            found = re.match(r"([0-9a-f]+)-([0-9a-f]+) r\S+ \S+ \S+ \S+\s*(\[heap\]|\[stack\])?$", line)
            if not found or int(found[2], 16) - int(found[1], 16) > 1 << 26:
                continue
            begin = int(found[1], 16)
            memory.seek(begin)
            at = memory.read(int(found[2], 16) - begin).find(needle)
            # This script holds the value itself; the operator's copy would come with its name before it.
            if at > 0:
                memory.seek(begin + at - len(facts["variable"]) - 1)
                if memory.read(len(facts["variable"]) + 1) == facts["variable"].encode() + b"=":
                    return hex(begin + at)
    return None
