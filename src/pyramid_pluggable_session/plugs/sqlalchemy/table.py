"""The table of sessions: what it looks like, how it is created and what its DDL is."""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    Column,
    Connection,
    Dialect,
    Double,
    Index,
    LargeBinary,
    MetaData,
    String,
    Table,
)
from sqlalchemy.dialects import mssql, mysql
from sqlalchemy.exc import DBAPIError
from sqlalchemy.schema import CreateIndex, CreateTable

_varbinary: Any = mssql.VARBINARY  # it has no type hints

# SQLAlchemy's choice would be a BLOB of 64 KB and ids of four bytes a character for MySQL, and an
# IMAGE, which cannot be compared, for SQL Server.
_ID = String(64).with_variant(
    mysql.CHAR(64, charset="ascii", collation="ascii_bin"), "mysql", "mariadb"
)
_DATA = (
    LargeBinary()
    .with_variant(mysql.LONGBLOB(), "mysql", "mariadb")
    .with_variant(_varbinary("max"), "mssql")
)


def sessions_table(name: str, schema: str | None = None) -> Table:
    """Return the table; ``expires`` is in epoch seconds, NULL for never."""
    return Table(
        name,
        MetaData(schema=schema),
        Column("id", _ID, primary_key=True),
        Column("data", _DATA, nullable=False),
        Column("expires", Double()),
        Index(f"{name}_expires", "expires"),
    )


def create(connection: Connection, table: Table) -> None:
    """Create the table and its index, each unless it exists."""
    # Other processes may do the same right now. IF NOT EXISTS is no help: some databases lack it,
    # and PostgreSQL's fails when two run at once. So a failure counts only if the thing is missing.
    dialect, schema = connection.dialect, table.schema
    (index,) = table.indexes
    if not dialect.has_table(connection, table.name, schema=schema):
        try:
            connection.execute(CreateTable(table))
        except DBAPIError:
            if not dialect.has_table(connection, table.name, schema=schema):
                raise
    if not dialect.has_index(connection, table.name, str(index.name), schema=schema):
        try:
            connection.execute(CreateIndex(index))
        except DBAPIError:
            if not dialect.has_index(connection, table.name, str(index.name), schema=schema):
                raise


def ddl(dialect: Dialect, table: Table) -> str:
    """Return the statements that create the table and its index."""
    statements: list[Any] = [CreateTable(table), *map(CreateIndex, table.indexes)]
    return "\n\n".join(f"{each.compile(dialect=dialect)}".strip() + ";" for each in statements)
