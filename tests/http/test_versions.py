"""Each further CPython on this machine, held to all that needs no package."""

import glob
import os
import re
import unittest

from service import Case
from test_contract import Rows
from test_python import Concurrency

LEAST, MOST = 9, 13


def pythons_find():
    """Paths by version, as (3, 12). Debian's own default is what all other modules run on."""
    root = os.environ.get("PYENV_ROOT") or os.path.expanduser("~/.pyenv")
    default = os.path.realpath("/usr/bin/python3")
    found = {}
    for path in sorted(glob.glob(os.path.join(root, "versions", "3.*", "bin", "python3"))) + sorted(glob.glob("/usr/bin/python3.*")):
        named = re.search(r"/versions/3\.(\d+)\.\d+/bin/python3$|/usr/bin/python3\.(\d+)$", path)
        if named is None or os.path.realpath(path) == default:
            continue
        minor = int(named[1] or named[2])
        if LEAST <= minor <= MOST and minor != default_minor(default):
            found[minor] = path
    return found


def default_minor(path):
    named = re.search(r"python3\.(\d+)$", path)
    return int(named[1]) if named else None


class Version(Rows, Concurrency):
    python = None

    @classmethod
    def setUpClass(cls):
        cls.own_start("--python", cls.python, "--preload", "", "--slots", "4", "--deadline-ms", "5000")

    def looping_service(self):
        return self.service

    def addCleanup(self, function, *arguments, **more):
        # The service of the looping row is the class's here, and goes on.
        if function != self.own.stop:
            super().addCleanup(function, *arguments, **more)

    def test_it_is_the_python_that_was_asked_for(self):
        wanted = list(map(int, re.search(r"3\.\d+", self.python)[0].split(".")))
        self.assertEqual(self.result("import sys\ndef main():\n    return {'version': sys.version_info[:2], 'executable': sys.executable}")["version"], wanted)
        self.assertIn(f"Python 3.{wanted[1]}", self.service.start_line)

    def test_numbers_keep_their_digits(self):
        self.assert_answer("def main():\n    return {'a': 2**70, 'b': 0.1, 'c': 1e-7}", 200,
                           '{"result": {"a": 1180591620717411303424, "b": 0.1, "c": 1e-07}, "stdout": ""}')

    def test_randomness_differs_between_runs(self):
        script = "import random, secrets, ssl, uuid\ndef main():\n    return {'r': random.random(), 's': secrets.token_hex(8), 'u': str(uuid.uuid4()), 'l': ssl.RAND_bytes(8).hex()}"
        runs = [self.result(script) for _ in range(10)]
        for name in runs[0]:
            self.assertEqual(len({run[name] for run in runs}), 10, name)

    def test_the_library_is_whole(self):
        self.assertEqual(self.result("""
import bz2, ctypes, decimal, hashlib, lzma, sqlite3, tempfile, zlib
def main():
    with tempfile.TemporaryFile() as file:
        file.write(b"x")
    return {"sum": sqlite3.connect(":memory:").execute("select 1 + 2").fetchone()[0], "c": ctypes.CDLL(None).abs(-3)}
"""), {"sum": 3, "c": 3})

    def test_output_comes_in_order(self):
        self.assertEqual(self.output("import os, subprocess\ndef main():\n    print('a')\n    os.write(1, b'b\\n')\n    subprocess.run(['echo', 'c'])\n    print('d')\n    return {}"),
                         "a\nb\nc\nd\n")

    def test_its_own_prefix_cannot_be_written(self):
        self.assertEqual(self.result("""
import os, sys
def main():
    try:
        open(os.path.join(sys.prefix, "new"), "w")
    except OSError as error:
        return {"errno": error.errno}
"""), {"errno": 13})


def cases_make():
    for minor, path in sorted(pythons_find().items()):
        name = f"Python3_{minor}Test"
        globals()[name] = type(name, (Version, Case), {"python": path, "__module__": __name__})


cases_make()


class FoundTest(unittest.TestCase):
    def test_there_are_further_pythons(self):
        if not pythons_find():
            self.skipTest("no further CPython from 3.9 on in $PYENV_ROOT/versions or /usr/bin")


if __name__ == "__main__":
    unittest.main()
