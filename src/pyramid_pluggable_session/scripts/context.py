"""What a command works with: the application's registry, its storage and its sessions."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Final, NamedTuple

from pyramid.exceptions import ConfigurationError, ConfigurationExecutionError
from pyramid.interfaces import ISessionFactory
from pyramid.paster import bootstrap

from ..credentials import hide_credentials
from ..factory import SessionFactory
from ..interfaces import IPlugSession, IScanPlug
from ..keys import SessionKey, handle
from ..record import Kind, Record, Unreadable
from ..storage import Storage, describe
from ..store import Store, Stored
from .output import Output
from .records import read_from

_HANDLE: Final = re.compile(r"[0-9a-f]{4,12}")


class UsageError(Exception):
    """What was asked for makes no sense here. The message is for the person at the terminal."""


class Found(NamedTuple):
    """A record that a scan has found: its key, its bytes as stored, and what is in it."""

    key: SessionKey
    sealed: bytes
    record: Record | Unreadable

    @property
    def handle(self) -> str:
        """The name under which people get to see the session."""
        return handle(self.key.session_id)


class Context:
    """An application as its ini file makes it, without a web server around it."""

    ini = ""
    """The ini file that it is made of, if any."""

    def __init__(self, registry: Any, output: Output, request: Any = None) -> None:
        self.registry = registry
        self.output = output
        self.request = request
        self.warnings: list[str] = []
        """What this package has warned of since the application was made."""
        factory = registry.queryUtility(ISessionFactory)
        plug = registry.queryUtility(IPlugSession)
        if not isinstance(factory, SessionFactory) or plug is None:
            raise UsageError(
                "The application does not use pyramid_pluggable_session: its configuration has no "
                "config.include('pyramid_pluggable_session'), or sets another session factory."
            )
        self.factory: SessionFactory = factory
        self.plug: Any = plug
        self.store: Store = factory.store_for(self.storage)

    @property
    def storage(self) -> Storage:
        """A new one for each use: it notes what is done with it, which may be very much."""
        return Storage(self.plug, None)

    @classmethod
    @contextmanager
    def open(cls, ini: str, output: Output) -> Iterator[Context]:
        """Make the application of an ini file; of its main section, or of ``file.ini#section``."""
        path = ini.partition("#")[0]
        if not os.path.isfile(path):
            raise UsageError(f"There is no file {path}.")
        with _warnings() as warnings, _bootstrap(ini) as env:
            context = cls(env["registry"], output, env["request"])
            context.ini = path
            context.warnings = warnings
            try:
                yield context
            finally:
                if hasattr(context.plug, "close"):
                    context.plug.close()

    def scan(self) -> Iterator[SessionKey]:
        """Yield the key of every live record. Raise UsageError for a plug that cannot tell."""
        if not IScanPlug.providedBy(self.plug):
            raise UsageError(
                f"The {describe(self.plug)} storage cannot list its sessions, so this cannot be "
                "done with it."
            )
        return self._reading().scan()

    def found(self, key: SessionKey) -> Found | None:
        """Return what is stored under a key, None if it is absent."""
        sealed = self._reading().loads(key)
        if sealed is None:
            return None
        try:
            return Found(key, sealed, self.store.unseal(key.session_id, sealed))
        except Unreadable as error:
            return Found(key, sealed, error)

    def records(self) -> Iterator[Found]:
        """Yield every live record, of any kind. Raise UsageError for a plug that cannot tell."""
        return filter(None, map(self.found, self.scan()))

    def find(self, wanted: Iterable[str]) -> dict[str, Found | None]:
        """Return the session of each handle, or beginning of one; None where there is none.

        Raises UsageError for what is no handle, and for a beginning that several sessions have.
        """
        names = {each: each.lower() for each in wanted}
        for each, name in names.items():
            if not _HANDLE.fullmatch(name):
                raise UsageError(
                    f"{each!r} is not a handle. A handle has 12 of the digits 0-9 and a-f; the "
                    "first 4 are enough where no other begins with them."
                )
        # All are looked at, as another one may begin with the same digits.
        matches: dict[str, dict[str, Found]] = {name: {} for name in names.values()}
        for key in self.scan():
            whole = handle(key.session_id)
            for name, matching in matches.items():
                if whole.startswith(name) and (found := self.found(key)) and is_session(found):
                    matching[key.session_id] = found
        for name, matching in matches.items():
            if len(matching) > 1:
                handles = ", ".join(sorted(each.handle for each in matching.values()))
                raise UsageError(f"Several sessions begin with {name}: {handles}.")
        return {each: next(iter(matches[name].values()), None) for each, name in names.items()}

    def load_session(self, session_id: str) -> Stored | None:
        """Return a session, None if it has gone. Raise Unreadable if it cannot be read."""
        stored = self.store.load(self._reading(), session_id)
        return stored if isinstance(stored, Stored) else None

    def _reading(self) -> Storage:
        return Storage(read_from(self.plug), None)


def is_session(found: Found) -> bool:
    """Tell whether a record is a session, or may be one that cannot be read, and no mark."""
    return isinstance(found.record, Unreadable) or found.record.kind is Kind.SESSION


def _bootstrap(ini: str) -> Any:
    try:
        return bootstrap(ini)
    except ConfigurationExecutionError as error:
        if isinstance(error.evalue, ConfigurationError):
            # Without the lines that say where in the application it was found.
            raise error.evalue from error
        raise _cannot_be_made(ini, error.evalue) from error
    except ConfigurationError:
        raise
    except LookupError as error:
        # What PasteDeploy says of a section that is not there, and a KeyError of the application.
        if type(error) is not LookupError:
            raise _cannot_be_made(ini, error) from error
        raise UsageError(f"{ini}: {' '.join(str(error).split())}") from error
    except Exception as error:
        raise _cannot_be_made(ini, error) from error


def _cannot_be_made(ini: str, error: BaseException) -> UsageError:
    why = " ".join(hide_credentials(f"{type(error).__name__}: {error}").split())
    return UsageError(
        f"{ini}: the application cannot be made: {why}\n(pserve {ini} shows where that comes from)"
    )


@contextmanager
def _warnings() -> Iterator[list[str]]:
    """Collect what this package warns of, which would else get between what a command prints."""
    messages: list[str] = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: messages.append(record.getMessage())  # type: ignore[method-assign]
    log = logging.getLogger("pyramid_pluggable_session")
    log.addHandler(handler)
    try:
        yield messages
    finally:
        log.removeHandler(handler)
