"""The run's script, as a file and as a module."""

import linecache
import os
import sys

import _vivary

path = "/runtime/script.py"  # or in the folder that stands for it, see settle_in


def settle_in(runtime):
    """Where /runtime is everybody's."""
    global path
    path = os.path.join(runtime, "script.py")
    sys.argv[:] = [path]
    sys.path[0] = runtime


def write(source):
    """A real file, so that a process started anew (multiprocessing's spawn, a debugger) finds the module `script`. One that is larger than its
    file system is cut, and runs all the same."""
    _vivary.write_file(path, source)


def run(module, source):
    module.__file__ = path
    sys.modules["script"] = module
    # Tracebacks and inspect read the lines from here, also when the script has changed or removed the file.
    linecache.cache[path] = (len(source), None, source.splitlines(True), path)
    exec(compile(source, path, "exec", dont_inherit=True), module.__dict__)


def forget():
    sys.modules.pop("script", None)
    linecache.cache.pop(path, None)
