"""Beaker, by pyramid_beaker or its middleware."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final

from pyramid.settings import asbool

from ..cookie import LONGEST_AGE
from ..settings import boolean
from .beaker_storages import STORAGE_ROWS, can_be_imported, pickled, storage, type_of
from .cookies import age, apart, httponly, samesite, secure
from .ini import Value
from .rows import OUR_DATA, Line, Old, Origin, Remark, Row, Said, dropped, mapped, part, refused

_PREFIXES: Final = ("session.", "beaker.session.")
_IN_CODE: Final = "can only be set in Python; in an ini file it is a text, which is of no use."


def _number(text: str) -> int:
    """Convert as Beaker does, which takes digits and nothing else."""
    if re.fullmatch(r"\d+", text):
        return int(text)
    raise ValueError("a whole number")


def _timeout(old: Old, name: str) -> Iterator[Said]:
    try:
        seconds = _number(old[name]) if name in old else None
    except ValueError as error:
        yield refused(str(error))
        return
    if seconds == 0:
        yield Remark("= 0 ended each session at once. Ours is 1200.", caution=True)
    elif seconds is not None:
        yield Line("timeout", str(seconds))
    else:
        yield Line("timeout", "none")
        yield Remark(
            "is not set, so sessions never end: a stolen cookie is good for ever, and the storage "
            "grows for ever. Write a number of seconds, or at least a "
            "pluggable_session.lifetime.",
            caution=True,
        )


def _accessed(old: Old, name: str) -> Iterator[Said]:
    try:
        if name in old and not boolean(old[name]):
            yield Line("reissue_time", "none")
    except ValueError as error:
        yield refused(str(error))


def _cookie_expires(old: Old, name: str) -> Iterator[Said]:
    value = old.get(name, "true").strip()
    try:
        flag = boolean(value)
    except ValueError:
        pass
    else:
        yield age(None if flag else str(LONGEST_AGE))
        if value in ("0", "1"):
            meant = "ends with the browser" if flag else "never ends"
            yield Remark(
                f"= {value} is a truth value to Beaker, not seconds: the cookie {meant}.",
                caution=True,
            )
        elif not flag:
            yield Remark("= false was the year 2038. Browsers end a cookie after 400 days.")
        return
    try:
        yield age(str(_number(value)))
    except ValueError as error:
        yield refused(str(error))


def _secret(old: Old, name: str) -> Iterator[Said]:
    if type_of(old) != "cookie" and not old.get(name):
        yield Remark(
            "is not set, so the cookie's session id was not signed, and Beaker took any id that a "
            "client came up with (session fixation). Ours is signed, and a client's id is never "
            "taken.",
            caution=True,
        )


def _encrypt_key(old: Old, name: str) -> Iterator[Said]:
    if not old.get(name) or type_of(old) == "cookie":
        return  # Ours in cookies are always encrypted.
    yield Line("encrypt", "true")
    yield Remark(
        "encrypts only where cryptography or pycryptodome is installed. Where neither is, Beaker "
        "stored plain text without a word. Ours refuses to start: pip install "
        "pyramid_pluggable_session[encrypt]",
        caution=True,
    )
    if not old.get("validate_key"):
        yield Remark(
            "does not work without session.validate_key: sessions cannot be saved, or in an old "
            "Beaker are not protected. Ours needs no further key.",
            caution=True,
        )


def _invalidate_corrupt(old: Old, name: str) -> Iterator[Said]:
    if name in old:
        text = "has no counterpart: a record that cannot be read is refused, logged and deleted."
        if _looks_false(old[name]):
            yield Remark(
                f"= {old[name]} is a text, which Beaker takes for true: sessions that it could not "
                f"read were given up silently. It {text}",
                caution=True,
            )
        else:
            yield Remark(text)


def _use_cookies(old: Old, name: str) -> Iterator[Said]:
    if name in old:
        yield Remark(
            f"= {old[name]} is a text, which Beaker takes for true: cookies were used."
            if _looks_false(old[name])
            else "has no counterpart: sessions are kept by a cookie.",
            caution=_looks_false(old[name]),
        )


def _looks_false(text: str) -> bool:
    return not asbool(text)


def _serializer(old: Old, name: str) -> Iterator[Said]:
    if old.get(name) != "json":
        yield Remark(
            f"was pickle: any object could be put into a session. {OUR_DATA} "
            "pluggable_session.serializer = pickle takes all, and lets whoever gets the secret run "
            "code."
        )


def _imports(old: Old) -> Iterator[Said]:
    if reason := can_be_imported(old):
        yield Remark(reason, about="pluggable_session.import", whole=True)
        return
    yield Line("import", "beaker")
    if pickled(old):
        yield Line("import.allow_pickle", "true")
    if type_of(old) != "cookie" and not old.get("secret"):
        yield Line("import.allow_unsigned", "true")
        yield Remark(
            "believes session ids that nobody has signed, as Beaker did: whoever can plant a "
            "cookie in a browser can plant a session that he knows the id of. Else leave the "
            "import out, and users log in anew.",
            caution=True,
            about="pluggable_session.import.allow_unsigned",
            whole=True,
        )


def _around(settings: Mapping[str, Value]) -> Iterator[Said]:
    caches = [name for name in settings if name.startswith(("cache.", "beaker.cache."))]
    if caches:
        yield Remark(
            "is a setting of Beaker's caches, not of sessions. config.include('pyramid_beaker') "
            "set them up as well. Keep them: call "
            "pyramid_beaker.set_cache_regions_from_settings(settings).",
            caution=True,
            about=caches[0],
            whole=True,
        )
    if set(Old(settings, _PREFIXES)) == {"secret"}:
        yield Remark(
            "is all that there is of Beaker's. Is it a setting of the site's own, say for "
            "SignedCookieSessionFactory? Then say --from signed_cookie.",
            caution=True,
            about="session.secret",
            whole=True,
        )


ROWS: Final = (
    *STORAGE_ROWS,
    Row("timeout", ("timeout",), _timeout),
    Row("save_accessed_time", ("reissue_time",), _accessed),
    apart("key", "beaker.session.id"),
    Row("cookie_expires", ("max_age",), _cookie_expires),
    mapped("cookie_path", "path"),
    mapped("cookie_domain", "domain"),
    secure("secure", boolean),
    httponly("httponly", False, boolean),
    samesite("samesite", "Lax", "secure", boolean),
    mapped("cookie_on_exception", "set_on_exception", boolean),
    Row("secret", ("secret",), _secret),
    Row("encrypt_key", ("encrypt",), _encrypt_key),
    part("validate_key", "secret"),
    dropped("encrypt_nonce_bits", "is not needed: records are encrypted with AES-256-GCM."),
    dropped("crypto_type", "is not needed: the package cryptography encrypts."),
    Row("data_serializer", ("serializer",), _serializer),
    Row("invalidate_corrupt", (), _invalidate_corrupt),
    Row("use_cookies", (), _use_cookies),
    dropped("auto", "is not needed: a session is saved if it was changed, also deep inside."),
    dropped(
        "id",
        "gives every client one and the same session. Delete it.",
        caution=True,
    ),
    dropped(
        "constant_csrf_token",
        "is, whatever its value, the CSRF token of every session, and no secret to anybody who has "
        "one. Ours are random. Tests read it by request.session.get_csrf_token().",
        caution=True,
    ),
    dropped("session_class", _IN_CODE),
    dropped("namespace_class", f"{_IN_CODE} For a storage of your own, write a plug."),
    dropped(
        "webtest_varname",
        "has no counterpart: tests look into a session by pyramid_pluggable_session.testing.",
    ),
    dropped(
        "environ_key",
        "is of Beaker's middleware: in place of request.environ['beaker.session'], write "
        "request.session.",
    ),
    dropped("log_file", "is not read by Beaker either. We log as pyramid_pluggable_session."),
)

BEAKER: Final = Origin("beaker", "pyramid_beaker", _PREFIXES, ROWS, storage, _imports, _around)
