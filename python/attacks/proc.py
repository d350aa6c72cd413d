"""/proc and /sys: other processes, the kernel's settings, the host's hardware."""

from inside import attack, full_only, own_memory_reads, proc_is_there

import ctypes
import os


def _read(path):
    with open(path, "rb") as file:
        return file.read(300)


def _write(path, data=b"1"):
    with open(path, "wb", buffering=0) as file:
        file.write(data)
    return f"wrote {path}"


@attack("learns", proc_is_there)
def other_processes(facts):
    """Sees a process that it didn't start."""
    return [pid for pid in os.listdir("/proc") if pid.isdigit() and int(pid) != os.getpid()]


@attack("learns", proc_is_there)
def init_status(facts):
    """Reads about the cell's first process."""
    return _read("/proc/1/status")


@attack("learns", proc_is_there)
def victim_command(facts):
    """Reads the command line of a process of the host."""
    said = _read(f"/proc/{facts['victim']}/cmdline")
    return facts["marker"].encode() in said and said


@attack("reads", proc_is_there)
def victim_environment(facts):
    """Reads the environment of a process of the host."""
    return _read(f"/proc/{facts['victim']}/environ")


@attack("reads", proc_is_there)
def init_environment(facts):
    """Reads the environment of the cell's first process."""
    return _read("/proc/1/environ")


@attack("reads", own_memory_reads)
def init_memory(facts):
    """Reads the memory of the cell's first process."""
    return _read("/proc/1/mem")


@attack("learns", proc_is_there)
def init_descriptors(facts):
    """Lists the descriptors of the cell's first process."""
    return os.listdir("/proc/1/fd")


@attack("learns", proc_is_there)
def init_namespaces(facts):
    """Opens the namespaces of the cell's first process."""
    return os.open("/proc/1/ns/mnt", os.O_RDONLY)


@attack("learns", proc_is_there)
def kernel_command_line(facts):
    """Reads what the host was started with."""
    return _read("/proc/cmdline")


@attack("learns", proc_is_there)
def host_memory(facts):
    """Reads how much memory the host has."""
    return _read("/proc/meminfo")


@attack("learns", proc_is_there)
def host_load(facts):
    """Reads how busy the host is."""
    return _read("/proc/loadavg")


@attack("learns", proc_is_there)
def host_processor(facts):
    """Reads what processor the host has."""
    return _read("/proc/cpuinfo")


@attack("learns", proc_is_there)
def host_interrupts(facts):
    """Reads the host's interrupts, which tell of keys pressed and packets come."""
    return _read("/proc/interrupts")


@attack("learns", proc_is_there)
def kernel_symbols(facts):
    """Reads addresses of the kernel."""
    return _read("/proc/kallsyms")


@attack("learns", proc_is_there)
def kernel_configuration(facts):
    """Reads how the kernel was built."""
    return _read("/proc/config.gz")


@attack("learns", proc_is_there)
def kernel_modules(facts):
    """Reads which drivers are loaded."""
    return _read("/proc/modules")


@attack("reads", proc_is_there)
def kernel_memory(facts):
    """Reads the kernel's memory."""
    return _read("/proc/kcore")


@attack("learns", proc_is_there)
def kernel_log(facts):
    """Reads the kernel's log."""
    return _read("/proc/kmsg")


@attack("learns", proc_is_there)
def host_mounts(facts):
    """Finds the secret's folder in what is told of the mounts."""
    return facts["folder"].encode() in _read("/proc/self/mountinfo") and "it is there"


@attack("learns", proc_is_there)
def host_cgroup_path(facts):
    """Reads where in the host's tree its cgroup is."""
    paths = {line.split(":", 2)[2].strip() for line in open("/proc/self/cgroup")}
    return [path for path in paths if path != "/"]


@attack("learns", proc_is_there)
def host_uid(facts):
    """Reads its number on the host, behind the user namespace."""
    return [line for line in open("/proc/self/uid_map") if line.split()[1] not in ("0", "1000") and int(line.split()[1]) > 70000]


@attack("writes", proc_is_there)
def core_pattern(facts):
    """Has the kernel run a program as root at the next crash."""
    return _write("/proc/sys/kernel/core_pattern", b"|/tmp/x")


@attack("writes", proc_is_there)
def modprobe_path(facts):
    """Has the kernel run a program as root at the next unknown file format."""
    return _write("/proc/sys/kernel/modprobe", b"/tmp/x")


@attack("writes", proc_is_there)
def magic_sysrq(facts):
    """Asks the kernel for an emergency sync."""
    return _write("/proc/sysrq-trigger", b"s")


@attack("writes", proc_is_there)
def drop_caches(facts):
    """Has the kernel forget its caches."""
    return _write("/proc/sys/vm/drop_caches")


@attack("slows", proc_is_there)
def oom_protect(facts):
    """Protects itself from the kernel's out-of-memory killer."""
    return _write("/proc/self/oom_score_adj", b"-1000")


@attack("privilege", proc_is_there)
def own_uid_map(facts):
    """Maps itself to the host's root."""
    return _write("/proc/self/uid_map", b"0 0 1")


@attack("writes", proc_is_there)
def sys_is_empty(facts):
    """Finds the kernel's objects in /sys."""
    return os.listdir("/sys")


@attack("writes", proc_is_there)
def cgroup_files(facts):
    """Raises its own memory limit."""
    for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        if os.path.exists(path):
            return _write(path, b"-1")
    return None


@attack("writes", own_memory_reads)
def read_only_page(facts):
    """Writes to a page of the system's page cache by /proc/self/mem: the private copy must take it, not the file."""
    import mmap

    with open("/usr/bin/env", "rb") as file:
        page = mmap.mmap(file.fileno(), 4096, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ | mmap.PROT_WRITE)
        page[0:4] = b"EVIL"
        return file.read(4) == b"EVIL" and "the file has changed"


@attack("learns", proc_is_there)
def other_ids(facts):
    """Asks for the process group and session of a process of the host."""
    full_only(facts, "processes are seen by their numbers")
    return [os.getsid(facts["victim"])]


@attack("learns", proc_is_there)
def host_name(facts):
    """Reads the host's name."""
    full_only(facts, "the name is the container's")
    return facts["hostname"] in (os.uname().nodename, ) and facts["hostname"]
