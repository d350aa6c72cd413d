"""Sends every attack to a service, looks what became of it, and prints a table. Exit status 0: none got through and every control succeeded."""

import argparse
import collections
import http.client
import json
import os
import re
import secrets
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
SUBJECTS = ("files", "proc", "devices", "mounts", "credentials", "processes", "kernel", "interfaces", "sockets", "descriptors", "neighbours", "lifetime",
            "bombs", "exhaustion", "published")
# Short limits: many attacks end by them.
LIMITS = ("--slots", "4", "--deadline-ms", "1000", "--cpu-ms", "3000", "--exit-grace-ms", "300", "--memory-mb", "256")
LIMITS_OF_GVISOR = ("--slots", "4", "--deadline-ms", "5000", "--cpu-ms", "5000", "--exit-grace-ms", "1000", "--memory-mb", "256")
START_S, ANSWER_S, GONE_S, TRIES = 120, 60, 5, 3
NEIGHBOUR = "def main():\n    return {'neighbour': %d}"


class Unix(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost", timeout=ANSWER_S)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(ANSWER_S)
        self.sock.connect(self.path)


def execute(path, script):
    connection = Unix(path)
    try:
        connection.request("POST", "/execute", json.dumps({"script": script}))
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()


def level_of(binary, options):
    said = subprocess.run([binary, "doctor", *options], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False).stdout
    rows = {line[:22].strip(): line[28:].strip() for line in said.decode().splitlines()}
    if "made up of" not in rows:
        raise SystemExit("attacks: there is no level of isolation to be had here: vivary doctor says why")
    return {"level": rows["isolation level"], "own_uids": "own uid for each slot" in rows["made up of"],
            "sums": "memory of all processes" not in rows["not bounded"], "gvisor": "gVisor" in rows["not bounded"]}


class Service:
    def __init__(self, binary, path, environment, options):
        self.path = path
        command = [binary, "serve", "--listen", "unix:" + path, *options]
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, env=environment)
        if not select.select([self.process.stdout], [], [], START_S)[0] or not (line := self.process.stdout.readline()):
            self.stop()
            raise SystemExit("attacks: the service doesn't start")
        self.line = line.decode().strip()

    def processes(self):
        parents = collections.defaultdict(list)
        for entry in os.listdir("/proc"):
            if entry.isdigit():
                try:
                    with open(f"/proc/{entry}/stat") as file:
                        parents[int(file.read().rpartition(")")[2].split()[1])].append(int(entry))
                except OSError:
                    continue
        return [self.process.pid, *parents[self.process.pid]]

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.process.stdout.close()


def sources():
    """Of each subject: the text to send, and what it declares."""
    with open(os.path.join(HERE, "inside.py")) as file:
        inside = file.read()
    found = {}
    for subject in SUBJECTS:
        with open(os.path.join(HERE, subject + ".py")) as file:
            text = inside + re.sub(r"^from inside import .*$", "", file.read(), count=1, flags=re.M)
        names = {"__name__": subject}
        exec(compile(text, subject, "exec"), names)
        found[subject] = (text, names["ATTACKS"])
    return found


class Neighbour:
    """Another caller's runs, one after the other, while an attack is on. Each must be answered rightly."""

    def __init__(self, path):
        self.path, self.wrong, self.runs, self.ending = path, [], 0, False
        self.thread = threading.Thread(target=self._go)

    def _go(self):
        while not self.ending or self.runs == 0:
            number = secrets.randbelow(1 << 40)
            try:
                said = execute(self.path, NEIGHBOUR % number)
            except (OSError, http.client.HTTPException, ValueError) as error:
                said = repr(error)
            if said != (200, {"result": {"neighbour": number}, "stdout": ""}):
                self.wrong.append(str(said)[:200])
                return
            self.runs += 1

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.ending = True
        self.thread.join()


def layer_of(what, name):
    """Which layer answers like this, in words."""
    if what.startswith(("killed", "the run")):
        return "seccomp" if what.endswith("SIGSYS") else "limits"
    return {"ENOENT": "private root", "EACCES": "ownership, Landlock", "EROFS": "read-only mounts", "ESRCH": "pid namespace", "ENOSYS": "seccomp",
            "EPERM": "seccomp, no capabilities", "EINVAL": "user namespace", "ECONNREFUSED": "net namespace, Landlock", "EXDEV": "private root",
            "ENXIO": "private root", "ENODEV": "private root", "EFBIG": "rlimits", "EAGAIN": "limits", "ENOMEM": "limits",
            "MemoryError": "limits"}.get(what.split(":")[0], "namespaces" if what == "no effect" else "")


def run(path, stage, facts, name, text, entry):
    """One attack's record. Where the run ended by its time on a busy machine before it could say anything, it is tried again."""
    for _ in range(TRIES):
        record = run_once(path, stage, facts, name, text, entry)
        if record["outcome"] != "CONTROL FAILED":
            break
    return record


def run_once(path, stage, facts, name, text, entry):
    record = {"attack": name, "harm": entry["harm"], "wants": entry["wants"], "outcome": "stopped"}
    arguments = f"{name!r}, json.loads({json.dumps(facts)!r})"
    late = ""
    with Neighbour(path) as neighbour:
        if entry["dies"]:
            said = execute(path, text + f"\n\ndef main():\n    return run_control({name!r})\n")[1]
            control = said.get("result", said).get("control", said)
        for _ in range(entry["times"]):
            try:
                said = execute(path, text + f"\nimport json\n\n\ndef main():\n    return run_attack({arguments})\n")[1]
            except TimeoutError:
                said, late = {"result": {"control": True}}, f"it wasn't ended within {ANSWER_S} s"
            if said.get("result", {}).get("through") or said.get("result", {}).get("control") is not True:
                break
    result = said.get("result", {})
    if not entry["dies"]:
        control = result.get("control", said)
    record["what"] = result.get("what") or result.get("not_here") or "the run was ended: " + str(said.get("error"))
    if control is not True:
        record.update(outcome="CONTROL FAILED", what=str(control)[:200])
    elif "not_here" in result:
        record["outcome"] = "not applicable"
    elif result.get("through"):
        record["outcome"] = "GOT THROUGH"
    end = time.monotonic() + GONE_S
    while (left := stage.left_behind()) and time.monotonic() < end:
        time.sleep(0.01)
    harm = "; ".join(filter(None, [stage.harm_seen(), late, f"processes are left: {left}" if left else "",
                                   f"a neighbour was answered {neighbour.wrong[0]}" if neighbour.wrong else ""]))
    if harm:
        record.update(outcome="GOT THROUGH", what=harm)
    record["by"] = layer_of(record["what"], name) if record["outcome"] == "stopped" else ""
    return record


def main():
    parser = argparse.ArgumentParser(prog="vivary doctor --attack", description="attacks this installation from inside a cell")
    parser.add_argument("--vivary", required=True, help="the program")
    parser.add_argument("--only", action="append", default=[], help="the attack of this name, or a subject")
    parser.add_argument("--json", help="write the records to this file")
    parser.add_argument("--quiet", action="store_true", help="print only what got through")
    given, given.options = parser.parse_known_args()  # what isn't known here is for the service

    sys.path.insert(0, HERE)
    from gvisor import ELSEWHERE
    from stage import Stage

    known = sources()
    wanted = [(name, text, entry) for subject, (text, attacks) in known.items() for name, entry in attacks.items()
              if not given.only or name in given.only or subject in given.only]
    if not wanted:
        parser.error("no such attack; there are the subjects " + ", ".join(known) + ", and in each the attacks of its file")
    stage, records = Stage(), []
    try:
        with tempfile.TemporaryDirectory(prefix="vivary-attack-") as folder:
            level = level_of(given.vivary, given.options)
            shares = "--share" in given.options or level["level"] != "full"  # at level contained nothing can be mounted for them
            limits = LIMITS_OF_GVISOR if level["gvisor"] else LIMITS
            options = [*limits, *given.options] if shares else ["--share", stage.share, *limits, *given.options]
            service = Service(given.vivary, folder + "/socket", stage.environment(), options)
            try:
                if not given.quiet:
                    print(f"{len(wanted)} attacks. {service.line.split('. Try')[0]}", flush=True)
                facts = {**stage.facts(service.processes()), **level}
                facts["random"] = execute(service.path, "import random\ndef main():\n    return {'n': random.getrandbits(64)}")[1]["result"]["n"]
                for name, text, entry in wanted:
                    if level["gvisor"] and name in ELSEWHERE:
                        records.append({"attack": name, "harm": entry["harm"], "wants": entry["wants"], "outcome": "not applicable",
                                        "what": ELSEWHERE[name], "by": ""})
                        continue
                    record = run(service.path, stage, facts, name, text, entry)
                    records.append(record)
                    if not given.quiet or record["outcome"] in ("GOT THROUGH", "CONTROL FAILED"):
                        print(f"{record['outcome']:<15} {record['harm']:<9} {name:<34} {record['what'][:60]:<60} {record['by']}", flush=True)
                    stage.reached.clear()
            finally:
                service.stop()
    finally:
        stage.close()
    if given.json:
        with open(given.json, "w") as file:
            json.dump(records, file, indent=1)
    counts = collections.Counter(record["outcome"] for record in records)
    print(f"{len(records)} attacks: {counts['stopped']} stopped, {counts['GOT THROUGH']} got through, {counts['CONTROL FAILED']} controls failed, "
          f"{counts['not applicable']} not applicable")
    return counts["GOT THROUGH"] + counts["CONTROL FAILED"] > 0


if __name__ == "__main__":
    sys.exit(main())
