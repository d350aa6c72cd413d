"""The Debian package: built twice in different folders it is the same to the byte, has nothing that lintian calls an error, and man pages and configuration name
each option. `meson install` is reproducible as well."""

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, os.path.join(ROOT, "tests", "http"))

from service import BINARY, environment  # noqa: E402

BUILD_S = 200
NOT_SETTINGS = {"config", "help"}


def missing(*tools):
    return ", ".join(tool for tool in tools if not shutil.which(tool))


def run(command, **options):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=BUILD_S, **options)
    if done.returncode != 0:
        raise AssertionError(f"{' '.join(command)}: {done.returncode}\n" + done.stdout[-3000:])
    return done.stdout


def unmet():
    """Why the package can't be built here; empty: it can."""
    lacks = missing("git", "dpkg-buildpackage", "dpkg-checkbuilddeps", "dh", "tar")
    if lacks:
        return f"{lacks}: not installed"
    checked = subprocess.run(["dpkg-checkbuilddeps"], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    return checked.stdout.strip() if checked.returncode != 0 else ""


def take(folder):
    """The last commit's files."""
    os.makedirs(folder)
    archive = subprocess.run(["git", "-c", f"safe.directory={ROOT}", "archive", "HEAD"], cwd=ROOT, stdout=subprocess.PIPE, check=True, timeout=BUILD_S)
    subprocess.run(["tar", "x", "-C", folder], input=archive.stdout, check=True, timeout=BUILD_S)


def digests(folder):
    """By the path of each file under it: mode, and what it holds or points to."""
    found = {}
    for at, folders, files in os.walk(folder):
        for name in files + [name for name in folders if os.path.islink(os.path.join(at, name))]:
            path = os.path.join(at, name)
            if os.path.islink(path):
                held = "-> " + os.readlink(path)
            else:
                with open(path, "rb") as file:
                    held = hashlib.sha256(file.read()).hexdigest()
            found[os.path.relpath(path, folder)] = (oct(os.lstat(path).st_mode), held)
    return found


class Folders(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.top = tempfile.mkdtemp(prefix="vivary-package-")
        cls.addClassCleanup(shutil.rmtree, cls.top, ignore_errors=True)
        os.chmod(cls.top, 0o755)


class PackageTest(Folders):
    limit_s = 600

    @classmethod
    def setUpClass(cls):
        why = unmet()
        if why:
            raise unittest.SkipTest(why)
        super().setUpClass()
        cls.made = []
        for name in ("one", "another-folder"):
            source = os.path.join(cls.top, name, "vivary")
            take(source)
            run(["dpkg-buildpackage", "-us", "-uc", "-b"], cwd=source)
            cls.made.append(os.path.join(cls.top, name))

    def packages(self, folder):
        return {name: held for name, held in digests(folder).items() if re.fullmatch(r"[^/]+\.deb", name)}

    def test_two_folders_make_the_same_packages(self):
        first, second = (self.packages(folder) for folder in self.made)
        self.assertTrue(any(name.startswith("vivary_") for name in first), first)
        self.assertEqual(first, second)

    def test_lintian_finds_no_error(self):
        if missing("lintian"):
            self.skipTest("lintian isn't installed")
        changes = [name for name in os.listdir(self.made[0]) if name.endswith(".changes")]
        said = run(["lintian", "--allow-root", "--fail-on", "error", *changes], cwd=self.made[0])
        self.assertNotRegex(said, r"(?m)^E: ")

    def test_the_units_and_the_service_are_in_it(self):
        (name,) = (name for name in self.packages(self.made[0]) if name.startswith("vivary_"))
        held = run(["dpkg-deb", "--contents", os.path.join(self.made[0], name)])
        for path in ("usr/bin/vivary", "lib/systemd/system/vivary.service", "lib/systemd/system/vivary.socket", "etc/vivary.conf", "usr/share/man/man1/vivary.1.gz"):
            self.assertRegex(held, rf"(?m) \./(usr/)?{re.escape(path)}$")


class InstallTest(Folders):
    limit_s = 600

    def test_two_folders_install_the_same_files(self):
        lacks = missing("git", "meson", "ninja", "tar")
        if lacks:
            self.skipTest(f"{lacks}: not installed")
        installed = []
        for name in ("one", "another-folder"):
            source, target = (os.path.join(self.top, name, part) for part in ("vivary", "root"))
            take(source)
            run(["meson", "setup", "build", "--prefix=/usr", "--buildtype=release"], cwd=source)
            run(["ninja", "-C", "build"], cwd=source)
            run(["meson", "install", "-C", "build", "--no-rebuild"], cwd=source, env={**os.environ, "DESTDIR": target})
            installed.append(digests(target))
        self.assertIn("usr/bin/vivary", installed[0])
        self.assertEqual(installed[0], installed[1])


class OptionsTest(unittest.TestCase):
    def test_man_pages_and_configuration_name_each_option(self):
        said = subprocess.run([BINARY, "serve", "--help"], stdout=subprocess.PIPE, text=True, check=True, timeout=30, env=environment()).stdout
        options = set(re.findall(r"(?m)^  --([a-z-]+)", said))
        self.assertIn("deadline-ms", options)
        texts = {}
        for path in ("packaging/man/vivary.1", "packaging/man/vivary.conf.5", "debian/vivary.conf"):
            with open(os.path.join(ROOT, path), encoding="utf-8") as file:
                texts[path] = file.read()
        self.assertEqual(options, set(re.findall(r"(?m)^\.It Fl Fl ([a-z-]+) ?(?:Ar .*|, Fl h)?$", texts["packaging/man/vivary.1"].split(".Sh OPTIONS")[1])))
        settings = options - NOT_SETTINGS
        self.assertEqual(settings, set(re.findall(r"(?m)^\.It Cm ([a-z-]+) No =", texts["packaging/man/vivary.conf.5"])))
        self.assertEqual(settings, set(re.findall(r"(?m)^#([a-z-]+) =", texts["debian/vivary.conf"])))


if __name__ == "__main__":
    unittest.main()
