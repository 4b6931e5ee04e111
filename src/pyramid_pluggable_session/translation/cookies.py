"""What all packages say of the cookie, and ours as well."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from .rows import Line, Old, Remark, Row, Said, refused

COOKIE_NAME = "session"
"""The name that our cookie has by default."""

_SAMESITE = {"lax": "Lax", "strict": "Strict"}

Flag = Callable[[str], bool]


def apart(name: str, default: str) -> Row:
    """Return the row of the cookie's name, which must be another one than ours."""

    def answer(old: Old, name: str) -> Iterator[Said]:
        if old.get(name, default) == COOKIE_NAME:
            yield Line("cookie_name", f"{COOKIE_NAME}_id")
        if name in old or default == COOKIE_NAME:
            yield Remark(
                "is not taken over. The two cookies have different names, so that old and new "
                "processes can run side by side, and the old cookie can still be read. A proxy or "
                "cache that looks at the name has to know both."
            )

    return Row(name, ("cookie_name",), answer)


def secure(name: str, flag: Flag) -> Row:
    """Return the row of the cookie's Secure."""

    def answer(old: Old, name: str) -> Iterator[Said]:
        if name not in old:
            return
        try:
            if flag(old[name]):
                yield Line("secure", "true")
                return
        except ValueError as error:
            yield refused(str(error))
            return
        yield Remark(
            "is not taken over: ours is auto, so a cookie that was set by https is sent by https "
            "only. If a site has both, and a login is to hold for both, write "
            "pluggable_session.secure = false."
        )

    return Row(name, ("secure",), answer)


def httponly(name: str, default: bool, flag: Flag) -> Row:
    """Return the row of the cookie's HttpOnly."""

    def answer(old: Old, name: str) -> Iterator[Said]:
        try:
            hidden = flag(old[name]) if name in old else default
        except ValueError as error:
            yield refused(str(error))
            return
        if hidden:
            return
        if name in old:
            yield Line("httponly", "false")
            yield Remark(
                "makes sessions weak: a script in the page can steal the cookie. Leave it out, "
                "unless one of yours has to read it."
            )
        else:
            yield Remark(
                "was false by default: any script in the page could read the cookie. Ours is "
                "hidden from them. If one of yours has to read it, write "
                "pluggable_session.httponly = false.",
                caution=True,
            )

    return Row(name, ("httponly",), answer)


def samesite(name: str, default: str | None, secure_name: str, flag: Flag) -> Row:
    """Return the row of the cookie's SameSite."""

    def answer(old: Old, name: str) -> Iterator[Said]:
        if name not in old:
            if default is None:
                yield Remark(
                    "was not set, and ours is Lax, which most browsers take for the default: "
                    "forms of other sites come without the cookie."
                )
            return
        value = old[name].strip()
        if value.lower() == "none":
            yield from _none(old)
        elif not value:
            yield Line("samesite", "")
        elif value.lower() not in _SAMESITE:
            yield Remark(
                "has a value that browsers do not know. Ours is Lax, and may be Strict or None.",
                caution=True,
            )
        elif value.lower() != "lax":
            yield Line("samesite", _SAMESITE[value.lower()])

    def _none(old: Old) -> Iterator[Said]:
        yield Remark(
            "= None in an ini file is a text, not Python's None: the cookie was sent with "
            "SameSite=None, so that it goes along with requests from other sites.",
            caution=True,
        )
        try:
            is_secure = flag(old.get(secure_name, "false"))
        except ValueError:
            is_secure = False
        if is_secure:
            yield Line("samesite", "None")
        else:
            yield Remark(
                "is not taken over: without Secure, browsers drop such a cookie. Ours is Lax. If "
                "pages of other sites embed yours, write pluggable_session.samesite = None and "
                "pluggable_session.secure = true.",
                caution=True,
            )

    return Row(name, ("samesite",), answer)


def age(seconds: str | None) -> Line:
    """Return the setting for an age of the cookie; None for one that ends with the browser."""
    return Line("max_age", "none" if seconds is None else seconds)
