"""Copies records from one storage to another, as the bytes that they are."""

from __future__ import annotations

from collections import Counter
from typing import Any, Final, Literal

from .. import clock
from ..errors import SessionTooLarge
from ..keys import SessionKey, new_session_id
from ..record import Record, Unreadable
from ..storage import Storage
from ..store import Store
from .records import Expiry, Named, read_from

_ATTEMPTS: Final = 10

Outcome = Literal["copied", "updated", "present", "newer", "ended", "failed"]


class Copier:
    """Copies records one by one, and counts what became of them.

    With ``mirror``, what the source has counts wherever the two differ; else what was renewed last.
    """

    def __init__(self, store: Store, source: Any, target: Any, *, mirror: bool) -> None:
        """Take the two plugs."""
        self._store = store
        self.source = read_from(source)
        self._target = target
        self._copies = read_from(target)
        self._mirror = mirror
        self._expiry = Expiry(store)
        self._can_swap = Storage(target, None).can_swap
        self.counts: Counter[str] = Counter()
        self.failed = Named()

    def are_the_same(self) -> bool:
        """Tell whether the two are one storage: what is put into one of them is in the other."""
        key = SessionKey(new_session_id(), None)
        target = Storage(self._target, None)
        # A mark is what every reader of records knows, and goes by itself.
        self._store.give_up(target, key.session_id)
        try:
            return Storage(self.source, None).loads(key) is not None
        finally:
            target.clear(key)

    def copy(self, key: SessionKey) -> None:
        """Copy what the source has under a key, and read it back. Nothing is done twice."""
        self.counts[self._copy(key)] += 1

    def remove(self, key: SessionKey) -> None:
        """Delete what the target has under a key if the source has nothing and it is ours."""
        if Storage(self.source, None).loads(key) is not None:
            return
        copy = Storage(self._copies, None).loads(key)
        if copy is None:
            return
        try:
            self._store.unseal(key.session_id, copy)
        except Unreadable:
            # Of another application, for all we know.
            self.counts["foreign"] += 1
            return
        Storage(self._target, None).clear(key)
        self.counts["deleted"] += 1

    def _copy(self, key: SessionKey) -> Outcome:
        sealed = Storage(self.source, None).loads(key)
        if sealed is None:
            return "ended"
        try:
            record = self._store.unseal(key.session_id, sealed)
        except Unreadable as error:
            return self._fail(key, f"unreadable ({error.reason})")
        key = self._expiry.key(key, record)
        done: Outcome = "present"
        for _ in range(_ATTEMPTS):
            copy = Storage(self._copies, None).loads(key)
            if copy == sealed:
                return done
            if copy is not None and (outcome := self._leave(key, record, sealed, copy)):
                return outcome
            if key.expires_at is not None and key.expires_at <= clock.now():
                return "ended"
            try:
                stored = self._store_copy(key, copy, sealed)
            except SessionTooLarge as error:
                return self._fail(key, str(error))
            # Then it is read back, by another turn. Others may be at it, too.
            if stored:
                done = "copied" if copy is None else "updated"
        if Storage(self.source, None).loads(key) is None:
            return "ended"
        return self._fail(key, "what is read back from the target is not what was written")

    def _leave(self, key: SessionKey, record: Record, sealed: bytes, copy: bytes) -> Outcome | None:
        """Return why another record in the target is left alone, None if it is to be replaced."""
        try:
            other = self._store.unseal(key.session_id, copy)
        except Unreadable:
            return None
        if record == other:
            # Sealed otherwise. What new records are sealed with is what will stay readable.
            better = self._store.is_current(sealed) and not self._store.is_current(copy)
            return None if better else "present"
        if self._mirror or record.meta.renewed > other.meta.renewed:
            return None
        return "newer"

    def _store_copy(self, key: SessionKey, copy: bytes | None, sealed: bytes) -> bool:
        target = Storage(self._target, None)
        if self._can_swap:
            return target.swap(key, copy, sealed)
        target.dumps(key, sealed)
        return True

    def _fail(self, key: SessionKey, why: str) -> Outcome:
        self.failed.add(key.session_id, why)
        return "failed"
