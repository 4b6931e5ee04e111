"""Where sessions of other packages come from: what ``pluggable_session.import`` names.

The origins that come with the package are registered as anybody else's are: by an entry point in
the group ``pyramid_pluggable_session.origins``. None of them imports the package whose sessions it
reads, which is to be uninstalled.
"""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import Any, Final

from pyramid.exceptions import ConfigurationError
from zope.interface.exceptions import Invalid
from zope.interface.verify import verifyObject

from ..interfaces import IOrigin
from ..settings import IMPORT, Option, boolean, dotted, or_none, parse, section, text, unknown
from .formats import classes

GROUP: Final = "pyramid_pluggable_session.origins"

COMMON_OPTIONS: Final = (
    Option("allow_pickle", boolean, False,
           "Whether pickled sessions are read: plain data and the listed classes, nothing else."),
    Option("classes", classes, (),
           "Dotted names of the application's own classes that pickled sessions may hold."),
    Option("convert", or_none(dotted), None,
           "Dotted name of a function that gets the data (a dict) and the request, and returns the "
           "data that the new session has, or None not to import it."),
    Option("userid_key", text, "auth.userid",
           "The key with the user's id, who becomes the owner of the session."),
)  # fmt: skip
"""What may be set for every origin, behind ``pluggable_session.import.``"""


def make_origin(config: Any, spec: Any) -> tuple[Any, dict[str, Any]]:
    """Return the origin that ``spec`` names, and the values of :data:`COMMON_OPTIONS`.

    ``spec`` is a short name (``beaker``), a dotted name, a callable, or an origin. Raises
    :class:`~pyramid.exceptions.ConfigurationError` with the remedy if there is none.
    """
    factory = _resolve(config, spec) if isinstance(spec, str) else spec
    is_made = IOrigin.providedBy(factory)
    if not is_made and not callable(factory):
        raise ConfigurationError(f"{IMPORT}: {spec!r} is neither an origin nor callable.")
    own = () if is_made else getattr(factory, "options", ())
    given = section(config.registry.settings, f"{IMPORT}.")
    options = parse((*COMMON_OPTIONS, *own), given, lambda name: f"{IMPORT}.{name}")
    common = {option.name: options[option.name] for option in COMMON_OPTIONS}
    if is_made:
        return factory, common
    reading = {name: options[name] for name in ("allow_pickle", "classes")}
    origin = factory(config, **reading, **{option.name: options[option.name] for option in own})
    try:
        verifyObject(IOrigin, origin)
    except Invalid as error:
        raise ConfigurationError(
            f"{IMPORT}: {spec!r} made something that is not an origin: {error}"
        ) from error
    return origin, common


def _resolve(config: Any, spec: str) -> Any:
    spec = spec.strip()
    known = {entry.name: entry for entry in entry_points(group=GROUP)}
    if spec in known:
        return known[spec].load()
    if "." not in spec and ":" not in spec:
        raise unknown(spec, known, lambda each: f"{IMPORT} = {each}")
    try:
        return config.maybe_dotted(spec)
    except (ImportError, ValueError) as error:
        raise ConfigurationError(
            f"{IMPORT}: the dotted name {spec!r} cannot be imported ({error})"
        ) from None
