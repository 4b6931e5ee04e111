"""Counts records: how many, how large, how old, and how they are sealed."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping
from typing import Any, Final

from pyramid.exceptions import ConfigurationError

from .. import clock
from ..keyring import Keyring
from ..record import Kind, Record, Sealer, Unreadable
from ..store import Store
from .records import Named
from .sketch import Sketch

_HOUR: Final = 3600
_DAY: Final = 86400

AGES: Final = (60, 600, _HOUR, 6 * _HOUR, _DAY, 7 * _DAY, 30 * _DAY)
"""Seconds up to which ages are counted together."""

SIZES: Final = (256, 1 << 10, 4 << 10, 16 << 10, 64 << 10, 256 << 10, 1 << 20)
"""Bytes up to which sizes are counted together."""


class Distribution:
    """Counts numbers up to each of the bounds and beyond the last, and tells their quantiles."""

    def __init__(self, bounds: tuple[int, ...]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sketch = Sketch()

    def add(self, number: float) -> None:
        """Count a number."""
        self._counts[bisect_left(self._bounds, number)] += 1
        self._sketch.add(number)

    @property
    def count(self) -> int:
        """How many numbers were counted."""
        return sum(self._counts)

    def counts(self) -> dict[int | None, int]:
        """Return the counts by their bounds; None stands for what is beyond the last."""
        return dict(zip((*self._bounds, None), self._counts, strict=True))

    def quantiles(self) -> dict[str, float | None]:
        """Return the median and the numbers that 90 % and 99 % are not above."""
        return {
            name: self._sketch.quantile(share)
            for name, share in (("median", 0.5), ("p90", 0.9), ("p99", 0.99))
        }


class Seals:
    """Tells which of the secrets a record is sealed with, and whether it is encrypted."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        """Take the application's own ``secret``, ``salt`` and ``hashalg``."""
        self.secrets = range(1, len(options["secret"]) + 1)
        self._sealers = []
        for number, secret in zip(self.secrets, options["secret"], strict=True):
            keyring = Keyring((secret,), options["salt"], options["hashalg"])
            self._sealers.append((number, False, Sealer(keyring, encrypt=False)))
            try:
                self._sealers.append((number, True, Sealer(keyring, encrypt=True)))
            except ConfigurationError:
                # Without the cryptography package, encrypted records are unreadable in any case.
                continue

    def of(self, sealed: bytes) -> tuple[int, bool]:
        """Return the number of the secret, 1 for the first, and whether it is encrypted.

        ``sealed`` has been unsealed before.
        """
        return next(
            (number, encrypted)
            for number, encrypted, sealer in self._sealers
            if sealer.is_current(sealed)
        )


class Census:
    """What is counted of the records, one after the other, in constant memory."""

    def __init__(self, store: Store, options: Mapping[str, Any]) -> None:
        self._store = store
        self._seals = Seals(options)
        self.kinds: Counter[Kind] = Counter()
        self.unreadable: Counter[str] = Counter()
        self.named = Named()
        self.bytes = 0
        self.over = 0
        self.secrets: Counter[int] = Counter(dict.fromkeys(self._seals.secrets, 0))
        self.encrypted = 0
        self.serializers: Counter[str] = Counter()
        self.age = Distribution(AGES)
        self.size = Distribution(SIZES)

    @property
    def records(self) -> int:
        """How many records there are, of every kind and the unreadable ones."""
        return self.kinds.total() + self.unreadable.total()

    def add(self, session_id: str, sealed: bytes) -> None:
        """Count a record."""
        self.bytes += len(sealed)
        try:
            record = self._store.unseal(session_id, sealed)
        except Unreadable as error:
            self.unreadable[error.reason] += 1
            self.named.add(session_id, error.reason)
            return
        self.kinds[record.kind] += 1
        number, encrypted = self._seals.of(sealed)
        self.secrets[number] += 1
        self.encrypted += encrypted
        if record.kind is Kind.SESSION:
            self._add_session(record, len(sealed))

    def _add_session(self, record: Record, size: int) -> None:
        now = clock.now()
        self.serializers[record.serializer] += 1
        self.over += self._store.lifetimes.ended(record.meta, now) is not None
        self.age.add(max(0.0, now - record.meta.created))
        self.size.add(size)
