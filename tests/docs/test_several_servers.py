"""What docs/several-servers.md says: two applications on one storage, with what differs."""

from __future__ import annotations

import re
from functools import partial

import pytest

from apps import SECRET, App, set_cookies
from pyramid_pluggable_session.scripts.psessions import main as psessions
from pyramid_pluggable_session.testing import FakeClock
from snippets import DOCS

PAGE = DOCS / "several-servers.md"
TEXT = PAGE.read_text()
ROWS = {
    change: safe
    for change, safe in re.findall(r"(?m)^\| (.+?) \| (yes|no|in [\w ]+) \|", TEXT)
    if change != "change"
}

# What the rows of the table stand for: the old settings and the new ones.
CHANGES = {
    "`timeout`, `lifetime`, `max_age`, `reissue_time`": [
        ({}, {"timeout": 600}),
        ({"timeout": 600}, {"timeout": 1200, "reissue_time": 60}),
        ({}, {"lifetime": 3600}),
        ({}, {"max_age": "none"}),
    ],
    "`secure`, `httponly`, `samesite`, `partitioned`": [
        ({}, {"secure": "true", "partitioned": "true", "samesite": "None"}),
        ({}, {"httponly": "false", "samesite": "Strict"}),
    ],
    "`encrypt`, in either direction": [
        ({}, {"encrypt": "true"}),
        ({"encrypt": "true"}, {}),
    ],
    "`serializer` between `msgpack` and `json`": [
        ({}, {"serializer": "json"}),
        ({"serializer": "json"}, {}),
    ],
    "`on_outage`, `on_conflict`, `max_size`, `max_sessions`, `device_details`": [
        ({}, {"on_outage": "anonymous", "on_conflict": "fail", "max_size": 10_000}),
        ({}, {"max_sessions": 3, "device_details": "address user_agent"}),
    ],
    "`serializer` to another one": [({}, {"serializer": "pickle"})],
    "`secret`": [({}, {"secret": "another-" * 8})],
    "`plug`, or a storage's place": [({"plug": "here"}, {"plug": "there"})],
    "a `chain` in front of the same storage": [({}, {"plug": "chain"})],
    "`cookie_name`": [({}, {"cookie_name": "shop"})],
    "`salt`, `hashalg`": [({}, {"salt": "shop"}), ({}, {"hashalg": "sha512"})],
    "`path`, `domain`": [({}, {"path": "/do"}), ({}, {"domain": "example.org"})],
}


@pytest.fixture
def make_app(tmp_path):
    """Return a function that makes an application on a storage that others share."""

    def make(plug="here", **options):
        place = f"sqlite://{tmp_path}/there.db" if plug == "there" else f"sqlite://{tmp_path}/s.db"
        settings = {"pluggable_session.chain.plugs": f"memory\n{place}"}
        return App(plug="chain" if plug == "chain" else place, settings=settings, **options)

    return make


@pytest.fixture
def clock():
    with FakeClock() as clock:
        yield clock


def put(**values):
    return lambda session: session.update(values)


class Browser:
    """One that keeps every cookie that is new, in the order in which it got them."""

    def __init__(self):
        self.cookies = {}

    def do(self, app, action=dict):
        client = app.client()
        header = {
            "Cookie": "; ".join(f"{name}={value}" for (name, _), value in self.cookies.items())
        }
        response = client.do(action, headers=header)
        for cookie in set_cookies(response):
            name, value = cookie.partition(";")[0].split("=")
            # One with another path or domain is another cookie.
            place = re.search("(Domain=[^;]*; )?Path=[^;]*", cookie)[0]
            self.cookies[name, place] = value
        return response.result


def works(old, new, pause=lambda: None):
    """Tell whether a user can do with two servers all that he can with one."""
    browser = Browser()
    browser.do(old, put(user="ada", seen=[]))
    for number, app in enumerate((new, old, new, new, old, old)):
        browser.do(app, lambda session, n=number: session.setdefault("seen", []).append(n))
    pause()
    if browser.do(new) != {"user": "ada", "seen": [0, 1, 2, 3, 4, 5]}:
        return False
    browser.do(new, lambda session: session.regenerate_id())
    if browser.do(old).get("user") != "ada":
        return False
    browser.do(old, lambda session: session.invalidate())
    pause()
    return browser.do(new) == browser.do(old) == {}


class TestChanges:
    def test_all_of_the_table_is_here(self):
        assert set(ROWS) == set(CHANGES)

    @pytest.mark.parametrize("change", CHANGES)
    def test_side_by_side(self, change, make_app, clock):
        for before, after in CHANGES[change]:
            old, new = make_app(**before), make_app(**after)
            # What a chain shows may be old for so long.
            pause = partial(clock.advance, 5.1 if "chain" in change else 0)
            assert works(old, new, pause) == (ROWS[change] == "yes"), (before, after)

    def test_one_step_at_a_time(self, make_app, clock):
        """The two steps to another serializer."""
        steps = [
            make_app(),
            make_app(serializer="msgpack pickle"),
            make_app(serializer="pickle msgpack"),
        ]
        assert works(steps[0], steps[1])
        assert works(steps[1], steps[2])

    def test_a_serializer_that_the_old_server_does_not_know(self, make_app, clock):
        old, new = make_app(), make_app(serializer="pickle")
        client = new.client()
        client.do(put(user="ada"))
        assert old.client(client.cookie).data() == {}
        assert new.client(client.cookie).data() == {}

    @pytest.mark.parametrize(
        "option", [{"cookie_name": "shop"}, {"salt": "x"}, {"hashalg": "sha512"}]
    )
    def test_taken_back(self, option, make_app, clock):
        old, new = make_app(), make_app(**option)
        looked, changed = Browser(), Browser()
        for each in (looked, changed):
            each.do(old, put(user="ada"))
        assert looked.do(new) == {}
        changed.do(new, put(user="somebody"))
        assert looked.do(old) == {"user": "ada"}
        assert changed.do(old) == ({"user": "ada"} if "cookie_name" in option else {})


class TestOldCopies:
    def test_without_copies(self, make_app, clock):
        one, two = make_app(), make_app()
        client = one.client()
        client.do(put(a=1))
        two.client(client.cookie).do(put(a=2))
        assert client.data() == {"a": 2}

    def test_with_a_chain(self, make_app, clock):
        one, two = make_app(plug="chain"), make_app(plug="chain")
        client = one.client()
        client.do(put(a=1, seen=[]))
        other = two.client(client.cookie)
        other.do(lambda session: session["seen"].append("two") or session.update(a=2))
        assert client.data() == {"a": 1, "seen": []}
        # What is saved meanwhile is compared with the authority, not with the copy.
        client.do(lambda session: session["seen"].append("one"))
        assert client.data() == {"a": 2, "seen": ["two", "one"]}
        other.do(lambda session: session.invalidate())
        assert client.data()["a"] == 2
        clock.advance(5.1)
        assert client.data() == {}


INI = """
[app:main]
use = call:several_servers_site:main
pluggable_session.secret = {secret}
pluggable_session.plug = {plug}
"""
SITE = """
from pyramid.config import Configurator

def main(global_config, **settings):
    with Configurator(settings=settings) as config:
        config.include("pyramid_pluggable_session")
        return config.make_wsgi_app()
"""


def test_another_secret_is_found_out(tmp_path, monkeypatch, capsys):
    """As the page says under "See that it works"."""
    (tmp_path / "several_servers_site.py").write_text(SITE)
    monkeypatch.syspath_prepend(tmp_path)
    plug = f"sqlite://{tmp_path}/s.db"
    App(plug=plug).client().do(put(a=1))
    for secret, sessions, unreadable in (SECRET, 1, 0), ("another-" * 8, 0, 1):
        ini = tmp_path / "production.ini"
        ini.write_text(INI.format(secret=secret, plug=plug))
        assert psessions([str(ini), "check", "--strict"]) == 0
        capsys.readouterr()
        assert psessions([str(ini), "stats"]) == 0
        out = capsys.readouterr().out
        assert re.search(rf"(?m)^sessions +{sessions}$", out)
        assert re.search(rf"(?m)^unreadable +{unreadable}$", out)
        assert ("unknown key" in out) == bool(unreadable)
