"""What to change when MongoDB cannot be used, by pymongo's errors."""

from __future__ import annotations

import re
from typing import Final

from pymongo.errors import ExecutionTimeout, NetworkTimeout, NotPrimaryError, OperationFailure

_SETTING: Final = "pluggable_session.mongodb."


def remedy(error: BaseException) -> str | None:
    """Return what to change so that the error does not come again, if that can be told."""
    if isinstance(error, OperationFailure) and error.code in _BY_CODE:
        return _BY_CODE[error.code]
    if isinstance(error, NotPrimaryError):
        return _PRIMARY
    if isinstance(error, (NetworkTimeout, ExecutionTimeout)):
        return f"the server hangs, or is too slow for {_SETTING}timeout"
    for pattern, advice in _BY_MESSAGE:
        if re.search(pattern, str(error)):
            return advice
    return None


_USER = f"see the user, its password and authSource in {_SETTING}url"
_ROLE = f"give the user in {_SETTING}url the role readWrite on the database of the sessions"
_PRIMARY = f"name all members and replicaSet in {_SETTING}url, so that the primary is found"
_INDEX = f"drop the index on expires, or set {_SETTING}create_index to false"
_MEMBERS = "too few members of the replica set confirmed in time; see that they run"
_RUNS = f"see that MongoDB runs at the host and port in {_SETTING}url"
_BY_CODE = {
    13: _ROLE,
    18: _USER,
    8000: _USER,  # Atlas has a code of its own
    64: _MEMBERS,
    85: _INDEX,
    86: _INDEX,
    100: _MEMBERS,
}
_BY_MESSAGE = (
    ("CERTIFICATE_VERIFY_FAILED", f"add tlsCAFile=/path/to/ca.pem to {_SETTING}url"),
    ("SSL handshake failed", f"see whether the server speaks TLS, and tls in {_SETTING}url"),
    ("No primary|No replica set", f"see that it has a primary, and replicaSet in {_SETTING}url"),
    ("not known|nodename|name resolution|DNS", f"see the host in {_SETTING}url"),
    (
        "response id|opcode|Message length|connection closed|reset by peer",
        f"{_RUNS}, and whether it wants tls=true",
    ),
    ("refused|timed out", _RUNS),
)
