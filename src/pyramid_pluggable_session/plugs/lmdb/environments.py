"""The LMDB environments that a process has open: it must not open one twice."""

from __future__ import annotations

import threading
import weakref

import lmdb

from ..per_process import PerProcess


def open_environment(path: str, map_size: int, durable: bool) -> lmdb.Environment:
    """Return this process's environment for the real path of a file.

    It closes when nobody has it any more. Whoever opens it first decides on its size.
    """
    return _environments().open(path, map_size, durable)


class _Environments:
    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: weakref.WeakValueDictionary[str, lmdb.Environment] = (
            weakref.WeakValueDictionary()
        )

    def open(self, path: str, map_size: int, durable: bool) -> lmdb.Environment:
        with self._lock:
            environment = self._open.get(path)
            if environment is None:
                environment = lmdb.open(
                    path,
                    subdir=False,
                    map_size=map_size,
                    # Without it a loss of power may undo the last writing, but damages nothing.
                    metasync=durable,
                    max_readers=1024,
                    # A reader kept for later would be the parent's in a child.
                    max_spare_txns=0,
                )
                self._open[path] = environment
            return environment

    def forget(self) -> None:
        # In a child, to close what its parent has open is only to let go of it.
        for environment in list(self._open.values()):
            environment.close()


_environments = PerProcess(_Environments, _Environments.forget)
