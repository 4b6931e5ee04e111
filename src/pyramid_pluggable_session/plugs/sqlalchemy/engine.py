"""From a URL to an engine of the plug's own."""

from __future__ import annotations

import select
from typing import Any, Final

from pyramid.exceptions import ConfigurationError
from sqlalchemy import URL, Dialect, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, DisconnectionError, NoSuchModuleError

from ...settings import unknown
from .drivers import known_options, timeouts
from .lean_pool import LeanPool

WHERE: Final = "pluggable_session.sqlalchemy.url"

_DRIVERS = {"postgresql": "psycopg", "mysql": "pymysql", "mariadb": "pymysql"}
_EXTRAS = {"psycopg": "postgresql", "pymysql": "mysql"}
_WITH_FILENO = ("psycopg", "psycopg2")
_LAST_PORT = 65535


def parse_url(text: str) -> URL:
    """Return the URL with its driver. Raise ConfigurationError for what can be seen to be wrong."""
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):
        # The error shows the URL, and so a password.
        raise ConfigurationError(
            f"{WHERE} must be a URL such as postgresql://user:password@host:5432/database, with "
            "every special character of the password percent-encoded."
        ) from None
    if url.drivername in _DRIVERS:
        url = url.set(drivername=f"{url.drivername}+{_DRIVERS[url.drivername]}")
    dialect = _dialect(url)
    if url.port is not None and not 0 < url.port <= _LAST_PORT:
        raise ConfigurationError(f"{WHERE}: there is no port {url.port}.")
    if dialect.name in _DRIVERS and not (url.database or {"dbname", "service"} & {*url.query}):
        raise ConfigurationError(
            f"{WHERE} names no database. Append it: {url.drivername}://host/database"
        )
    if dialect.name == "sqlite" and (not url.database or ":memory:" in url.database):
        raise ConfigurationError(
            f"{WHERE} must name a file, as sqlite+pysqlite:////absolute/path does. For memory, use "
            "the memory plug."
        )
    _check_query(url, dialect)
    return url


def _dialect(url: URL) -> type[Dialect]:
    try:
        dialect = url.get_dialect()
        driver = dialect.driver
        if dialect.is_async or driver == "psycopg_async":
            raise ConfigurationError(
                f"{WHERE}: {driver} is an asynchronous driver, and Pyramid is not. Name another "
                f"one, such as {dialect.name}+{_DRIVERS.get(dialect.name, 'pysqlite')}."
            )
        dialect.import_dbapi()
    except NoSuchModuleError:
        raise ConfigurationError(
            f"{WHERE}: SQLAlchemy knows no {url.drivername!r}. See its list of dialects."
        ) from None
    except ImportError as error:
        remedy = "Install it, or name another driver in the URL: database+driver://..."
        if driver in _EXTRAS:
            remedy = (
                f"Install it with: pip install 'pyramid_pluggable_session[{_EXTRAS[driver]}]' or "
                f"name another driver in the URL: {dialect.name}+driver://..."
            )
        raise ConfigurationError(
            f"{WHERE}: the driver {driver} is not installed ({error}). {remedy}"
        ) from error
    return dialect


def _check_query(url: URL, dialect: type[Dialect]) -> None:
    known = known_options(dialect.driver, dialect.import_dbapi())
    for name in url.query:
        if known is not None and name not in known:
            raise unknown(name, known, lambda each: f"{WHERE}: the query option {each}")


def make_engine(url: URL, connect_timeout: float, timeout: float, pool_size: int) -> Engine:
    """Return a new engine. Its connections commit every statement by itself."""
    driver = url.get_dialect().driver
    # With the descriptor of its socket, a dropped connection is noticed without asking the server.
    can_notice = driver in _WITH_FILENO and hasattr(select, "poll")
    options: dict[str, Any] = {}
    if driver == "psycopg":
        options["use_native_hstore"] = False  # saves a question at the start
        if can_notice:
            options["poolclass"] = LeanPool
    engine = create_engine(
        url,
        isolation_level="AUTOCOMMIT",
        skip_autocommit_rollback=True,
        pool_reset_on_return=None,
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=connect_timeout,
        pool_use_lifo=True,
        pool_recycle=3600,
        pool_pre_ping=not can_notice,
        hide_parameters=True,
        connect_args=timeouts(url, driver, connect_timeout, timeout),
        **options,
    )
    if can_notice:
        event.listen(engine, "checkout", _notice_disconnection)
    if driver == "psycopg":
        from .psycopg import BoundedConnection, Direct  # noqa: PLC0415 (others have no psycopg)

        # A little later than the server, whose answer leaves the connection usable.
        @event.listens_for(engine, "do_connect")
        def connect(dialect: Any, record: Any, args: Any, kwargs: Any) -> Any:
            connection = BoundedConnection.open(timeout + 0.25, *args, **kwargs)
            if can_notice:
                connection.direct = Direct(connection, dialect)
            return connection

    return engine


def _notice_disconnection(connection: Any, record: Any, proxy: Any) -> None:
    # A server says nothing on an idle connection but that it ends. poll, as select cannot take
    # descriptors above 1023.
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN)
    if poll.poll(0):
        raise DisconnectionError("the server closed the idle connection")
