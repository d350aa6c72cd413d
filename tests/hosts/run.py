#!/usr/bin/env python3
"""Runs the contract, ordinary Python and the attacks on each kind of host that can be made here, and prints a table: host, level, suites.

    tests/hosts/run.py [--only HOST]... [--no-attacks]

A host that can't be made is skipped, with its reason. VIVARY_TEST_VM is a command that runs its arguments, one line of shell, in another machine that
has this folder at the same path; VIVARY_TEST_GVISOR one that runs them in gVisor, as root with a container's capabilities. The logs are left in build/hosts."""

import argparse
import os
import re
import shutil
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
BINARY = os.path.join(ROOT, "build", "vivary")
PYTHON = "/usr/bin/python3"
USER = "1234"
CONTAINER = [PYTHON, os.path.join(HERE, "container.py")]
BEHAVIOURS = ["test_contract", "test_cell", "test_python", "test_output", "test_result", "test_frames", "test_contained", "test_life"]
FEWER = ["test_contract", "test_cell", "test_python"]
IN_GVISOR = ["test_contract", "test_cell", "test_python", "test_output", "test_result", "test_frames", "test_run"]
SUITE_S = 1200


def as_user():
    return ["setpriv", "--reuid", USER, "--regid", USER, "--clear-groups", "--inh-caps", "-all", "env", "HOME=/tmp"]


def hosts():
    """Names; the command that another follows; the level that is expected; what is run; why it can't be."""
    container = None if os.geteuid() == 0 else "making a container needs root"
    if not container:
        made = subprocess.run([*CONTAINER, "--", "true"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
        container = made.returncode != 0 and "no container can be made: " + made.stdout.decode().strip().split("\n")[-1]
    user = os.geteuid() != 0 and "it is run as root, which can be a user" or shutil.which("setpriv") is None and "there is no setpriv" or \
        subprocess.run([*as_user(), "test", "-x", BINARY], check=False).returncode != 0 and f"another user can't reach {ROOT}"
    vm = os.environ.get("VIVARY_TEST_VM", "").split()
    yield "host, root", [], "full", BEHAVIOURS, os.geteuid() != 0 and "it isn't run as root"
    yield "host, a user without privileges", as_user(), "full", BEHAVIOURS, user
    yield "container, root", [*CONTAINER, "--"], "contained", BEHAVIOURS, container
    yield "container, another user", [*CONTAINER, "--user", USER, "--"], "contained", BEHAVIOURS, container
    yield ("container, read-only, three capabilities",
           [*CONTAINER, "--read-only", "--no-new-privileges", "--cap", "SETUID", "--cap", "SETGID", "--cap", "KILL", "--"], "contained", BEHAVIOURS, container)
    yield "container, a mount on /tmp", [*CONTAINER, "--tmp", "mounted", "--"], "contained", ["test_contract", "test_contained"], container
    gvisor = os.environ.get("VIVARY_TEST_GVISOR", "").split()
    yield "gVisor, root", gvisor, "full", IN_GVISOR, not gvisor and "VIVARY_TEST_GVISOR isn't set"
    yield "another machine", vm, "full", FEWER, not vm and "VIVARY_TEST_VM isn't set"


def suite(name, command, variables):
    """Its log, and how many of it passed, failed, were skipped."""
    log = os.path.join(ROOT, "build", "hosts", re.sub(r"\W+", "-", name) + ".log")
    with open(log, "wb") as file:
        try:
            status = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT, timeout=SUITE_S, check=False,
                                    env={**os.environ, **variables}, cwd=ROOT).returncode
        except subprocess.TimeoutExpired:
            status = "no end"
    with open(log, errors="replace") as file:
        text = file.read()
    counted = re.findall(r"^(\d+) passed, (\d+) failed, (\d+) skipped", text, re.M)
    attacked = re.findall(r"^\d+ attacks: (\d+) stopped, (\d+) got through, (\d+) controls failed, (\d+) not applicable", text, re.M)
    if counted:
        passed, failed, skipped = map(int, counted[-1])
    elif attacked:
        stopped, through, controls, elsewhere = map(int, attacked[-1])
        passed, failed, skipped = stopped, through + controls, elsewhere
    else:
        passed, failed, skipped = 0, 1, 0
    if status != 0 and failed == 0:
        failed = 1
    return log, text, (passed, failed, skipped)


def main():
    parser = argparse.ArgumentParser(prog="./dev test-hosts")
    parser.add_argument("--only", action="append", default=[], help="hosts whose name begins so")
    parser.add_argument("--no-attacks", action="store_true")
    parser.add_argument("--quick", action="store_true", help="without the service's life, and attacks as root alone")
    given = parser.parse_args()
    os.makedirs(os.path.join(ROOT, "build", "hosts"), exist_ok=True)
    rows, total, skipped_hosts = [], [0, 0, 0], []
    for name, before, expected, tests, reason in hosts():
        if given.only and not any(name.startswith(only) for only in given.only):
            continue
        if reason:
            skipped_hosts.append((name, reason))
            continue
        begun = time.monotonic()
        said = subprocess.run([*before, BINARY, "doctor"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False, cwd=ROOT)
        found = re.search(r"^isolation level\s+(\w+)$", said.stdout.decode(), re.M)
        level = found[1] if found else "none"
        chosen = [test for test in tests if not (given.quick and test == "test_life")]
        runs = [("behaviours", [*before, PYTHON, "tests/run", *chosen])]
        if not given.no_attacks and tests is not FEWER and len(tests) > 2 and (not given.quick or name.endswith("root")):
            runs.append(("attacks", [*before, BINARY, "doctor", "--attack", "--quiet"]))
        cells = []
        for kind, command in runs:
            log, text, counts = suite(f"{name} {kind}", command, {"VIVARY_BINARY": BINARY})
            total = [one + more for one, more in zip(total, counts)]
            cells.append(f"{kind} {counts[0]} passed, {counts[1]} failed, {counts[2]} skipped")
            if counts[1]:
                print(f"=== {name}: {kind} failed; {log} ends:\n" + "\n".join(text.splitlines()[-60:]), flush=True)
        if level != expected:
            total[1] += 1
            cells.append(f"LEVEL {level}, NOT {expected}")
        rows.append((name, level, "; ".join(cells)))
        print(f"{name:<42} {level:<10} {rows[-1][2]}  ({time.monotonic() - begun:.0f} s)", flush=True)
    print(f"\n| host | level | suites |\n| --- | --- | --- |")
    for row in rows:
        print("| " + " | ".join(row) + " |")
    if skipped_hosts:
        print("\nskipped:")
        for name, reason in skipped_hosts:
            print(f"  {name}: {reason}")
    print(f"\n{total[0]} passed, {total[1]} failed, {total[2] + len(skipped_hosts)} skipped")
    return 1 if total[1] else 0


if __name__ == "__main__":
    sys.exit(main())
