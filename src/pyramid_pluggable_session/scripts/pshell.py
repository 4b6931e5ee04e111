"""Sessions in ``pshell``: with ``setup = pyramid_pluggable_session.scripts.pshell.setup``."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from typing import Any

from ..record import Unreadable
from .context import Context, is_session
from .output import Output


def setup(env: dict[str, Any]) -> None:
    """Add ``sessions`` to what pshell knows. Named in the ini file's section ``[pshell]``."""
    env["sessions"] = Sessions(Context(env["registry"], Output(sys.stdout)))


class Sessions(Mapping[str, dict[str, Any]]):
    """What is in each session, by its handle. To change it changes nothing that is stored."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def __getitem__(self, handle: str) -> dict[str, Any]:
        """Return what is in a session, named by its handle, or how that begins."""
        found = self._context.find([handle])[handle]
        stored = None
        if found is not None:
            try:
                stored = self._context.load_session(found.key.session_id)
            except Unreadable as error:
                raise KeyError(f"{handle}: {error}") from None
        if stored is None:
            raise KeyError(handle)
        return stored.state()

    def __iter__(self) -> Iterator[str]:
        return (found.handle for found in self._context.records() if is_session(found))

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __repr__(self) -> str:
        return "<Sessions, by handle>"
