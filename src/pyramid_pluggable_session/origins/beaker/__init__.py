"""Beaker's sessions, as ``pyramid_beaker`` configures them: the settings ``session.*``.

A session is a dict with the application's data and ``_creation_time`` and ``_accessed_time`` (epoch
seconds), ``_domain`` and ``_path`` (of its cookie) and, if the whole of it is in the cookie,
``_id``. What cookies are is in :mod:`.cookies`, and where the others are stored in
:mod:`.storages`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Final

from pyramid.exceptions import ConfigurationError
from zope.interface import implementer

from ... import clock
from ...cookie import cookie_values
from ...interfaces import IOrigin
from ...keys import SessionKey
from ...settings import PREFIX, Option, boolean
from ...storage import Storage
from ..formats import as_dict, as_time
from ..sessions import OldKey, OldSession, Place, Refused
from .cookies import SignedValue, Wrapping
from .storages import STORAGES

_ID: Final = re.compile(r"[0-9a-f]{32}", re.ASCII)

_NOT_TO_BE_HAD: Final = {
    "memory": "its sessions are in the memory of the old processes and end with them",
    "ext:google": "the old App Engine database cannot be reached by other programs",
}


@implementer(IOrigin)
class BeakerOrigin:
    """The sessions of pyramid_beaker."""

    name: ClassVar[str] = "beaker"
    options: ClassVar[tuple[Option, ...]] = (
        Option("allow_unsigned", boolean, False,
               "Whether session ids of cookies without a signature are believed, as Beaker does "
               "without session.secret."),
    )  # fmt: skip

    def __init__(
        self,
        config: Any,
        *,
        allow_unsigned: bool = False,
        allow_pickle: bool = False,
        classes: Iterable[type] = (),
    ) -> None:
        given = beaker_settings(config.registry.settings)
        self._cookie_name = given.get("key") or "beaker.session.id"
        self.places = (
            Place(
                self._cookie_name,
                given.get("cookie_path") or "/",
                given.get("cookie_domain") or None,
            ),
        )
        self._timeout = _timeout(given)
        self._unwrap = Wrapping(given, allow_pickle, classes)
        self._storage = _make_storage(given)
        self._cookie = SignedValue(_secret(given, self._storage is None, allow_unsigned))

    def identify(self, request: Any) -> OldKey | None:
        """Return what the one good cookie has: an id, or a session."""
        found = {
            each
            for value in cookie_values(request, self._cookie_name)
            if (each := self._cookie.open(value.strip('"')))
        }
        if len(found) != 1:
            return None
        (content,) = found
        if self._storage is not None:
            return OldKey(content) if _ID.fullmatch(content) else None
        data = as_dict(self._unwrap(content))
        session_id = data.get("_id")
        if type(session_id) is not str:
            raise Refused("a session without an id")
        return OldKey(session_id, data)

    def load(self, key: OldKey, request: Any) -> OldSession | None:
        """Return the session, None if it is absent or over."""
        data = key.payload
        if self._storage is not None:
            stored = Storage(self._storage, request).loads(SessionKey(key.id, None))
            wrapped = None if stored is None else self._storage.unpack(stored)
            if not wrapped:
                return None
            data = as_dict(self._unwrap(wrapped))
        now = clock.now()
        accessed = as_time(data.get("_accessed_time", now))
        expires_at = None if self._timeout is None else accessed + self._timeout
        if expires_at is not None and expires_at < now:
            return None
        own = {name: value for name, value in data.items() if name not in _BEAKERS}
        return OldSession(
            own,
            as_time(data.get("_creation_time", accessed)),
            expires_at,
            places=self._places(data),
        )

    def _places(self, data: Mapping[str, Any]) -> tuple[Place, ...]:
        """Return where the cookie of this session is, which may have moved it."""
        path, domain = data.get("_path"), data.get("_domain")
        if not (type(path) is str and (domain is None or type(domain) is str)):
            return ()
        return (Place(self._cookie_name, path, domain or None),)

    def forget(self, key: OldKey, request: Any) -> None:
        """Delete the session, if it is stored anywhere but in the cookie."""
        if self._storage is not None:
            Storage(self._storage, request).clear(SessionKey(key.id, None))

    def close(self) -> None:
        """Close what connections there are."""
        if hasattr(self._storage, "close"):
            self._storage.close()


_BEAKERS: Final = frozenset({"_creation_time", "_accessed_time", "_domain", "_path", "_id"})


def beaker_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return Beaker's settings by their names; of two for one, the later one, as pyramid_beaker."""
    given = {}
    for name, value in settings.items():
        for prefix in ("session.", "beaker.session."):
            if name.startswith(prefix):
                given[name[len(prefix) :]] = value.strip() if isinstance(value, str) else value
    return given


def _make_storage(given: Mapping[str, Any]) -> Any:
    """Return where sessions are stored; None if they are in the cookies."""
    for name in ("session_class", "namespace_class"):
        if given.get(name):
            raise ConfigurationError(
                f"session.{name}: sessions of a class of your own cannot be imported by beaker. "
                f"Write an origin for them, and name it in {PREFIX}import."
            )
    kind = given.get("type") or ("file" if given.get("data_dir") else "memory")
    if kind == "cookie":
        return None
    if kind in _NOT_TO_BE_HAD:
        raise ConfigurationError(
            f"session.type = {kind} cannot be imported: {_NOT_TO_BE_HAD[kind]}. Remove "
            f"{PREFIX}import; everybody logs in once more."
        )
    if kind not in STORAGES:
        raise ConfigurationError(
            f"session.type = {kind!r} is none of Beaker's that can be imported: "
            f"cookie, {', '.join(STORAGES)}."
        )
    return STORAGES[kind](given)


def _secret(given: Mapping[str, Any], in_cookie: bool, allow_unsigned: bool) -> str | None:
    name = "validate_key" if in_cookie else "secret"
    secret: str | None = given.get(name) or None
    if in_cookie and secret is None:
        raise ConfigurationError(
            "session.validate_key is not set, and without it Beaker has no sessions in cookies. "
            f"Keep the old settings session.* as long as {PREFIX}import is set."
        )
    if secret is None and not allow_unsigned:
        raise ConfigurationError(
            "session.secret is not set, so Beaker did not sign its cookies, and anybody may send "
            "any session id. Whoever has seen or planted one is let in. To have them imported "
            f"nevertheless, set {PREFIX}import.allow_unsigned = true."
        )
    return secret


def _timeout(given: Mapping[str, Any]) -> float | None:
    timeout = given.get("timeout")
    if timeout is None or timeout == "":
        return None
    try:
        return float(timeout)
    except (TypeError, ValueError):
        raise ConfigurationError(f"session.timeout must be seconds, not {timeout!r}.") from None
