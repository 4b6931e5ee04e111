"""The options of the sqlalchemy plug."""

from __future__ import annotations

from typing import Final

from ... import settings
from ...settings import Option
from ..common_options import CONNECT_TIMEOUT, PURGE_INTERVAL, TIMEOUT

OPTIONS: Final[tuple[Option, ...]] = (
    Option(
        "url",
        settings.text,
        None,
        "The database, as SQLAlchemy's URL: postgresql://user:password@host/database",
        from_url="url",
    ),
    Option(
        "engine",
        settings.dotted,
        None,
        "Instead of a URL: an Engine of the application's own, or what returns it for config.",
    ),
    Option("table", settings.text, "sessions", "The name of the table."),
    Option("schema", settings.text, None, "The schema that the table is in, if not the usual."),
    Option(
        "create",
        settings.boolean,
        True,
        "Whether to create the table and its index when they are missing.",
    ),
    CONNECT_TIMEOUT,
    TIMEOUT,
    Option(
        "pool_size",
        settings.integer,
        20,
        "How many connections each process opens at most.",
    ),
    PURGE_INTERVAL,
)
