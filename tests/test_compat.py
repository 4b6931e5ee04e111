"""Old names of sessions: those that may be kept, and the table of all of them."""

from __future__ import annotations

import inspect
import pathlib
import re
import warnings

import pytest
from pyramid.exceptions import ConfigurationError
from pyramid.interfaces import ISession

from apps import SECRET, App
from pyramid_pluggable_session import PluggableSessionFactory, clock
from pyramid_pluggable_session.compat import CompatibleSession
from pyramid_pluggable_session.session import Session

DOC = (pathlib.Path(__file__).parents[1] / "docs" / "peers.md").read_text()
OLD_NAME = "^This is a name of another session package's. Write: "
NAMES = {name for name in vars(CompatibleSession) if not name.startswith("_")} - {"pop"}


@pytest.fixture
def app():
    return App(compat="true")


def do(client, action, names):
    """Run an action, which warns of so many old names used in this file; return its result."""
    with pytest.warns(DeprecationWarning, match=OLD_NAME) as warned:
        result = client.do(action).result
    assert len(warned) == names
    for each in warned:
        assert each.filename == __file__
    return result


class TestOff:
    def test_is_the_default(self):
        assert PluggableSessionFactory(SECRET).options["compat"] is False
        client = App().client()
        assert client.do(lambda session: type(session) is Session).result

        def names(session):
            return {name for name in NAMES if hasattr(session, name)}

        assert client.do(names).result == set()

    def test_must_be_true_or_false(self):
        with pytest.raises(ConfigurationError, match="compat must be true or false"):
            PluggableSessionFactory(SECRET, compat="maybe")


class TestOn:
    def test_is_a_session_as_any_other(self, app):
        client = app.client()
        assert client.do(lambda session: ISession.providedBy(session)).result
        assert client.do(lambda session: session.update(a=1)).result is None
        assert client.data() == {"a": 1}

    def test_nothing_warns_but_old_names(self, app):
        def action(session):
            session["a"] = [1]
            session.changed()
            session.regenerate_id()
            return session.pop("a"), session.pop("a", 2), session.timeout

        assert app.client().do(action).result == ([1], 2, 1200)

    def test_id(self, app):
        assert do(app.client(), lambda session: session.id == session.session_id, names=1)

    def test_is_new_and_last_accessed(self, app, monkeypatch):
        client = app.client()

        def action(session):
            session["visits"] = session.get("visits", 0) + 1
            return session.is_new, session.last_accessed

        assert do(client, action, names=2) == (True, None)
        stored = client.do(lambda session: session.renewed).result
        now = clock.now() + 60
        monkeypatch.setattr(clock, "now", lambda: now)
        assert do(client, action, names=2) == (False, float(stored))

    def test_save_does_nothing(self, app):
        client = app.client()
        do(client, lambda session: session.save(), names=1)
        assert client.cookie is None
        assert app.plug.taken() == []
        client.do(lambda session: session.update(a=1))
        app.plug.taken()
        do(client, lambda session: session.save(), names=1)
        assert app.plug.taken() == ["loads"]

    def test_save_too_late_is_an_error(self, app):
        kept = []

        def keep(session):
            session["a"] = 1
            kept.append(session)

        app.client().do(keep)
        with (
            pytest.warns(DeprecationWarning, match=OLD_NAME),
            pytest.raises(RuntimeError, match="after it had been saved"),
        ):
            kept[0].save()

    def test_delete_ends_the_session(self, app):
        client = app.client()
        client.do(lambda session: session.update(a=1))
        do(client, lambda session: session.delete(), names=1)
        assert client.cookie is None
        assert app.plug.ids() == []

    def test_expires(self, app):
        def action(session):
            session["a"] = 1
            before = session.expires, int(session.expires_at)
            session.timeout = None
            return (*before, session.expires)

        first, second, third = do(app.client(), action, names=2)
        assert first == second
        assert third is None

    def test_ensure_id(self, app):
        assert do(app.client(), lambda session: session.ensure_id() == session.session_id, names=1)

    @pytest.mark.parametrize("name", ["adjust_session_timeout", "adjust_timeout_for_session"])
    def test_timeouts(self, name, app):
        client = app.client()

        def action(session):
            session["a"] = 1
            getattr(session, name)(60)

        do(client, action, names=1)
        assert client.do(lambda session: session.timeout).result == 60

    def test_looking_around(self, app):
        def action(session):
            session["a"] = 1
            found = (list(session.iterkeys()), list(session.itervalues()))
            return *found, list(session.iteritems()), session.has_key("a"), session.has_key("b")

        result = do(app.client(), action, names=5)
        assert result == (["a"], [1], [("a", 1)], True, False)

    def test_to_pop_what_is_not_there(self, app):
        client = app.client()
        assert do(client, lambda session: session.pop("a"), names=1) is None
        with pytest.raises(KeyError):
            App().client().do(lambda session: session.pop("a"))

    def test_a_line_warns_once(self, app):
        client = app.client()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("default")
            for _ in range(3):
                client.do(lambda session: session.save())
        assert len(caught) == 1

    def test_sessions_go_from_one_to_the_other(self, app):
        client = app.client()
        client.do(lambda session: session.update(a=1))
        without = App(plug=app.plug).client(cookie=client.cookie)
        assert without.data() == {"a": 1}


def chapter(title):
    (text,) = re.findall(rf"(?ms)^## {re.escape(title)}\n(.*?)(?=^## |\Z)", DOC)
    return text


def names_in(text):
    """Return the names of attributes in the first column of the tables."""
    cells = re.findall(r"(?m)^\| (`.*?) \|", text)
    return {name for cell in cells for name in re.findall(r"`session\.(\w+)", cell)}


def public(*classes):
    return {name for each in classes for name in vars(each) if not name.startswith("_")}


class TestDocumentation:
    def test_every_name_of_beaker_is_there(self):
        pytest.importorskip("beaker")
        from beaker import session

        names = public(session.Session, session.CookieSession, session.SessionObject)
        listed = names_in(chapter("Beaker"))
        same = {"created", "invalidate", "serialize_cookie_date"}
        assert names - listed == same
        # Attributes that are set when it is made; the last row of settings says "and others".
        source = inspect.getsource(session.Session)
        attributes = set(re.findall(r"self\.([a-z]\w*) = ", source))
        others = {"crypto_module", "data_serializer", "encrypt_nonce_size", "namespace_args"}
        others |= {"namespace_class", "save_atime", "serializer"}
        assert attributes - listed == others
        assert listed <= names | attributes

    def test_every_name_of_pyramid_session_redis_is_there(self):
        pytest.importorskip("pyramid_session_redis")
        from pyramid_session_redis.session import RedisSession

        names = public(RedisSession) | {"redis"}
        listed = names_in(chapter("pyramid_session_redis and pyramid_redis_sessions"))
        same = {*ISession.names(all=True), "get_csrf_token", "new_csrf_token"} - {"values"}
        assert names - listed == same & names
        assert listed <= names

    def test_what_is_marked_is_what_there_is(self):
        marked = set()
        for line in re.findall(r"(?m)^\| .*\| compat \|$", DOC):
            marked |= names_in(line)
        assert marked == NAMES

    def test_what_is_not_marked_is_no_name_of_ours_but_the_same(self):
        for line in re.findall(r"(?m)^\| .*\| \|$", DOC):
            for name in names_in(line):
                is_ours = hasattr(Session, name)
                said = "the same" in line or "Here, `session." in line
                assert is_ours == said or name == "request", name

    @pytest.mark.parametrize("snippet", re.findall(r"(?ms)^```python\n(.*?)^```$", DOC))
    def test_the_snippets(self, snippet):
        client = App().client()
        client.do(lambda session: session.update(cart={"tea": 1}, user="ada"))
        client.do(lambda session: exec(snippet, {"session": session}))
        left = {} if "invalidate" in snippet else {"cart": {"tea": 1}, "user": "ada"}
        assert client.data() == left

    def test_reverting_stores_nothing(self):
        (snippet,) = re.findall(r"(?ms)^```python\n(import copy.*?)^```$", DOC)
        app = App()
        client = app.client()
        client.do(lambda session: session.update(cart={"tea": 1}))
        app.plug.taken()
        client.do(lambda session: exec(snippet, {"session": session}))
        assert app.plug.taken() == ["loads"]

    def test_the_setting_is_taken(self):
        (setting,) = re.findall(r"(?ms)^```ini\n(.*?)^```$", DOC)
        name, value = setting.strip().split(" = ")
        session = App(settings={name: value}).client().do(lambda session: session).result
        assert isinstance(session, CompatibleSession)
