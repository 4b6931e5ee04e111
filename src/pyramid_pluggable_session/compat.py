"""Names of other packages' sessions, for an application that moves in: ``compat = true``.

Each of them warns (``DeprecationWarning``, as a rule once for each line that uses it) and does what
one of ours does. A name is here only if it can mean the same: what would do less than it did, or
weaken anything, is not. See docs/peers.md for all of them.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

from .session import Session


class CompatibleSession(Session):
    """A session that also has harmless names of Beaker's and pyramid_session_redis's sessions."""

    # Beaker

    @property
    def id(self) -> str:
        """:attr:`session_id`."""
        _write("session.session_id, or session.handle in logs")
        return self.session_id

    @property
    def is_new(self) -> bool:
        """:attr:`new`."""
        _write("session.new")
        return self.new

    @property
    def last_accessed(self) -> float | None:
        """When the session was last stored before, to a tenth of its timeout; None if it is new."""
        _write("session.renewed")
        return None if self.new else float(self.renewed)

    def save(self) -> None:
        """Do nothing but look inside, as :meth:`changed`: what is changed is saved by itself."""
        _write("nothing: what is changed is saved by itself")
        self.changed()

    def delete(self) -> None:
        """End the session: :meth:`invalidate`."""
        _write("session.invalidate()")
        self.invalidate()

    # pyramid_session_redis and pyramid_redis_sessions

    @property
    def expires(self) -> int | None:
        """:attr:`expires_at`."""
        _write("session.expires_at")
        return None if self.expires_at is None else int(self.expires_at)

    def ensure_id(self) -> str:
        """Return :attr:`session_id`, which there always is."""
        _write("session.session_id, or session.handle in logs")
        return self.session_id

    def adjust_session_timeout(self, timeout_seconds: float | None) -> None:
        """Set :attr:`timeout`."""
        _write("session.timeout = seconds")
        self.timeout = timeout_seconds

    def adjust_timeout_for_session(self, timeout_seconds: float | None) -> None:
        """Set :attr:`timeout`."""
        _write("session.timeout = seconds")
        self.timeout = timeout_seconds

    def iterkeys(self) -> Iterator[str]:
        """Iterate over the keys."""
        _write("iter(session)")
        return iter(self)

    def itervalues(self) -> Iterator[Any]:
        """Iterate over the values."""
        _write("session.values()")
        return iter(self.values())

    def iteritems(self) -> Iterator[tuple[str, Any]]:
        """Iterate over the pairs."""
        _write("session.items()")
        return iter(self.items())

    # All of them

    def pop(self, key: str, *default: Any) -> Any:
        """Remove the key and return its value, ``default`` or None if there is none."""
        if not default and key not in self:
            _write("session.pop(key, None)")
            return None
        return super().pop(key, *default)

    def has_key(self, key: str) -> bool:
        """Tell whether there is a key."""
        _write("key in session")
        return key in self


def _write(instead: str) -> None:
    """Warn of the line that has used an old name."""
    warnings.warn(
        f"This is a name of another session package's. Write: {instead}",
        DeprecationWarning,
        stacklevel=3,
    )
