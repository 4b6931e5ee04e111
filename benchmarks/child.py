"""One part of the benchmark for one group, in a process of its own on one core.

    python -m benchmarks.child PASS GROUP CORE OPTIONS

``OPTIONS`` is JSON. The result is the last line that it prints, as JSON as well. The servers that
it starts are on the same core.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import logging
import os
import signal
import sys
import tempfile
import warnings

from .groups import GROUPS, Place

_PASSES = {"requests": "requests_pass", "counts": "counting", "startup": "startup"}


def main(what, name, core, options):
    os.sched_setaffinity(0, {int(core)})
    # So that the servers are stopped.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    # As in production: what is not serious is not logged.
    logging.basicConfig(level=logging.ERROR)
    warnings.simplefilter("ignore")
    group = GROUPS[name]
    measure = importlib.import_module(f".{_PASSES[what]}", __package__).measure
    try:
        server_class = group.server_class()
    except (ImportError, LookupError) as error:
        return {"absent": str(error)}
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True))
        server = None
        if server_class is not None:
            os.mkdir(os.path.join(folder, "server"))
            server = stack.enter_context(server_class(os.path.join(folder, "server")))
        return measure(group, Place(folder, server), **json.loads(options))


if __name__ == "__main__":
    result = main(*sys.argv[1:])
    print("\n" + json.dumps(result), flush=True)
    # Threads of drivers may take their time to end.
    os._exit(0)
