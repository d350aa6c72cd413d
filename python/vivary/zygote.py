"""The zygote: imports what scripts are going to want, then only forks. Runs once for each warm interpreter, in the operator's own Python."""

import gc
import importlib
import os
import sys

# What scripts commonly import. None of them starts a thread.
_COMMON = (
    "asyncio", "atexit", "base64", "collections", "contextlib", "copy", "csv", "datetime", "decimal", "enum", "functools", "hashlib",
    "inspect", "io", "itertools", "json", "linecache", "logging", "math", "mimetypes", "operator", "os", "pathlib", "pickle", "random", "re",
    "resource", "statistics", "string", "subprocess", "tempfile", "textwrap", "threading", "time", "traceback", "types", "typing", "uuid",
)


def main(quick):
    """`quick`: to serve as soon as may be; another zygote, which prepares all, is to take this one's place."""
    import _vivary

    for name in _COMMON:
        importlib.import_module(name)
    for name in _vivary.preload().split(","):
        if name:
            importlib.import_module(name)

    from . import worker

    worker.warm(0 if quick else worker.WARM)
    # Nothing that exists now is garbage, and a collection would write to each object's header: to pages that all workers share.
    gc.collect()
    gc.freeze()
    os.environ.pop("LD_BIND_NOW", None)
    own = os.path.dirname(os.path.dirname(__file__))
    sys.path[:] = ["/runtime"] + [entry for entry in sys.path if entry != own]
    _vivary.settle(quick)
    if not quick:
        worker.learn()
    _vivary.fork_loop()
    # From here on this is a worker, in its cell.
    worker.main()
