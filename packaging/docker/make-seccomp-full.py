#!/usr/bin/python3
"""Makes seccomp-full.json, on stdout, from Docker's default profile: what that lets every container do, and what level full asks for beside it.

    packaging/docker/make-seccomp-full.py DEFAULT.json > packaging/docker/seccomp-full.json

DEFAULT.json is the profile of Docker (moby's profiles/seccomp/default.json), or one that is resolved for Docker's fourteen capabilities.
Entries that another capability, architecture or kernel would have to allow are left out, but for those of x86-64 and a kernel from 4.8 on."""

import json
import sys

# What src/ calls at level full. Docker's profile lets who has CAP_SYS_ADMIN call all of these but pivot_root, and also bpf, perf_event_open,
# fanotify_init, fsopen and others that Vivary has no use for: those stay refused.
FULL = ["mount", "pivot_root", "sethostname", "setns", "umount2", "unshare"]
WHY = {
    "mount": "the template of the cells, and /tmp, /dev/shm, /runtime and /proc of each",
    "pivot_root": "the template becomes the root",
    "sethostname": "a cell's name is its own",
    "setns": "a worker enters its cell's namespaces",
    "umount2": "the root before is taken away",
    "unshare": "namespaces of zygote and cells",
}
DEFAULT_CAPABILITIES = {"CAP_" + name for name in (
    "CHOWN DAC_OVERRIDE FOWNER FSETID KILL SETGID SETUID SETPCAP NET_BIND_SERVICE NET_RAW SYS_CHROOT MKNOD AUDIT_WRITE SETFCAP").split()}


def applies(entry):
    """Whether a default container on x86-64 or arm64 has this entry."""
    includes, excludes = entry.get("includes") or {}, entry.get("excludes") or {}
    if not set(includes.get("caps") or []) <= DEFAULT_CAPABILITIES or set(excludes.get("caps") or []) & DEFAULT_CAPABILITIES:
        return False
    arches = includes.get("arches")
    return not (arches and not {"amd64", "x32", "x86", "arm64"} & set(arches)) and not {"amd64", "arm64"} & set(excludes.get("arches") or [])


def profile(default):
    entries = []
    for entry in default["syscalls"]:
        if not applies(entry) or entry["names"] in (["clone"], ["clone3"]):
            continue
        kept = {"names": sorted(set(entry["names"]) - set(FULL)), "action": entry["action"]}
        for name in ("args", "errnoRet"):
            if entry.get(name):
                kept[name] = entry[name]
        entries.append(kept)
    entries.append({"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38,
                    "comment": "its flags can't be read by a filter: libc uses clone when this answers ENOSYS"})
    entries.append({"names": ["clone"], "action": "SCMP_ACT_ALLOW", "comment": "level full: with the flags of namespaces, for the init of each cell"})
    entries.append({"names": ["keyctl"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 0, "value": 1, "op": "SCMP_CMP_EQ"}],
                    "comment": "level full: KEYCTL_JOIN_SESSION_KEYRING alone, an empty keyring in place of the service's"})
    for name in FULL:
        entries.append({"names": [name], "action": "SCMP_ACT_ALLOW", "comment": "level full: " + WHY[name]})
    return {
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": 1,
        "archMap": [
            {"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86", "SCMP_ARCH_X32"]},
            {"architecture": "SCMP_ARCH_AARCH64", "subArchitectures": ["SCMP_ARCH_ARM"]},
        ],
        "syscalls": entries,
    }


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        json.dump(profile(json.load(file)), sys.stdout, indent=1)
    print()


if __name__ == "__main__":
    main()
