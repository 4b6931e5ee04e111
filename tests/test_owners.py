"""Whose sessions there are: seen, counted and ended, on every storage that can compare and swap."""

from __future__ import annotations

import importlib
import re
import sys
import threading

import pytest
from pyramid.exceptions import ConfigurationError
from pyramid.interfaces import ISessionFactory
from pyramid.request import Request
from webtest import TestApp

from apps import SECRET, App, CountingPlug, PlainPlug, set_cookies
from pyramid_pluggable_session import (
    SessionAuthenticationHelper,
    SessionError,
    TooManySessions,
    end_other_sessions,
    end_owner,
    end_session,
    events,
    owned_sessions,
    owner_index,
)
from pyramid_pluggable_session.interfaces import IPlugSession
from pyramid_pluggable_session.keys import SessionKey, handle
from pyramid_pluggable_session.record import Kind
from pyramid_pluggable_session.testing import FakeClock, log_in, open_session, session_of
from snippets import DOCS, run_python, snippets
from storages import ON_DISK, ON_SERVERS

HOUR = 3600


class Site(App):
    """An application whose users log in and see their devices."""

    def login(self, user="ada", client=None, status=None, **environ):
        """Log in, from a new browser if none is given; return the browser."""
        client = client or self.client(**environ)
        client.request(
            lambda request: SessionAuthenticationHelper().remember(request, user) or {},
            status=status,
        )
        return client

    def call(self, function, *args, client=None):
        """Return what ``function(request, *args)`` returns in a view."""
        box = []
        (client or self.client()).request(lambda request: box.append(function(request, *args)))
        return box[0]

    def devices(self, user="ada", client=None):
        return self.call(owned_sessions, user, client=client)

    def handles(self, user="ada"):
        return {each.handle for each in self.devices(user)}


@pytest.fixture(params=["memory", "chain", *ON_DISK, *ON_SERVERS])
def site(request, url_of, tmp_path):
    if request.param == "memory":
        site = Site()
    elif request.param == "chain":
        plugs = f"memory\nsqlite:///{tmp_path}/authority.db"
        site = Site(plug="chain", settings={"pluggable_session.chain.plugs": plugs})
    else:
        site = Site(plug=url_of(request.param))
    for user in ("ada", "bob"):
        site.call(end_owner, user)  # what another test has left on the server
    yield site
    getattr(site.registry.getUtility(IPlugSession), "close", lambda: None)()


@pytest.fixture
def clock():
    with FakeClock() as fake:
        yield fake


def is_user(client, user="ada"):
    return client.do(lambda session: session.owner).result == user


def data_of(client):
    return {key: value for key, value in client.data().items() if key != "_csrft_"}


def handles_of(*clients):
    return {handle(client.session_id) for client in clients}


class TestOnEveryStorage:
    def test_a_user_sees_the_devices_and_ends_one_from_another(self, site):
        phone, desk, other = site.login(), site.login(), site.login("bob")
        devices = site.devices(client=desk)
        assert {each.handle for each in devices} == handles_of(phone, desk)
        assert [each.handle for each in devices if each.current] == [handle(desk.session_id)]
        assert site.call(end_session, "ada", handle(phone.session_id), client=desk) is True
        assert phone.data() == {}
        assert is_user(desk)
        assert is_user(other, "bob")
        assert site.handles() == handles_of(desk)
        assert site.call(end_session, "ada", handle(phone.session_id), client=desk) is False
        assert site.login(client=phone) is phone
        assert site.handles() == handles_of(desk, phone)

    def test_a_changed_password_ends_the_others(self, site):
        here, *others = (site.login() for _ in range(3))
        bob = site.login("bob")
        assert site.call(end_other_sessions, client=here) == 2
        assert is_user(here)
        assert [each.data() for each in others] == [{}, {}]
        assert is_user(bob, "bob")
        assert site.handles() == handles_of(here)

    def test_all_of_a_user(self, site):
        here, there, bob = site.login(), site.login(), site.login("bob")
        response = here.request(lambda request: {"ended": end_owner(request, "ada")})
        assert response.json == {"ended": 2}
        assert here.cookie is None, "the browser that asked loses its cookie"
        assert there.data() == {}
        assert site.devices() == []
        assert is_user(bob, "bob")

    def test_what_has_ended_is_not_listed(self, site):
        one, two = site.login(), site.login()
        one.do(lambda session: session.invalidate())
        assert site.handles() == handles_of(two)
        site.login("bob", client=two)
        assert site.devices() == []
        assert site.handles("bob") == handles_of(two)

    def test_a_new_id_is_listed(self, site):
        client = site.login()
        client.do(lambda session: session.regenerate_id())
        assert site.handles() == handles_of(client)
        client.do(lambda session: setattr(session, "owner", None))
        assert site.devices() == []

    def test_more_than_a_page(self, site, monkeypatch):
        monkeypatch.setattr(owner_index, "PAGE", 4)
        clients = [site.login() for _ in range(15)]
        assert site.handles() == handles_of(*clients)
        for client in clients[:9]:
            assert site.call(end_session, "ada", handle(client.session_id)) is True
        assert site.handles() == handles_of(*clients[9:])
        assert site.call(end_owner, "ada") == 6
        assert site.devices() == []

    def test_logins_at_once_lose_none(self, site):
        clients = [[] for _ in range(5)]
        errors = []

        def log_in(mine):
            try:
                mine += [site.login() for _ in range(4)]
            except Exception as error:
                errors.append(error)

        threads = [threading.Thread(target=log_in, args=(mine,)) for mine in clients]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert errors == []
        assert site.handles() == handles_of(*(each for mine in clients for each in mine))


def at_the_first_swap_of_a_session(plug, action):
    """Let a plug do ``action()`` before it stores a session for the first time."""
    swap = plug.swap

    def swapping(session, request, expected, session_data):
        if session_data[1] == Kind.SESSION and expected is None:
            plug.swap = swap
            action()
        return swap(session, request, expected, session_data)

    plug.swap = swapping


class TestALoginThatMeetsALogout:
    @pytest.mark.parametrize("ends", [end_owner, lambda request, user: end_other_sessions(request)])
    def test_the_login_comes_to_nothing(self, ends):
        site = Site()
        desk = site.login()
        at_the_first_swap_of_a_session(site.plug, lambda: site.call(ends, "ada", client=desk))
        late = site.login()
        assert late.cookie is None
        assert site.handles() == ({handle(desk.session_id)} if desk.cookie else set())
        assert "SessionDropped:ended" in site.event_names()

    def test_so_does_one_that_gives_an_anonymous_session_a_new_id(self):
        site = Site()
        client = site.client()
        client.do(lambda session: session.update(cart=["tea"]))
        cookie = client.cookie
        at_the_first_swap_of_a_session(site.plug, lambda: site.call(end_owner, "ada"))
        site.login(client=client)
        assert client.cookie == cookie
        assert client.data() == {"cart": ["tea"]}
        assert site.devices() == []

    def test_the_next_login_works(self):
        site = Site()
        at_the_first_swap_of_a_session(site.plug, lambda: site.call(end_owner, "ada"))
        client = site.login()
        site.login(client=client)
        assert site.handles() == handles_of(client)

    def test_a_list_that_is_read_meanwhile_does_not_forget_it(self):
        site = Site()
        at_the_first_swap_of_a_session(site.plug, site.devices)
        client = site.login()
        assert site.handles() == handles_of(client)

    def test_what_a_request_writes_while_its_session_is_ended_is_dropped(self):
        site = Site()
        client = site.login()

        def view(request):
            request.session["a"] = 1
            site.call(end_owner, "ada")
            return {}

        client.request(view)
        assert site.event_names()[-1] == "SessionDropped:ended"
        assert client.data() == {}


class InterferingPlug(CountingPlug):
    """A plug in which something is done just before the record of a session is replaced."""

    session_id = interfere = None

    def swap(self, session, request, expected, session_data):
        if self.interfere and expected is not None and session.session_id == self.session_id:
            interfere, self.interfere = self.interfere, None
            interfere()
        return super().swap(session, request, expected, session_data)


def test_who_ends_all_sessions_ends_one_that_is_moved_at_that_moment():
    """Its new record is there already, and is to be written again as the old one was changed."""
    plug = InterferingPlug()
    site = Site(plug=plug)
    client = site.client()
    client.do(lambda session: session.update(cart="tea"))
    tab = site.client(client.cookie)

    def change_and_end():
        tab.do(lambda session: session.update(lang="de"))
        site.call(end_owner, "ada")

    plug.session_id, plug.interfere = client.session_id, change_and_end
    site.login(client=client)
    assert plug.interfere is None, "it came to that"
    assert not is_user(client)
    assert site.devices() == []
    assert tab.data() == {"cart": "tea", "lang": "de"}


class TestTwoLoginsInOneSession:
    """A double click: both requests have loaded the session before one of them gives it up."""

    @pytest.fixture(params=["memory", "sqlite"])
    def make_site(self, request, url_of):
        sites = []

        def make(**options):
            plug = None if request.param == "memory" else url_of(request.param)
            sites.append(Site(plug=plug, **options))
            return sites[-1]

        yield make
        for site in sites:
            getattr(site.registry.getUtility(IPlugSession), "close", lambda: None)()

    def visitor(self, site):
        client = site.client()
        client.do(lambda session: session.update(cart="tea"))
        return client

    def slow_login(self, site, client, meanwhile, user="ada"):
        """Log in, and do something else before that is stored; return the cookies that were set."""

        def view(request):
            SessionAuthenticationHelper().remember(request, user)
            request.session["mine"] = True
            meanwhile()
            return {}

        return set_cookies(client.request(view))

    def test_at_the_same_moment(self, make_site):
        """Whichever answer the browser keeps, it is logged in."""
        site = make_site()
        for _ in range(20):
            first = self.visitor(site)
            clicks = [site.client(first.cookie), site.client(first.cookie)]
            both_loaded = threading.Barrier(2, timeout=60)
            answers = [None, None]

            def click(number, clicks=clicks, both_loaded=both_loaded, answers=answers):
                def view(request):
                    request.session["number"] = number
                    both_loaded.wait()
                    SessionAuthenticationHelper().remember(request, "ada")
                    return {}

                answers[number] = set_cookies(clicks[number].request(view))

            threads = [threading.Thread(target=click, args=(number,)) for number in range(2)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert [len(cookies) for cookies in answers] == [1, 1]
            for number, client in enumerate(clicks):
                assert data_of(client) == {"cart": "tea", "number": number, "auth.userid": "ada"}
                assert is_user(client)
            assert len({each.session_id for each in (first, *clicks)}) == 3
            assert first.data() == {}
            assert site.handles() == handles_of(*clicks)
            assert site.call(end_owner, "ada") == 2
            assert all(client.data() == {} for client in clicks)

    def test_are_a_session_that_moved_and_a_new_one(self, make_site):
        site = make_site()
        client = self.visitor(site)
        other = site.client(client.cookie)
        site.event_names()
        assert len(self.slow_login(site, client, lambda: site.login(client=other))) == 1
        assert site.event_names() == ["SessionMoved", "SessionCreated"]
        other.do(lambda session: session.update(later=1))
        assert data_of(client) == {"cart": "tea", "mine": True, "auth.userid": "ada"}
        assert data_of(other) == {"cart": "tea", "later": 1, "auth.userid": "ada"}

    def test_of_two_users_are_two_sessions(self, make_site):
        site = make_site()
        client = self.visitor(site)
        other = site.client(client.cookie)
        self.slow_login(site, client, lambda: site.login("bob", client=other))
        assert is_user(client, "ada")
        assert is_user(other, "bob")
        assert (site.handles("ada"), site.handles("bob")) == (
            handles_of(client),
            handles_of(other),
        )

    @pytest.mark.parametrize("again", [False, True], ids=["a visitor", "the same user again"])
    def test_count_as_two(self, make_site, again):
        site = make_site(max_sessions=1)
        client = self.visitor(site)
        if again:
            site.login(client=client)
        other = site.client(client.cookie)
        self.slow_login(site, client, lambda: site.login(client=other))
        assert is_user(client)
        assert other.data() == {}
        assert site.handles() == handles_of(client)

    def test_of_which_one_is_too_many(self, make_site):
        site = make_site(max_sessions=1, on_max_sessions="refuse")
        client = self.visitor(site)
        other = site.client(client.cookie)
        with pytest.raises(TooManySessions):
            self.slow_login(site, client, lambda: site.login(client=other))
        assert client.data() == {}
        assert is_user(other)
        assert site.handles() == handles_of(other)

    def test_a_session_that_was_ended_meanwhile_stays_so(self, make_site):
        site = make_site()
        client = self.visitor(site)
        other = site.client(client.cookie)
        end = lambda: other.do(lambda session: session.invalidate())  # noqa: E731
        assert self.slow_login(site, client, end) == []
        assert site.event_names()[-1] == "SessionDropped:ended"
        assert client.data() == {}
        assert site.devices() == []

    @pytest.mark.parametrize("kind", [Kind.SESSION, Kind.MOVED], ids=["before", "after"])
    def test_all_are_ended_as_the_second_one_is_stored(self, kind):
        """Just before its record is written, or after that and before it finds out of the first."""
        site = Site()
        client = self.visitor(site)
        other = site.client(client.cookie)
        swap = site.plug.swap

        def swapping(session, request, expected, session_data):
            if session_data[1] == kind and (expected is None) is (kind == Kind.SESSION):
                site.plug.swap = swap
                assert site.call(end_owner, "ada") == (1 if kind == Kind.SESSION else 2)
            return swap(session, request, expected, session_data)

        def first():
            site.login(client=other)
            site.plug.swap = swapping

        self.slow_login(site, client, first)
        assert site.plug.swap == swap, "they were ended"
        assert client.data() == {}
        assert other.data() == {}
        assert site.devices() == []

    def test_on_every_storage(self, site):
        client = self.visitor(site)
        other = site.client(client.cookie)
        assert len(self.slow_login(site, client, lambda: site.login(client=other))) == 1
        assert is_user(client)
        assert is_user(other)
        assert site.handles() == handles_of(client, other)

    def test_one_after_the_other(self, site):
        """The second one finds the session moved already."""
        client = self.visitor(site)
        other = site.client(client.cookie)
        site.login(client=other)
        assert len(self.slow_login(site, client, lambda: None)) == 1
        assert data_of(client) == {"mine": True, "auth.userid": "ada"}
        assert is_user(other)
        assert site.handles() == handles_of(client, other)

    def test_a_new_id_alone_is_no_login(self):
        """Else the session would be there twice, once for somebody who need not know a password."""
        site = Site()
        client = site.login()
        other = site.client(client.cookie)

        def rotate(session):
            session["mine"] = True
            other.do(lambda session: session.regenerate_id())
            session.regenerate_id()

        assert set_cookies(client.do(rotate)) == []
        assert site.handles() == handles_of(other)
        assert len(site.plug.ids()) == 2  # the session and the mark


class TestChain:
    @pytest.mark.parametrize("ends", [end_owner, lambda request, user: end_other_sessions(request)])
    def test_a_copy_of_the_index_hides_no_login(self, tmp_path, ends):
        authority = f"sqlite:///{tmp_path}/sessions.db"
        settings = {"pluggable_session.chain.plugs": f"memory\n{authority}"}
        one, two = (Site(plug="chain", settings=settings) for _ in range(2))
        here = one.login()
        assert one.handles() == handles_of(here)
        late = two.login()
        one.call(ends, "ada", client=here)
        site = Site(plug=authority)
        assert site.client(late.cookie).data() == {}


class TestTime:
    def test_a_session_in_use_stays_listed(self, clock):
        site = Site(timeout=600, device_details="address user_agent")
        client = site.login(REMOTE_ADDR="192.0.2.1", HTTP_USER_AGENT="Browser")
        began = clock.now
        for _ in range(60):
            clock.advance(500)
            assert is_user(client)
        (device,) = site.devices()
        assert (device.created, device.last_seen) == (began, clock.now)
        assert device.expires_at == clock.now + 600
        assert (device.address, device.user_agent) == ("192.0.2.1", "Browser")

    def test_that_costs_little(self, clock):
        site = Site(timeout=600)
        client = site.login()
        site.plug.taken()
        for _ in range(40):
            clock.advance(100)
            client.data()
        taken = site.plug.taken()
        assert taken.count("swap") == 40 + 1, "40 renewals, and the list once an hour"

    def test_an_index_ends_with_its_sessions(self, clock):
        site = Site(timeout=600)
        site.login()
        assert site.plug.purge() == 0
        clock.advance(3 * HOUR)
        assert site.devices() == []
        assert site.plug.purge() == 2
        assert list(site.plug.scan()) == []

    def test_of_many_logins_little_is_left(self, clock, monkeypatch):
        monkeypatch.setattr(owner_index, "PAGE", 5)
        site = Site(timeout=60)
        for _ in range(200):
            clock.advance(200)
            site.login()
        site.plug.purge()
        assert len(list(site.plug.scan())) < 12

    def test_of_pages_that_never_expire_nothing_is_left(self, monkeypatch):
        monkeypatch.setattr(owner_index, "PAGE", 3)
        site = Site(timeout=None)
        for _ in range(10):
            site.login()
        assert len(list(site.plug.scan())) == 10 + 1 + 3
        assert site.call(end_owner, "ada") == 10
        kinds = [site.plug.loads(key, None)[1] for key in site.plug.scan()]
        assert (kinds.count(Kind.OWNER), kinds.count(Kind.SESSION)) == (1, 0)

    def test_idle_and_old_sessions_are_not_listed(self, clock):
        site = Site(timeout=600, lifetime=1000)
        site.login()
        clock.advance(601)
        assert site.devices() == []
        client = site.login()
        clock.advance(500)
        client.data()
        clock.advance(501)
        assert site.devices() == []

    def test_sessions_that_never_end_stay_listed(self, clock):
        site = Site(timeout=None)
        client = site.login()
        clock.advance(10**8)
        assert site.handles() == handles_of(client)
        (index,) = [key for key in site.plug.scan() if key.session_id != client.session_id]
        assert index.expires_at is None

    def test_a_session_may_have_a_longer_timeout_than_the_others(self, clock):
        site = Site(timeout=600)
        client = site.login()
        client.do(lambda session: setattr(session, "timeout", 30 * 24 * HOUR))
        clock.advance(29 * 24 * HOUR)
        assert site.handles() == handles_of(client)

    def test_what_may_still_come_stays_listed_for_a_while(self, clock):
        site = Site(set_on_exception=False)

        def fails_later(request):
            request.session.owner = "ada"
            raise RuntimeError

        with pytest.raises(RuntimeError):
            site.client().request(fails_later)
        assert site.devices() == []


class TestTheLimit:
    def test_the_oldest_is_ended(self, clock):
        site = Site(max_sessions=2)
        first, second, third = (site.login() for _ in range(2) if clock.advance(1) is None), 0, 0
        first, second = list(first)
        clock.advance(1)
        site.event_names()
        third = site.login()
        assert site.event_names() == ["SessionEnded:max_sessions", "SessionCreated"]
        assert first.data() == {}
        assert site.handles() == handles_of(second, third)

    def test_one_more_is_refused(self):
        site = Site(max_sessions=2, on_max_sessions="refuse")
        clients = [site.login() for _ in range(2)]
        late = site.client()
        refused = []

        def view(request):
            try:
                SessionAuthenticationHelper().remember(request, "ada")
            except TooManySessions as error:
                refused.append(str(error))
            return {}

        late.request(view)
        assert refused == [
            "this user has 2 sessions already, and pluggable_session.max_sessions allows 2"
        ]
        assert late.cookie is None
        clients[0].do(lambda session: session.invalidate())
        late.request(view)
        assert len(refused) == 1
        assert site.handles() == handles_of(clients[1], late)
        assert is_user(site.login("bob"), "bob")

    def test_of_two_at_once_one_is_refused(self):
        site = Site(max_sessions=1, on_max_sessions="refuse")
        refused = []

        def log_in():
            try:
                return site.login()
            except TooManySessions:
                refused.append(1)
                return None

        clients = []
        at_the_first_swap_of_a_session(site.plug, lambda: clients.append(log_in()))
        clients.append(log_in())
        assert refused == [1]
        assert site.handles() == handles_of(*filter(None, clients))

    @pytest.mark.parametrize("policy", ["end_oldest", "refuse"])
    def test_the_same_browser_again_is_not_one_more(self, policy):
        site = Site(max_sessions=1, on_max_sessions=policy)
        client = site.login()
        for _ in range(3):
            site.login(client=client)
            client.do(lambda session: session.regenerate_id())
        assert is_user(client)

    def test_a_login_that_failed_does_not_count(self):
        site = Site(max_sessions=1, on_max_sessions="refuse")

        def fail():
            raise OSError("no")

        at_the_first_swap_of_a_session(site.plug, fail)
        site.login(status=503)
        assert is_user(site.login())

    @pytest.mark.parametrize("value", ["0", "-1", "many", "1.5"])
    def test_a_bad_limit(self, value):
        with pytest.raises(ConfigurationError, match="max_sessions must be a whole number above 0"):
            Site(max_sessions=value)

    def test_a_storage_that_cannot_count(self):
        with pytest.raises(ConfigurationError, match="PlainPlug storage cannot compare and swap"):
            Site(plug=PlainPlug(), max_sessions=3)


class TestDetails:
    def test_nothing_of_the_client_is_kept_by_default(self):
        site = Site()
        site.login(REMOTE_ADDR="192.0.2.1", HTTP_USER_AGENT="Browser")
        (device,) = site.devices()
        assert (device.address, device.user_agent) == (None, None)
        records = [site.plug.loads(key, None) for key in site.plug.scan()]
        assert not any(b"192.0.2.1" in each or b"Browser" in each for each in records)

    @pytest.mark.parametrize(
        ("details", "kept"), [("address", ("192.0.2.1", None)), ("user_agent", (None, "B" * 200))]
    )
    def test_what_is_asked_for_is(self, details, kept):
        site = Site(device_details=details)
        site.login(REMOTE_ADDR="192.0.2.1", HTTP_USER_AGENT="B" * 1000)
        (device,) = site.devices()
        assert (device.address, device.user_agent) == kept

    def test_other_details_are_not_known(self):
        with pytest.raises(ConfigurationError, match="device_details must be address, user_agent"):
            Site(device_details="shoe_size")

    def test_no_id_is_shown(self):
        site = Site()
        client = site.login()
        assert client.session_id not in repr(site.devices())


class TestTheOwner:
    @pytest.mark.parametrize(
        ("userid", "owner"), [("ada", "ada"), (7, "7"), ("ä" * 500, "ä" * 500)]
    )
    def test_is_a_text(self, userid, owner):
        site = Site()
        client = site.client()
        client.do(lambda session: setattr(session, "owner", userid))
        assert is_user(client, owner)
        assert len(site.devices(userid)) == len(site.devices(owner)) == 1

    @pytest.mark.parametrize("userid", [True, "", "ä" * 501, "x" * 1001])
    def test_bad(self, userid):
        def view(session):
            with pytest.raises(
                ValueError, match="the owner of a session must be None or a user id"
            ):
                session.owner = userid

        Site().client().do(view)

    def test_is_enough_for_a_session_to_be_stored(self):
        site = Site()
        client = site.client()
        client.do(lambda session: setattr(session, "owner", "ada"))
        assert is_user(client)
        client.do(lambda session: setattr(session, "owner", None))
        assert is_user(client, None)

    def test_stays_when_the_data_go_and_goes_with_the_session(self):
        client = Site().login()
        client.do(lambda session: session.clear())
        assert is_user(client)
        client.do(lambda session: session.invalidate())
        assert is_user(client, None)

    def test_is_encrypted_if_anything_is(self):
        for encrypt in (False, True):
            site = Site(encrypt=encrypt)
            client = site.client()
            client.do(lambda session: setattr(session, "owner", "ada lovelace"))
            record = site.plug.loads(SessionKey(client.session_id, None), None)
            assert (b"ada lovelace" in record) is not encrypt
            assert is_user(client, "ada lovelace")

    def test_survives_what_another_request_changes(self):
        site = Site()
        client = site.login()

        def change(request):
            request.session["a"] = 1
            site.client(client.cookie).do(lambda session: setattr(session, "owner", "bob"))
            return {}

        client.request(change)
        assert client.do(lambda s: (s.owner, s["a"])).result == ("bob", 1)
        assert site.handles("bob") == handles_of(client)

        def change_owner(request):
            request.session.owner = "eve"
            site.client(client.cookie).do(lambda session: session.update(b=2))
            return {}

        client.request(change_owner)
        assert client.do(lambda s: (s.owner, s["b"])).result == ("eve", 2)
        assert site.handles("eve") == handles_of(client)

    def test_that_was_another_one_cannot_end_it(self):
        site = Site()
        client = site.login("ada")
        client.do(lambda session: setattr(session, "owner", "bob"))
        assert site.devices("ada") == []
        assert site.call(end_owner, "ada") == 0
        assert is_user(client, "bob")
        assert site.call(end_owner, "bob") == 1

    def test_of_nobody_no_session_can_be_ended(self):
        site = Site()
        assert site.call(end_other_sessions) == 0
        with pytest.raises(ValueError, match="None is nobody"):
            site.devices(None)


class TestOtherStorages:
    @pytest.mark.parametrize("plug", [PlainPlug(), "cookie"])
    def test_remember_the_owner_and_say_that_they_have_no_list(self, plug):
        site = Site(plug=plug, on_max_sessions="refuse")  # without a limit that says nothing
        client = site.login()
        assert is_user(client)
        with pytest.raises(SessionError, match="cannot compare and swap"):
            site.devices()

    def test_other_sessions(self):
        class Request:
            class registry:
                queryUtility = staticmethod(lambda interface: None)

            class session:
                session_id = "x"

        with pytest.raises(SessionError, match="has no sessions of pyramid_pluggable_session"):
            owned_sessions(Request, "ada")


class TestTheIndex:
    def test_costs_a_login_two_operations(self):
        site = Site()
        site.login()
        assert site.plug.taken() == ["loads", "swap", "swap"]

    def test_is_no_session(self):
        """Whoever could sign cookies would not get at it either."""
        site = Site()
        client = site.login()
        (index_id,) = {key.session_id for key in site.plug.scan()} - {client.session_id}
        cookie = site.registry.getUtility(ISessionFactory).cookie
        ((_, header),) = cookie.set_headers(Request.blank("/"), index_id, None)
        signed = header.partition("=")[2].partition(";")[0]
        assert site.client(signed).data() == {}
        assert "SessionRejected:record: not a session" in site.event_names()

    def test_that_is_not_ours_is_replaced(self):
        site = Site()
        client = site.login()
        (index_id,) = {key.session_id for key in site.plug.scan()} - {client.session_id}
        site.plug.dumps(SessionKey(index_id, None), None, b"garbage")
        assert site.devices() == []
        again = site.login()
        assert site.handles() == handles_of(again)

    def test_is_found_with_any_of_the_secrets(self):
        old, new = "a" * 40, "b" * 40
        plug = CountingPlug()
        client = Site(plug, secret=old).login()
        site = Site(plug, secret=f"{new}\n{old}")
        other = site.login()
        assert site.handles() == handles_of(client, other)

    def test_is_another_one_for_another_application(self):
        plug = CountingPlug()
        client = Site(plug, salt="one").login()
        site = Site(plug, salt="two")
        assert site.devices() == []
        assert Site(plug, salt="one").handles() == handles_of(client)

    def test_events_tell_who_was_ended(self):
        site = Site()
        client = site.login()
        site.event_names()
        site.call(end_owner, "ada")
        (event,) = site.events
        assert type(event) is events.SessionEnded
        assert (event.handle, event.reason) == (handle(client.session_id), "owner")

    @pytest.mark.slow
    def test_of_ten_thousand_sessions(self):
        site = Site()
        factory = site.registry.getUtility(ISessionFactory)
        client = site.login()
        count = 10_030  # not a number of full pages

        def view(request):
            for _ in range(count - 1):
                session = factory(request)
                session.owner = "ada"
                session.visit.save()
                # Not to be saved again with the request.
                session.visit.closed, session.visit = True, None
            return {}

        site.client().request(view)
        assert len(site.devices()) == count
        largest = max(len(site.plug.loads(key, None)) for key in site.plug.scan())
        assert largest < 20_000, "small enough for every storage"
        site.plug.taken()
        site.login()
        assert site.plug.taken() == ["loads", "swap", "swap"], "and no more work than at first"
        assert site.call(end_other_sessions, client=client) == count
        assert site.handles() == handles_of(client)


class TestTheDocumentation:
    PAGE = DOCS / "owners.md"

    @pytest.fixture
    def wsgi(self, tmp_path, monkeypatch):
        """The page's files in the application of docs/login.md."""
        login, end = DOCS / "login.md", "        return config.make_wsgi_app()\n"
        files = {each.caption: each.text for each in snippets(login, "html")}
        files |= {
            each.caption.removeprefix("myapp/"): each.text
            for each in snippets(self.PAGE, "python", "html")
            if each.caption
        }
        code = "\n".join(each.text for each in snippets(login, "python"))
        (include,) = re.findall(r"`(config\.include\(.*?\))`", self.PAGE.read_text())
        files["__init__.py"] = code.replace(end, f"        {include}\n{end}")
        (tmp_path / "devicesapp").mkdir()
        for name, text in files.items():
            (tmp_path / "devicesapp" / name).write_text(text)
        monkeypatch.syspath_prepend(tmp_path)
        main = importlib.import_module("devicesapp").main
        settings = {"secret": SECRET, "plug": "memory"}
        yield main({}, **{f"pluggable_session.{name}": settings[name] for name in settings})
        for name in ("devicesapp", "devicesapp.devices"):
            del sys.modules[name]

    def test_the_page(self, wsgi):
        TestApp(wsgi).get("/devices", status=303)
        with FakeClock(1_800_000_000):
            here, there = TestApp(wsgi), TestApp(wsgi)
            for browser in (here, there):
                log_in(browser, "ada")
            with open_session(there) as session:
                handle_of_there = session.handle
            page = here.get("/devices")
            assert page.text.count("last seen 2027-01-15 08:00 UTC") == len(page.forms) == 2
            assert page.text.count("(this one)") == 1
            buttons = [form["device"].value_if_submitted() for form in page.forms.values()]
            assert handle_of_there in buttons
            here.post("/devices", {"device": handle_of_there}, status=400)
            submit(page, handle_of_there).follow(status=200)
            there.get("/devices", status=303)
            page = here.get("/devices")
            (form,) = page.forms.values()
            page = submit(page, form["device"].value_if_submitted()).follow()
            assert page.follow().request.path == "/login"
            assert session_of(here).get("auth.userid") is None

    def test_the_calls_for_all_at_once(self):
        views = vars(run_python(self.PAGE, "page_owners_app"))
        del sys.modules["page_owners_app"]
        (*_, limit) = (each.text for each in snippets(self.PAGE, "ini"))
        site = Site(settings=dict(line.split(" = ") for line in limit.splitlines()))
        here, _, _ = (site.login() for _ in range(3))
        with pytest.raises(TooManySessions):
            site.login()
        here.request(views["change_password"])
        assert site.handles() == handles_of(here)
        site.client().request(views["lock_account"], "POST", body=b"user=ada")
        assert site.devices() == []


def submit(page, device):
    """Press the button of a device."""
    forms = page.forms.values()
    (form,) = (each for each in forms if each["device"].value_if_submitted() == device)
    return form.submit("device", status=303)
