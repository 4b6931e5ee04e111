"""What the plug says to a database, and the one place where databases differ."""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import (
    Connection,
    Table,
    bindparam,
    delete,
    func,
    insert,
    or_,
    select,
    text,
    update,
)
from sqlalchemy.dialects import mysql, postgresql, sqlite
from sqlalchemy.exc import IntegrityError

from .execution import Values, execute

PAGE: Final = 500
"""How many rows one statement reads or deletes at most."""


class Statements:
    """The operations in statements that every database has.

    Each statement is atomic and committed by itself. To overwrite takes up to three of them here.
    """

    def __init__(self, table: Table) -> None:
        columns = table.c
        key: Any = bindparam("key")
        now: Any = bindparam("now")
        live = or_(columns.expires.is_(None), columns.expires > now)
        new: dict[str, Any] = {"data": bindparam("record"), "expires": bindparam("until")}
        self.expired = columns.expires <= now
        self.insert: Any = self.new_insert(table).values(id=key, **new)
        self.overwrite = update(table).where(columns.id == key).values(new)
        self.replace_expired = self.overwrite.where(self.expired)
        self.replace = self.overwrite.where(self.same(columns.data, bindparam("expected")), live)
        self.select = select(columns.data).where(columns.id == key, live)
        self.delete = delete(table).where(columns.id == key)
        self.page = (
            select(columns.id, columns.expires)
            .where(columns.id > bindparam("after"), live)
            .order_by(columns.id)
            .limit(PAGE)
        )
        self.some_expired = select(columns.id).where(self.expired).limit(PAGE)
        self.delete_expired = delete(table).where(
            columns.id.in_(bindparam("keys", expanding=True)), self.expired
        )

    def new_insert(self, table: Table) -> Any:
        """Return an INSERT."""
        return insert(table)

    def same(self, column: Any, value: Any) -> Any:
        """Return the condition that two values are the same bytes."""
        return column == value

    def store(self, connection: Connection, values: Values) -> None:
        """Store the record, whatever is there."""
        if execute(connection, self.overwrite, values).rowcount == 0:
            try:
                execute(connection, self.insert, values)
            except IntegrityError:
                # Somebody else's came in between.
                execute(connection, self.overwrite, values)

    def store_new(self, connection: Connection, values: Values) -> bool:
        """Store the record if none is there that is live."""
        try:
            execute(connection, self.insert, values)
        except IntegrityError:
            return execute(connection, self.replace_expired, values).rowcount == 1
        return True

    def purge(self, connection: Connection, values: Values) -> int:
        """Delete at most a page of expired records; return how many."""
        # By their ids, as other writers go: along the index of `expires`, deadlocks would be usual.
        keys = list(execute(connection, self.some_expired, values).scalars())
        if not keys:
            return 0
        return execute(connection, self.delete_expired, {**values, "keys": keys}).rowcount

    def packet_limit(self, connection: Connection) -> int | None:
        """Return how many bytes a statement can have, if the server has a limit."""
        return None

    def server_time(self, connection: Connection) -> float | None:
        """Return what time it is to the server, in epoch seconds; None if it is not known."""
        return None


class OnConflict(Statements):
    """SQLite's: an INSERT that can overwrite, under a condition if need be."""

    dialect: Any = sqlite

    def __init__(self, table: Table) -> None:
        super().__init__(table)
        columns, given = table.c, self.insert.excluded
        new = {"data": given.data, "expires": given.expires}
        self.upsert = self.insert.on_conflict_do_update(index_elements=[columns.id], set_=new)
        self.upsert_expired = self.insert.on_conflict_do_update(
            index_elements=[columns.id], set_=new, where=self.expired
        ).execution_options(preserve_rowcount=True)

    def new_insert(self, table: Table) -> Any:
        """Return an INSERT."""
        return self.dialect.insert(table)

    def store(self, connection: Connection, values: Values) -> None:
        """Store the record, whatever is there."""
        execute(connection, self.upsert, values)

    def store_new(self, connection: Connection, values: Values) -> bool:
        """Store the record if none is there that is live."""
        return execute(connection, self.upsert_expired, values).rowcount == 1


class Postgresql(OnConflict):
    """PostgreSQL's."""

    dialect = postgresql

    def __init__(self, table: Table) -> None:
        super().__init__(table)
        # Rows that somebody else is writing or purging are passed over, so nobody waits.
        unlocked = self.some_expired.with_for_update(skip_locked=True)
        self.purge_unlocked = delete(table).where(table.c.id.in_(unlocked))

    def purge(self, connection: Connection, values: Values) -> int:
        """Delete at most a page of expired records; return how many."""
        return execute(connection, self.purge_unlocked, values).rowcount

    def server_time(self, connection: Connection) -> float:
        """Return what time it is to the server, in epoch seconds."""
        return float(connection.scalar(text("SELECT extract(epoch FROM clock_timestamp())")))


class Mysql(Statements):
    """MySQL's and MariaDB's."""

    # ON DUPLICATE KEY UPDATE knows no condition, and IF() instead would not tell whether it stored:
    # a row that stays as it is counts as one that was inserted. So `store_new` is everybody's.

    def __init__(self, table: Table) -> None:
        super().__init__(table)
        given = self.insert.inserted
        self.upsert = self.insert.on_duplicate_key_update(data=given.data, expires=given.expires)

    def new_insert(self, table: Table) -> Any:
        """Return an INSERT."""
        return mysql.insert(table)

    def store(self, connection: Connection, values: Values) -> None:
        """Store the record, whatever is there."""
        execute(connection, self.upsert, values)

    def packet_limit(self, connection: Connection) -> int | None:
        """Return how many bytes a statement can have."""
        return int(connection.scalar(text("SELECT @@max_allowed_packet")))

    def server_time(self, connection: Connection) -> float:
        """Return what time it is to the server, in epoch seconds."""
        return float(connection.scalar(text("SELECT unix_timestamp(now(6))")))


class Oracle(Statements):
    """Oracle's, which does not compare BLOBs with an equals sign."""

    def same(self, column: Any, value: Any) -> Any:
        """Return the condition that two values are the same bytes."""
        return func.dbms_lob.compare(column, value) == 0


_DIALECTS: dict[str, type[Statements]] = {
    "postgresql": Postgresql,
    "sqlite": OnConflict,
    "mysql": Mysql,
    "mariadb": Mysql,
    "oracle": Oracle,
}


def statements(dialect: str, table: Table) -> Statements:
    """Return the statements for a database, given the name of its SQLAlchemy dialect."""
    return _DIALECTS.get(dialect, Statements)(table)
