"""Fuzz the reading of ``Cookie`` headers: ``python tests/fuzz/fuzz_cookie.py -max_total_time=600``.

The fuzzer may put cookies that we signed anywhere in a header. A header is read as one plain
sentence says, or the target fails: our cookie is what stands between semicolons, white space aside,
with exactly our name and a value that we made, if all of those are one session's.
"""

from __future__ import annotations

import re
from types import SimpleNamespace

from fuzzing import fill_in, instrumented, run

cookie_plug, factory, interfaces = instrumented("plugs.cookie", "factory", "interfaces")

from pyramid.interfaces import ISessionFactory  # noqa: E402  # after the package
from pyramid.registry import Registry  # noqa: E402
from pyramid.request import Request  # noqa: E402

SECRETS = ("0123456789abcdef" * 3, "the older one, still accepted" * 2)
STATES = ({"who": "alice"}, {"who": "mallory", "long": "x" * 4500})


def make_factory(*secrets):
    return factory.PluggableSessionFactory("\n".join(secrets), max_age="none", timeout=None)


def request_with(header):
    request = Request.blank("/")
    request.registry = registry
    request.environ["HTTP_COOKIE"] = header
    return request


def visit(make, header, state):
    """Return the cookies of a browser after a request that stores ``state``."""
    request = request_with(header)
    session = make(request)
    session.update(state)
    response = request.ResponseClass()
    request._process_response_callbacks(response)
    lines = response.headers.getall("Set-Cookie")
    return {name: value for name, _, value in (line.split(";")[0].partition("=") for line in lines)}


registry = Registry()
registry.registerUtility(cookie_plug.CookiePlug(None), interfaces.IPlugSession)
current = make_factory(*SECRETS)
registry.registerUtility(current, ISessionFactory)

alice, mallory = (visit(current, "", state) for state in STATES)
old = visit(make_factory(SECRETS[1]), "", STATES[0])
foreign = visit(make_factory("of nobody whom we know" * 3), "", STATES[0])

SIGNED = {each["session"]: each["session"][:64] for each in (alice, mallory, old)}
"""Every cookie value that we signed, and the id in it."""

PIECES = [
    text.encode()
    for text in (
        alice["session"],
        mallory["session"],
        old["session"],
        foreign["session"],
        "; session=",
        f"; session.0={alice['session.0']}",
        "; " + "; ".join(f"{name}={mallory[name]}" for name in mallory),
        "; SESSION=",
    )
]
OURS = re.compile(r"(?:^|;)[ \t]*session[ \t]*=([^;]*)")


def one_input(data):
    header = fill_in(data, PIECES).decode("latin-1")
    values = [value.strip(" \t") for value in OURS.findall(header)]
    wanted = {SIGNED[value] for value in values if value in SIGNED}
    found = current.cookie.read(SimpleNamespace(environ={"HTTP_COOKIE": header}))
    assert found.session_id == (wanted.pop() if len(wanted) == 1 else None), (header, found)
    assert (found.rejected is None) == (found.session_id is not None or not values)
    # The whole way, with the client as the storage: one of the states that we sealed, or nothing.
    state = dict(current(request_with(header)))
    assert state in ({}, *STATES), (header, state)
    if state:
        (jar,) = (jar for jar in (alice, mallory, old) if jar["session"][:64] == found.session_id)
        assert all(jar[name] in header for name in jar), header


if __name__ == "__main__":
    for jar, state in ((alice, STATES[0]), (mallory, STATES[1])):
        header = "; ".join(f"{name}={value}" for name, value in jar.items())
        assert dict(current(request_with(header))) == state
    one_input(b"\x06; session=\x01")
    run(one_input)
