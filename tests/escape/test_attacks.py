"""The whole suite of attacks against this build, as `vivary doctor --attack` runs it."""

import json
import os
import subprocess
import tempfile
import unittest

from service import limit

BINARY = os.environ["VIVARY_BINARY"]


def doctor(*arguments):
    return subprocess.run([BINARY, "doctor", "--attack", *arguments], stdin=subprocess.DEVNULL, capture_output=True, text=True)


class AttackTest(unittest.TestCase):
    @limit(300)
    def test_no_attack_gets_through(self):
        with tempfile.NamedTemporaryFile("r", suffix=".json") as file:
            done = doctor("--json", file.name)
            self.assertEqual(done.returncode, 0, done.stdout[-3000:] + done.stderr[-3000:])
            records = json.load(file)
        self.assertGreater(len(records), 300)
        self.assertEqual([record for record in records if record["outcome"] not in ("stopped", "not applicable")], [])
        # Each is a judgement of its own: they were really run, not skipped in a mass.
        self.assertLess(sum(record["outcome"] == "not applicable" for record in records), 20)
        print(done.stdout.splitlines()[-1])

    def test_a_named_attack_is_run_alone(self):
        done = doctor("--only", "shadow")
        self.assertEqual((done.returncode, done.stdout.splitlines()[-1]),
                         (0, "1 attacks: 1 stopped, 0 got through, 0 controls failed, 0 not applicable"), done.stderr)

    def test_controls_succeed_where_tmp_is_not_a_run_s_own(self):
        # At level contained on a host, /tmp is everybody's, and a run has TMPDIR.
        done = doctor("--level", "contained", "--only", "host_secret_file", "--only", "cve_2024_21626_runc_cwd", "--only", "abstract_of_host")
        if "level contained needs" in done.stdout + done.stderr:
            self.skipTest("level contained isn't to be had here")
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr[-3000:])

    def test_an_unknown_attack_is_refused(self):
        done = doctor("--only", "no_such_attack")
        self.assertEqual(done.returncode, 2)
        self.assertIn("no such attack", done.stderr)

    def test_a_dead_sandbox_does_not_look_safe(self):
        # No child can be started in it, so "no child was left" would say nothing.
        done = doctor("--only", "new_session", "--processes", "1")
        self.assertEqual(done.returncode, 1, done.stdout)
        self.assertIn("CONTROL FAILED", done.stdout)
