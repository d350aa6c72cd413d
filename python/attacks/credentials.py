"""Users, capabilities, and processes of others: signals, tracing, memory, priorities."""

from inside import TMP, NotHere, attack, call, check, child_ends, fork, full_only, in_child, is_alone, proc_is_there, python_runs, signal_to_child_works, terminal

import ctypes
import os
import signal
import time


@attack("privilege", python_runs)
def become_root(facts):
    """setuid(0)."""
    call("setuid", 0)
    return os.getuid() == 0 and "root"


@attack("privilege", python_runs)
def become_root_resuid(facts):
    """setresuid(0, 0, 0)."""
    call("setresuid", 0, 0, 0)
    return os.getuid() == 0 and "root"


@attack("privilege", python_runs)
def become_group(facts):
    """setgid(0)."""
    call("setgid", 0)
    return os.getgid() == 0 and "root's group"


@attack("privilege", python_runs)
def add_groups(facts):
    """setgroups: disk, shadow, root."""
    call("setgroups", 3, (ctypes.c_uint32 * 3)(0, 6, 42))
    return os.getgroups()


@attack("reads", python_runs)
def become_neighbour(facts):
    """Takes the uid of a neighbouring slot."""
    uid = os.getuid() + 1
    call("setresuid", uid, uid, uid)
    return os.getuid() == uid and uid


@attack("privilege", python_runs)
def raise_capabilities(facts):
    """capset: all of them."""
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    data = (ctypes.c_uint32 * 6)(*[0xFFFFFFFF, 0xFFFFFFFF, 0, 0x1FF, 0x1FF, 0])
    call("capset", header, data)
    return "raised"


@attack("surface", proc_is_there)
def capabilities_left(facts):
    """Finds a capability that it still has."""
    # A user can't empty the bounding set of its container, and with no_new_privs it gives nothing.
    sets = ("CapInh", "CapPrm", "CapEff", "CapAmb") if is_alone() else ("Cap",)
    found = [line.strip() for line in open("/proc/self/status") if line.startswith(sets) and int(line.split()[1], 16)]
    # Nor can a root whose container has no CAP_SETPCAP, number 8.
    return [line for line in found if facts["level"] == "full" or not line.startswith("CapBnd") or int(line.split()[1], 16) >> 8 & 1]


@attack("surface", proc_is_there)
def new_privileges(facts):
    """Finds that programs may give it new privileges."""
    return [line.strip() for line in open("/proc/self/status") if line.startswith("NoNewPrivs") and line.split()[1] != "1"]


@attack("surface", proc_is_there)
def no_filter(facts):
    """Finds that no filter is on its calls."""
    return [line.strip() for line in open("/proc/self/status") if line.startswith("Seccomp:") and line.split()[1] != "2"]


@attack("privilege", python_runs)
def limits_raised(facts):
    """Raises its hard limits."""
    import resource

    for limit in (resource.RLIMIT_NPROC, resource.RLIMIT_NOFILE, resource.RLIMIT_CPU, resource.RLIMIT_FSIZE, resource.RLIMIT_DATA):
        resource.setrlimit(limit, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    return "raised"


@attack("writes", signal_to_child_works)
def kill_victim(facts):
    """Kills a process of the host by its number there."""
    os.kill(facts["victim"], signal.SIGKILL)
    return "killed"


@attack("writes", signal_to_child_works)
def kill_service(facts):
    """Kills the service's processes by their numbers."""
    done = []
    for pid in facts["service"]:
        try:
            os.kill(pid, signal.SIGKILL)
            done.append(pid)
        except OSError as error:
            last = error
    if not done:
        raise last
    return done


@attack("slows", signal_to_child_works)
def kill_init(facts):
    """Kills the cell's first process."""
    os.kill(1, signal.SIGKILL)
    return "the signal was taken"


@attack("writes", signal_to_child_works, dies=True)
def kill_all(facts):
    """kill(-1): everything that it may signal."""
    os.kill(-1, signal.SIGKILL)


@attack("writes", signal_to_child_works, dies=True)
def kill_group(facts):
    """kill(0): its process group, which must not be the service's."""
    os.kill(0, signal.SIGKILL)


@attack("writes", signal_to_child_works)
def queue_signal(facts):
    """Sends a signal with forged sender by rt_sigqueueinfo."""
    information = (ctypes.c_int * 32)(signal.SIGTERM, 0, -1, facts["victim"])
    call("rt_sigqueueinfo", facts["victim"], signal.SIGTERM, information)
    return "sent"


@attack("writes", signal_to_child_works)
def thread_signal(facts):
    """Sends a signal by tkill."""
    call("tkill", facts["victim"], signal.SIGKILL)
    return "sent"


@attack("writes", signal_to_child_works)
def owner_signal(facts):
    """Has the kernel send the signal: F_SETOWN and F_SETSIG on a pipe."""
    import fcntl

    one, other = terminal()
    child = fork()
    if child == 0:
        signal.pause()
    for owner in (child, facts["victim"]):  # on its own child first, which has to die of it
        fcntl.fcntl(one, fcntl.F_SETOWN, owner)
        fcntl.fcntl(one, 10, signal.SIGKILL)
        fcntl.fcntl(one, fcntl.F_SETFL, os.O_ASYNC)
        os.write(other, b"x\n")
        end = time.monotonic() + 0.3
        while owner == child and os.waitpid(child, os.WNOHANG) != (child, signal.SIGKILL):
            if time.monotonic() > end:
                raise NotHere("no signal comes of it")
    # That the victim may be the owner is no harm: whether it lives on is looked at from outside.


@attack("writes", signal_to_child_works)
def pidfd_signal(facts):
    """Sends a signal by a pidfd of a process of the host."""
    call("pidfd_send_signal", call("pidfd_open", facts["victim"], 0), signal.SIGKILL, None, 0)
    return "sent"


@attack("reads", child_ends)
def trace_victim(facts):
    """Traces a process of the host."""
    call("ptrace", 16, facts["victim"], 0, 0)
    return "attached"


@attack("privilege", child_ends)
def trace_init(facts):
    """Traces the cell's first process."""
    call("ptrace", 16, 1, 0, 0)
    return "attached"


@attack("surface", child_ends)
def trace_child(facts):
    """Traces a child of its own: a way around filters on old kernels, and not needed."""
    pid = os.fork()
    if pid == 0:
        signal.pause()
        os._exit(0)
    try:
        call("ptrace", 16, pid, 0, 0)
        return "attached"
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def _vector():
    text = ctypes.create_string_buffer(16)
    return text, (ctypes.c_uint64 * 2)(ctypes.addressof(text), 16), (ctypes.c_uint64 * 2)(0x400000, 16)


@attack("reads", child_ends)
def read_memory_of_victim(facts):
    """process_vm_readv on a process of the host."""
    text, here, there = _vector()
    return call("process_vm_readv", facts["victim"], here, 1, there, 1, 0)


@attack("reads", child_ends)
def read_memory_of_init(facts):
    """process_vm_readv on the cell's first process."""
    text, here, there = _vector()
    return call("process_vm_readv", 1, here, 1, there, 1, 0)


@attack("writes", child_ends)
def write_memory_of_init(facts):
    """process_vm_writev on the cell's first process."""
    text, here, there = _vector()
    return call("process_vm_writev", 1, here, 1, there, 1, 0)


@attack("reads", child_ends)
def steal_descriptor(facts):
    """pidfd_getfd: a descriptor of the cell's first process."""
    return call("pidfd_getfd", call("pidfd_open", 1, 0), 0, 0)


@attack("learns", child_ends)
def compare_resources(facts):
    """kcmp: whether it shares kernel objects with the first process."""
    return call("kcmp", os.getpid(), 1, 0, 0, 0) >= 0 and "told"


@attack("slows", child_ends)
def limit_victim(facts):
    """prlimit: takes a process of the host its descriptors."""
    call("prlimit64", facts["victim"], 7, (ctypes.c_uint64 * 2)(0, 0), None)
    return "limited"


@attack("slows", child_ends)
def limit_init(facts):
    """prlimit on the cell's first process."""
    call("prlimit64", 1, 7, (ctypes.c_uint64 * 2)(0, 0), None)
    return "limited"


@attack("slows", child_ends)
def priority_raised(facts):
    """Takes precedence over others: nice -20."""
    call("setpriority", 0, 0, -20)
    return "raised"


@attack("slows", child_ends)
def real_time(facts):
    """Takes a real-time priority, with which it could stop all else."""
    call("sched_setscheduler", 0, 1, (ctypes.c_int * 1)(50))
    return "taken"


@attack("slows", child_ends)
def affinity_of_victim(facts):
    """Moves a process of the host to one processor."""
    call("sched_setaffinity", facts["victim"], 8, (ctypes.c_uint64 * 1)(1))
    return "moved"


@attack("slows", child_ends)
def io_priority(facts):
    """Takes a real-time class for the disk."""
    call("ioprio_set", 1, 0, 1 << 13)
    return "taken"


@attack("writes", child_ends)
def reap_memory(facts):
    """process_mrelease on a process of the host."""
    call("process_mrelease", call("pidfd_open", facts["victim"], 0), 0)
    return "released"


@attack("privilege", child_ends)
def file_capabilities(facts):
    """Gives a program in /tmp capabilities."""
    import shutil

    shutil.copy("/usr/bin/env", TMP + "/env")
    os.setxattr(TMP + "/env", "security.capability", bytes.fromhex("0100000200200000000000000000000000000000"))
    return "given"


@attack("surface", child_ends)
def dump_core(facts):
    """Has the kernel write a core file, or pipe it to a program of root's."""

    def crash():
        os.chdir(TMP)
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (-1, -1))
        os.kill(os.getpid(), signal.SIGQUIT)
        return 0

    try:
        check(in_child(crash))
    except InterruptedError:
        pass
    return [name for name in os.listdir(TMP) if name.startswith("core")]


@attack("surface", proc_is_there)
def limits_missing(facts):
    """Finds a limit of its process that isn't set."""
    import resource

    bounds = {"CORE": 1, "NOFILE": 10000, "NPROC": 10000, "FSIZE": 1 << 40, "DATA": 1 << 40, "CPU": 1 << 20, "MEMLOCK": 1 << 20}
    if is_alone():
        del bounds["NPROC"]  # it would count the service's own processes
    hard = {name: resource.getrlimit(getattr(resource, "RLIMIT_" + name))[1] for name in bounds}
    return [name for name, value in hard.items() if value == resource.RLIM_INFINITY or value > bounds[name]]


@attack("surface", proc_is_there)
def uid_of_service(facts):
    """Finds that it has the uid of the zygote, whose root it would be: its own maps to no slot's."""
    full_only(facts, "there is no user namespace")
    if not facts["own_uids"]:
        raise NotHere("all runs have one uid")
    inner, outer, count = [int(field) for field in open("/proc/self/uid_map").read().split()[:3]]
    return (count != 1 or outer < 1000) and f"{inner} is {outer}"
