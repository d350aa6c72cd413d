#!/usr/bin/python3
"""The yardstick: an interpreter with numpy and pandas loaded that calls os.fork() for each run, one after the other, and no sandbox at all.

By itself:  bare_fork.py [--processes N] [--seconds S]
As a loop:  bare_fork.py --loop reads lines "SCRIPT SECONDS", and answers each with a line of JSON.
"""

import argparse
import gc
import json
import os
import resource
import subprocess
import sys
import time

from scripts import RESULTS, SCRIPTS, environment, quantile


def run(source):
    """One run: its result, as bytes of JSON."""
    from_child, to_parent = os.pipe()
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            os.close(from_child)
            module = {"__name__": "script"}
            exec(compile(source, "script.py", "exec"), module)
            text = json.dumps(module["main"]()).encode()
            sys.stdout.flush()
            os.write(to_parent, text)
            status = 0
        finally:
            os._exit(status)
    os.close(to_parent)
    parts = []
    while part := os.read(from_child, 65536):
        parts.append(part)
    os.close(from_child)
    if os.waitpid(pid, 0)[1] != 0:
        raise RuntimeError("a run failed")
    return b"".join(parts)


def faults():
    return tuple(resource.getrusage(who).ru_minflt for who in (resource.RUSAGE_CHILDREN, resource.RUSAGE_SELF))


def measure(name, seconds):
    source = SCRIPTS[name]
    if json.loads(run(source)) != RESULTS[name]:
        raise RuntimeError(f"the result of {name} is wrong")
    times = []
    children, own = faults()
    start = time.perf_counter()
    while (now := time.perf_counter()) - start < seconds or not times:
        run(source)
        times.append(time.perf_counter() - now)
    took = time.perf_counter() - start
    children, own = (after - before for after, before in zip(faults(), (children, own)))
    return {"times": times, "rate": len(times) / took, "faults_child": children / len(times), "faults_parent": own / len(times)}


def loop():
    import numpy  # noqa: F401
    import pandas  # noqa: F401

    # What scripts print goes nowhere; what this says goes where stdout was.
    answers = os.fdopen(os.dup(1), "w")
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    gc.collect()
    gc.freeze()
    print("ready", file=answers, flush=True)
    for line in sys.stdin:
        name, seconds = line.split()
        print(json.dumps(measure(name, float(seconds))), file=answers, flush=True)


class Loops:
    """Such loops, each a process of its own; loaded once, measured often."""

    def __init__(self, python, most):
        command = [python, os.path.abspath(__file__), "--loop"]
        self.processes = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment()) for _ in range(most)]
        for process in self.processes:
            if process.stdout.readline() != "ready\n":
                self.close()
                raise RuntimeError("a fork loop doesn't start: are numpy and pandas there?")

    def measure(self, name, count, seconds):
        """`count` of them at the same time."""
        used = self.processes[:count]
        for process in used:
            process.stdin.write(f"{name} {seconds}\n")
            process.stdin.flush()
        found = [json.loads(process.stdout.readline()) for process in used]
        times = [one for each in found for one in each["times"]]
        return {"p50_ms": quantile(times, 0.5) * 1e3, "p99_ms": quantile(times, 0.99) * 1e3, "rate": sum(each["rate"] for each in found),
                "runs": len(times), **{key: sum(each[key] for each in found) / count for key in ("faults_child", "faults_parent")}}

    def close(self):
        for process in self.processes:
            process.stdin.close()
        for process in self.processes:
            process.wait()
            process.stdout.close()


def main():
    parser = argparse.ArgumentParser(description="a fork for each run, without a sandbox")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--loop", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.loop:
        return loop()
    loops = Loops(sys.executable, given.processes)
    try:
        for name in SCRIPTS:
            found = loops.measure(name, given.processes, given.seconds)
            print(f"{name:8} {given.processes} at once: p50 {found['p50_ms']:.2f} ms, p99 {found['p99_ms']:.2f} ms, {found['rate']:.0f} runs/s, "
                  f"page faults a run: {found['faults_child']:.0f} in the child, {found['faults_parent']:.0f} in the parent")
    finally:
        loops.close()


if __name__ == "__main__":
    main()
