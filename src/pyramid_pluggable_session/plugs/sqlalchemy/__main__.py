"""Prints the DDL of the table, where an application may not create it.

``python -m pyramid_pluggable_session.plugs.sqlalchemy postgresql [TABLE [SCHEMA]]``
"""

from __future__ import annotations

import sys

from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError

from .table import ddl, sessions_table


def main(arguments: list[str]) -> str | None:
    """Print the DDL for a database; return what was wrong with the arguments, if anything was."""
    if len(arguments) not in (1, 2, 3):
        return f"usage: python -m {__package__} DATABASE [TABLE [SCHEMA]]"
    try:
        dialect = make_url(f"{arguments[0]}://").get_dialect()
    except (ArgumentError, ImportError) as error:
        return f"{arguments[0]!r} is no database that SQLAlchemy knows here: {error}"
    print(ddl(dialect(), sessions_table(*(arguments[1:] or ["sessions"]))))
    return None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
