"""How a Pyramid application is configured with this package."""

from __future__ import annotations

import logging
from typing import Any, Final

from pyramid.exceptions import ConfigurationError
from pyramid.interfaces import ISessionFactory
from pyramid.tweens import EXCVIEW, INGRESS
from zope.interface import providedBy

from .factory import SessionFactory
from .interfaces import IPlugSession
from .loader import find_plug, known_plugs, show
from .options import CORE_OPTIONS
from .ownership import can_have_owners
from .settings import IMPORT, PREFIX, Option, parse, section, text, unknown
from .storage import Storage, describe

log = logging.getLogger("pyramid_pluggable_session")

INI_OPTIONS: Final = (
    *CORE_OPTIONS,
    Option("plug", text, None, "The storage: a short name, a URL or a dotted name."),
    Option("import", lambda value: value or None, None,
           "Where sessions of another package are imported from; a short name or a dotted name."),
)  # fmt: skip


def includeme(config: Any) -> None:
    """Set up sessions as the settings say: ``config.include('pyramid_pluggable_session')``."""
    settings = config.registry.settings
    given = section(settings, PREFIX)
    options = parse(
        INI_OPTIONS,
        {name: value for name, value in given.items() if "." not in name},
        lambda name: PREFIX + name,
    )
    factory = SessionFactory(options)
    if options["import"] is not None:
        # Not at the top: hardly anybody needs it, and that only for some weeks.
        from .importing import make_importer  # noqa: PLC0415

        factory.importer = make_importer(config, options["import"], options["salt"])
    elif settings_of_import := section(settings, f"{IMPORT}."):
        name = next(iter(settings_of_import))
        raise ConfigurationError(f"{IMPORT}.{name} is set, and {IMPORT} is not.")
    config.set_session_factory(factory)
    config.add_directive("set_session_plug", set_session_plug)
    if options["plug"] is not None:
        config.set_session_plug(options["plug"])
    config.add_tween("pyramid_pluggable_session.tweens.refusal_tween_factory", under=EXCVIEW)
    config.add_tween("pyramid_pluggable_session.tweens.outage_tween_factory", under=INGRESS)


def set_session_plug(config: Any, plug: Any) -> None:
    """Store sessions in ``plug``, a Pyramid directive: ``config.set_session_plug('memory')``.

    ``plug`` is what the setting ``pluggable_session.plug`` may be, a plug, or a callable that takes
    ``config`` and returns one. Two calls for different plugs conflict, as Pyramid's directives do.
    """
    introspectable = config.introspectable("session plug", None, show(plug), "session plug")

    def register() -> None:
        found = find_plug(config, plug)
        made = found.make(config)
        introspectable["plug"] = describe(made)
        introspectable["options"] = found.shown_options()
        introspectable["abilities"] = [each.__name__ for each in providedBy(made)]
        # Said of the storage of all sessions only: the front of a chain may well be forgetful.
        if caution := getattr(made, "caution", None):
            log.warning("%s", caution)
        config.registry.registerUtility(made, IPlugSession)

    config.action(IPlugSession, register, introspectables=(introspectable,))


def check_application(registry: Any) -> None:
    """Raise ConfigurationError for the mistakes that only the finished configuration shows."""
    factory = registry.queryUtility(ISessionFactory)
    if not isinstance(factory, SessionFactory):
        log.warning(
            "pyramid_pluggable_session is included, and not used: the application sets another "
            "session factory. Remove config.set_session_factory(...), or the argument "
            "session_factory of its Configurator."
        )
        return
    plug = registry.queryUtility(IPlugSession)
    if plug is None:
        raise ConfigurationError(
            "There is no storage for sessions. Set pluggable_session.plug, for instance to "
            "sqlite:///path/to/sessions.db, or call config.set_session_plug(...)."
        )
    if factory.options["max_sessions"] is not None and not can_have_owners(Storage(plug, None)):
        raise ConfigurationError(
            f"pluggable_session.max_sessions: the {describe(plug)} storage cannot compare and "
            "swap, so the sessions of a user cannot be counted. Unset it, or take another storage."
        )
    _check_sections(registry.settings, plug)


def _check_sections(settings: Any, plug: Any) -> None:
    """Refuse settings such as ``pluggable_session.fiel.path`` that no plug will ever read."""
    if getattr(plug, "options", None) is None:
        # A plug without a table may read settings of any name.
        return
    names = [name for name in section(settings, PREFIX) if "." in name]
    if not names:
        return  # and the installed packages need not be gone through once more
    registered = known_plugs()
    in_use = {plug.name, *getattr(plug, "member_names", ())}
    read_by = {registered[name].value: name for name in in_use if name in registered}
    known = in_use | set(registered)
    for name in names:
        plug_name, _, option = name.partition(".")
        if plug_name in in_use or PREFIX + plug_name == IMPORT:
            continue
        if plug_name not in known:
            raise unknown(plug_name, known, lambda each: PREFIX + each)
        if reader := read_by.get(registered[plug_name].value):
            # A plug has one section of settings, however many schemes its URLs have.
            raise ConfigurationError(
                f"{PREFIX}{name} is not read. Write {PREFIX}{reader}.{option}."
            )
