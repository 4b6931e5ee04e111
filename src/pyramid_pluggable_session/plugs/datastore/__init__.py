"""Sessions in Google Cloud Datastore, that is, in Firestore in Datastore mode."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, ClassVar

from zope.interface import implementer

from ... import clock
from ...interfaces import IPurgePlug, IScanPlug, ISwapPlug
from ...keys import SessionKey
from ...settings import Option
from ..per_process import PerProcess
from . import remedies
from .access import Access
from .client import client_maker
from .entities import (
    expires_at,
    is_live,
    live_data,
    make_entity,
    moment,
    size_refused,
)
from .options import OPTIONS, project_of

if TYPE_CHECKING:
    from ...interfaces import Key

_PAGE = 100
# So many may be in a transaction in the concurrency mode "optimistic with entity groups", which old
# databases are in.
_AT_ONCE = 25


@implementer(ISwapPlug, IScanPlug, IPurgePlug)
class DatastorePlug:
    """Keeps records as entities, named by the session id, with properties ``data`` and ``expires``.

    A committed record survives the loss of a machine, and every later reading sees it.

    Expired records stay until a policy of the database deletes them, within a day or so. It is
    switched on from outside, once::

        gcloud firestore fields ttls update expires --collection-group=PluggableSession --enable-ttl

    Where there is no such policy, have something call :meth:`purge` now and then.
    """

    # No housekeeping beside the writing, as Google charges for every reading of every process.

    name: ClassVar[str] = "datastore"
    options: ClassVar[tuple[Option, ...]] = OPTIONS
    outages: ClassVar[tuple[type[Exception], ...]] = remedies.OUTAGES

    def __init__(
        self,
        config: Any = None,
        *,
        url: str | None = None,
        project: str | None = None,
        namespace: str | None = None,
        database: str | None = None,
        kind: str = "PluggableSession",
        credentials_file: str | None = None,
        emulator_host: str | None = None,
        connect_timeout: float = 2.0,
        timeout: float = 5.0,
        client: Any = None,
    ) -> None:
        place = {"project": project_of(url, project), "namespace": namespace, "database": database}
        how = {"credentials_file": credentials_file, "emulator_host": emulator_host}
        self._owns = client is None
        self._client: PerProcess[Any] = PerProcess(client_maker(config, client, place, how))
        # A client of the application's own may use gRPC, which knows one timeout only.
        timeouts = (connect_timeout, timeout) if self._owns else timeout
        self._access = Access(self._client, timeouts, timeout)
        self._kind = kind

    def close(self) -> None:
        """Close the connections. The plug stays usable."""
        client = self._client.take()
        if client is not None and self._owns:
            client.close()

    def loads(self, session: Key, request: Any) -> bytes | None:
        """Return the record, or None when it is absent or expired."""
        return live_data(self._access.lookup([self._key(session)]))

    def dumps(self, session: Key, request: Any, session_data: bytes) -> None:
        """Store the record until ``session.expires_at``."""
        entity = make_entity(self._key(session), session, session_data)
        with size_refused(entity):
            self._access.write(lambda batch: batch.put(entity))

    def clear(self, session: Key, request: Any) -> None:
        """Forget the record."""
        key = self._key(session)
        self._access.write(lambda batch: batch.delete(key))

    def swap(self, session: Key, request: Any, expected: bytes | None, session_data: bytes) -> bool:
        """Store the record if what is stored equals ``expected``."""
        entity = make_entity(self._key(session), session, session_data)

        def put(transaction: Any, found: list[Any]) -> int:
            if live_data(found) != expected:
                return 0
            transaction.put(entity)
            return 1

        with size_refused(entity):
            return self._access.change([entity.key], put) == 1

    def scan(self) -> Iterator[SessionKey]:
        """Yield the key of every live record."""
        # In the order of the ids, as an expiry may change meanwhile. No index has both, so this
        # reads whole records.
        where: tuple[Any, ...] = ()
        while True:
            page = self._access.query(self._kind, where, "__key__", _PAGE)
            for entity in page:
                if is_live(entity):
                    yield SessionKey(entity.key.name, expires_at(entity))
            if len(page) < _PAGE:
                return
            where = ("__key__", ">", page[-1].key)

    def versions(self) -> dict[str, str]:
        """Return the version of the driver."""
        return {"google-cloud-datastore": version("google-cloud-datastore")}

    def purge(self) -> int:
        """Delete the expired records and return how many they were."""
        total = 0
        while True:
            where = ("expires", "<=", moment(clock.now()))
            page = self._access.query(self._kind, where, "expires", _PAGE, keys_only=True)
            keys = [entity.key for entity in page]
            deleted = sum(
                self._access.change(keys[start : start + _AT_ONCE], _delete_expired)
                for start in range(0, len(keys), _AT_ONCE)
            )
            total += deleted
            if len(keys) < _PAGE or not deleted:
                return total

    def remedy(self, error: BaseException) -> str | None:
        """Return what to change, or None if that is not known."""
        return remedies.remedy(error)

    def _key(self, session: Key) -> Any:
        return self._client().key(self._kind, session.session_id)


def _delete_expired(transaction: Any, found: list[Any]) -> int:
    # Some may have been renewed since the query.
    expired = [entity.key for entity in found if not is_live(entity)]
    for key in expired:
        transaction.delete(key)
    return len(expired)
