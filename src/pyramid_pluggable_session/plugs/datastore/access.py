"""What the datastore plug asks of Datastore: with timeouts, repeated only where that is safe."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from google.api_core.exceptions import Conflict, ServiceUnavailable
from google.api_core.retry import Retry, if_exception_type
from google.cloud.datastore.query import PropertyFilter
from google.protobuf.message import DecodeError

_T = TypeVar("_T")

# These come without type hints.
_Retry: Any = Retry
_if_exception_type: Any = if_exception_type
_PropertyFilter: Any = PropertyFilter
_ServiceUnavailable: Any = ServiceUnavailable

# The client's own retries might repeat a write that was done, or go on for a minute.
_NEVER: Any = _Retry(predicate=lambda error: False)


class Access:
    """Reads and writes entities.

    ``client`` returns the client of this process. ``timeouts`` are the seconds for one answer, or a
    pair of those for a connection and for an answer. ``patience`` is for how many seconds to repeat
    what Datastore refuses for the moment.
    """

    def __init__(self, client: Callable[[], Any], timeouts: Any, patience: float) -> None:
        self._client = client
        self._limits = {"retry": _NEVER, "timeout": timeouts}
        self._patience = patience

    def lookup(self, keys: list[Any], transaction: Any = None) -> list[Any]:
        """Return the entities that there are of the keys. Some may be left out if many were asked.

        A transaction that has not begun begins with it, in the same round trip.
        """

        def attempt() -> list[Any]:
            client = self._client()
            missing: list[Any] = []
            deferred: list[Any] = []
            with _apart(client):
                found: list[Any] = client.get_multi(
                    keys,
                    missing=missing,
                    deferred=deferred,
                    transaction=transaction,
                    **self._limits,
                )
            if not found and not missing:
                # Datastore tells of every key: neither of these is "absent".
                if deferred:
                    raise _ServiceUnavailable("the lookup was put off")
                raise DecodeError("the answer does not tell of the key that was asked for")
            return found

        return self._patiently(attempt, ServiceUnavailable)

    def query(
        self, kind: str, where: tuple[Any, ...], order: str, limit: int, keys_only: bool = False
    ) -> list[Any]:
        """Return the first entities for which a property is as ``where`` says, in an order."""

        def attempt() -> list[Any]:
            client = self._client()
            query = client.query(kind=kind, order=[order])
            if where:
                query.add_filter(filter=_PropertyFilter(*where))
            if keys_only:
                query.keys_only()
            with _apart(client):
                return list(query.fetch(limit=limit, **self._limits))

        return self._patiently(attempt, ServiceUnavailable)

    def write(self, mutate: Callable[[Any], object]) -> None:
        """Do what ``mutate`` puts into a batch."""

        def attempt() -> None:
            # The client's own put() and delete() would join a transaction of the application's.
            batch = self._client().batch()
            batch.begin()
            mutate(batch)
            batch.commit(**self._limits)

        # That others were faster ("aborted") is the one conflict that comes up here, and it says
        # that nothing was done. After any other error that is not known.
        self._patiently(attempt, Conflict)

    def change(self, keys: list[Any], mutate: Callable[[Any, list[Any]], int]) -> int:
        """Look up entities and do what ``mutate`` puts into a transaction, as one atomic step.

        ``mutate`` gets the transaction and the entities, and returns how many it changes.
        """

        def attempt() -> int:
            transaction = self._client().transaction(begin_later=True)
            changed = mutate(transaction, self.lookup(keys, transaction))
            # Either way it ends, so that nobody has to wait for it.
            end = transaction.commit if changed else transaction.rollback
            end(**self._limits)
            return changed

        return self._patiently(attempt, Conflict)

    def _patiently(self, attempt: Callable[[], _T], error: type[Exception]) -> _T:
        """Return what ``attempt`` does. Make it again, after random pauses, after such an error."""
        again = _Retry(
            _if_exception_type(error),
            initial=0.02,
            maximum=0.5,
            multiplier=2.0,
            timeout=self._patience,
        )
        result: _T = again(attempt)()
        return result


@contextlib.contextmanager
def _apart(client: Any) -> Iterator[None]:
    """Keep reads out of a transaction that the application has open on a client of its own."""
    # A client reads in the transaction that its thread has open, unless there is another batch
    # within that. One that was rolled back before anything was in it takes no round trip.
    with client.batch() as batch:
        batch.rollback()
        yield
