"""What drivers call their options."""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterable
from typing import Any

from sqlalchemy import URL


def known_options(driver: str, dbapi: Any) -> Iterable[str] | None:
    """Return what may be in a URL's query, or None when only the driver knows."""
    if driver == "psycopg":
        return [each.keyword.decode() for each in dbapi.pq.Conninfo.get_defaults()]
    if driver == "pymysql":
        # The last three are SQLAlchemy's.
        of_sqlalchemy = ("ssl_capath", "ssl_cipher", "ssl_check_hostname")
        return [*inspect.signature(dbapi.connections.Connection).parameters, *of_sqlalchemy]
    return None


def timeouts(url: URL, driver: str, connect_timeout: float, timeout: float) -> dict[str, Any]:
    """Return the arguments that bound a connection's time, as far as the driver has them."""
    connect_whole, whole = math.ceil(connect_timeout), math.ceil(timeout)
    milliseconds = math.ceil(timeout * 1000)
    if driver in ("psycopg", "psycopg2"):
        options = url.query.get("options", "")
        given = options if isinstance(options, str) else " ".join(options)
        return {
            "connect_timeout": connect_whole,
            "tcp_user_timeout": milliseconds,
            "options": f"{given} -c statement_timeout={milliseconds}".strip(),
        }
    others: dict[str, dict[str, Any]] = {
        "pymysql": {
            "connect_timeout": connect_timeout,
            "read_timeout": timeout,
            "write_timeout": timeout,
        },
        "mysqldb": {
            "connect_timeout": connect_whole,
            "read_timeout": whole,
            "write_timeout": whole,
        },
        "mysqlconnector": {"connection_timeout": connect_whole},
        "pysqlite": {"timeout": timeout},
        "pg8000": {"timeout": timeout},
        "pyodbc": {"timeout": connect_whole},
        "oracledb": {"tcp_connect_timeout": connect_timeout},
    }
    return others.get(driver, {})
