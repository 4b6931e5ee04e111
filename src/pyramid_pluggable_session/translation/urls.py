"""From the URLs of Redis servers, as redis-py takes them, to those that we take."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import SplitResult, parse_qsl, urlsplit

from ..options import EXAMPLE_SECRET
from .rows import Line, Old, Remark, Said


def redis_server(old: Old, name: str) -> Iterator[Said]:
    """Say what becomes of the URL of a server."""
    text = old.get(name, "")
    try:
        url = urlsplit(text)
        port = url.port
    except ValueError:
        url, port = urlsplit(""), None
    if url.scheme not in ("redis", "rediss", "unix"):
        yield Line("plug", f"{EXAMPLE_SECRET}: redis://host:6379/0")
        yield Remark("is not a URL that redis-py takes.", about=name)
        return
    query = dict(parse_qsl(url.query))
    if url.scheme == "unix" or query:
        yield from _anew(old, name, url, port, query)
    else:
        yield Line("plug", old.discreet(name))


def _anew(
    old: Old, name: str, url: SplitResult, port: int | None, query: dict[str, str]
) -> Iterator[Said]:
    """Write the URL anew, for it has in it what ours do not."""
    database = query.pop("db", "")
    if url.scheme == "unix":
        made = f"redis+unix://{url.path}" + (f"?db={database}" if database else "")
    else:
        host = f"[{url.hostname}]" if ":" in (url.hostname or "") else url.hostname or "localhost"
        place = host if port is None else f"{host}:{port}"
        made = f"{url.scheme}://{place}/{database or url.path.strip('/')}".rstrip("/")
    yield Line("plug", made.replace("%", "%%"))
    username, password = url.username, url.password
    for part, given in (("username", username), ("password", password)):
        if given or query.pop(part, None):
            yield Line(f"redis.{part}", old.hole(name, f"the {part}"))
        query.pop(part, None)
    if query:
        yield Remark(
            f"has options in it that ours does not take ({', '.join(sorted(query))}). See the "
            "settings of redis, such as pluggable_session.redis.timeout and .ca_certs.",
            about=name,
        )


def redis_cluster(old: Old, name: str) -> Iterator[Said]:
    """Say what becomes of the URLs of a cluster's nodes, of which Beaker takes hosts and ports."""
    nodes = []
    for text in filter(None, (each.strip() for each in old.get(name, "").split(","))):
        url = urlsplit(text)
        host = url.netloc.rpartition("@")[2]
        nodes.append(host)
    if all(nodes) and nodes:
        yield Line("plug", f"redis+cluster://{','.join(nodes)}")
    else:
        yield Line("plug", f"{EXAMPLE_SECRET}: redis+cluster://node1:7000,node2:7000")
        yield Remark("does not name hosts that are understood.", about=name)
    for part in ("username", "password"):
        if old.get(part):
            yield Line(f"redis.{part}", old.reference(part))
    if "@" in old.get(name, ""):
        yield Remark(
            "has a user or a password in it, of which Beaker took no notice. If there is one, "
            "write pluggable_session.redis.password.",
            caution=True,
            about=name,
        )
    if "rediss:" in old.get(name, ""):
        yield Remark(
            "asks for TLS, of which Beaker took no notice. With it, write rediss+cluster://.",
            caution=True,
            about=name,
        )
