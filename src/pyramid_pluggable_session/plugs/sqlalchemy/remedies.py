"""What to change when a database refuses, by what it or its driver says."""

from __future__ import annotations

import re
from typing import Final

_URL = "pluggable_session.sqlalchemy.url"

# The first that matches counts. PostgreSQL tells why it lets nobody in by words only.
_REMEDIES: Final = tuple(
    (re.compile(pattern, re.IGNORECASE), remedy)
    for pattern, remedy in (
        (
            r"QueuePool limit",
            "every connection is in use: raise pluggable_session.sqlalchemy.pool_size",
        ),
        (
            r"Access denied for user .*using password",
            f"check the user and the password in {_URL}; if the server wants TLS, append "
            "?ssl_ca=/path/to/ca.pem",
        ),
        (
            r"password authentication failed|no password supplied|role .* does not exist"
            r"|not permitted to log in|login failed for",
            f"check the user and the password in {_URL}",
        ),
        (
            r"insecure transport",
            f"the server wants TLS: append ?ssl_ca=/path/to/ca.pem to {_URL}",
        ),
        (
            r"pg_hba\.conf",
            "let this user and host in, in the server's pg_hba.conf; if that wants TLS, append "
            f"?sslmode=require to {_URL}",
        ),
        (
            r"server (does not|doesn't) support (SSL|it)",
            f"the server speaks no TLS: switch it on there, or take sslmode or ssl_ca from {_URL}",
        ),
        (
            r"certificate|\bSSL\b.*\b(2026|error)\b",
            f"check the certificate of the server and sslrootcert or ssl_ca in {_URL}",
        ),
        (
            r"unsupported startup parameter",
            "add options to ignore_startup_parameters of PgBouncer",
        ),
        (
            r"too many (clients|connections)|connection slots|max_user_connections",
            "lower pluggable_session.sqlalchemy.pool_size or raise the server's max_connections",
        ),
        (
            r"database .* does not exist|Unknown database|Access denied for user .* to database",
            f"check the database in {_URL}, that it exists and that the user may use it",
        ),
        (
            r"read-only|readonly",
            f"the server takes no writes: let {_URL} lead to the primary",
        ),
        (
            r"permission denied|command denied|Access denied",
            "let the user SELECT, INSERT, UPDATE and DELETE in the table; and CREATE, unless "
            "pluggable_session.sqlalchemy.create is false",
        ),
        (
            r"invalid response|expected authentication request|Packet sequence number wrong|"
            r"invalid start byte|unpack requires|lost synchronization|Protocol|not a database",
            f"a server of another kind answers there: check the host and the port in {_URL}",
        ),
        (
            r"canceling statement|timeout: the server|database is locked|lock wait|"
            r"during query .*timed out|(read|write) operation timed out",
            "if the server is only slow, raise pluggable_session.sqlalchemy.timeout",
        ),
        (
            r"Connection refused|timeout expired|timed out|translate host|resolve host|"
            r"Name or service|name resolution|getaddrinfo|Can't connect|is the server running",
            f"see that the server runs, and check the host and the port in {_URL}",
        ),
        (
            r"unable to open database file",
            f"check the path in {_URL}, and that the process may write to the directory",
        ),
    )
)
_MISSING_TABLE: Final = re.compile(
    r"relation .* does not exist|no such table|Table .* doesn't exist|invalid object name"
    r"|table or view does not exist|schema .* does not exist|no schema has been selected",
    re.IGNORECASE,
)


def is_missing_table(error: BaseException) -> bool:
    """Tell whether the error is that there is no such table."""
    return _MISSING_TABLE.search(_words(error)) is not None


def remedy(error: BaseException) -> str | None:
    """Return what to change, or None if that cannot be told."""
    words = _words(error)
    return next((advice for pattern, advice in _REMEDIES if pattern.search(words)), None)


def _words(error: BaseException) -> str:
    # Without the statement, in which words such as the name of the table could match.
    return str(getattr(error, "orig", None) or error)
