#!/usr/bin/python3
"""What a caller feels of another one's bombs: the time of its trivial runs while every slot but one holds a bomb, beside that of a quiet service.

Needs root (the service does). What it starts, it ends by pid.
"""

import argparse
import json
import os
import sys
import threading
import time

from bench import Service, body_of, post_all
from scripts import quantile

HERE = os.path.dirname(os.path.abspath(__file__))
ATTACKS = os.path.join(os.path.dirname(HERE), "python", "attacks")
SLOTS = 4
MARK = 3
# Some trivial runs while the bombs are on; a bomb lasts until its deadline.
RUNS, PACE_S, DEADLINE_MS = 50, 0.1, 4000


def bombs():
    """Each bomb's script, by name."""
    sys.path.insert(0, ATTACKS)
    texts = {}
    for file in ("inside.py", "bombs.py"):
        with open(os.path.join(ATTACKS, file)) as opened:
            texts[file] = "".join(line for line in opened if not line.startswith("from inside import"))
    names = {"__name__": "bombs"}
    exec(compile(texts["inside.py"] + texts["bombs.py"], "bombs", "exec"), names)
    return {name: f"{texts['inside.py']}{texts['bombs.py']}\n\ndef main():\n    return run_attack({name!r}, {{}})\n" for name in names["ATTACKS"]}


def throw(port, script, ending):
    """One caller that bombs, again and again."""
    import http.client

    body = json.dumps({"script": script})
    while not ending.is_set():
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        try:
            connection.request("POST", "/execute", body, {"Content-Type": "application/json"})
            connection.getresponse().read()
        except (OSError, http.client.HTTPException):
            pass
        finally:
            connection.close()


def main():
    parser = argparse.ArgumentParser(description="trivial runs beside bombs")
    parser.add_argument("--vivary", default=os.path.join(os.path.dirname(HERE), "build", "vivary"))
    parser.add_argument("--only", action="append", default=[], help="this bomb")
    parser.add_argument("--level", default="auto", help="of the service's cells: auto, full or contained")
    given = parser.parse_args()
    service = Service(given.vivary, ["--slots", str(SLOTS), "--deadline-ms", str(DEADLINE_MS), "--cpu-ms", "30000", "--memory-mb", "256", "--level", given.level])
    missed = []
    try:
        service.settle()
        post_all(service.port, "trivial", 20)
        quiet = quantile(post_all(service.port, "trivial", RUNS, PACE_S), 0.5) * 1e3
        print(f"quiet: p50 {quiet:.1f} ms ({RUNS} runs, {PACE_S * 1e3:.0f} ms between them)")
        for name, script in bombs().items():
            if given.only and name not in given.only:
                continue
            ending = threading.Event()
            throwers = [threading.Thread(target=throw, args=(service.port, script, ending)) for _ in range(SLOTS - 1)]
            for thrower in throwers:
                thrower.start()
            time.sleep(0.5)  # until they are on
            try:
                times = post_all(service.port, "trivial", RUNS, PACE_S)
            finally:
                ending.set()
                for thrower in throwers:
                    thrower.join()
            p50 = quantile(times, 0.5) * 1e3
            if p50 > MARK * quiet:
                missed.append(name)
            print(f"{name:26} p50 {p50:7.1f} ms, {p50 / quiet:5.1f}x; p99 {quantile(times, 0.99) * 1e3:7.1f} ms", flush=True)
    finally:
        service.stop()
    print(f"at most {MARK}x expected; more with: {', '.join(missed) or 'none'}")
    return bool(missed)


if __name__ == "__main__":
    sys.exit(main())
