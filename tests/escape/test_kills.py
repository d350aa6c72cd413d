"""Processes of the service killed and stopped at any moment, under load: it must be whole again by itself, and no answer may go astray."""

import http.client
import json
import os
import random
import signal
import threading
import time
import unittest

from service import SANDBOX_FAILED, SPARE, Service, eventually, limit

KILLS = int(os.environ.get("VIVARY_TEST_KILLS", "40"))  # 200 in the long run of docs/security.md
CLIENTS = 4
RECOVERY_S = 30
STOP_S = 5
ROLES = ("front", "keeper", "zygote", "worker")


class Load:
    """Clients that each ask for a number of their own, again and again. What they may see: their number, a clear error, or a closed connection."""

    def __init__(self, service):
        self.service, self.ending = service, False
        self.right, self.refused, self.closed, self.wrong = 0, 0, 0, []
        self.lock = threading.Lock()
        self.threads = [threading.Thread(target=self._go, args=(number,)) for number in range(CLIENTS)]

    def _go(self, client):
        count = 0
        while not self.ending:
            count += 1
            number = client << 32 | count
            body = json.dumps({"script": f"print({number})\ndef main():\n    return {{'n': {number}}}"})
            connection = self.service.connection(RECOVERY_S)
            try:
                connection.request("POST", "/execute", body)
                answer = connection.getresponse()
                said = answer.status, json.loads(answer.read())
            except TimeoutError:
                with self.lock:
                    self.wrong.append("no answer")
                continue
            except (OSError, http.client.HTTPException, ValueError):
                with self.lock:
                    self.closed += 1
                time.sleep(0.01)  # a refused connection must not be asked for in a tight loop
                continue
            finally:
                connection.close()
            with self.lock:
                if said == (200, {"result": {"n": number}, "stdout": f"{number}\n"}):
                    self.right += 1
                elif said == (400, SANDBOX_FAILED) or said[0] == 503:
                    self.refused += 1
                else:
                    self.wrong.append(said)

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.ending = True
        for thread in self.threads:
            thread.join()


class KillTest(unittest.TestCase):
    def setUp(self):
        self.service = Service("--slots", "4", "--preload", "", "--deadline-ms", "5000")
        self.addCleanup(self.service.stop)

    def pid_of(self, role):
        roles = eventually(self.service.roles_whole, RECOVERY_S, "the service is whole")
        if role != "worker":
            return roles[role]
        workers = [process.pid for process in self.service.processes() if process.pid not in roles.values() and process.pid != self.service.pid]
        return random.choice(workers) if workers else None

    @limit(600)
    def test_it_survives_kills_at_any_moment(self):
        slow, by_role = [], {}
        with Load(self.service) as load:
            for number in range(KILLS):
                role = random.choice(ROLES)
                pid = self.pid_of(role)
                time.sleep(random.random() * 0.05)  # the moment is what is being varied
                try:
                    os.kill(pid, signal.SIGKILL) if pid else None
                except ProcessLookupError:
                    continue
                killed, right = time.monotonic(), load.right
                eventually(lambda right=right: load.right > right + CLIENTS, RECOVERY_S, f"answers after kill {number}")
                slow.append(time.monotonic() - killed)
                by_role.setdefault(role, []).append(slow[-1])
        slow.sort()
        print(f"{KILLS} kills: {load.right} runs right, {load.refused} refused, {load.closed} connections closed, {len(load.wrong)} wrong; "
              f"serving again after {slow[len(slow) // 2]:.2f} s, at most {slow[-1]:.2f} s; most by role "
              + ", ".join(f"{role} {max(times):.2f} s" for role, times in sorted(by_role.items())))
        self.assertEqual(load.wrong, [])
        self.assertGreater(load.right, KILLS)
        # Nothing is left of what was killed.
        roles = eventually(self.service.roles_whole, RECOVERY_S, "the service is whole")
        eventually(lambda: sum(process.name in ("vivary-front", "vivary-keeper") for process in self.service.processes()) <= 2 + 4 + SPARE, RECOVERY_S,
                   "one front, one keeper and its inits")
        self.assertEqual(len(self.service.cgroups()), len(set(self.service.cgroups())))
        self.assertTrue(all(roles.values()))

    def stop_and_go(self, role):
        pid = self.pid_of(role)
        with Load(self.service) as load:
            eventually(lambda: load.right > CLIENTS, RECOVERY_S, "it is loaded")
            os.kill(pid, signal.SIGSTOP)
            try:
                time.sleep(STOP_S)  # what is being tested is this time itself
            finally:
                os.kill(pid, signal.SIGCONT)
            right = load.right
            eventually(lambda: load.right > right + 20, RECOVERY_S, f"answers after the {role} goes on")
        self.assertEqual(load.wrong, [])

    def test_a_front_that_stood_still_goes_on(self):
        self.stop_and_go("front")

    def test_a_keeper_that_stood_still_goes_on(self):
        self.stop_and_go("keeper")

    def test_a_zygote_that_stood_still_goes_on(self):
        self.stop_and_go("zygote")

    def test_a_worker_that_stands_still_costs_one_run(self):
        with Load(self.service) as load:
            eventually(lambda: load.right > CLIENTS, RECOVERY_S, "it is loaded")
            status, answer = self.service.execute("import os, signal\ndef main():\n    os.kill(os.getpid(), signal.SIGSTOP)\n    return {}")
            self.assertEqual((status, answer), (400, SANDBOX_FAILED))
        self.assertEqual(load.wrong, [])
        self.assertEqual(load.refused, 0)
