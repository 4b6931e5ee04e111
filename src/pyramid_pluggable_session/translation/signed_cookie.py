"""Pyramid's own SignedCookieSessionFactory, which is configured in Python."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from ..options import EXAMPLE_SECRET
from .cookies import COOKIE_NAME, age
from .rows import Line, Old, Origin, Remark, Row, Said


def _argument(name: str, ours: str, note: str = "") -> Row:
    def answer(old: Old, name: str) -> Iterator[Said]:
        yield Remark(f"becomes pluggable_session.{ours}" + (f": {note}" if note else ""))

    return Row(name, (ours,), answer)


def _storage(old: Old) -> Iterator[Said]:
    # With the defaults of the arguments.
    yield Line("plug", "cookie")
    yield Line("cookie_name", f"{COOKIE_NAME}_id")
    yield age(None)
    yield Remark(
        "The arguments are in Python, so these are their defaults. The browser kept the session, "
        "readable to whoever has the cookie. Our cookie storage encrypts it (pip install "
        "pyramid_pluggable_session[cookie]); any other one takes it from whoever has copied the "
        "cookie at logout, as pluggable_session.plug = sqlite:///path/to/sessions.db.",
        about="SignedCookieSessionFactory",
        whole=True,
    )


def _imports(old: Old) -> Iterator[Said]:
    yield Line("import", "signed_cookie")
    yield Line("import.secret", f"{EXAMPLE_SECRET}: the argument secret")
    yield Remark(
        "has settings for the other arguments that were not left at their defaults: "
        "pluggable_session.import.cookie_name and so on. If the serializer was PickleSerializer, "
        "the default before Pyramid 2, write pluggable_session.import.serializer = pickle and "
        "pluggable_session.import.allow_pickle = true.",
        about="pluggable_session.import",
        whole=True,
    )


ROWS: Final = (
    _argument("secret", "secret", "a new one; the import is told the old one"),
    _argument("cookie_name", "cookie_name", "another one, so that the old cookie can be read"),
    _argument("max_age", "max_age", "none if it was not given"),
    _argument("path", "path"),
    _argument("domain", "domain"),
    _argument("secure", "secure", "was False by default, and ours is auto: as the request"),
    _argument("httponly", "httponly", "was False by default, and ours is true"),
    _argument("samesite", "samesite", "Python's None is an empty value here"),
    _argument("set_on_exception", "set_on_exception"),
    _argument("timeout", "timeout", "none for Python's None"),
    _argument("reissue_time", "reissue_time", "was 0 by default, and ours is a tenth of timeout"),
    _argument("hashalg", "hashalg"),
    _argument("salt", "salt", "leave it out; it is the import that needs the old one"),
    _argument("serializer", "serializer", "leave it out: ours takes all that JSON does, and more"),
)

SIGNED_COOKIE: Final = Origin("signed_cookie", "pyramid", (), ROWS, _storage, _imports)
