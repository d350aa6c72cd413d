"""Three instances behind HAProxy: nothing fails when each is drained in turn, only what is in flight fails when one is killed, and three carry what one does."""

import json
import shutil
import statistics
import sys
import time
import unittest

from fleet import HAPROXY, Balancer, Instance, Load, eventually, wrk_rate

SLOTS = 4
CLIENTS = 24
OPTIONS = ("--preload", "", "--slots", str(SLOTS), "--queue-max", "64", "--drain-ms", "1500")
ROUNDS = 5
ROUND_S = 4
TRIVIAL = 'def main():\n    return {"ok": 1}\n'


def say(text):
    print("    " + text, file=sys.stderr, flush=True)


@unittest.skipUnless(HAPROXY, "haproxy isn't installed")
class FleetTest(unittest.TestCase):
    limit_s = 300

    @classmethod
    def setUpClass(cls):
        cls.instances = []
        for _ in range(3):
            cls.instances.append(Instance(*OPTIONS))
            cls.addClassCleanup(cls.instances[-1].stop)

    def balancer(self, count=3):
        made = Balancer([instance.port for instance in self.instances[:count]])
        self.addCleanup(made.stop)
        return made

    def told(self, load, balancer):
        """For a message: what failed, and what HAProxy says of it."""
        lines = balancer.lines()
        return "\n".join(f"{failure} {lines.get(failure[0])}" for failure in load.failures[:20])

    def test_a_drain_of_each_in_turn_fails_no_request(self):
        balancer = self.balancer()
        with Load(balancer.port, CLIENTS) as load:
            eventually(lambda: load.right > 50, 30, "runs are answered")
            for instance in self.instances:
                took = instance.drain()
                instance.start()
                eventually(lambda here=instance: here.runs() > 20, 60, "the new one has its share")
                say(f"drained in {took:.2f} s; {load.right} runs answered rightly, {len(load.failures)} failed")
        self.assertEqual(len(load.failures), 0, f"of {load.right + len(load.failures)}:\n" + self.told(load, balancer))

    def test_a_restart_of_each_that_was_taken_out_first_fails_no_request(self):
        """As docs/deployment.md says, by HAProxy's socket."""
        balancer = self.balancer()
        with Load(balancer.port, CLIENTS) as load:
            eventually(lambda: load.right > 50, 30, "runs are answered")
            for number, instance in enumerate(self.instances, 1):
                balancer.command(f"set server vivary/host{number} state drain")
                eventually(lambda name=f"host{number}": balancer.sessions(name) == 0, 60, "it has no sessions any more")
                instance.drain()
                instance.start()
                balancer.command(f"set server vivary/host{number} state ready")
                eventually(lambda here=instance: here.runs() > 20, 60, "the new one has its share")
            say(f"taken out and restarted one by one: {load.right} runs answered rightly, {len(load.failures)} failed")
        self.assertEqual(len(load.failures), 0, f"of {load.right + len(load.failures)}:\n" + self.told(load, balancer))

    def test_at_a_kill_only_what_is_in_flight_fails_and_says_so(self):
        balancer = self.balancer()
        victim = self.instances[1]
        with Load(balancer.port, CLIENTS) as load:
            eventually(lambda: load.right > 100 and victim.runs() > 20, 60, "runs are answered")
            before = len(load.failures)
            victim.kill()
            with load.lock:
                waiting = set(load.waiting) | {failure[0] for failure in load.failures[before:]}
            answered = load.right
            eventually(lambda: load.right > answered + 100, 60, "the others go on")
            victim.start()
            eventually(lambda: victim.runs() > 20, 60, "the new one has its share")
        time.sleep(0.1)  # HAProxy's last lines
        lines = balancer.lines()
        say(f"killed with {len(waiting)} runs in flight in the fleet: {len(load.failures)} failed, {load.right} answered rightly")
        self.assertEqual(before, 0, self.told(load, balancer))
        self.assertGreater(len(load.failures), 0, "nothing was in flight: the test shows nothing")
        self.assertLessEqual(len(load.failures), CLIENTS)
        for name, status, kind, body in load.failures:
            self.assertIn(name, waiting, f"{name} was sent after the kill")
            self.assertEqual((status, kind), (502, "application/json"), body)
            self.assertIn("The host that ran the script was lost", json.loads(body)["error"])
            self.assertEqual(lines[name][0], "host2", lines[name])
            self.assertEqual(lines[name][3], "0", "it was begun, and must not have been sent again")

    @unittest.skipUnless(shutil.which("wrk"), "wrk isn't installed")
    def test_three_carry_what_one_does(self):
        one, three = self.balancer(1), self.balancer(3)
        rates = {1: [], 3: []}
        for number in range(ROUNDS + 1):
            for count, balancer in ((1, one), (3, three)) if number % 2 else ((3, three), (1, one)):
                rate = wrk_rate(balancer.port, ROUND_S, 12, TRIVIAL)
                if number > 0:  # the first warms up
                    rates[count].append(rate)
        ratio = statistics.median(three / one for one, three in zip(rates[1], rates[3]))
        for count, found in rates.items():
            say(f"{count} instance(s): {statistics.median(found):.0f} runs/s ({min(found):.0f}..{max(found):.0f})")
        say(f"three over one: {ratio:.2f}")
        self.assertGreaterEqual(ratio, 0.9)


if __name__ == "__main__":
    unittest.main()
