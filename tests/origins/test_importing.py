"""An old session becomes one of ours, once, whatever happens in between."""

from __future__ import annotations

import ast
import logging
import re
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from http.cookiejar import CookieJar

import pytest
from peers import DATA, SECRET, Theirs, beaker, copy_of, names, ours, visit
from pyramid.exceptions import ConfigurationError
from pyramid.httpexceptions import HTTPFound
from pyramid.interfaces import ISessionFactory
from pyramid.response import Response
from pyramid.session import SignedCookieSessionFactory
from zope.interface import implementer

from apps import CountingPlug, PlainPlug, UnreliablePlug, set_cookies
from pyramid_pluggable_session import SessionAuthenticationHelper, clock, events, owned_sessions
from pyramid_pluggable_session.errors import PlugUnavailable
from pyramid_pluggable_session.import_count import imported_lately
from pyramid_pluggable_session.interfaces import IOrigin, IPlugSession
from pyramid_pluggable_session.keys import SessionKey
from pyramid_pluggable_session.origins.sessions import OldKey, OldSession, Place
from pyramid_pluggable_session.plugs.sqlite import SqlitePlug
from pyramid_pluggable_session.record import Kind
from pyramid_pluggable_session.storage import Storage

SIGNED = {"import": "signed_cookie", "import.secret": SECRET}
OLD = {"signed": "session", "stored": "beaker.session.id"}


@pytest.fixture(params=list(OLD))
def kind(request):
    """What becomes of the old session: it is in the cookie, or in a file."""
    return request.param


@pytest.fixture
def moving(kind, tmp_path):
    """Return a browser that is logged in at an old application, and what makes ours."""
    return _moving(kind, tmp_path)


def _moving(kind, tmp_path, data=DATA):
    browser = CookieJar()
    if kind == "signed":
        factory = SignedCookieSessionFactory(SECRET)
        theirs = Theirs(lambda config: config.set_session_factory(factory))
        settings, options = {}, SIGNED
    else:
        given = {"data_dir": str(tmp_path / "b"), "secret": SECRET, "data_serializer": "json"}
        theirs = beaker(**given)
        settings = {f"session.{name}": value for name, value in given.items()}
        options = {}
    theirs.log_in(browser, data)

    def make(plug=None, **more):
        return ours(dict(settings), plug, **{**options, **more})

    return browser, make


def sessions(app):
    """Return the ids of the sessions in our storage."""
    found = []
    for key in app.plug.scan():
        if app.plug.loads(key, None)[1] == Kind.SESSION:
            found.append(key.session_id)
    app.plug.calls.clear()
    return found


def old_files(tmp_path):
    return list((tmp_path / "b").rglob("*.cache"))


def test_what_a_request_sees(moving):
    browser, make = moving
    app = make()
    client = visit(app, browser)
    seen = client.do(
        lambda s: (dict(s), s.new, s.owner, time.time() - s.created < 60, s.get_csrf_token())
    )
    assert seen.result == (DATA, False, "ada", True, "t" * 40)
    assert app.event_names() == ["SessionImported"]
    cookies = set_cookies(seen)
    assert len(cookies) == 2, "ours, and the old one is deleted"
    assert seen.headers["Cache-Control"] == "private"
    assert names(browser) == ["sid"]
    app.plug.taken()
    assert client.do(lambda session: session.pop_flash()).result == ["saved"]
    assert app.plug.taken() == ["loads", "swap"]


def test_the_log_and_the_event_name_the_origin(moving, kind, caplog):
    caplog.set_level(logging.INFO)
    browser, make = moving
    app = make()
    handle = visit(app, browser).do(lambda session: session.handle).result
    (event,) = [each for each in app.events if isinstance(each, events.SessionImported)]
    name = {"signed": "signed_cookie", "stored": "beaker"}[kind]
    assert (event.handle, event.origin) == (handle, name)
    assert f"session {handle}: imported from {name}" in caplog.text


def test_the_data_of_the_application_is_kept_when_it_changes_at_once(moving):
    browser, make = moving
    app = make()
    client = visit(app, browser)
    client.do(lambda session: session.update(x=1))
    assert client.data() == {**DATA, "x": 1}


def test_requests_that_do_not_look_import_nothing(moving, kind, tmp_path):
    browser, make = moving
    app = make()
    visit(app, browser).request(lambda request: {})
    assert app.plug.calls == []
    assert names(browser) == [OLD[kind]]


def test_without_an_old_cookie_no_storage_is_asked(moving):
    _, make = moving
    app = make()
    assert app.client().data() == {}
    assert app.plug.calls == []


def test_a_session_of_ours_comes_first(moving, kind):
    browser, make = moving
    app = make()
    before = copy_of(browser)
    client = app.client()
    client.do(lambda session: session.update(mine=1))
    for cookie in client.testapp.cookiejar:
        before.set_cookie(cookie)
    app.plug.taken()
    both = visit(app, before)
    assert both.data() == {"mine": 1}
    assert app.plug.taken() == ["loads"]
    assert OLD[kind] in names(before)


def test_an_old_session_with_nothing_in_it_is_left_alone(kind, tmp_path):
    browser, make = _moving(kind, tmp_path, {})
    app = make()
    assert visit(app, browser).do(lambda session: session.new).result is True
    assert sessions(app) == []


# Once


def test_the_old_cookie_leads_nowhere_once_the_new_session_is_in_use(moving, monkeypatch):
    browser, make = moving
    stolen = copy_of(browser)
    app = make()
    client = visit(app, browser)
    client.data()
    now = time.time()
    monkeypatch.setattr(clock, "now", lambda: now + 120)
    client.do(lambda session: session.update(x=1))
    thief = visit(app, stolen)
    assert thief.data() == {}
    thief.do(lambda session: session.update(of="the thief"))
    assert client.data() == {**DATA, "x": 1}
    assert len(sessions(app)) == 2, "one of them a new one, with nothing of the user's"
    assert thief.data() == {"of": "the thief"}


def test_a_response_that_got_lost_costs_nothing(moving, monkeypatch):
    """The browser still has the old cookie, and nobody uses the new session."""
    browser, make = moving
    app = make()
    visit(app, copy_of(browser)).data()
    now = time.time()
    monkeypatch.setattr(clock, "now", lambda: now + 900)
    client = visit(app, browser)
    assert client.do(lambda session: (dict(session), session.new)).result == (DATA, False)
    assert names(browser) == ["sid"]
    assert client.data() == DATA
    assert len(sessions(app)) == 1


def test_requests_that_were_on_their_way_have_the_session_too(moving):
    browser, make = moving
    app = make(max_age="none")
    on_their_way = [copy_of(browser) for _ in range(3)]
    visit(app, browser).data()
    for number, each in enumerate(on_their_way):
        client = visit(app, each)
        assert client.do(lambda session, n=number: session.update({str(n): n}))
        assert names(each) == ["sid"]
    assert visit(app, browser).data() == {**DATA, "0": 0, "1": 1, "2": 2}
    assert len(sessions(app)) == 1
    assert app.event_names() == ["SessionImported"]


def test_of_two_requests_at_once_both_changes_stay(moving, kind, tmp_path):
    browser, make = moving
    app = make()
    other = visit(app, copy_of(browser))

    def slow(session):
        session["cart"]["items"].append("slow")
        other.do(lambda session: session["cart"]["items"].append("fast"))

    client = visit(app, browser)
    client.do(slow)
    assert client.data()["cart"]["items"] == [1, 2, {"name": "ä tea"}, "fast", "slow"]
    assert other.data() == client.data()
    assert other.cookie == client.cookie or other.testapp.cookies == client.testapp.cookies
    assert len(sessions(app)) == 1
    assert app.event_names() == ["SessionImported"]
    assert old_files(tmp_path) == []


def test_of_many_requests_at_once_all_changes_stay(moving, tmp_path):
    """Each in a thread, and all have read the old session before the first one stores it."""
    browser, make = moving
    plug = SqlitePlug(path=str(tmp_path / "sessions.db"))
    app = make(plug)
    clients = [visit(app, copy_of(browser)) for _ in range(6)]
    together = threading.Barrier(len(clients))

    def work(number):
        def change(session):
            session[str(number)] = number
            together.wait(30)

        clients[number].do(change)

    with ThreadPoolExecutor(len(clients)) as threads:
        list(threads.map(work, range(len(clients))))
    expected = {**DATA, **{str(number): number for number in range(len(clients))}}
    assert all(client.data() == expected for client in clients)
    marks = [key for key in plug.scan() if plug.loads(key, None)[1] == Kind.SESSION]
    assert len(marks) == 1
    plug.close()


def test_of_two_requests_at_once_one_reads(moving):
    browser, make = moving
    app = make()
    other = visit(app, copy_of(browser))
    client = visit(app, browser)
    assert client.do(lambda session: (other.data(), dict(session))).result == (DATA, DATA)
    assert len(sessions(app)) == 1
    assert client.testapp.cookies == other.testapp.cookies


def test_of_two_requests_at_once_one_logs_out(moving):
    browser, make = moving
    app = make()
    other = visit(app, copy_of(browser))
    client = visit(app, browser)
    client.do(lambda session: (session.update(x=1), other.do(lambda s: s.invalidate())))
    assert app.event_names() == ["SessionDropped:moved"]
    assert sessions(app) == []
    assert client.data() == {}


def test_logging_out_wins_against_a_request_that_was_faster(moving):
    browser, make = moving
    app = make()
    other = visit(app, copy_of(browser))
    client = visit(app, browser)
    client.do(lambda session: (dict(session), other.data(), session.invalidate()))
    assert sessions(app) == []
    assert other.data() == {}


def test_logging_out_ends_what_the_mark_leads_to(moving):
    """The old session has been imported by another request, since this one has looked."""
    browser, make = moving
    app = make()
    other = visit(app, copy_of(browser))
    client = visit(app, browser)
    client.do(lambda session: (session.get("x"), other.data(), session.invalidate()))
    assert sessions(app) == []
    assert names(browser) == []


def test_a_session_that_cannot_be_read_is_not_led_to(moving):
    browser, make = moving
    app = make()
    visit(app, copy_of(browser)).data()
    (session_id,) = sessions(app)
    app.plug.dumps(SessionKey(session_id, None), None, b"damaged")
    assert visit(app, browser).data() == {}


def test_a_mark_that_cannot_be_read_does_not_count(tmp_path):
    """Its secret has been replaced, and the old session is still in the cookie."""
    browser, make = _moving("signed", tmp_path)
    plug = CountingPlug()
    visit(make(plug, secret="another secret " * 4), copy_of(browser)).data()
    client = visit(make(plug), browser)
    assert client.data() == DATA
    client.do(lambda session: session.invalidate())
    assert client.data() == {}


# What a request does with it


def test_logging_out_with_the_first_request(moving, kind, tmp_path):
    browser, make = moving
    stolen = copy_of(browser)
    app = make()
    client = visit(app, browser)
    client.do(lambda session: session.invalidate())
    assert names(browser) == [], "the old cookie is deleted"
    assert sessions(app) == []
    assert old_files(tmp_path) == []
    assert visit(app, stolen).data() == {}
    client.do(lambda session: session.update(again=1))
    assert client.data() == {"again": 1}


def test_logging_out_later(moving, monkeypatch):
    browser, make = moving
    stolen = copy_of(browser)
    app = make()
    client = visit(app, browser)
    client.data()
    client.do(lambda session: session.invalidate())
    assert names(browser) == []
    for later in (0, 90):
        now = time.time() + later
        monkeypatch.setattr(clock, "now", lambda now=now: now)
        thief = visit(app, copy_of(stolen))
        assert thief.data() == {}
        # Somebody whose old cookie could not be deleted can log in again.
        thief.do(lambda session: session.update(again=1))
        assert thief.data() == {"again": 1}


def test_what_is_written_after_logging_out(moving):
    browser, make = moving
    app = make()
    client = visit(app, browser)
    client.do(lambda session: (session.invalidate(), session.flash("bye")))
    assert names(browser) == ["sid"]
    assert client.data() == {"_f_": ["bye"]}


def test_emptying_it(kind, tmp_path):
    browser, make = _moving(kind, tmp_path, {"x": 1})
    app = make()
    client = visit(app, browser)
    client.do(lambda session: session.clear())
    assert client.data() == {}
    assert names(browser) == ["sid"]


def test_who_planted_the_old_cookie_does_not_get_into_a_login(moving, monkeypatch):
    """The victim logs in with the very request that imports the session."""
    browser, make = moving
    planted = copy_of(browser)
    app = make()
    helper = SessionAuthenticationHelper()
    victim = visit(app, browser)
    victim.request(lambda request: helper.remember(request, "ada") or {})
    assert victim.data()["auth.userid"] == "ada"
    attacker = visit(app, planted)
    assert attacker.data() == {}
    attacker.do(lambda session: session.update(x=1))
    assert names(planted) != ["sid"], "no cookie of it takes the place of the other"
    now = time.time() + 70
    monkeypatch.setattr(clock, "now", lambda: now)
    assert visit(app, planted).data() == {}


def test_who_planted_the_old_cookie_does_not_get_into_a_later_login(moving):
    browser, make = moving
    planted = copy_of(browser)
    app = make()
    helper = SessionAuthenticationHelper()
    victim = visit(app, browser)
    victim.data()
    victim.request(lambda request: helper.remember(request, "ada") or {})
    assert visit(app, planted).data() == {}
    assert victim.data()["auth.userid"] == "ada"


@pytest.mark.parametrize("imported", ["by the login", "before the login"])
def test_whose_login_is_not_answered_is_held_off_for_no_other_login(moving, monkeypatch, imported):
    """He comes with the old cookie again, and nothing of the old session with him."""
    browser, make = moving
    unlucky, late, later = copy_of(browser), copy_of(browser), copy_of(browser)
    app = make()
    helper = SessionAuthenticationHelper()
    client = visit(app, browser)
    if imported == "before the login":
        client.data()
    client.request(lambda request: helper.remember(request, "ada") or {})
    again = visit(app, unlucky)
    again.request(lambda request: helper.remember(request, "ada") or {})
    assert again.data()["auth.userid"] == "ada"
    assert "cart" not in again.data()
    now = time.time()
    for browser, seconds in ((late, 13), (later, 20)):
        monkeypatch.setattr(clock, "now", lambda seconds=seconds: now + seconds)
        visit(app, browser).do(lambda session: session.update(x=1))
        assert ("sid" in names(browser)) is (seconds == 20)


def test_another_user_logs_in(moving):
    browser, make = moving
    app = make()
    helper = SessionAuthenticationHelper()
    client = visit(app, browser)
    client.request(lambda request: helper.remember(request, "bob") or {})
    data = client.data()
    assert data["auth.userid"] == "bob"
    assert "cart" not in data


def test_a_login_that_loses_is_dropped(moving):
    browser, make = moving
    app = make()
    helper = SessionAuthenticationHelper()
    other = visit(app, copy_of(browser))
    client = visit(app, browser)

    def log_in(request):
        dict(request.session)
        other.data()
        return helper.remember(request, "ada") or {}

    client.request(log_in)
    assert app.event_names()[-1] == "SessionDropped:moved"
    assert len(sessions(app)) == 1


def test_the_owner_has_it_in_the_list_of_his_sessions(moving):
    browser, make = moving
    app = make()
    visit(app, copy_of(browser)).data()
    client = visit(app, browser)
    listed = []
    client.request(lambda request: listed.extend(owned_sessions(request, "ada")) or {})
    assert [each.current for each in listed] == [True]


@pytest.mark.parametrize("userid", [None, "", True, "x" * 2000, 7])
def test_what_is_no_user_id_owns_nothing(userid, kind, tmp_path):
    browser, make = _moving(kind, tmp_path, {**DATA, "auth.userid": userid})
    owner = visit(make(), browser).do(lambda session: session.owner).result
    assert owner == ("7" if userid == 7 else None)


def test_the_key_of_the_user_id_may_be_another(kind, tmp_path):
    browser, make = _moving(kind, tmp_path, {"user": "bob"})
    app = make(**{"import.userid_key": "user"})
    assert visit(app, browser).do(lambda session: session.owner).result == "bob"


def test_the_limit_of_sessions_counts(moving):
    """Two requests at once must not make it one session too many."""
    browser, make = moving
    app = make(max_sessions=1)
    other = visit(app, copy_of(browser))
    client = visit(app, browser)
    client.do(lambda session: (session.update(a=1), other.do(lambda s: s.update(b=2))))
    assert client.data() == {**DATA, "a": 1, "b": 2}


# How long it lives


def test_the_lifetime_counts_from_when_the_old_session_began(moving, monkeypatch):
    browser, make = moving
    app = make(lifetime=1800, timeout=1700)
    now = time.time()
    monkeypatch.setattr(clock, "now", lambda: now + 1000)
    client = visit(app, browser)
    assert client.data() == DATA
    assert abs(client.do(lambda session: session.expires_at).result - now - 1800) < 60


def test_an_old_session_beyond_our_lifetime_is_not_imported(moving, kind, monkeypatch):
    browser, make = moving
    app = make(lifetime=300)
    now = time.time() + 400
    monkeypatch.setattr(clock, "now", lambda: now)
    assert visit(app, browser).data() == {}
    assert sessions(app) == []


# Whatever stops it


class Killed(BaseException):
    """As if the process ended there."""


class Killing(UnreliablePlug):
    """A plug with which the process ends at the n-th operation that changes something."""

    left = None

    def _count(self):
        if self.left is not None:
            self.left -= 1
            if self.left < 0:
                raise Killed

    def swap(self, session, request, expected, session_data):
        self._count()
        return super().swap(session, request, expected, session_data)

    def dumps(self, session, request, session_data):
        self._count()
        super().dumps(session, request, session_data)

    def clear(self, session, request):
        self._count()
        super().clear(session, request)


@pytest.mark.parametrize("after", range(5))
def test_a_process_that_is_killed_loses_nothing(moving, after, tmp_path):
    """It is killed between any two steps, and the browser comes again with the old cookie."""
    browser, make = moving
    plug = Killing()
    app = make(plug)
    plug.left = after
    try:
        visit(app, copy_of(browser)).data()
    except Killed:
        pass
    else:
        assert after == 4, "all was done"
    plug.left = None
    client = visit(app, browser)
    assert client.data() == DATA
    client.do(lambda session: session.update(x=1))
    assert client.data() == {**DATA, "x": 1}
    known = sessions(app)
    # One that nobody knows may be left, and ends by itself.
    assert len(known) == 1 + (after == 2)


def test_a_process_that_is_killed_before_the_old_record_is_deleted(tmp_path, monkeypatch):
    browser, make = _moving("stored", tmp_path)
    app = make()
    forget = type(app.origin).forget
    monkeypatch.setattr(type(app.origin), "forget", lambda *_: (_ for _ in ()).throw(Killed))
    with pytest.raises(Killed):
        visit(app, copy_of(browser)).data()
    monkeypatch.setattr(type(app.origin), "forget", forget)
    assert len(old_files(tmp_path)) == 1
    assert visit(app, browser).data() == DATA
    assert len(sessions(app)) == 1


def test_a_view_that_fails_can_be_tried_again(moving):
    browser, make = moving
    app = make(set_on_exception=False)
    client = visit(app, browser)

    def fail(request):
        dict(request.session)
        raise HTTPFound("/")

    client.request(fail, status=302)
    assert sessions(app) == []
    assert client.data() == DATA


def test_our_storage_is_down(moving):
    browser, make = moving
    plug = UnreliablePlug()
    app = make(plug)
    plug.error = OSError("down")
    client = visit(app, browser)
    client.do(dict, status=503)
    plug.error = None
    assert client.data() == DATA


def test_our_storage_fails_once_with_a_session_of_ours(moving, kind):
    """What it may have is not replaced by an old session."""

    class FailingOnce(UnreliablePlug):
        def _maybe_fail(self):
            if self.error is not None:
                error, self.error = self.error, None
                raise error

    browser, make = moving
    plug = FailingOnce()
    app = make(plug, on_outage="anonymous")
    client = app.client()
    client.do(lambda session: session.update(mine=1))
    both = copy_of(browser)
    for cookie in client.testapp.cookiejar:
        both.set_cookie(cookie)
    plug.error = OSError("down")
    client = visit(app, both)
    assert client.data() == {}
    assert client.data() == {"mine": 1}
    assert OLD[kind] in names(both)


def test_our_storage_is_down_and_the_application_goes_on(moving):
    browser, make = moving
    plug = UnreliablePlug()
    app = make(plug, on_outage="anonymous")
    plug.error = OSError("down")
    client = visit(app, browser)
    assert client.data() == {}
    plug.error = None
    assert client.data() == DATA


@pytest.mark.parametrize("policy", ["fail", "anonymous"])
def test_the_old_storage_is_down(policy, tmp_path, caplog):
    browser, make = _moving("stored", tmp_path)
    app = make(on_outage=policy)
    (path,) = old_files(tmp_path)
    content = path.read_bytes()
    path.unlink()
    path.mkdir()
    client = visit(app, browser)
    if policy == "fail":
        client.do(dict, status=503)
    else:
        assert client.do(lambda session: (session.new, session.update(x=1))).result == (True, None)
    assert sessions(app) == [], "nobody is given another session instead"
    assert names(browser) == ["beaker.session.id"]
    assert "of Beaker (file)" in caplog.text
    assert path.name.partition(".")[0] not in caplog.text, "the session id"
    path.rmdir()
    path.write_bytes(content)
    assert client.data() == DATA


def test_the_old_record_cannot_be_deleted(tmp_path, monkeypatch, caplog):
    browser, make = _moving("stored", tmp_path)
    stolen = copy_of(browser)
    app = make()

    def fail(*_):
        raise PlugUnavailable("down")

    monkeypatch.setattr(type(app.origin), "forget", fail)
    client = visit(app, browser)
    assert client.data() == DATA
    assert "an old session stays where it was: down" in caplog.text
    assert old_files(tmp_path)
    client.do(lambda session: session.invalidate())
    assert visit(app, stolen).data() == {}


def test_logging_out_is_an_error_if_it_cannot_be_done(tmp_path, monkeypatch):
    browser, make = _moving("stored", tmp_path)
    app = make()

    def fail(*_):
        raise PlugUnavailable("down")

    monkeypatch.setattr(type(app.origin), "forget", fail)
    visit(app, browser).do(lambda session: session.invalidate(), status=503)


# Storages that can do less


def test_a_storage_that_cannot_swap(moving, tmp_path):
    browser, make = moving
    stolen = copy_of(browser)
    app = make(PlainPlug())
    client = visit(app, browser)
    assert client.data() == DATA
    client.do(lambda session: session.invalidate())
    assert visit(app, stolen).data() == {}


def test_sessions_in_our_cookies(moving, kind, tmp_path):
    browser, make = moving
    stolen = copy_of(browser)
    app = make("cookie")
    client = visit(app, browser)
    assert client.data() == DATA
    assert client.data() == DATA
    assert OLD[kind] not in names(browser)
    if kind == "stored":
        assert visit(app, stolen).data() == {}


# What is not storable


def test_what_cannot_be_stored_is_not_imported(kind, tmp_path, caplog):
    browser, make = _moving(kind, tmp_path)
    app = make(max_size=100)
    assert visit(app, browser).data() == {}
    assert "max_size" in caplog.text
    assert sessions(app) == []


def to_plain(data, request):
    return {**data, "path": request.path} if "auth.userid" in data else None


def test_a_function_of_the_application_converts_the_data(moving):
    browser, make = moving
    app = make(**{"import.convert": "test_importing.to_plain"})
    data = visit(app, browser).data()
    assert data.pop("path").startswith("/do/")
    assert data == DATA


def test_a_function_of_the_application_leaves_sessions_out(kind, tmp_path):
    browser, make = _moving(kind, tmp_path, {"x": 1})
    app = make(**{"import.convert": "test_importing.to_plain"})
    assert visit(app, browser).data() == {}


# Configuration


@implementer(IOrigin)
class Origin:
    """An origin of somebody else."""

    name = "theirs"
    places = (Place("theirs"),)

    def __init__(self, config=None, allow_pickle=None, classes=None):
        self.stored = {"1": {"auth.userid": "ada"}}

    def identify(self, request):
        value = request.cookies.get("theirs")
        return OldKey(value) if value else None

    def load(self, key, request):
        data = self.stored.get(key.id)
        return None if data is None else OldSession(data, time.time() + 99, None)

    def forget(self, key, request):
        self.stored.pop(key.id, None)


@pytest.mark.parametrize(
    "spec", ["test_importing.Origin", Origin, Origin()], ids=["name", "class", "object"]
)
def test_an_origin_of_somebody_else(spec):
    app = ours({}, **{"import": spec})
    client = app.client()
    client.send_cookie("theirs=1; Path=/")
    seen = client.do(lambda session: (dict(session), session.created <= time.time()))
    assert seen.result == ({"auth.userid": "ada"}, True)
    assert app.origin.stored == {}


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"import": "beeker"}, "Did you mean pluggable_session.import = beaker"),
        ({"import": "no.such"}, "the dotted name 'no.such' cannot be imported"),
        ({"import": 7}, "neither an origin nor callable"),
        ({"import": "test_importing.not_an_origin"}, "made something that is not an origin"),
        ({**SIGNED, "import.secrets": "x"}, "Did you mean pluggable_session.import.secret?"),
        ({**SIGNED, "import.classes": "os.system"}, "dotted names of classes"),
        ({**SIGNED, "import.convert": "no.such"}, "a dotted name that can be imported"),
        (
            {"import": None, "import.secret": "x"},
            "import.secret is set, and pluggable_session.import",
        ),
    ],
)
def test_mistakes_are_said_at_the_start(options, says):
    with pytest.raises(ConfigurationError, match=re.escape(says)):
        ours({}, **options)


def not_an_origin(config, **options):
    return object()


def test_nothing_is_imported_if_nothing_is_set():
    from apps import App

    assert App().registry.getUtility(ISessionFactory).importer is None


def test_the_other_packages_are_not_imported():
    """They are to be uninstalled."""
    code = (
        "import sys; from importlib.metadata import entry_points; "
        "[e.load() for e in entry_points(group='pyramid_pluggable_session.origins')]; "
        "print(sorted({n.partition('.')[0] for n in sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(ast.literal_eval(done.stdout))
    assert "pyramid_pluggable_session" in loaded
    assert not loaded & {"beaker", "pyramid_beaker", "pyramid_session_redis", "redis", "pickle5"}


# Beside


def test_looking_when_it_is_too_late_to_save(moving):
    browser, make = moving
    seen = []

    def configure(config):
        from pyramid.events import NewResponse

        config.add_subscriber(lambda event: seen.append(dict(event.request.session)), NewResponse)

    app = make(configure=configure)
    client = visit(app, browser)
    client.request(lambda request: {})
    assert seen == [DATA]
    assert sessions(app) == []
    assert client.data() == DATA


def test_a_change_when_it_is_too_late_to_save(moving):
    browser, make = moving

    def configure(config):
        from pyramid.events import NewResponse

        config.add_subscriber(lambda event: event.request.session.update(x=1), NewResponse)

    app = make(configure=configure)
    with pytest.raises(RuntimeError, match="no response callback runs"):
        visit(app, browser).request(lambda request: {})


def test_imports_are_counted(tmp_path, monkeypatch):
    kind = "stored"
    now = time.time()
    app = None
    for days_ago, count in ((9, 1), (6, 2), (0, 3)):
        monkeypatch.setattr(clock, "now", lambda ago=days_ago: now - ago * 86400)
        for _ in range(count):
            monkeypatch.undo()
            browser, make = _moving(kind, tmp_path)
            if app is None:
                app = make()
            monkeypatch.setattr(clock, "now", lambda ago=days_ago: now - ago * 86400)
            assert visit(app, browser).data() == DATA
    monkeypatch.setattr(clock, "now", lambda: now)
    factory = app.registry.getUtility(ISessionFactory)
    storage = Storage(app.plug, None)
    store = factory.store_for(storage)
    assert imported_lately(storage, store, factory.importer.salt) == (3, 5)


def test_psessions_check_says_how_many(tmp_path, capsys):
    from pyramid_pluggable_session.scripts.psessions import main

    browser, _ = _moving("stored", tmp_path)
    plug = f"sqlite://{tmp_path}/sessions.db"
    ini = tmp_path / "production.ini"
    lines = {
        "use": "call:test_importing:make_app",
        "session.data_dir": tmp_path / "b",
        "session.secret": SECRET,
        "session.data_serializer": "json",
        "pluggable_session.secret": SECRET,
        "pluggable_session.plug": plug,
        "pluggable_session.import": "beaker",
    }
    ini.write_text("[app:main]\n" + "\n".join(f"{name} = {value}" for name, value in lines.items()))
    assert main([str(ini), "check"]) == 0
    said = capsys.readouterr().out
    assert "from beaker: 0 sessions in the last 24 hours, 0 in the last 7 days" in said
    assert "import = beaker" in said
    from pyramid.paster import get_app

    app = get_app(str(ini))
    from webtest import TestApp

    TestApp(app, cookiejar=browser).get("/")
    assert main([str(ini), "check"]) == 0
    said = capsys.readouterr().out
    assert "from beaker: 1 session in the last 24 hours, 1 in the last 7 days" in said
    assert main([str(ini), "stats"]) == 0
    assert re.search(r"imported marks +2", capsys.readouterr().out)
    app.registry.getUtility(IPlugSession).close()


def make_app(global_config, **settings):
    from pyramid.config import Configurator

    with Configurator(settings=settings) as config:
        config.include("pyramid_pluggable_session")
        config.add_route("home", "/")
        config.add_view(lambda request: Response(str(len(request.session))), route_name="home")
        return config.make_wsgi_app()
