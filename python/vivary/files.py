"""The files of a run: laid into its working folder before, brought back after."""

import base64
import binascii
import fnmatch
import hashlib
import mimetypes
import os
import re
import stat
import sys

FILES_MAX = 1000
ENTRIES_MAX = 20000
DEPTH_MAX = 32

_JSON_STRING = __import__("json").JSONEncoder(ensure_ascii=False).encode


BEFORE_NS = 946684800 * 10**9  # what is laid is older than anything that a script writes, however coarse the file system's clock is


def lay(folder, files):
    """Writes what the request brought. Paths were checked."""
    laid = {}
    for file in files:
        content = file["content"]
        data = base64.b64decode(content) if file.get("encoding") == "base64" else content.encode("utf-8")
        path = os.path.join(folder, file["path"])
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as to:
            to.write(data)
        os.utime(path, ns=(BEFORE_NS, BEFORE_NS))
        laid[file["path"]] = _stamp(os.stat(path))
    return laid


def _stamp(status):
    return status.st_mtime_ns, status.st_size, status.st_ino


class Found:
    def __init__(self):
        self.texts = []  # JSON
        self.count = self.bytes = 0  # of all that was wanted, whether it came along or not
        self.left_out = False


def empty_removed(folder):
    """Whether nothing is in it; most runs leave nothing, and this is the quickest way to know."""
    try:
        os.rmdir(folder)
        return True
    except OSError:
        return False


def collect(folder, laid, patterns, always, most):
    """What is to be brought back. Raises nothing for what a script did to its folder, nor follows a link that it put in the folder's place."""
    rules = None if patterns is None else [_rule(pattern) for pattern in patterns]
    found = Found()
    taken = 0
    try:
        top = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return found
    for path, status, parent in _walk(top, "", 0, [0]):
        if rules is None:
            wanted = laid.get(path) != _stamp(status) and "__pycache__" not in path.split("/")
        else:
            wanted = any(_matches(rule, path.split("/")) for rule in rules)
        if not wanted and path not in always:
            continue
        found.count += 1
        found.bytes += status.st_size
        if taken + status.st_size > most or len(found.texts) >= FILES_MAX:
            found.left_out = True
            continue
        data = _read(os.path.basename(path), parent, most - taken)
        if data is None:
            continue
        taken += len(data)
        found.texts.append(_describe(path, data))
    return found


def _walk(folder, inside, depth, entries):
    """Plain files below an open folder, which it closes: path, status, and the open folder that it is in. In the order of names, files before
    folders; and there is an end to it."""
    folders = []
    try:
        for name in sorted(os.listdir(folder)):
            entries[0] += 1
            if entries[0] > ENTRIES_MAX:
                return
            try:
                status = os.stat(name, dir_fd=folder, follow_symlinks=False)
            except OSError:
                continue
            if stat.S_ISDIR(status.st_mode) and depth < DEPTH_MAX:
                folders.append(name)
            elif stat.S_ISREG(status.st_mode):
                yield os.path.join(inside, name), status, folder
        for name in folders:
            try:
                below = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
            except OSError:
                continue
            yield from _walk(below, os.path.join(inside, name), depth + 1, entries)
    except OSError:
        return
    finally:
        os.close(folder)


def _read(name, folder, most):
    try:
        fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    except OSError:
        return None
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            return None
        parts, have = [], 0
        while have <= most:
            part = os.read(fd, min(1 << 20, most - have + 1))
            if not part:
                return b"".join(parts)
            parts.append(part)
            have += len(part)
        return None  # it grew meanwhile
    except OSError:
        return None
    finally:
        os.close(fd)


def _describe(path, data):
    try:
        content, encoding = (data.decode("utf-8"), "utf8") if b"\0" not in data else (None, None)
    except UnicodeDecodeError:
        content = None
    if content is None:
        content, encoding = binascii.b2a_base64(data, newline=False).decode("ascii"), "base64"
    kind, packed = mimetypes.guess_type(path)
    if packed is not None:
        kind = "application/gzip" if packed == "gzip" else f"application/x-{packed}"
    kind = kind or ("text/plain" if encoding == "utf8" else "application/octet-stream")
    shown = path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return (f'{{"path": {_JSON_STRING(shown)}, "type": {_JSON_STRING(kind)}, "size": {len(data)}, '
            f'"sha256": "{hashlib.sha256(data).hexdigest()}", "content": {_JSON_STRING(content)}, "encoding": "{encoding}"}}')


def _rule(pattern):
    return [None if part == "**" else re.compile(fnmatch.translate(part)) for part in pattern.split("/")]


def _matches(rule, parts):
    """`**` stands for any number of folders, none too. Each step knows all the places that the steps before it may have come to."""
    places = {0}
    for step in rule:
        if step is None:
            places = set(range(min(places), len(parts) + 1)) if places else places
        else:
            places = {place + 1 for place in places if place < len(parts) and step.match(parts[place])}
    return len(parts) in places


def figures_save(folder):
    """Figures that the script left open, as PNG. The names of what was written."""
    pyplot = sys.modules.get("matplotlib.pyplot")
    written = set()
    if pyplot is None:
        return written
    for number in pyplot.get_fignums():
        name = f"figure-{number}.png"
        path = os.path.join(folder, name)
        if not os.path.lexists(path):
            pyplot.figure(number).savefig(path)
            written.add(name)
    return written
