"""The index of an owner's sessions, a record like theirs in the same storage.

It is written before a session that it lists, so no session goes unlisted. What it lists may have
ended: whoever reads it looks, and drops what has. It does not follow every renewal of a session
either; it lists one for longer than that may live, and a session that lives on is listed anew.

An owner with many sessions has pages: what does not fit into the index is moved to records of its
own, so that a login never writes much.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

from . import clock
from .errors import SessionConflict
from .keys import SessionKey, new_session_id
from .record import Kind, Meta, Record, Unreadable
from .serializers import MsgpackSerializer
from .storage import Storage
from .store import ATTEMPTS, GRACE, Store, pause

PAGE: Final = 100
"""Sessions on a page."""

_serializer = MsgpackSerializer()


class Entry(NamedTuple):
    """A session that an index lists.

    ``since`` and ``until`` are epoch seconds, the latter inf for ever; address and user agent are
    those of the client that began the session, None where they are not kept.
    """

    session_id: str
    since: float
    until: float
    address: str | None = None
    user_agent: str | None = None


class _Page(NamedTuple):
    """Where further entries are: under which id, and until when one of them may be alive."""

    page_id: str
    until: float


class _Index(NamedTuple):
    """An index as it is stored: its own entries, and the pages with the others, oldest first.

    ``sealed`` is the record it came from, None if there was none.
    """

    sealed: bytes | None
    entries: list[Entry]
    pages: list[_Page]


class OwnerIndex:
    """Reads and writes the index of one owner."""

    def __init__(self, storage: Storage, store: Store, salt: str, owner: str) -> None:
        """Use ``storage``, one that can swap. ``salt`` keeps applications apart."""
        self._storage = storage
        self._store = store
        # Of no secret, so that it is found whichever secret comes first. Nobody has a use for it:
        # no cookie of ours was ever signed for it.
        name = f"{len(salt)}:{salt}{owner}"
        self.index_id = hashlib.sha256(b"owner\0" + name.encode()).hexdigest()

    def entries(self) -> list[Entry]:
        """Return every entry, in the order in which they were listed, those listed anew last."""
        index = self._read()
        listed = {entry.session_id: entry for page in index.pages for entry in self._page(page)}
        for entry in index.entries:
            listed.pop(entry.session_id, None)
            listed[entry.session_id] = entry
        return list(listed.values())

    def add(self, entry: Entry) -> None:
        """List a session, in place of what the index has of it."""

        def with_entry(index: _Index) -> _Index:
            entries = [each for each in index.entries if each.session_id != entry.session_id]
            return index._replace(entries=[*entries, entry])

        self._change(with_entry)

    def drop(self, session_ids: set[str]) -> None:
        """List these sessions no more, and no page of which all are gone.

        It is written even if that changes nothing: then what is read next is what is stored, and
        no copy, as a chain has them.
        """

        def without(index: _Index) -> _Index:
            entries = [each for each in index.entries if each.session_id not in session_ids]
            pages = []
            for page in index.pages:
                if any(each.session_id not in session_ids for each in self._page(page)):
                    pages.append(page)
            return index._replace(entries=entries, pages=pages)

        self._change(without)

    def _change(self, change: Callable[[_Index], _Index]) -> None:
        """Write the index with a change, tried again while others change it."""
        for attempt in range(ATTEMPTS):
            index = self._read()
            changed = change(index)
            over = clock.now() - GRACE
            entries = [each for each in changed.entries if each.until > over]
            pages = [each for each in changed.pages if each.until > over]
            written = None
            if len(entries) > PAGE:
                written = self._write_page(entries[:-1])
                entries, pages = entries[-1:], [*pages, written]
            if index.sealed is None and not entries:
                return
            content = [_plain(entries), _plain(pages)]
            if self._swap(self.index_id, index.sealed, content, [*entries, *pages]):
                for page in {*index.pages} - {*pages}:
                    self._storage.clear(SessionKey(page.page_id, None))
                return
            if written is not None:
                self._storage.clear(SessionKey(written.page_id, None))
            pause(attempt)
        raise SessionConflict(
            f"the index of an owner's sessions was changed by others in each of {ATTEMPTS} attempts"
        )

    def _write_page(self, entries: list[Entry]) -> _Page:
        page = _Page(new_session_id(), max(each.until for each in entries))
        self._swap(page.page_id, None, _plain(entries), entries)
        return page

    def _read(self) -> _Index:
        sealed, content = self._load(self.index_id)
        entries, pages = content or ((), ())
        return _Index(sealed, [Entry(*each) for each in entries], [_Page(*each) for each in pages])

    def _page(self, page: _Page) -> list[Entry]:
        _, entries = self._load(page.page_id)
        return [Entry(*each) for each in entries or ()]

    def _load(self, record_id: str) -> tuple[bytes | None, Any]:
        """Return the record and its content, each None if it is not there or cannot be read."""
        sealed = self._storage.loads(SessionKey(record_id, None))
        if sealed is None:
            return None, None
        try:
            record = self._store.unseal(record_id, sealed)
        except Unreadable:
            return sealed, None
        return sealed, _serializer.loads(record.body) if record.kind is Kind.OWNER else None

    def _swap(
        self, record_id: str, expected: bytes | None, content: Any, listed: Sequence[Entry | _Page]
    ) -> bool:
        now = clock.now()
        # An empty one goes by itself: to delete it would not be a swap.
        until = max((each.until for each in listed), default=now) + GRACE
        body = _serializer.dumps(content)
        record = Record(Kind.OWNER, Meta(now, now), _serializer.name, body)
        sealed = self._store.seal(record_id, record)
        key = SessionKey(record_id, None if until == math.inf else until)
        return self._storage.swap(key, expected, sealed)


def _plain(tuples: Sequence[Entry | _Page]) -> list[list[Any]]:
    # The serializer refuses what would come back as another type.
    return [list(each) for each in tuples]
