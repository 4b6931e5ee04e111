"""When a session ends."""

from __future__ import annotations

from .events import EndReason
from .record import DEFAULT, Meta


class Lifetimes:
    """The configured ``timeout`` and ``lifetime``, in seconds, None for none.

    Times are epoch seconds.
    """

    def __init__(self, timeout: float | None, lifetime: float | None) -> None:
        self._timeout = timeout
        self._lifetime = lifetime

    def timeout(self, meta: Meta) -> float | None:
        """Return the idle timeout of a session: its own, or the configured one."""
        return self._timeout if meta.timeout is DEFAULT else meta.timeout

    def last_moment(self, meta: Meta) -> float | None:
        """Return when a session ends however much it is used; None for never."""
        return None if self._lifetime is None else meta.created + self._lifetime

    def expires_at(self, meta: Meta) -> float | None:
        """Return when a session ends if it is not renewed again; None for never."""
        timeout, end = self.timeout(meta), self.last_moment(meta)
        if timeout is None:
            return end
        idle = meta.renewed + timeout
        return idle if end is None or idle < end else end

    def ended(self, meta: Meta, now: float) -> EndReason | None:
        """Tell why a session is over, or None if it is not."""
        expires_at = self.expires_at(meta)
        if expires_at is None or now < expires_at:
            return None
        end = self.last_moment(meta)
        return "lifetime" if end is not None and now >= end else "idle"
