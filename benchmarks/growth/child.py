"""One step on one storage, in a process of its own.

    python -m benchmarks.growth.child STEP STORAGE OPTIONS

``OPTIONS`` is JSON: ``core`` and ``quick``. The result is the last line that it prints, as JSON.
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

from ..groups import Place
from .stores import STORES, server


def main(step, storage, core, quick):
    # As Ctrl-C: the servers are to end, and the files to go. See what starts this process.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    logging.basicConfig(level=logging.ERROR)
    warnings.simplefilter("ignore")
    module = importlib.import_module(f".{step}", __package__)
    if module.PINNED:
        os.sched_setaffinity(0, {core})
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True))
        os.mkdir(os.path.join(folder, "server"))
        try:
            needed = server(storage, os.path.join(folder, "server"))
        except (ImportError, LookupError) as error:
            return {"absent": str(error)}
        if needed is not None:
            stack.enter_context(needed)
        return module.measure(STORES[storage](Place(folder, needed)), quick)


if __name__ == "__main__":
    try:
        found = main(*sys.argv[1:3], **json.loads(sys.argv[3]))
    except KeyboardInterrupt:
        sys.exit(130)
    print("\n" + json.dumps(found), flush=True)
    # Threads of drivers may take their time to end.
    os._exit(0)
