"""More for the stage: what of another's lies in the kernel rather than in files. All of it is gone after close()."""

import ctypes
import os
import platform
import pwd
import secrets
import subprocess
import sys

KEY = secrets.randbelow(1 << 30) + 1  # two suites may run at the same time
_libc = ctypes.CDLL(None, use_errno=True)
_libc.shmat.restype = ctypes.c_void_p
_libc.shmat.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_int]
_libc.shmdt.argtypes = [ctypes.c_void_p]
_libc.syscall.restype = ctypes.c_long
# arch/x86/entry/syscalls/syscall_64.tbl and include/uapi/asm-generic/unistd.h
_NUMBERS = {"x86_64": {"mq_open": 240, "mq_unlink": 241, "mq_timedsend": 242, "add_key": 248, "keyctl": 250},
            "aarch64": {"mq_open": 180, "mq_unlink": 181, "mq_timedsend": 182, "add_key": 217, "keyctl": 219}}.get(platform.machine(), {})

# After setuid a process is undumpable, prctl(2), and nobody could read its memory whatever the cell allowed: that must not be what stops an attack.
_VICTIM = """
import ctypes, os, sys, time
if os.getuid() == 0:
    os.setgroups([])
    os.setgid({gid})
    os.setuid({uid})
ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)
text = ctypes.create_string_buffer(bytes.fromhex("{secret}"))
print(ctypes.addressof(text), flush=True)
time.sleep(100000)
"""


def _call(name, *arguments):
    """-1 when the kernel has no such thing: then the canary isn't there, and its attacks say so."""
    if name not in _NUMBERS:
        return -1
    return _libc.syscall(ctypes.c_long(_NUMBERS[name]), *[ctypes.c_long(value) if isinstance(value, int) else value for value in arguments])


class Canaries:
    def __init__(self, marker):
        self.marker, self.secret = marker, secrets.token_hex(16)
        self.queue_name = ("/" + marker).encode()
        text = self.secret.encode()
        self.memory = _libc.shmget(KEY, 4096, 0o1666)  # IPC_CREAT
        self.address = _libc.shmat(self.memory, None, 0) if self.memory >= 0 else None
        if self.address is not None:
            ctypes.memmove(self.address, text, len(text))
        self.messages = _libc.msgget(KEY, 0o1666)
        if self.messages >= 0:
            _libc.msgsnd(self.messages, (ctypes.c_char * 64)(*b"\1\0\0\0\0\0\0\0" + text), ctypes.c_size_t(len(text)), 0)
        self.queue = _call("mq_open", self.queue_name[1:], os.O_RDWR | os.O_CREAT, 0o666, None)
        if self.queue >= 0:
            _call("mq_timedsend", self.queue, text, len(text), 0, None)
        # A session keyring is inherited, and who possesses it may read its keys: session-keyring(7). The service is started after this.
        self.session = _call("keyctl", 1, None)
        self.key = _call("add_key", b"user", marker.encode(), text, len(text), -3) if self.session >= 0 else -1
        nobody = pwd.getpwnam("nobody")
        code = _VICTIM.format(uid=nobody.pw_uid, gid=nobody.pw_gid, secret=text.hex())
        # In a session of its own: its number is a process group's as well.
        self.holder = subprocess.Popen([sys.executable, "-I", "-S", "-c", code], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                       start_new_session=True)
        self.holder_address = int(self.holder.stdout.readline())

    def facts(self):
        about = os.stat("/dev/null")
        return {"null_device": [about.st_dev, about.st_ino], "holder": self.holder.pid, "holder_address": self.holder_address,
                "kernel_secret": self.secret, "sysv_key": KEY, "sysv_memory": self.memory, "sysv_messages": self.messages,
                "posix_queue": self.queue_name.decode() if self.queue >= 0 else None, "key": self.key, "key_name": self.marker}

    def harm_seen(self):
        """In words; empty when all is as it was."""
        seen = []
        if self.holder.poll() is not None:
            seen.append("the holder of the secret is dead")
        else:
            try:
                with open(f"/proc/{self.holder.pid}/mem", "rb", buffering=0) as memory:
                    memory.seek(self.holder_address)
                    if memory.read(len(self.secret)) != self.secret.encode():
                        seen.append("the holder's memory was changed")
            except PermissionError:
                pass  # a container's root may not look either
        if self.address is not None and ctypes.string_at(self.address, len(self.secret)) != self.secret.encode():
            seen.append("the shared memory was changed")
        if self.memory >= 0 and _libc.shmget(KEY, 4096, 0) != self.memory:
            seen.append("the shared memory was removed")
        if self.messages >= 0:
            about = (ctypes.c_uint64 * 32)()
            # msg_qnum, eighty bytes into struct msqid64_ds of 64-bit machines: include/uapi/asm-generic/msgbuf.h
            if _libc.msgctl(self.messages, 2, about) != 0 or about[10] != 1:
                seen.append("the message queue was changed")
        return "; ".join(seen)

    def close(self):
        self.holder.kill()
        self.holder.wait()
        self.holder.stdout.close()
        if self.address is not None:
            _libc.shmdt(self.address)
        if self.memory >= 0:
            _libc.shmctl(self.memory, 0, None)  # IPC_RMID
        if self.messages >= 0:
            _libc.msgctl(self.messages, 0, None)
        if self.queue >= 0:
            os.close(self.queue)
            _call("mq_unlink", self.queue_name[1:])
        if self.key >= 0:
            _call("keyctl", 3, self.key)  # KEYCTL_REVOKE
