#!/usr/bin/python3
"""Every attack against cells that lack one layer, layer by layer: prints the table as Markdown. Needs a build with -Dablation=true, and root.

    ablate.py PROGRAM [--contained] [--only SUBJECT]... [--layer NAME]...

--contained: in a container as Docker makes it.
"""

import argparse
import collections
import json
import os
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
LAYERS = ("groups", "net", "ipc", "uts", "cgroup", "proc", "readonly", "nosuid", "descriptors", "rlimits", "credentials", "user", "capabilities",
          "no_new_privs", "landlock", "seccomp")
LAYERS_CONTAINED = ("descriptors", "rlimits", "credentials", "capabilities", "no_new_privs", "landlock", "seccomp")
# What may not happen even with one layer gone; the others ("surface", "learns", "slows") are what the layer itself is for.
FORBIDDEN = ("reads", "writes", "privilege", "network", "outlives")


def attack(program, layers, only, before):
    """The records of a suite against cells without these layers; None when no cell starts without them."""
    environment = dict(os.environ)
    if layers:
        environment["WITHOUT_LAYER"] = ",".join(layers)
    with tempfile.NamedTemporaryFile("r", suffix=".json") as file:
        command = [*before, sys.executable, "-B", os.path.join(ROOT, "python/attacks/__main__.py"), "--vivary", program, "--quiet",
                   "--json", f"/proc/self/fd/{file.fileno()}"]  # a container has another /tmp
        done = subprocess.run(command + [word for subject in only for word in ("--only", subject)], env=environment, capture_output=True, text=True,
                              pass_fds=[file.fileno()])
        if done.returncode not in (0, 1) or not (text := file.read()):
            if "doesn't start" in done.stderr:
                return None
            raise RuntimeError(done.stdout + done.stderr)
        return {record["attack"]: record for record in json.loads(text)}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("program")
    parser.add_argument("--only", action="append", default=[])
    parser.add_argument("--layer", action="append", default=[])
    parser.add_argument("--contained", action="store_true")
    given = parser.parse_args()
    layers = given.layer or (LAYERS_CONTAINED if given.contained else LAYERS)
    before = [sys.executable, os.path.join(ROOT, "tests/hosts/container.py"), "--"] if given.contained else []
    program = os.path.abspath(given.program)
    columns = {"none": attack(program, [], given.only, before)}
    for layer in layers:
        print(f"ablate: without {layer}", file=sys.stderr, flush=True)
        columns[layer] = attack(program, [layer], given.only, before)

    wrong = []
    for column, records in columns.items():
        for name, record in (records or {}).items():
            if record["outcome"] == "CONTROL FAILED":
                wrong.append(f"without {column}: the control of {name} failed: {record['what']}")
            elif record["outcome"] == "GOT THROUGH" and (column == "none" or record["harm"] in FORBIDDEN):
                wrong.append(f"without {column}: {name} ({record['harm']}) got through: {record['what']}")

    everything = columns["none"]
    print("| left out | attacks stopped | got through | of them " + " | ".join(FORBIDDEN) + " |")
    print("| --- |" + " --- |" * (2 + len(FORBIDDEN)))
    for column, records in columns.items():
        if records is None:
            print(f"| {column} | no cell starts without it |" + " |" * (1 + len(FORBIDDEN)))
            continue
        through = collections.Counter(record["harm"] for record in records.values() if record["outcome"] == "GOT THROUGH")
        stopped = sum(record["outcome"] == "stopped" for record in records.values())
        print(f"| {column} | {stopped} | {sum(through.values())} | " + " | ".join(str(through[harm]) for harm in FORBIDDEN) + " |")

    print("\n| attack | harm | gets through without | stopped, as it reads, by |\n| --- | --- | --- | --- |")
    for name, record in everything.items():
        open_without = [layer for layer, records in columns.items() if records and records[name]["outcome"] == "GOT THROUGH"]
        what = " ".join(record["what"].replace("|", "/").split())[:50]
        print(f"| {name} | {record['harm']} | {', '.join(open_without)} | {what} |")
    for line in wrong:
        print("ablate: " + line, file=sys.stderr)
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
