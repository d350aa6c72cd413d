"""A process of the host that holds a secret, objects in the kernel that hold it too, and programs with privileges."""

from inside import MACHINE, NotHere, attack, call, call_number, child_ends, is_alone, own_memory_reads, proc_is_there, python_runs, signal_to_child_works, terminal

import ctypes
import os
import signal
import subprocess
import time

_MORE = {"x86_64": {"get_robust_list": 274, "msgrcv": 70, "mq_timedreceive": 243, "waitid": 247},
         "aarch64": {"get_robust_list": 100, "msgrcv": 188, "mq_timedreceive": 183, "waitid": 95}}


def _call(name, *arguments):
    if name not in _MORE.get(MACHINE, {}):
        raise NotHere(f"{MACHINE}: number of {name} unknown")
    return call_number(_MORE[MACHINE][name], *arguments)


def _need(facts, name):
    if facts.get(name) in (None, -1):
        raise NotHere(f"the stage has no {name}")
    return facts[name]


def child_has_own_ids():
    """A program that is run reports by /proc what it is: the way the set-user-id attacks look."""
    if is_alone():
        raise NotHere("a run may not start programs")
    child = subprocess.Popen(["/bin/sh", "-c", "read x"], stdin=subprocess.PIPE)
    try:
        return _ids(child.pid) == [[os.getuid()] * 4, [os.getgid()] * 4, _ids("self")[2]]
    finally:
        child.kill()
        child.wait()


def _ids(pid):
    """Its uids, gids, effective capabilities."""
    try:
        file = open(f"/proc/{pid}/status")
    except PermissionError:  # at level contained /proc is shut, but for its owners: of one that changed its ids, root
        owner = os.stat(f"/proc/{pid}")
        return [[owner.st_uid] * 4, [owner.st_gid] * 4, 0]
    with file:
        said = dict(line.rstrip("\n").split(":\t", 1) for line in file if ":\t" in line)
    return [[int(part) for part in said["Uid"].split()], [int(part) for part in said["Gid"].split()], int(said["CapEff"], 16)]


def _privileged_programs(wanted):
    for folder in ("/usr/bin", "/usr/sbin", "/usr/lib/openssh", "/usr/lib/dbus-1.0"):
        if not os.path.isdir(folder):
            continue
        for name in sorted(os.listdir(folder)):
            path = os.path.join(folder, name)
            try:
                if wanted(path):
                    yield path
            except OSError:
                continue


def _started_with(path):
    """What a program is at its first instruction: it is stopped there by a full pipe for its standard input, and looked at."""
    read, write = os.pipe()
    child = subprocess.Popen([path], stdin=read, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(20):
            try:
                found = _ids(child.pid)
            except OSError:  # hidden: it is another's, or has made itself undumpable, as ssh-agent does. A signal tells which
                try:
                    os.kill(child.pid, 0)
                    break
                except PermissionError:
                    return f"{path} is another's process"
            if found[0][1] != os.getuid() or found[1][1] != os.getgid() or found[2] & ~_ids("self")[2]:
                return f"{path} ran as {found}"
            time.sleep(0.001)
    finally:
        os.close(write)
        os.close(read)
        child.kill()
        child.wait()
    return None


@attack("privilege", child_has_own_ids)
def setuid_bits_count(facts):
    """Starts each set-user-id program of the system, and looks whose process it is."""
    programs = list(_privileged_programs(lambda path: os.stat(path).st_mode & 0o4001 == 0o4001))
    if not programs:
        raise NotHere("no set-user-id program on this host")
    return [found for found in map(_started_with, programs[:8]) if found]


@attack("privilege", child_has_own_ids)
def setgid_bits_count(facts):
    """The same with set-group-id programs."""
    programs = list(_privileged_programs(lambda path: os.stat(path).st_mode & 0o2011 == 0o2011))
    if not programs:
        raise NotHere("no set-group-id program on this host")
    return [found for found in map(_started_with, programs[:8]) if found]


@attack("privilege", child_has_own_ids)
def file_capabilities_count(facts):
    """The same with programs that have file capabilities."""
    programs = list(_privileged_programs(lambda path: os.getxattr(path, "security.capability")))
    if not programs:
        raise NotHere("no program with file capabilities on this host")
    return [found for found in map(_started_with, programs[:8]) if found]


def _secret(facts, found):
    return facts["kernel_secret"].encode() in bytes(found) and "has the secret"


@attack("reads", own_memory_reads)
def secret_by_process_vm(facts):
    """Reads the secret from where it lies in another's memory, by process_vm_readv."""
    text = ctypes.create_string_buffer(32)
    here, there = (ctypes.c_uint64 * 2)(ctypes.addressof(text), 32), (ctypes.c_uint64 * 2)(_need(facts, "holder_address"), 32)
    call("process_vm_readv", facts["holder"], here, 1, there, 1, 0)
    return _secret(facts, text.raw)


@attack("writes", own_memory_reads)
def secret_changed_by_process_vm(facts):
    """Writes there."""
    text = ctypes.create_string_buffer(b"x" * 32)
    here, there = (ctypes.c_uint64 * 2)(ctypes.addressof(text), 32), (ctypes.c_uint64 * 2)(_need(facts, "holder_address"), 32)
    return call("process_vm_writev", facts["holder"], here, 1, there, 1, 0) and "written"


@attack("reads", own_memory_reads)
def secret_by_proc_mem(facts):
    """Reads the secret by /proc/PID/mem."""
    with open(f"/proc/{_need(facts, 'holder')}/mem", "rb", buffering=0) as memory:
        memory.seek(facts["holder_address"])
        return _secret(facts, memory.read(32))


@attack("reads", child_ends)
def secret_by_ptrace(facts):
    """Reads the secret as a debugger."""
    pid, words = _need(facts, "holder"), (ctypes.c_uint64 * 4)()
    call("ptrace", 16, pid, 0, 0)
    try:
        os.waitpid(pid, 0x40000000)  # __WALL
        for at in range(4):
            call("ptrace", 2, pid, facts["holder_address"] + 8 * at, ctypes.addressof(words) + 8 * at)
    finally:
        call("ptrace", 17, pid, 0, 0)
    return _secret(facts, words)


@attack("learns", child_ends)
def time_used_by_other(facts):
    """Reads how much processor time a process of the host has used: clock_getcpuclockid(3)."""
    return time.clock_gettime(~_need(facts, "holder") << 3 | 2) and "told"


@attack("learns", child_ends)
def robust_list_of_other(facts):
    """Asks where a process of the host keeps its list of locks: an address of its memory."""
    head, size = (ctypes.c_uint64 * 1)(), (ctypes.c_uint64 * 1)()
    _call("get_robust_list", _need(facts, "holder"), head, size)
    return head[0] and hex(head[0])


@attack("learns", child_ends)
def robust_list_of_init(facts):
    """The same of the cell's first process, which is the keeper's image."""
    head, size = (ctypes.c_uint64 * 1)(), (ctypes.c_uint64 * 1)()
    _call("get_robust_list", 1, head, size)
    return head[0] and hex(head[0])


@attack("learns", child_ends)
def schedule_of_other(facts):
    """Asks on which processors and how a process of the host runs."""
    return os.sched_getaffinity(_need(facts, "holder"))


@attack("writes", signal_to_child_works)
def signal_every_number(facts):
    """Signals every process number there is, to find one that it may."""
    # A run that is one process has a filter that looks at the number, and each refusal takes a while: the first, and those that are there.
    numbers = [*range(1, 200), facts["victim"], *facts["service"]] if is_alone() else range(1, 1 << 16)
    found = []
    for pid in numbers:
        if pid != os.getpid():
            try:
                os.kill(pid, 0)
                found.append(pid)
            except OSError:
                continue
    return found


@attack("writes", signal_to_child_works)
def own_group_for_signals(facts):
    """Has the kernel signal a process group of the host: F_SETOWN with a negative number."""
    import fcntl

    one, _ = terminal()
    fcntl.fcntl(one, fcntl.F_SETOWN, -_need(facts, "holder"))
    return "the owner was taken"


@attack("surface", child_ends)
def child_of_the_zygote(facts):
    """Makes a process that is no child of its own but of who made it: CLONE_PARENT, then the zygote must reap it."""
    pid = call("clone", 0x8000 | signal.SIGCHLD, 0, 0, 0, 0)
    if pid == 0:
        os._exit(0)
    return f"made {pid}"


@attack("surface", child_ends)
def untraceable_child(facts):
    """Makes a child that no tracer may see: CLONE_UNTRACED, or with its descriptor table shared, past what is watched."""
    pid = call("clone", 0x800000 | 0x20000000 | signal.SIGCHLD, 0, 0, 0, 0)  # with CLONE_NEWPID
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    return "made"


# --- objects in the kernel


@attack("reads", python_runs)
def secret_in_shared_memory(facts):
    """Reads the host's System V shared memory, which anyone there may."""
    _need(facts, "sysv_memory")
    number = call("shmget", facts["sysv_key"], 4096, 0)
    address = call("shmat", number, 0, 0)
    return _secret(facts, ctypes.string_at(address, 64))


@attack("reads", python_runs)
def secret_in_shared_memory_by_number(facts):
    """The same by its number, without the key."""
    return _secret(facts, ctypes.string_at(call("shmat", _need(facts, "sysv_memory"), 0, 0), 64))


@attack("writes", python_runs)
def shared_memory_removed(facts):
    """Removes it: who made it would find nothing."""
    call("shmctl", _need(facts, "sysv_memory"), 0, 0)
    return "removed"


@attack("reads", python_runs)
def secret_in_messages(facts):
    """Takes a message from the host's System V queue."""
    text = ctypes.create_string_buffer(128)
    _call("msgrcv", _need(facts, "sysv_messages"), text, 100, 0, 0o4000)
    return _secret(facts, text.raw)


@attack("reads", python_runs)
def secret_in_posix_queue(facts):
    """Takes a message from the host's POSIX queue."""
    queue = call("mq_open", _need(facts, "posix_queue")[1:].encode(), os.O_RDONLY | os.O_NONBLOCK, 0, None)
    text = ctypes.create_string_buffer(8192)
    _call("mq_timedreceive", queue, text, 8192, None, None)
    return _secret(facts, text.raw)


@attack("reads", python_runs)
def secret_in_session_keyring(facts):
    """Reads a key of the operator's session, whose keyring every process started there inherits."""
    _need(facts, "key")
    number = call("request_key", b"user", facts["key_name"].encode(), None, 0)
    text = ctypes.create_string_buffer(64)
    call("keyctl", 11, number, text, 64)
    return _secret(facts, text.raw)


@attack("reads", python_runs)
def secret_in_key_by_number(facts):
    """The same by the key's number."""
    text = ctypes.create_string_buffer(64)
    call("keyctl", 11, _need(facts, "key"), text, 64)
    return _secret(facts, text.raw)


@attack("learns", proc_is_there)
def keys_listed(facts):
    """Finds the key in /proc/keys."""
    with open("/proc/keys") as file:
        return facts.get("key_name", "no name") in file.read() and "listed"


@attack("writes", python_runs)
def key_revoked(facts):
    """Takes the operator's session its key."""
    call("keyctl", 3, _need(facts, "key"))
    return "revoked"
