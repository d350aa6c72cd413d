"""Each layer of a cell by itself: what it alone does is there in the build that is tested, and is gone in one that leaves it out."""

import json
import os
import subprocess
import sys
import tempfile
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
BINARY = os.environ["VIVARY_BINARY"]
ABLATION = os.path.join(ROOT, "build-ablation", "vivary")
LAYER_S = 120

# The attack that nothing but this layer stops.
ALONE = {
    "groups": "memory_past_limit", "net": "host_net_namespace", "ipc": "host_ipc_namespace", "uts": "host_uts_namespace",
    "cgroup": "host_cgroup_namespace", "proc": "other_processes", "nosuid": "devices_and_bits_count", "descriptors": "inherited_descriptors",
    "rlimits": "limits_missing", "credentials": "uid_of_service", "user": "host_uid", "capabilities": "capabilities_left", "landlock": "own_settings",
    "seccomp": "no_filter",
}


def outcomes(binary, attacks, without=""):
    """Of each attack; None when no cell starts."""
    environment = {key: value for key, value in os.environ.items() if key != "WITHOUT_LAYER"}
    if without:
        environment["WITHOUT_LAYER"] = without
    with tempfile.NamedTemporaryFile("r", suffix=".json") as file:
        command = [sys.executable, "-B", os.path.join(ROOT, "python/attacks/__main__.py"), "--vivary", binary, "--json", file.name]
        done = subprocess.run(command + [word for attack in attacks for word in ("--only", attack)], env=environment, stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, timeout=LAYER_S)
        text = file.read()
    if not text:
        assert "doesn't start" in done.stderr, done.stderr
        return None
    return {record["attack"]: record["outcome"] for record in json.loads(text)}


class LayerTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        if not os.access(ABLATION, os.X_OK):
            raise unittest.SkipTest("there is no build-ablation: ./dev test makes it")
        cls.whole = outcomes(BINARY, ALONE.values())
        cls.test_build = outcomes(ABLATION, ALONE.values())


def _declare(layer, attack):
    def test(self):
        self.assertEqual(self.whole[attack], "stopped")
        self.assertEqual(self.test_build[attack], "stopped", "the test build differs by more than the layer")
        self.assertEqual(outcomes(ABLATION, [attack], layer), {attack: "GOT THROUGH"})

    test.limit_s = LAYER_S
    setattr(LayerTest, f"test_{layer}_is_missed", test)


for _layer, _attack in ALONE.items():
    _declare(_layer, _attack)


class OtherLayersTest(unittest.TestCase):
    def setUp(self):
        if not os.access(ABLATION, os.X_OK):
            self.skipTest("there is no build-ablation: ./dev test makes it")

    def test_without_no_new_privs_no_cell_starts(self):
        # The kernel takes Landlock and the filter from an unprivileged process only with it, and a layer that can't be put on ends the worker.
        self.assertIsNone(outcomes(ABLATION, ["new_privileges"], "no_new_privs"))

    def test_an_unknown_layer_is_refused(self):
        self.assertIsNone(outcomes(ABLATION, ["shadow"], "no_such_layer"))


class ReleaseTest(unittest.TestCase):
    def test_the_release_has_no_switch(self):
        for name in ("vivary", "vivary-keeper", "vivary-front", "python/_vivary.abi3.so"):
            with open(os.path.join(os.path.dirname(BINARY), name), "rb") as file:
                self.assertNotIn(b"WITHOUT_LAYER", file.read(), name)

    def test_the_release_leaves_nothing_out(self):
        self.assertEqual(outcomes(BINARY, ["no_filter"], "seccomp"), {"no_filter": "stopped"})
