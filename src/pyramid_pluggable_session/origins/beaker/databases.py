"""Sessions of Beaker in databases."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from pyramid.exceptions import ConfigurationError

from ...plugs.common_options import CONNECT_TIMEOUT, TIMEOUT
from ...plugs.per_process import PerProcess
from .entries import ENTRY, Old, needed, text_in_dict, to_install


class DatabaseStorage(Old):
    """A table of a database."""

    name = "of Beaker (database)"

    def __init__(self, given: Mapping[str, Any]) -> None:
        try:
            import sqlalchemy as sa  # noqa: PLC0415
        except ImportError as error:
            raise to_install("sqlalchemy", error) from error
        self.outages = (sa.exc.SQLAlchemyError,)
        self._engine: Callable[[], Any]
        self._made: PerProcess[Any] | None
        name, schema = given.get("table_name") or "beaker_cache", given.get("schema_name") or None
        if given.get("type") == "ext:sqla":
            bind, own = given.get("bind"), given.get("table")
            if not isinstance(bind, sa.Engine) or own is None:
                raise ConfigurationError(
                    "session.type = ext:sqla can be imported if the settings session.bind and "
                    "session.table are the engine and the table themselves."
                )
            name, schema = own.name, own.schema
            self._engine = lambda: bind
            self._made = None
        else:
            url = needed(given, "url", "sa.url")
            # An error would show the session id.
            self._made = PerProcess(lambda: sa.create_engine(url, hide_parameters=True))
            self._engine = self._made
        # As bytes: SQLAlchemy's own type would unpickle them.
        table = sa.table(
            name,
            sa.column("namespace", sa.String),
            sa.column("data", sa.LargeBinary),
            schema=schema,
        )
        theirs = table.c.namespace == sa.bindparam("id")
        self._select, self._delete = (
            sa.select(table.c.data).where(theirs),
            table.delete().where(theirs),
        )

    def loads(self, session: Any, request: Any) -> bytes | None:
        """Return the session's row."""
        with self._engine().connect() as connection:
            found = connection.execute(self._select, {"id": session.session_id}).scalar()
        return None if found is None else bytes(found)

    def clear(self, session: Any, request: Any) -> None:
        """Delete the row."""
        with self._engine().begin() as connection:
            connection.execute(self._delete, {"id": session.session_id})

    def unpack(self, stored: bytes) -> Any:
        """Return the entry."""
        return text_in_dict(stored)

    def close(self) -> None:
        """Close the connections, but those of the application's own engine."""
        engine = None if self._made is None else self._made.take()
        if engine is not None:
            engine.dispose()


class MongodbStorage(Old):
    """A collection of MongoDB."""

    name = "of Beaker (mongodb)"

    def __init__(self, given: Mapping[str, Any]) -> None:
        try:
            from pymongo import MongoClient  # noqa: PLC0415
            from pymongo.errors import PyMongoError  # noqa: PLC0415
        except ImportError as error:
            raise to_install("mongodb", error) from error
        self.outages = (PyMongoError,)
        client: Any = MongoClient
        url = given.get("url") if hasattr(given.get("url"), "server_info") else needed(given, "url")

        def make() -> Any:
            if not isinstance(url, str):
                return url
            return client(
                url,
                serverSelectionTimeoutMS=int(CONNECT_TIMEOUT.default * 1000),
                socketTimeoutMS=int(TIMEOUT.default * 1000),
            )

        if isinstance(url, str) and "/" not in url.partition("://")[2].partition("?")[0].rstrip(
            "/"
        ):
            raise ConfigurationError("session.url names no database of MongoDB.")
        self._client = PerProcess(make)

    def _collection(self) -> Any:
        return self._client().get_default_database()["backer_cache"]

    def loads(self, session: Any, request: Any) -> bytes | None:
        """Return the document's value."""
        found = self._collection().find_one({"_id": f"{session.session_id}:{ENTRY}"})
        return None if found is None else bytes(found["value"])

    def clear(self, session: Any, request: Any) -> None:
        """Delete the document."""
        self._collection().delete_one({"_id": f"{session.session_id}:{ENTRY}"})

    def close(self) -> None:
        """Close the connections."""
        client = self._client.take()
        if client is not None:
            client.close()
