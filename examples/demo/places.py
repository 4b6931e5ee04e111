"""Where the demo keeps things: its secret, and the sessions of storages on this machine."""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping
from pathlib import Path

DATA = Path(__file__).resolve().parents[2] / "var" / "demo"


def settings(data: Path, plug: str, given: Mapping[str, str]) -> dict[str, str]:
    """Return the settings of the application. ``given`` ones come before the demo's own."""
    data = data.resolve()
    data.mkdir(mode=0o700, parents=True, exist_ok=True)
    return {
        "pluggable_session.secret": secret(data / "secret"),
        "pluggable_session.plug": plug,
        # A cookie that ends with the browser, unless somebody wants to be remembered.
        "pluggable_session.max_age": "none",
        # What the page "Your devices" tells of each.
        "pluggable_session.device_details": "address user_agent",
        # For the short names. Each plug reads its own.
        "pluggable_session.file.path": str(data / "sessions"),
        "pluggable_session.sqlite.path": str(data / "sessions.sqlite"),
        "pluggable_session.dbm.path": str(data / "sessions.dbm"),
        "pluggable_session.lmdb.path": str(data / "sessions.lmdb"),
        "pluggable_session.chain.plugs": "memory\nsqlite",
        **given,
    }


def secret(path: Path) -> str:
    """Return the secret, made at the first start, so that sessions outlive the process."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return path.read_text()
    text = secrets.token_urlsafe(48)
    with open(descriptor, "w") as file:
        file.write(text)
    return text
