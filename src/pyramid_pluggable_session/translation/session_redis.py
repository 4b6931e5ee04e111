"""pyramid_session_redis, and pyramid_redis_sessions, which it descends from."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Final

from pyramid.settings import asbool

from ..options import EXAMPLE_SECRET
from .cookies import age, apart, httponly, samesite, secure
from .rows import OUR_DATA, Line, Old, Origin, Remark, Row, Said, dropped, mapped, part, refused
from .urls import redis_server

_PREFIXES: Final = ("redis.sessions.",)
_TIMEOUT: Final = 1200


def _flag(text: str) -> bool:
    return bool(asbool(text))


def _seconds(old: Old, name: str, default: int | None) -> int | None:
    """Return a number of seconds as the package reads it: 0 is none. Raise ValueError."""
    if name not in old:
        return default
    if old[name] == "None":
        return None
    try:
        return int(old[name]) or None
    except ValueError:
        raise ValueError("a whole number, or None") from None


def _timeout(old: Old, name: str) -> Iterator[Said]:
    try:
        seconds = _seconds(old, name, _TIMEOUT)
        trigger = _seconds(old, "timeout_trigger", None)
    except ValueError as error:
        yield refused(str(error))
        return
    if seconds is None:
        yield Line("timeout", "none")
        yield Remark(
            f"= {old[name]} is never: a stolen cookie is good for ever, and Redis fills up. Write "
            "a number of seconds, or at least a pluggable_session.lifetime.",
            caution=True,
        )
        return
    if seconds != _TIMEOUT:
        yield Line("timeout", str(seconds))
    if trigger:
        yield Line("reissue_time", str(max(0, seconds - trigger)))


def _max_age(old: Old, name: str) -> Iterator[Said]:
    try:
        seconds = _seconds(old, name, None)
    except ValueError as error:
        yield refused(str(error))
    else:
        yield age(None if seconds is None else str(seconds))


def _true_or_false(ours: str, name: str) -> Row:
    def answer(old: Old, name: str) -> Iterator[Said]:
        if name in old:
            yield Line(ours, str(_flag(old[name])).lower())

    return Row(name, (ours,), answer)


def _storage(old: Old, start: str) -> Iterator[Said]:
    """Say which server it is; ``start`` is what the names of its settings begin with."""
    if f"{start}client_callable" in old:
        yield Line("plug", "redis")
        yield Line("redis.client", f"{EXAMPLE_SECRET}.dotted.name.of.the.client")
        yield Remark(
            "is called with a request, and ours with config, once for each process: write the "
            "dotted name of a client or a connection pool, or of a callable that takes config and "
            "returns one.",
            about=f"{start}client_callable",
        )
    elif old.get(f"{start}url"):
        yield from redis_server(old, f"{start}url")
    else:
        yield from _host(old, start)
    if f"{start}socket_timeout" in old and old[f"{start}socket_timeout"] != "None":
        yield Line("redis.timeout", old.copied(f"{start}socket_timeout"))
    if old.get("prefix"):
        # Theirs may look like ours: 64 hexadecimal digits behind "session:".
        yield Line("redis.prefix", f"{old.copied('prefix')}pluggable:")


def _host(old: Old, start: str) -> Iterator[Said]:
    def given(name: str, default: str) -> str:
        return old.copied(start + name) if old.get(start + name) else default

    database = given("db", "0")
    if old.get(f"{start}unix_socket_path"):
        query = "" if database == "0" else f"?db={database}"
        yield Line("plug", f"redis+unix://{given('unix_socket_path', '')}{query}")
    else:
        yield Line("plug", f"redis://{given('host', 'localhost')}:{given('port', '6379')}/"
                   f"{database}")  # fmt: skip
    if old.get(f"{start}password"):
        yield Line("redis.password", old.reference(f"{start}password"))


def _imports(old: Old, name: str) -> Iterator[Said]:
    yield Line("import", name)
    if "deserialize" not in old:
        yield Line("import.allow_pickle", "true")


def _serialize(old: Old, name: str) -> Iterator[Said]:
    if name in old:
        yield Remark(
            f"is not taken over. {OUR_DATA} If you need another one, see "
            "pluggable_session.serializer."
        )
    else:
        yield Remark(f"was pickle: any object could be put into a session. {OUR_DATA}")


_COMMON: Final = (
    part("secret", "secret"),
    Row("timeout", ("timeout", "reissue_time"), _timeout),
    apart("cookie_name", "session"),
    Row("cookie_max_age", ("max_age",), _max_age),
    mapped("cookie_path", "path"),
    mapped("cookie_domain", "domain"),
    secure("cookie_secure", _flag),
    httponly("cookie_httponly", True, _flag),
    _true_or_false("set_on_exception", "cookie_on_exception"),
    Row("serialize", ("serializer",), _serialize),
    part("deserialize", "import.allow_pickle"),
    part("prefix", "redis.prefix"),
    dropped("id_generator", "is not needed: an id is 256 random bits."),
)


def _server_rows(start: str, encoding: str, errors: str) -> Iterator[Row]:
    for name in ("url", "host", "port", "db", "unix_socket_path"):
        yield part(start + name)
    yield part(f"{start}password", "redis.password")
    yield part(f"{start}socket_timeout", "redis.timeout")
    yield part(f"{start}client_callable", "redis.client")
    yield dropped(
        f"{start}connection_pool",
        "can only be set in Python: pluggable_session.redis.client = its dotted name",
    )
    for name in (encoding, errors):
        yield dropped(name, "is not needed: records are bytes.")


def _signer(old: Old, name: str) -> Iterator[Said]:
    if name in old:
        yield Remark(
            "has no counterpart: cookies are signed with pluggable_session.secret. The import can "
            "read what it has signed only if it knows it.",
        )


_OWN: Final = (
    samesite("cookie_samesite", None, "cookie_secure", _flag),
    part("timeout_trigger", "reissue_time"),
    Row("cookie_signer", ("secret",), _signer),
    dropped("cookie_expires", "can only be set in Python. Ours is pluggable_session.max_age."),
    dropped("cookie_comment", "is an attribute that no browser knows any more."),
    dropped(
        "set_redis_ttl",
        "has no counterpart: each record has a TTL. Where it was false, old sessions stay in "
        "Redis until it is full; delete them when the import is over.",
    ),
    dropped("set_redis_ttl_readheavy", "is not needed: a session that is only read is renewed when "
            "a tenth of its timeout is over; see pluggable_session.reissue_time."),
    dropped("python_expires", "is not needed: a session's end is in its record, and is exact."),
    dropped("detect_changes", "is not needed: changes are always found, also deep inside."),
    dropped("deserialized_fails_new", "is not needed: a record that cannot be read is refused, "
            "logged and deleted, and the session begins anew."),
    dropped("func_check_response_allow_cookies", "has no counterpart: a response with our cookie "
            "is kept out of shared caches, and one that depends on a session varies by cookie."),
    dropped("func_invalid_logger", "is an event: subscribe to pyramid_pluggable_session.events."
            "SessionRejected and SessionEnded."),
    dropped("invalidate_empty_session", "has no counterpart: an empty new session is never stored, "
            "and one that was emptied stays until session.invalidate()."),
)  # fmt: skip


def _origin(name: str, package: str, start: str, rows: tuple[Row, ...]) -> Origin:
    storage: Callable[[Old], Iterator[Said]] = partial(_storage, start=start)
    return Origin(name, package, _PREFIXES, rows, storage, partial(_imports, name=name))


SESSION_REDIS: Final = _origin(
    "session_redis",
    "pyramid_session_redis",
    "redis_",
    (*_COMMON, *_server_rows("redis_", "redis_encoding", "redis_encoding_errors"), *_OWN),
)
REDIS_SESSIONS: Final = _origin(
    "redis_sessions",
    "pyramid_redis_sessions",
    "",
    (*_COMMON, *_server_rows("", "charset", "errors")),
)
