"""POST /v1/run: files that go in, files that come back, and what a script puts in their place."""

import base64
import hashlib
import os
import time
import unittest

from service import RunCase, shared_start as setUpModule, shared_stop as tearDownModule  # noqa: F401

KEEP = "def main():\n    pass"


class Files(RunCase):
    """How files are checked."""

    def files_of(self, answer):
        """By path. What is told of each must be true."""
        found = {}
        for file in answer["files"]:
            self.assertEqual(list(file), ["path", "type", "size", "sha256", "content", "encoding"])
            self.assertIn(file["encoding"], ("utf8", "base64"))
            data = base64.b64decode(file["content"], validate=True) if file["encoding"] == "base64" else file["content"].encode()
            self.assertEqual((len(data), hashlib.sha256(data).hexdigest()), (file["size"], file["sha256"]))
            self.assertNotIn(file["path"], found)
            found[file["path"]] = data
        return found

    def brought(self, code, **fields):
        answer = self.run_code(code, **fields)
        self.assertEqual((answer["status"], answer["error"]), ("ok", None), answer["stderr"])
        return self.files_of(answer)

    def names(self, code, **fields):
        return sorted(self.brought(code, **fields))


class InTest(Files):
    def test_text_arrives_as_utf8(self):
        text = "a,b\r\n1,ä\n\0🐍"
        self.assertEqual(self.returned("def main():\n    return list(open('in.csv', 'rb').read())", files=[{"path": "in.csv", "content": text}]), list(text.encode()))
        self.assertEqual(self.returned("def main():\n    return open('in.csv').read()", files=[{"path": "in.csv", "content": "ä", "encoding": "utf8"}]), "ä")

    def test_base64_arrives_as_bytes(self):
        for data in (b"", b"a", b"ab", b"abc", bytes(range(256)) * 3):
            with self.subTest(length=len(data)):
                file = {"path": "in.bin", "content": base64.b64encode(data).decode(), "encoding": "base64"}
                self.assertEqual(self.returned("def main():\n    return list(open('in.bin', 'rb').read())", files=[file]), list(data))

    def test_nested_files_have_their_folders(self):
        files = [{"path": "a/b/c.txt", "content": "1"}, {"path": "a/d.txt", "content": "2"}, {"path": "e", "content": "3"}]
        self.assertEqual(self.returned("import os\ndef main():\n    return sorted([at, sorted(d), sorted(f)] for at, d, f in os.walk('.'))", files=files),
                         [[".", ["a"], ["e"]], ["./a", ["b"], ["d.txt"]], ["./a/b", [], ["c.txt"]]])

    def test_odd_names_are_names(self):
        names = ["grün 🐍.txt", " ", "-rf", "a'b\"c", "*", "a\nb", "...", "..a", "\\", ".hidden"]
        files = [{"path": name, "content": name} for name in names]
        self.assertEqual(self.returned("import os\ndef main():\n    return {name: open(name).read() for name in os.listdir()}", files=files), {name: name for name in names})

    def test_modules_can_be_imported(self):
        files = [{"path": "helper.py", "content": "X = 1"}, {"path": "pack/__init__.py", "content": "from . import deep"}, {"path": "pack/deep.py", "content": "Y = 2"},
                 {"path": "plain/mod.py", "content": "import helper\nZ = helper.X + 2"}]
        code = "import helper, pack\nfrom plain import mod\ndef main():\n    from pack.deep import Y\n    return [helper.X, pack.deep.Y, Y, mod.Z]"
        answer = self.run_code(code, files=files)
        self.assertEqual((answer["result"], answer["files"]), ([1, 2, 2, 3], []))

    def test_the_folder_is_the_working_folder_and_is_empty_at_first(self):
        self.assertEqual(self.returned("import os\ndef main():\n    return [os.listdir(), os.access('.', os.W_OK)]"), [[], True])

    def test_files_are_the_scripts_to_change(self):
        found = self.brought("import os\ndef main():\n    open('a', 'a').write('+')\n    os.remove('b')\n    os.rename('c', 'd')\n    os.chmod('a', 0o700)",
                             files=[{"path": name, "content": name} for name in "abc"])
        self.assertEqual(found, {"a": b"a+", "d": b"c"})

    def test_a_megabyte_goes_in_and_out(self):
        data = os.urandom(1 << 20)
        found = self.brought("def main():\n    open('out', 'wb').write(open('in', 'rb').read()[::-1])",
                             files=[{"path": "in", "content": base64.b64encode(data).decode(), "encoding": "base64"}])
        self.assertEqual(found, {"out": data[::-1]})


class FetchTest(Files):
    TREE = [{"path": path, "content": path} for path in ("a.png", "b.txt", "out/c.png", "out/d/e.png", "out/d/f/g.txt", "x/out/h.txt", ".i", "out/.j")]

    def fetched(self, *patterns):
        return self.names(KEEP, files=self.TREE, fetch=list(patterns))

    def test_what_is_new_or_changed_comes_back_by_default(self):
        code = "import os\ndef main():\n    open('new', 'w').write('n')\n    os.mkdir('sub')\n    open('sub/new', 'w').write('s')\n    open('b', 'w').write('changed')\n    open('c').read()"
        self.assertEqual(self.brought(code, files=[{"path": name, "content": name} for name in "abc"]), {"b": b"changed", "new": b"n", "sub/new": b"s"})

    def test_a_change_that_keeps_the_length_is_a_change(self):
        for _ in range(5):  # within one tick of a coarse clock, as often as not
            self.assertEqual(self.brought("open('a', 'w').write('2')\ndef main():\n    pass", files=[{"path": "a", "content": "1"}]), {"a": b"2"})

    def test_what_is_written_before_main_comes_back(self):
        self.assertEqual(self.brought("open('a', 'w').write('x')\n", entry=None), {"a": b"x"})

    def test_what_exit_handlers_write_comes_back(self):
        self.assertEqual(self.brought("import atexit\ndef main():\n    atexit.register(lambda: open('a', 'w').write('x'))"), {"a": b"x"})

    def test_files_of_a_run_that_failed_come_back(self):
        for ending in ("1 / 0", "raise SystemExit(3)", "return {1}", "bytes(1 << 40)"):
            with self.subTest(ending=ending):
                answer = self.run_code(f"def main():\n    open('a', 'w').write('x')\n    {ending}")
                self.assertNotEqual(answer["status"], "ok")
                self.assertEqual(self.files_of(answer), {"a": b"x"})

    def test_an_empty_list_brings_nothing(self):
        self.assertEqual(self.names("def main():\n    open('new', 'w').write('n')", fetch=[]), [])

    def test_a_name_brings_that_file_changed_or_not(self):
        self.assertEqual(self.fetched("b.txt"), ["b.txt"])
        self.assertEqual(self.fetched("out/d/e.png", "none", "out"), ["out/d/e.png"])

    def test_a_star_stays_in_its_folder(self):
        self.assertEqual(self.fetched("*"), [".i", "a.png", "b.txt"])
        self.assertEqual(self.fetched("*.png"), ["a.png"])
        self.assertEqual(self.fetched("out/*"), ["out/.j", "out/c.png"])
        self.assertEqual(self.fetched("*/*/*"), ["out/d/e.png", "x/out/h.txt"])
        self.assertEqual(self.fetched("?.png", "[b-z].txt"), ["a.png", "b.txt"])

    def test_two_stars_go_through_folders(self):
        everything = sorted(file["path"] for file in self.TREE)
        self.assertEqual(self.fetched("**"), everything)
        self.assertEqual(self.fetched("**/*"), everything)
        self.assertEqual(self.fetched("**/*.png"), ["a.png", "out/c.png", "out/d/e.png"])
        self.assertEqual(self.fetched("out/**"), ["out/.j", "out/c.png", "out/d/e.png", "out/d/f/g.txt"])
        self.assertEqual(self.fetched("out/**/*.txt"), ["out/d/f/g.txt"])
        self.assertEqual(self.fetched("**/out/*.txt"), ["x/out/h.txt"])
        self.assertEqual(self.fetched("**/d/**/g.txt"), ["out/d/f/g.txt"])

    def test_a_file_of_two_patterns_comes_once(self):
        self.assertEqual(self.fetched("a.png", "*", "**", "a.*"), sorted(file["path"] for file in self.TREE))

    def test_files_made_in_subfolders_come_back(self):
        code = "import os\ndef main():\n    os.makedirs('a/b/c')\n    open('a/b/c/d.txt', 'w').write('deep')\n    os.chdir('a')\n    open('e', 'w').write('e')"
        self.assertEqual(self.brought(code), {"a/b/c/d.txt": b"deep", "a/e": b"e"})
        self.assertEqual(self.brought(code, fetch=["a/**/*.txt"]), {"a/b/c/d.txt": b"deep"})

    def test_pycache_is_left_out_unless_asked_for(self):
        code = "import sys\nsys.dont_write_bytecode = False\nimport helper\ndef main():\n    import os\n    return os.path.isdir('__pycache__')"
        answer = self.run_code(code, files=[{"path": "helper.py", "content": ""}])
        self.assertEqual((answer["result"], answer["files"]), (True, []))
        code = "import os\ndef main():\n    os.makedirs('a/__pycache__')\n    open('a/__pycache__/x.pyc', 'w').write('')"
        self.assertEqual(self.names(code), [])
        self.assertEqual(self.names(code, fetch=["**/*.pyc"]), ["a/__pycache__/x.pyc"])

    def test_a_folder_that_was_left_does_not_matter(self):
        self.assertEqual(self.brought("import os\ndef main():\n    open('a', 'w').write('x')\n    os.chdir('/')"), {"a": b"x"})

    def test_a_folder_that_is_gone_is_empty(self):
        self.assertEqual(self.brought("import os\ndef main():\n    os.rmdir(os.getcwd())"), {})


class KindTest(Files):
    def test_type_and_encoding_are_told(self):
        contents = {"a.png": b"\x89PNG\r\n\x1a\n", "a.csv": b"a,b\n", "a.json": b"{}", "a.html": "<p>ä".encode(), "a.txt": b"", "plain": b"text", "bytes": b"\xff", "nul": b"a\0b"}
        code = f"def main():\n    for name, data in {contents!r}.items():\n        open(name, 'wb').write(data)"
        answer = self.run_code(code)
        self.assertEqual(self.files_of(answer), contents)
        self.assertEqual({file["path"]: (file["type"], file["encoding"]) for file in answer["files"]},
                         {"a.png": ("image/png", "base64"), "a.csv": ("text/csv", "utf8"), "a.json": ("application/json", "utf8"), "a.html": ("text/html", "utf8"),
                          "a.txt": ("text/plain", "utf8"), "plain": ("text/plain", "utf8"), "bytes": ("application/octet-stream", "base64"),
                          "nul": ("application/octet-stream", "base64")})

    def test_what_is_compressed_is_not_of_the_type_within(self):
        answer = self.run_code("import gzip\ndef main():\n    gzip.open('a.csv.gz', 'wb').write(b'a,b')")
        self.assertEqual([(file["path"], file["type"]) for file in answer["files"]], [("a.csv.gz", "application/gzip")])

    def test_text_that_json_must_escape_comes_whole(self):
        text = "".join(map(chr, range(1, 0x180))) + "\u2028\ufeff\uffff🐍"
        self.assertEqual(self.brought(f"def main():\n    open('a', 'wb').write({text.encode()!r})"), {"a": text.encode()})

    def test_names_that_are_not_utf8_are_shown(self):
        answer = self.run_code("def main():\n    open(b'\\xff\\xfe.txt', 'w').write('1')\n    open('grün'.encode('latin-1'), 'w').write('2')\n    open('grün', 'w').write('3')")
        self.assertEqual(answer["status"], "ok")
        self.assertEqual(self.files_of(answer), {"\\xff\\xfe.txt": b"1", "gr\\xfcn": b"2", "grün": b"3"})

    def test_odd_names_come_back(self):
        names = ["a\nb", 'q"\\', " ", "\x01\x7f", "n" * 255, "-"]
        self.assertEqual(self.names(f"def main():\n    for name in {names!r}:\n        open(name, 'w').close()"), sorted(names))


class HostileTest(Files):
    """Whatever is in the folder: the answer comes, and soon, and nothing is in it that the script didn't write there."""

    def hostile(self, code, **fields):
        start = time.monotonic()
        found = self.brought(code, **fields)
        self.assertLess(time.monotonic() - start, 3)
        return found

    def test_links_are_never_followed(self):
        code = """
import os
def main():
    os.symlink('/etc/passwd', 'passwd')
    os.symlink('/etc', 'etc')
    os.symlink('real', 'link')
    os.symlink('.', 'self')
    os.symlink('/proc/self/environ', 'environ')
    os.symlink('/dev/zero', 'zero')
    os.mkdir('sub')
    os.symlink('..', 'sub/up')
    open('real', 'w').write('1')
"""
        self.assertEqual(self.hostile(code), {"real": b"1"})
        self.assertEqual(self.hostile(code, fetch=["**", "passwd", "etc/passwd", "etc/*", "self/real", "sub/up/real", "link"]), {"real": b"1"})

    def test_a_link_in_place_of_a_file_that_came_is_not_followed(self):
        code = "import os\ndef main():\n    os.remove('a')\n    os.symlink('/etc/passwd', 'a')\n    os.rename('sub', 'sub2')\n    os.symlink('/etc', 'sub')"
        files = [{"path": "a", "content": "1"}, {"path": "sub/passwd", "content": "2"}]
        self.assertEqual(self.hostile(code, files=files, fetch=["a", "sub/*"]), {})

    def test_a_link_in_place_of_the_folder_itself_is_not_followed(self):
        code = "import os\ndef main():\n    here = os.getcwd()\n    os.rename(here, here + '-away')\n    os.symlink('/etc', here)"
        self.assertEqual(sorted(self.hostile(code)), [])
        self.assertEqual(sorted(self.hostile(code, fetch=["passwd", "**"])), [])

    def test_a_file_in_place_of_the_folder_is_nothing(self):
        self.assertEqual(self.hostile("import os\ndef main():\n    here = os.getcwd()\n    os.rmdir(here)\n    open(here, 'w').write('x')"), {})

    def test_pipes_and_sockets_are_left_out_and_nobody_waits_for_them(self):
        code = "import os, socket\ndef main():\n    os.mkfifo('pipe')\n    try:\n        socket.socket(socket.AF_UNIX).bind('socket')\n    except OSError:\n        pass\n    open('real', 'w').write('1')"
        self.assertEqual(self.hostile(code), {"real": b"1"})
        self.assertEqual(self.hostile(code, fetch=["pipe", "socket", "**"]), {"real": b"1"})

    def test_devices_are_left_out(self):
        code = "import os, stat\ndef main():\n    for kind in (stat.S_IFCHR, stat.S_IFBLK):\n        try:\n            os.mknod(f'device{kind}', kind | 0o600, os.makedev(1, 5))\n        except OSError:\n            pass\n    open('real', 'w').write('1')"
        self.assertEqual(self.hostile(code, fetch=["**"]), {"real": b"1"})

    def test_what_cannot_be_read_is_left_out(self):
        code = "import os\ndef main():\n    open('shut', 'w').write('1')\n    os.chmod('shut', 0)\n    os.mkdir('folder')\n    open('folder/a', 'w').write('1')\n    os.chmod('folder', 0)\n    open('real', 'w').write('1')"
        self.assertEqual(self.hostile(code)["real"], b"1")

    def test_sparse_giants_are_left_out_and_told(self):
        answer = self.run_code("def main():\n    open('giant', 'wb').truncate(48 << 20)\n    return 1")
        self.assertEqual((answer["status"], answer["result"], answer["files"]), ("output_limit", 1, []))
        self.assertEqual(answer["limit"], {"name": "files_mb", "max": 16, "used": 48})

    def test_a_giant_does_not_cost_the_small_ones(self):
        answer = self.run_code("def main():\n    open('a', 'wb').truncate(48 << 20)\n    open('z', 'w').write('small')")
        self.assertEqual((answer["status"], self.files_of(answer)), ("output_limit", {"z": b"small"}))

    def test_a_giant_that_nobody_asked_for_does_not_matter(self):
        self.assertEqual(self.hostile("def main():\n    open('giant', 'wb').truncate(48 << 20)\n    open('z', 'w').write('small')", fetch=["z"]), {"z": b"small"})

    def test_a_file_beyond_what_may_be_is_refused_to_the_script(self):
        answer = self.run_code("def main():\n    open('giant', 'wb').truncate(10 << 40)", fetch=[])
        self.assertEqual((answer["status"], answer["error"]["name"], answer["error"]["line"]), ("disk_limit", "OSError", 2))

    def test_a_sparse_file_within_the_limit_comes_whole(self):
        self.assertEqual(self.hostile("def main():\n    open('a', 'wb').truncate(1 << 20)"), {"a": bytes(1 << 20)})

    def test_deep_folders_have_an_end(self):
        code = "import os\ndef main():\n    for _ in range(60):\n        os.mkdir('d')\n        os.chdir('d')\n        open('f', 'w').write('x')"
        self.assertIn("d/d/d/f", self.hostile(code))

    def test_a_file_that_grows_meanwhile_does_not_hold_up_the_answer(self):
        code = """
import threading
def grow(file):
    while True:
        try:
            file.write(b'x' * 4096)
            file.flush()
        except OSError:
            file.truncate(0)
def main():
    open('real', 'w').write('1')
    threading.Thread(target=grow, args=(open('grows', 'wb'),), daemon=True).start()
"""
        start = time.monotonic()
        answer = self.run_code(code)
        self.assertLess(time.monotonic() - start, 4)
        self.assertIn(answer["status"], ("ok", "output_limit"))
        self.assertLessEqual(sum(file["size"] for file in answer["files"]), 16 << 20)


class ManyTest(Files):
    @classmethod
    def setUpClass(cls):
        cls.own_start("--preload", "", "--slots", "2", "--tmp-files", "8000")

    def test_five_thousand_files_are_cut_and_told(self):
        # Empty ones as well: nothing may be missing without a word.
        for content in ("x", ""):
            with self.subTest(content=content):
                start = time.monotonic()
                answer = self.run_code(f"def main():\n    for i in range(5000):\n        with open(f'f{{i:04}}', 'w') as file:\n            file.write({content!r})\n    return 5")
                self.assertLess(time.monotonic() - start, 4)
                self.assertEqual(sorted(self.files_of(answer)), [f"f{i:04}" for i in range(1000)])
                self.assertEqual((answer["status"], answer["result"]), ("output_limit", 5))
                self.assertGreaterEqual(answer["limit"]["used"], answer["limit"]["max"])  # it wasn't megabytes that were too many

    def test_one_of_five_thousand_can_be_fetched(self):
        answer = self.run_code("def main():\n    for i in range(5000):\n        open(f'f{i}', 'w').close()\n    open('z', 'w').write('z')", fetch=["z", "f4[0-9]"])
        self.assertEqual((answer["status"], sorted(self.files_of(answer))), ("ok", [*(f"f4{i}" for i in range(10)), "z"]))

    def test_five_thousand_that_stay_cost_no_answer(self):
        answer = self.run_code("def main():\n    for i in range(5000):\n        open(f'f{i}', 'w').close()\n    return 1", fetch=[])
        self.assertEqual((answer["status"], answer["result"], answer["files"]), ("ok", 1, []))


if __name__ == "__main__":
    unittest.main()
