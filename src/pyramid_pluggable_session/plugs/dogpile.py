"""Sessions in a region of dogpile.cache, and so in each of its backends."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, ClassVar

from dogpile.cache import CacheRegion, make_region
from dogpile.cache.api import NO_VALUE
from pyramid.exceptions import ConfigurationError
from zope.interface import implementer

from .. import settings
from ..credentials import hide_credentials
from ..interfaces import IPlugSession
from ..settings import Option
from ..storage import explain
from . import expiry
from .common_options import from_application
from .per_process import PerProcess

if TYPE_CHECKING:
    from ..interfaces import Key

_WHERE = f"{settings.PREFIX}dogpile"


class RegionError(Exception):
    """What went wrong in a region; the ``__cause__`` is the exception of its backend."""


@implementer(IPlugSession)
class DogpilePlug:
    """Keeps records in a region of dogpile.cache.

    Of two requests that change a session at once the later one wins, as a region cannot compare and
    swap. Sessions end when their own settings say so: the region's ``expiration_time`` and
    ``invalidate()`` do not count. Expired records stay until the backend drops them: tell it to,
    with a time that is longer than sessions live (``redis_expiration_time``,
    ``memcached_expire_time``). A backend that hides its failures makes an outage look like an
    absent session, and most of them pickle: whoever can write there can run code here.
    """

    name: ClassVar[str] = "dogpile"
    options: ClassVar[tuple[Option, ...]] = (
        Option(
            "region",
            settings.dotted,
            None,
            "The dotted name of a configured CacheRegion of the application, or of a callable that "
            "takes config and returns one. It must survive forks if the web server forks.",
        ),
        Option(
            "settings_prefix",
            settings.or_none(settings.text),
            None,
            "What the settings of dogpile.cache begin with, as session_cache. in "
            "session_cache.backend = dogpile.cache.redis, to make a region from them.",
        ),
        Option("key_prefix", settings.text, "session:", "What the keys of the records begin with."),
    )
    outages: ClassVar[tuple[type[Exception], ...]] = (RegionError,)

    def __init__(
        self,
        config: Any = None,
        *,
        region: Any = None,
        settings_prefix: str | None = None,
        key_prefix: str = "session:",
    ) -> None:
        if (region is None) == (settings_prefix is None):
            raise ConfigurationError(
                f"Set either {_WHERE}.region or {_WHERE}.settings_prefix, and not both."
            )
        self._key_prefix = key_prefix
        if settings_prefix is None:
            theirs = _checked(from_application(config, region))
            self._region: Callable[[], CacheRegion] = lambda: theirs
        else:
            own = {} if config is None else dict(config.registry.settings)
            self._region = PerProcess(lambda: _made(own, settings_prefix))
            # To find mistakes now. No backend of dogpile.cache's connects before it is used.
            self._region()

    def loads(self, session: Key, request: Any) -> bytes | None:
        """Return the record, or None when it is absent or expired."""
        key = self._key(session)
        with _failures():
            stamped = self._region().get(key, ignore_expiration=True)
        return None if stamped is NO_VALUE else expiry.live(stamped)

    def dumps(self, session: Key, request: Any, session_data: bytes) -> None:
        """Store the record until ``session.expires_at``."""
        stamped = expiry.stamp(session_data, session.expires_at)
        if not expiry.is_live(stamped):
            self.clear(session, request)
            return
        key = self._key(session)
        with _failures():
            self._region().set(key, stamped)

    def clear(self, session: Key, request: Any) -> None:
        """Forget the record."""
        key = self._key(session)
        with _failures():
            self._region().delete(key)

    def versions(self) -> dict[str, str]:
        """Return the version of dogpile.cache."""
        return {"dogpile.cache": version("dogpile.cache")}

    def remedy(self, error: BaseException) -> str | None:
        """Return a few words on what to change, or None."""
        if isinstance(error.__cause__, TypeError):
            return "records are bytes; give the region a serializer that takes them, or none"
        return "see the settings of the region and whether its backend's server is there"

    def _key(self, session: Key) -> str:
        return self._key_prefix + session.session_id


@contextmanager
def _failures() -> Iterator[None]:
    # Each backend has a driver of its own with exceptions of its own. Around nothing but a call of
    # the region, all of them are failures of the storage.
    try:
        yield
    except Exception as error:
        raise RegionError(explain(error)) from error


def _checked(region: Any) -> CacheRegion:
    if not isinstance(region, CacheRegion):
        raise ConfigurationError(
            f"{_WHERE}.region must be a CacheRegion of dogpile.cache, or a callable that takes "
            f"config and returns one, not {type(region).__name__}."
        )
    if not region.is_configured:
        raise ConfigurationError(
            f"{_WHERE}.region is not configured. Call its configure() before the session plug is "
            f"made, or have {_WHERE}.region name a callable that does so."
        )
    return region


def _made(own: dict[str, Any], prefix: str) -> CacheRegion:
    if f"{prefix}backend" not in own:
        raise ConfigurationError(
            f"{_WHERE}.settings_prefix is {prefix!r}, but there is no setting {prefix}backend."
        )
    try:
        return make_region().configure_from_config(own, prefix)
    except Exception as error:
        raise ConfigurationError(
            f"dogpile.cache does not take the settings {prefix}*, which "
            f"{_WHERE}.settings_prefix names: {hide_credentials(explain(error))}"
        ) from None
