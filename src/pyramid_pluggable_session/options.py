"""The core's own options: what an application may set beside its plug's."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from pyramid.exceptions import ConfigurationError
from pyramid.path import DottedNameResolver

from .serializers import BUILT_IN, Serializer, adapt
from .settings import (
    PREFIX,
    REQUIRED,
    Option,
    boolean,
    dotted,
    integer,
    one_of,
    or_none,
    positive_integer,
    positive_seconds,
    seconds,
    text,
    words,
)

EXAMPLE_SECRET: Final = "replace-me"  # noqa: S105 (refused)
"""What the secrets in the documentation's and the examples' ini files begin with."""

MAKE_A_SECRET: Final = 'python -c "import secrets; print(secrets.token_urlsafe(48))"'  # noqa: S105

_STRONG_SECRET_BYTES = 32
_SHORTEST_TAG_BYTES = 16
_OLD_HASHES = ("md5", "sha1")


def secret_lines(value: Any) -> tuple[bytes, ...]:
    """Convert to secrets: one a line, or a sequence of them, as text or bytes."""
    items = value if isinstance(value, (list, tuple)) else [value]
    secrets: list[bytes] = []
    for item in items:
        if not isinstance(item, (str, bytes)):
            raise ValueError("a text, or several with one on each line")
        line_bytes = item.encode() if isinstance(item, str) else item
        secrets += filter(None, map(bytes.strip, line_bytes.splitlines()))
    if not secrets:
        raise ValueError(f"a long random text; make one with: {MAKE_A_SECRET}")
    return tuple(dict.fromkeys(secrets))


def check_secrets(secrets: tuple[bytes, ...]) -> None:
    """Refuse a secret that everybody knows."""
    for secret in secrets:
        if secret.startswith(EXAMPLE_SECRET.encode()):
            raise ConfigurationError(
                "pluggable_session.secret is still the one of the documentation, which everybody "
                f"knows. Make your own with: {MAKE_A_SECRET}"
            )


class Weakness(NamedTuple):
    """A setting that makes sessions weaker than they need be: which, why, and what to do."""

    setting: str
    why: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.setting} {self.why}; {self.remedy}"


def weaknesses(options: Mapping[str, Any]) -> list[Weakness]:
    """Return what makes sessions weaker than the defaults and a good secret do."""
    never = options["timeout"] is None and options["lifetime"] is None
    # Whichever can be guessed is good for a forged cookie.
    shortest = min(map(len, options["secret"]))
    return [
        Weakness(PREFIX + name, why, remedy)
        for name, weak, why, remedy in (
            ("secret", shortest < _STRONG_SECRET_BYTES,
             f"has {shortest} bytes, fewer than {_STRONG_SECRET_BYTES}",
             f"make a better one with: {MAKE_A_SECRET} (keep the old one on a further line for a "
             "while, and nobody is logged out)"),
            ("secure", options["secure"] is False,
             "makes sessions weak: the cookie is sent by plain http, too",
             "set it to true, or to auto"),
            ("httponly", not options["httponly"],
             "makes sessions weak: a script in the page can steal the cookie",
             "set it to true"),
            ("samesite", options["samesite"] is None,
             "makes sessions weak: other sites' forms come with the cookie",
             "set it to Lax"),
            ("serializer", "pickle" in options["serializer"],
             "makes sessions weak: whoever gets the secret can run code in the application",
             "set it to msgpack"),
            ("hashalg", options["hashalg"].lower() in _OLD_HASHES,
             "makes sessions weak: the algorithm is an old one",
             "set it to sha256 (users log in once more)"),
            ("timeout", never,
             "makes sessions weak: without it and a lifetime, a stolen cookie is good for ever",
             "set a timeout, a lifetime, or both"),
        )
        if weak
    ]  # fmt: skip


def reissue_time(value: Any) -> float | str | None:
    """Convert to seconds, None or ``auto``."""
    if isinstance(value, str) and value.strip().lower() == "auto":
        return "auto"
    result: float | None = or_none(seconds)(value)
    return result


def secure(value: Any) -> bool | None:
    """Convert to true, false, or None for ``auto``."""
    if value is None or (isinstance(value, str) and value.strip().lower() == "auto"):
        return None
    try:
        return boolean(value)
    except ValueError:
        raise ValueError("auto, true or false") from None


def samesite(value: Any) -> str | None:
    """Convert to the attribute's value. None and an empty value leave the attribute out.

    The word ``none`` is the attribute's own: ``SameSite=None``.
    """
    if value is None or value == "":
        return None
    return one_of("Lax", "Strict", "None")(value)


def domains(value: Any) -> tuple[str, ...]:
    """Convert to cookie domains; none of them means the host itself."""
    return () if value is None else words(value)


def hash_algorithm(value: Any) -> str:
    """Convert to the name of an algorithm that HMAC can use."""
    try:
        name = text(value)
        # No digest at all: SHAKE, in Pythons that let HMAC have it.
        if hmac.new(b"", b"", name).digest_size >= _SHORTEST_TAG_BYTES:  # pragma: no branch
            return name
    except (ValueError, TypeError):
        pass
    fit = sorted(name for name in hashlib.algorithms_guaranteed if not name.startswith("shake"))
    raise ValueError("one of " + ", ".join(fit))


def on_outage(value: Any) -> Any:
    """Convert to ``fail``, ``anonymous``, or a function of the request that returns one of them."""
    if callable(value):
        return value
    if isinstance(value, str) and "." in value:
        found = dotted(value)
        if callable(found):
            return found
    try:
        return one_of("fail", "anonymous")(value)
    except ValueError as error:
        raise ValueError(f"{error}, or the dotted name of a function that returns one") from None


def device_details(value: Any) -> tuple[str, ...]:
    """Convert to some of ``address`` and ``user_agent``."""
    given = () if value is None else words(value)
    if set(given) <= {"address", "user_agent"}:
        return given
    raise ValueError("address, user_agent, both, or empty")


def serializers(value: Any) -> tuple[Any, ...]:
    """Convert to names and objects of serializers."""
    if value is None or value == "":
        return ("msgpack",)
    if isinstance(value, str):
        return words(value) or ("msgpack",)
    return tuple(value) if isinstance(value, (list, tuple)) else (value,)


def make_serializers(specs: tuple[Any, ...]) -> list[Serializer]:
    """Return the serializers: the first one writes, all of them read.

    What the safe ones have written is always read, so that changing ``serializer`` logs nobody out.
    """
    made = []
    for spec in (*specs, "msgpack", "json"):
        if isinstance(spec, str) and spec in BUILT_IN:
            made.append(BUILT_IN[spec]())
            continue
        try:
            made.append(adapt(DottedNameResolver().maybe_resolve(spec)))
        except (ImportError, ValueError, TypeError, AttributeError) as error:
            raise ConfigurationError(
                f"pluggable_session.serializer: {spec!r} is none of {', '.join(BUILT_IN)}, and no "
                f"dotted name of an object with loads and dumps ({error})."
            ) from error
    return made


CORE_OPTIONS: Final = (
    Option("secret", secret_lines, REQUIRED,
           f"A long random text, known to nobody. Make one with: {MAKE_A_SECRET} "
           "Several lines are several secrets: the first seals, all unseal. To change it, add the "
           "new one below the old one on every server, and only then move it up.", secret=True),
    Option("cookie_name", text, "session", "Name of the cookie."),
    Option("max_age", or_none(integer), 864000,
           "Age of the cookie in seconds; none for one that ends with the browser."),
    Option("path", text, "/", "Path of the cookie."),
    Option("domain", domains, (),
           "A domain whose hosts all get the cookie, such as example.org; empty for the host "
           "itself. Hosts of different ones do not share a session."),
    Option("secure", secure, None,
           "Whether the cookie is sent by https only; auto: if the request came by https."),
    Option("httponly", boolean, True, "Whether scripts in the page cannot see the cookie."),
    Option("samesite", samesite, "Lax",
           "Lax, Strict or None; empty leaves the attribute out."),
    Option("partitioned", boolean, False,
           "Whether an embedded page has cookies of its own on each site (CHIPS)."),
    Option("set_on_exception", boolean, True,
           "Whether to save the session if the view raised an exception that was handled."),
    Option("timeout", or_none(positive_seconds), 1200.0,
           "Seconds after which a session that nobody looks into ends, counted from when it was "
           "last stored (see reissue_time); none for never."),
    Option("reissue_time", reissue_time, "auto",
           "Seconds after which a session that is only read is stored again; auto: a tenth of "
           "timeout; none: only when it changes."),
    Option("lifetime", or_none(positive_seconds), None,
           "Seconds after which a session ends however much it is used, counted from the first "
           "thing put into it; none for never."),
    Option("hashalg", hash_algorithm, "sha256", "Hash algorithm of the signatures."),
    Option("salt", text, "pyramid_pluggable_session.",
           "Name of the application: two with one secret and two salts do not share sessions."),
    Option("serializer", serializers, ("msgpack",),
           "msgpack, json, pickle or a dotted name; the first writes, further ones are read."),
    Option("encrypt", boolean, False, "Whether records are encrypted (AES-256-GCM)."),
    Option("max_size", or_none(integer), 1024 * 1024, "Largest record in bytes; none for any."),
    Option("on_conflict", one_of("ours", "fail"), "ours",
           "When two requests set one key to different values: ours takes the later one's, fail "
           "raises SessionConflict."),
    Option("on_outage", on_outage, "fail",
           "When the storage cannot be reached: fail answers 503 (or what an exception view says); "
           "anonymous goes on with an empty session of which nothing is saved; or the dotted name "
           "of a function of the request that returns one of these."),
    Option("max_sessions", or_none(positive_integer), None,
           "How many sessions a user may have; none for any number. See session.owner."),
    Option("on_max_sessions", one_of("end_oldest", "refuse"), "end_oldest",
           "When a user has that many and logs in: end_oldest ends the oldest one, refuse raises "
           "TooManySessions."),
    Option("device_details", device_details, (),
           "What the list of a user's sessions keeps of the client: address, user_agent, or both. "
           "These are personal data."),
    Option("compat", boolean, False,
           "Whether sessions also have names of other packages' sessions, such as id and save(), "
           "which warn."),
)  # fmt: skip
