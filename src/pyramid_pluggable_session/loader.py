"""From the name of a plug to the plug: a short name, a URL or a dotted name.

The plugs that come with the package are registered as anybody else's are: by an entry point in the
group ``pyramid_pluggable_session.plugs`` whose name is the short name and the URL's scheme.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Final
from urllib.parse import SplitResult, urlsplit

from pyramid.exceptions import ConfigurationError
from zope.interface.exceptions import Invalid
from zope.interface.verify import verifyObject

from .credentials import hide_credentials
from .interfaces import IPlugSession
from .settings import PREFIX, Option, from_url, parse, section, unknown

GROUP: Final = "pyramid_pluggable_session.plugs"

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):")


def make_plug(config: Any, spec: Any) -> Any:
    """Return the plug that ``spec`` names, with its options read from the settings.

    ``spec`` is a short name (``sqlite``), a URL (``sqlite:///var/lib/app/sessions.db?durable=true``),
    a dotted name, a callable that takes ``config``, or a plug. Raises
    :class:`~pyramid.exceptions.ConfigurationError` with the remedy if there is none.
    """
    return find_plug(config, spec).make(config)


@dataclass(frozen=True)
class FoundPlug:
    """What a plug's name stands for: the plug, or what makes it and with which options."""

    spec: Any = field(repr=False)  # a URL may have a password
    factory: Any
    table: tuple[Option, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict, repr=False)

    def make(self, config: Any) -> Any:
        """Return the plug."""
        if IPlugSession.providedBy(self.factory):
            return self.factory
        plug = self.factory(config, **self.options)
        try:
            verifyObject(IPlugSession, plug)
        except Invalid as error:
            raise ConfigurationError(
                f"The session plug {show(self.spec)} made something that is not a plug: {error}"
            ) from error
        return plug

    def shown_options(self) -> dict[str, Any]:
        """Return the options as people may see them."""
        return {option.name: option.shown(self.options[option.name]) for option in self.table}


def find_plug(config: Any, spec: Any) -> FoundPlug:
    """Find what ``spec`` names and read its options, without making it yet."""
    factory, url = _resolve(config, spec) if isinstance(spec, str) else (spec, None)
    if IPlugSession.providedBy(factory):
        return FoundPlug(spec, factory)
    if not callable(factory):
        raise ConfigurationError(f"The session plug {show(spec)} is neither a plug nor callable.")
    table = getattr(factory, "options", None)
    if table is None:
        # A plug of 0.0.0a2's kind reads what it wants from the settings.
        return FoundPlug(spec, factory)
    prefix = f"{PREFIX}{factory.name}."
    in_url = {} if url is None else from_url(table, url)
    settings = None if config is None else config.registry.settings

    def where(name: str) -> str:
        return (
            f"{name}, in the URL of the {factory.name} plug," if name in in_url else prefix + name
        )

    given = {**section(settings, prefix), **in_url}
    return FoundPlug(spec, factory, tuple(table), parse(table, given, where))


def show(spec: Any) -> str:
    """Return a plug's name as it may be shown: without the password of a URL."""
    return repr(hide_credentials(spec) if isinstance(spec, str) else spec)


def known_plugs() -> dict[str, EntryPoint]:
    """Return the registered plugs by short name. Raise ConfigurationError if two share one."""
    known: dict[str, EntryPoint] = {}
    for entry in entry_points(group=GROUP):
        other = known.setdefault(entry.name, entry)
        if other.value != entry.value:
            raise ConfigurationError(
                f"Two installed packages register a session plug {entry.name!r}: {other.value} and "
                f"{entry.value}. Uninstall one, or name the plug by its dotted name."
            )
    return known


def _resolve(config: Any, spec: str) -> tuple[Any, SplitResult | None]:
    spec = spec.strip()
    known = known_plugs()
    match = _SCHEME.match(spec)
    if match is not None and (match[1] in known or "://" in spec):
        # A scheme may name a driver as well: postgresql+psycopg.
        entry = known.get(match[1]) or known.get(match[1].partition("+")[0])
        if entry is None:
            raise _unknown_plug(match[1], known)
        try:
            return _load(entry), urlsplit(spec)
        except ValueError as error:
            # The error may quote the part that has the password.
            why = hide_credentials(str(error))
            raise ConfigurationError(f"{show(spec)} is not a URL: {why}.") from None
    if spec in known:
        return _load(known[spec]), None
    if "." not in spec and ":" not in spec:
        raise _unknown_plug(spec, known)
    try:
        return config.maybe_dotted(spec), None
    except (ImportError, ValueError) as error:
        raise ConfigurationError(
            f"{PREFIX}plug: the dotted name {show(spec)} cannot be imported "
            f"({hide_credentials(str(error))})"
        ) from None


def _load(entry: EntryPoint) -> Any:
    try:
        return entry.load()
    except ImportError as error:
        raise ConfigurationError(
            f"The session plug {entry.name!r} needs a package that is not installed ({error})."
            + _how_to_install(entry)
        ) from error


def _how_to_install(entry: EntryPoint) -> str:
    """Return a sentence with the extra that brings a plug's driver, if there is one."""
    if entry.dist is not None:
        extras = entry.dist.metadata.get_all("Provides-Extra") or ()
        # Schemes such as rediss share the extra of the module that they are in.
        for name in (entry.name, entry.name.partition("+")[0], entry.module.rpartition(".")[2]):
            if name in extras:
                return f" Install it with: pip install '{entry.dist.name}[{name}]'"
    return ""


def _unknown_plug(name: str, known: Iterable[str]) -> ConfigurationError:
    return unknown(name, known, lambda each: f"{PREFIX}plug = {each}")
