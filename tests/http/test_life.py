"""How the service lives: it survives its own deaths, stops cleanly, and doesn't grow."""

import http.client
import json
import os
import signal
import socket
import tempfile
import threading
import time
import unittest

from service import BINARY, OK, SPARE, Case, Service, descendants, eventually, is_alive, level, limit, only_with_children, post, script_body

RECOVERY_S = 30
RUNS, WARMING, CLIENTS = int(os.environ.get("VIVARY_TEST_RUNS", "2000")), 200, 8  # the variable is for a soak
RSS_GROWTH_MAX = 4 << 20


class InheritedTest(Case):
    def test_what_the_service_was_started_with_is_not_the_scripts(self):
        # A shell's `&` ignores SIGINT, and ignored signals and the umask stay over exec(2).
        ignored, mask = signal.signal(signal.SIGINT, signal.SIG_IGN), os.umask(0o077)
        try:
            service = Service("--slots", "1", variables={"SECRET": "1"})
        finally:
            signal.signal(signal.SIGINT, ignored)
            os.umask(mask)
        self.addCleanup(service.stop)
        status, answer = service.execute("""
import os, signal
def main():
    mask = os.umask(0)
    try:
        signal.raise_signal(signal.SIGINT)
    except KeyboardInterrupt:
        return {"interrupted": True, "mask": mask, "secret": os.environ.get("SECRET"), "nice": os.nice(0)}
    return {"interrupted": False}
""")
        self.assertEqual((status, answer["result"]), (200, {"interrupted": True, "mask": 0o022 if level() == "full" else 0o077, "secret": None, "nice": 0}))


class DeathTest(Case):
    def setUp(self):
        # Not the class's: each test begins with processes that nobody has killed.
        self.life = Service("--slots", "4")
        self.addCleanup(self.life.stop)

    def assert_recovers_from_death_of(self, role):
        before = eventually(self.life.roles_whole, RECOVERY_S, "front, keeper and zygote are there")
        self.assertTrue(self.life.answers())
        os.kill(before[role], signal.SIGKILL)
        eventually(lambda: self.life.roles().get(role) != before[role], RECOVERY_S, f"the killed {role} is gone")
        eventually(self.life.answers, RECOVERY_S, f"a run after the {role} was killed")
        after = eventually(self.life.roles_whole, RECOVERY_S, "front, keeper and zygote are there")
        self.assertNotEqual(after[role], before[role])
        self.assertIsNone(self.life.process.poll())
        # And it's not just that one answer.
        for _ in range(8):
            self.assertTrue(self.life.answers())
        self.assertEqual(self.life.execute("import numpy as np\ndef main():\n    return {'n': int(np.arange(4).sum())}")[1]["result"], {"n": 6})

    def test_it_survives_the_death_of_the_front(self):
        self.assert_recovers_from_death_of("front")

    def test_it_survives_the_death_of_the_keeper(self):
        self.assert_recovers_from_death_of("keeper")

    def test_it_survives_the_death_of_the_zygote(self):
        self.assert_recovers_from_death_of("zygote")

    @only_with_children
    def test_a_run_whose_zygote_dies_is_answered(self):
        zygote = eventually(self.life.roles_whole, RECOVERY_S, "its processes are there")["zygote"]
        mark = {process.pid for process in self.life.processes()}
        with self.life.wire() as wire:
            # Its child tells from outside that the run is on.
            wire.send(post(script_body("import subprocess\ndef main():\n    subprocess.run(['sleep', '9'])\n    return {}")))
            eventually(lambda: [p for p in self.life.processes() if p.name == "sleep" and p.pid not in mark], RECOVERY_S, "the run is on")
            os.kill(zygote, signal.SIGKILL)
            status, _, body = wire.answer()
        self.assertEqual((status, json.loads(body)), (400, {"error": "Sandbox failed to run script"}))
        eventually(self.life.answers, RECOVERY_S, "a run after the zygote was killed")


class RenewalTest(Case):
    def test_a_warm_interpreter_is_renewed_and_no_run_notices(self):
        script = "def main():\n    return {'seed': hash('x')}"
        with Service("--preload", "", "--slots", "4", "--renew-runs", "20") as service:
            seeds = []

            def three_seeds():
                for status, answer in service.execute_all([script] * 3):
                    self.assertEqual(status, 200, answer)
                    seeds.append(answer["result"]["seed"])
                return len(set(seeds)) >= 3

            eventually(three_seeds, 40, "two renewals")  # each interpreter has a seed of its own
            self.assertIn("zygote_renewed", service.said())
            # The old one goes with the last of its workers.
            eventually(lambda: three_seeds() and len([process for process in service.processes() if process.name not in ("vivary", "vivary-front", "vivary-keeper")
                                                      and process.parent == service.roles()["keeper"]]) <= 2, 20, "at most two at once")


@unittest.skipUnless(os.path.exists("/sys/fs/cgroup/cgroup.subtree_control"), "the cgroups here are version 1")
class DelegatedTest(Case):
    """As by systemd with Delegate=: a group whose one process the service is. Its limits are for all that the service starts."""

    def setUp(self):
        self.group = f"/sys/fs/cgroup/vivary-test-{os.getpid()}"
        os.mkdir(self.group)
        self.addCleanup(os.rmdir, self.group)

    def test_slots_are_in_the_group_that_was_delegated(self):
        with tempfile.NamedTemporaryFile("w", suffix=".sh", delete=False) as start:
            start.write(f'#!/bin/sh\necho $$ > {self.group}/cgroup.procs\nexec {BINARY} "$@"\n')
            os.fchmod(start.fileno(), 0o755)
        self.addCleanup(os.unlink, start.name)
        with Service("--preload", "", "--slots", "2", binary=start.name) as service:
            self.assertTrue(service.answers())
            self.assertTrue(all(group.startswith(self.group + "/") for group in service.cgroups()), service.cgroups())
            with open(f"{self.group}/cgroup.procs") as file:
                self.assertEqual(file.read(), "")
            with open(f"{self.group}/memory.peak") as file:
                before = int(file.read())
            self.assertEqual(service.execute("def main():\n    return {'n': len(bytearray(100 << 20))}")[0], 200)
            with open(f"{self.group}/memory.peak") as file:
                self.assertGreater(int(file.read()), before + (50 << 20))
        self.assertEqual([entry for entry in os.listdir(self.group) if os.path.isdir(f"{self.group}/{entry}")],
                         ["vivary-main"])
        os.rmdir(f"{self.group}/vivary-main")


class StopTest(Case):
    def stop_and_look(self, number):
        service = Service("--preload", "", "--slots", "4")
        try:
            self.assertTrue(service.answers())
            everyone = service.processes()
            self.assertGreaterEqual(len(everyone), 4)
            groups = service.cgroups()
            if "cgroup v" in service.start_line:
                self.assertTrue(groups)
        except BaseException:
            service.kill()
            raise
        service.stop(number)
        eventually(lambda: not any(map(is_alive, everyone)), 5, "all its processes are gone")
        self.assertEqual([group for group in groups if os.path.exists(group)], [])
        with self.assertRaises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", service.port), timeout=5).close()

    def test_sigint_stops_it_cleanly(self):
        self.stop_and_look(signal.SIGINT)

    def test_sigterm_stops_it_cleanly(self):
        self.stop_and_look(signal.SIGTERM)

    @only_with_children
    def test_it_stops_while_a_script_runs(self):
        service = Service("--preload", "", "--slots", "2", "--deadline-ms", "3000")
        try:
            with service.wire() as wire:
                wire.send(post(script_body("import subprocess\ndef main():\n    subprocess.run(['sleep', '60'])\n    return {}")))
                eventually(lambda: any(process.name == "sleep" for process in service.processes()), 10, "the run is on")
                everyone = service.processes()
                service.stop(signal.SIGINT)
        finally:
            service.kill()
        eventually(lambda: not any(map(is_alive, everyone)), 5, "all its processes are gone")

    def test_while_it_drains_connections_are_taken_and_told(self):
        service = Service("--preload", "", "--slots", "2", "--drain-ms", "2000")
        try:
            self.assertTrue(service.answers())
            with service.wire() as wire:
                wire.send(post(script_body("import time\ndef main():\n    time.sleep(1)\n    return {'ended': True}")))
                eventually(lambda: service.metrics()['vivary_workers{state="running"}'] == 1, 10, "the run is on")
                os.kill(service.pid, signal.SIGTERM)
                eventually(lambda: service.request("GET", "/readyz")[0] == 503, 1.5, "/readyz tells")
                self.assertEqual(service.request("GET", "/healthz")[0], 200)
                status, headers, body = service.request("POST", "/execute", script_body("def main():\n    return {}"))
                self.assertEqual((status, json.loads(body)), (503, {"error": "Service is stopping"}))
                self.assertEqual(headers["Connection"], "close")
                status, headers, body = service.request("POST", "/v1/run", script_body("def main():\n    return {}"))
                self.assertEqual((status, json.loads(body)["code"], headers["Connection"]), (503, "draining", "close"))
                self.assertEqual(json.loads(wire.answer()[2]), {"result": {"ended": True}, "stdout": ""})
            self.assertEqual(service.process.wait(10), 0)
            with self.assertRaises(ConnectionRefusedError):
                socket.create_connection(("127.0.0.1", service.port), timeout=5).close()
        finally:
            service.kill()

    def test_who_is_connected_when_it_stops_is_answered(self):
        service = Service("--preload", "", "--slots", "2", "--drain-ms", "500")
        try:
            self.assertTrue(service.answers())
            with service.wire() as silent, service.wire() as halfway:
                data = post(script_body(OK))
                halfway.send(data[:-5])
                eventually(lambda: service.metrics()["vivary_connections"] == 3, 5, "both are taken")
                os.kill(service.pid, signal.SIGTERM)
                eventually(lambda: service.request("GET", "/readyz")[0] == 503, 1, "it is about to stop")
                halfway.send(data[-5:])
                silent.send(data)
                for wire in (halfway, silent):
                    status, headers, body = wire.answer()
                    self.assertEqual((status, json.loads(body), headers["connection"]), (200, {"result": {"ok": True}, "stdout": ""}, "close"))
            self.assertEqual(service.process.wait(10), 0)
        finally:
            service.kill()

    def test_it_waits_only_a_moment_for_who_says_nothing(self):
        service = Service("--preload", "", "--slots", "2")
        try:
            self.assertTrue(service.answers())
            with service.wire() as silent:
                eventually(lambda: service.metrics()["vivary_connections"] == 2, 5, "it is taken")
                os.kill(service.pid, signal.SIGTERM)
                self.assertEqual(silent.rest(), b"")
                self.assertEqual(service.process.wait(5), 0)
        finally:
            service.kill()

    def test_it_starts_again_on_the_same_port(self):
        with Service("--preload", "") as service:
            self.assertTrue(service.answers())
            port = service.port
        with Service("--preload", "", listen=(f"127.0.0.1:{port}",)) as service:
            self.assertEqual(service.port, port)
            self.assertTrue(service.answers())

    def test_nothing_outlives_its_violent_death(self):
        service = Service("--preload", "", "--slots", "4")
        groups = []
        try:
            self.assertTrue(service.answers())
            everyone, groups = service.processes(), service.cgroups()
            os.kill(service.pid, signal.SIGKILL)
            service.process.wait(10)
            eventually(lambda: not any(map(is_alive, everyone)), 10, f"all its processes are gone: {everyone}")
            with Service("--preload", "", listen=(f"127.0.0.1:{service.port}",)) as again:
                self.assertTrue(again.answers())
        finally:
            service.kill()
            for group in sorted(groups, reverse=True):  # nobody was left to do it
                if os.path.isdir(group):
                    os.rmdir(group)

    def test_cgroups_that_nobody_was_left_to_remove_go_at_the_next_start(self):
        service, neighbour = Service("--preload", "", "--slots", "2"), Service("--preload", "", "--slots", "2")
        self.addCleanup(neighbour.stop)
        try:
            roles = eventually(service.roles_whole, RECOVERY_S, "the service is whole")
            everyone, groups = service.processes(), service.cgroups()
            if not groups:
                self.skipTest("there are no cgroups here")
            for pid in (service.pid, roles["keeper"]):
                os.kill(pid, signal.SIGKILL)
            service.process.wait(10)
            eventually(lambda: not any(map(is_alive, everyone)), 10, "all its processes are gone")
            self.assertTrue(any(map(os.path.exists, groups)))
        finally:
            service.kill()
        of_neighbour = neighbour.cgroups()
        with Service("--preload", "") as third:
            self.assertTrue(third.answers())
            self.assertEqual([group for group in groups if os.path.exists(group)], [])
        self.assertEqual([group for group in of_neighbour if not os.path.exists(group)], [])
        self.assertTrue(neighbour.answers())

    def test_a_taken_port_is_told(self):
        with Service("--preload", "") as service:
            with self.assertRaises(AssertionError) as raised:
                Service("--preload", "", listen=(f"127.0.0.1:{service.port}",)).kill()  # it must not come that far
            self.assertIn("ended with 1", str(raised.exception))
            self.assertIn("in use", str(raised.exception))
            self.assertTrue(service.answers())


def rss(pid):
    with open(f"/proc/{pid}/status") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith("VmRSS:"))


def lines(path):
    with open(path) as file:
        return sum(1 for _ in file)


class Measure:
    """What could grow, of each of the three processes and of all together."""

    def __init__(self, service):
        self.roles = eventually(service.roles_whole, RECOVERY_S, "its processes are there")
        self.descriptors = {role: len(os.listdir(f"/proc/{pid}/fd")) for role, pid in self.roles.items()}
        self.threads = {role: len(os.listdir(f"/proc/{pid}/task")) for role, pid in self.roles.items()}
        self.mounts = {role: lines(f"/proc/{pid}/mountinfo") for role, pid in self.roles.items()}
        self.rss = {role: rss(pid) for role, pid in self.roles.items()}
        self.supervisor = len(os.listdir(f"/proc/{service.pid}/fd")), rss(service.pid)
        everyone = descendants(service.pid)
        self.processes = len(everyone)
        self.zombies = [process for process in everyone if process.state == "Z"]
        self.cgroups = service.cgroups()
        self.mounts_here = lines("/proc/self/mountinfo")

    def __str__(self):
        return str(self.__dict__)


class GrowthTest(Case):
    KINDS = (
        ("def main():\n    print('x' * 100)\n    return {'n': NUMBER}", lambda n: (200, {"result": {"n": n}, "stdout": "x" * 100 + "\n"})),
        ("def main():\n    raise ValueError(NUMBER)", lambda n: (400, {"error": f"Script execution failed: ValueError: {n}"})),
        ("import os\ndef main():\n    os.kill(os.getpid(), 9)  # NUMBER", lambda n: (400, {"error": "Sandbox failed to run script"})),
        ("import os\ndef main():\n    os._exit(NUMBER % 200)", lambda n: (400, {"error": "Sandbox failed to run script"})),
        ("def main():\n    print('x' * 2000)\n    return {'n': NUMBER}", lambda n: (200, {"result": {"n": n}, "stdout": "x" * 1000, "stdout_truncated": True})),
        ("import os\ndef main():\n    open('/tmp/x', 'w').write('x' * 5000)\n    os.fork() or os.setsid() or os.read(os.pipe()[0], 1)\n    return {'n': NUMBER}",
         lambda n: (200, {"result": {"n": n}, "stdout": ""})),
        ("def foo(): pass  # NUMBER", lambda n: (400, {"error": "Script must define a function main()"})),
        ("import numpy as np\ndef main():\n    return {'n': int(np.full(10, NUMBER).max())}", lambda n: (200, {"result": {"n": n}, "stdout": ""})),
    )

    # Slow ones, now and then.
    RARE = (
        ("def main():\n    kept = []\n    while True:\n        kept.append(bytearray(1 << 24))  # NUMBER",
         lambda n: (400, {"error": "Script execution failed: MemoryError: "})),
        ("import os\ndef main():\n    try:\n        while os.fork():\n            pass\n    except OSError:\n        return {'n': NUMBER}\n    os.read(os.pipe()[0], 1)",
         lambda n: (200, {"result": {"n": n}, "stdout": ""})),
    )

    def run_many(self, service, count):
        wrong, turn, lock = [], iter(range(count)), threading.Lock()

        def client():
            connection = service.connection()
            try:
                while True:
                    with lock:
                        number = next(turn, None)
                    if number is None or len(wrong) > 10:
                        return
                    script, wanted = self.RARE[number % 2] if number % 40 < 2 else self.KINDS[number % len(self.KINDS)]
                    try:
                        connection.request("POST", "/execute", script_body(script.replace("NUMBER", str(number))))
                        answer = connection.getresponse()
                        got = answer.status, json.loads(answer.read())
                    except (OSError, http.client.HTTPException, ValueError) as error:
                        got = error
                        connection.close()
                    if got != wanted(number):
                        wrong.append((script, got))
            finally:
                connection.close()

        threads = [threading.Thread(target=client) for _ in range(CLIENTS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(wrong, [])

    def measure_at_rest(self, service, processes):
        """Once the cells of the last runs are gone and the next ones stand, and a zygote that was renewed is gone."""
        eventually(service.roles_whole, 60, "one zygote is left")
        last, seen = [], []

        def at_rest():
            last[:] = [descendants(service.pid)]
            good = len(last[0]) == processes and not any(process.state == "Z" for process in last[0])
            # So many may be there by chance for a moment: the same ones must be, again and again.
            seen.append({process.pid for process in last[0]} if good else None)
            return len(seen) >= 10 and good and all(pids == seen[-1] for pids in seen[-10:])

        try:
            eventually(at_rest, 20, f"{processes} processes and no zombie")
        except AssertionError as error:
            raise AssertionError(f"{error}; there are {len(last[0])}: {last[0]}") from None
        return Measure(service)

    @limit(240 + RUNS // 20)
    @only_with_children
    def test_two_thousand_mixed_runs_leave_no_trace(self):
        slots = 8
        service = Service("--slots", str(slots), "--stdout-max", "1000", "--memory-mb", "96", "--processes", "16", "--renew-runs", "0")
        self.addCleanup(service.kill)
        self.assertTrue(service.answers())
        try:
            Measure(service)
        except PermissionError:
            self.skipTest("root may not look into other processes here")
        # vivary, keeper, front, zygote; a cell's init and its worker. Without namespaces, the watcher, and workers alone.
        workers = slots + SPARE
        processes = 4 + 2 * workers if level() == "full" else 5 + workers
        self.run_many(service, WARMING)
        before = self.measure_at_rest(service, processes)
        start = time.monotonic()
        self.run_many(service, RUNS // 2)
        middle = self.measure_at_rest(service, processes)
        self.run_many(service, RUNS - RUNS // 2)
        took = time.monotonic() - start
        after = self.measure_at_rest(service, processes)
        print(f"{RUNS} mixed runs in {took:.1f} s; before, in the middle, after: "
              + "; ".join(f"{role} {' '.join(str(at.rss[role] // 1024) for at in (before, middle, after))} KiB, "
                          f"{' '.join(str(at.descriptors[role]) for at in (before, middle, after))} descriptors" for role in ("front", "keeper", "zygote"))
              + f"; {' '.join(str(at.processes) for at in (before, middle, after))} processes, "
              f"{' '.join(str(len(at.cgroups)) for at in (before, middle, after))} cgroups, "
              f"{' '.join(str(at.mounts_here) for at in (before, middle, after))} mounts on the host")

        self.assertEqual(after.roles, before.roles)
        for role in before.roles:
            with self.subTest(role=role):
                # Connections that are just closing are the front's alone.
                slack = CLIENTS if role == "front" else 0
                self.assertLessEqual(after.descriptors[role], before.descriptors[role] + slack)
                self.assertEqual(after.threads[role], before.threads[role])
                self.assertEqual(after.mounts[role], before.mounts[role])
                self.assertLess(after.rss[role] - before.rss[role], RSS_GROWTH_MAX)
        self.assertEqual(after.supervisor[0], before.supervisor[0])
        self.assertLess(after.supervisor[1] - before.supervisor[1], RSS_GROWTH_MAX)
        self.assertEqual(after.processes, before.processes)
        self.assertEqual(after.zombies, [])
        self.assertEqual(after.cgroups, before.cgroups)
        self.assertEqual(after.mounts_here, before.mounts_here)
        if "cgroup v" in service.start_line:
            self.assertTrue(after.cgroups)
        self.assertEqual(service.execute(OK), (200, {"result": {"ok": True}, "stdout": ""}))
        service.stop()
        self.assertEqual(service.cgroups(), [])


if __name__ == "__main__":
    unittest.main()
