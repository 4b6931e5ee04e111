"""Session fixation: an id that somebody else chose or knew before is of no use."""

from __future__ import annotations

import pytest
from attacks import INVENTED_ID, OTHER_SECRET, put, send, visitor
from pyramid.csrf import LegacySessionCSRFStoragePolicy, SessionCSRFStoragePolicy, get_csrf_token

from apps import App, PlainPlug, set_cookies
from pyramid_pluggable_session import SessionAuthenticationHelper
from pyramid_pluggable_session.testing import FakeClock

helper = SessionAuthenticationHelper()
HELD_OFF_FOR, A_MINUTE = 15, 60


def log_in(userid):
    def view(request):
        helper.remember(request, userid)
        return {}

    return view


@pytest.fixture(autouse=True)
def clock():
    with FakeClock() as fake:
        yield fake


@pytest.fixture
def app(clock):
    return App()


def cookie_of_another_secret():
    return visitor(App(secret=OTHER_SECRET), a=1).cookie


class TestAnInventedId:
    @pytest.fixture(
        params=[
            INVENTED_ID,
            INVENTED_ID + "0" * 64,
            INVENTED_ID * 2,
            cookie_of_another_secret(),
        ],
        ids=["unsigned", "signed with zeros", "signed with itself", "signed with another secret"],
    )
    def cookie(self, request):
        return f"session={request.param}"

    def test_does_not_reach_the_storage(self, app, cookie):
        assert send(app, cookie).result == {}
        assert app.plug.taken() == []

    def test_is_not_the_id_of_the_session_that_begins(self, app, cookie):
        send(app, cookie, put(a=1))
        (stored,) = app.plug.ids()
        assert stored not in cookie

    def test_is_not_what_the_new_cookie_holds(self, app, cookie):
        (header,) = set_cookies(send(app, cookie, put(a=1)))
        assert cookie.partition("=")[2][:64] not in header

    def test_gets_no_cookie_as_long_as_nothing_is_written(self, app, cookie):
        assert set_cookies(send(app, cookie)) == []

    def test_is_told_as_an_event(self, app, cookie):
        send(app, cookie)
        assert app.event_names() == ["SessionRejected:cookie: not signed by us"]


class TestADeadId:
    """A good signature, but nothing is stored: logged out, expired, or wiped."""

    def wiped(self, app):
        client = visitor(app, a=1)
        app.plug.clear(_Key(client.session_id), None)
        return client

    def test_is_an_empty_new_session(self, app):
        response = self.wiped(app).do(lambda session: (dict(session), session.new))
        assert response.result == ({}, True)

    def test_is_never_adopted(self, app):
        client = self.wiped(app)
        dead = client.session_id
        client.do(put(b=2))
        assert app.plug.ids() == [client.session_id]
        assert client.session_id != dead

    def test_stays_in_the_browser_as_long_as_nothing_is_written(self, app):
        client = self.wiped(app)
        assert set_cookies(client.do(dict)) == []

    def test_of_a_logged_out_user_is_of_no_use(self, app):
        client = visitor(app, who="alice")
        stolen = client.cookie
        client.do(lambda session: session.invalidate())
        assert send(app, f"session={stolen}").result == {}

    def test_of_a_session_that_got_another_id_is_of_no_use(self, app):
        client = visitor(app, who="alice")
        stolen = client.cookie
        client.do(lambda session: session.regenerate_id())
        assert send(app, f"session={stolen}").result == {}
        assert client.data() == {"who": "alice"}

    def test_of_an_expired_session_is_not_adopted(self, app, clock):
        client = visitor(app, who="alice")
        dead = client.session_id
        clock.advance(1200)
        client.do(put(b=2))
        assert client.data() == {"b": 2}
        assert client.session_id != dead


class TestAPlantedLiveId:
    """The attacker gives his own cookie to the victim, who then logs in."""

    @pytest.fixture(
        params=[
            LegacySessionCSRFStoragePolicy(),
            SessionCSRFStoragePolicy(),
            SessionCSRFStoragePolicy(key="another key"),
        ],
        ids=["legacy", "session", "session with a key"],
    )
    def policy(self, request):
        return request.param

    @pytest.fixture
    def app(self, policy):
        return App(configure=lambda config: config.set_csrf_storage_policy(policy))

    @pytest.fixture
    def attacker(self, app):
        client = app.client()
        client.request(_token_into_session)
        return client

    @pytest.fixture
    def victim(self, app, attacker):
        return app.client(cookie=attacker.cookie)

    def test_changes_at_login(self, app, attacker, victim):
        victim.request(log_in("victim"))
        assert victim.cookie != attacker.cookie
        assert victim.session_id != attacker.session_id

    def test_leaves_the_victim_logged_in(self, victim):
        victim.request(log_in("victim"))
        assert victim.data()["auth.userid"] == "victim"

    def test_comes_with_a_csrf_token_that_changes_at_login(self, attacker, victim):
        known = _token(attacker)
        victim.request(log_in("victim"))
        assert _token(victim) != known

    @pytest.mark.parametrize("later", [0, 14, 15, 16, A_MINUTE - 1, A_MINUTE, A_MINUTE + 1, 1000])
    def test_is_an_empty_session_after_the_login(self, attacker, victim, clock, later):
        victim.request(log_in("victim"))
        clock.advance(later)
        assert attacker.data() == {}

    def test_cannot_be_kept_alive_by_asking_often(self, attacker, victim, clock):
        victim.request(log_in("victim"))
        for _ in range(30):
            clock.advance(5)
            assert attacker.data() == {}

    def test_drops_what_the_attacker_writes(self, app, attacker, victim):
        victim.request(log_in("victim"))
        app.event_names()
        attacker.do(put(evil=1))
        assert app.event_names() == ["SessionDropped:moved"]
        assert "evil" not in victim.data()

    def test_gets_no_cookie_just_after_the_login(self, attacker, victim, clock):
        victim.request(log_in("victim"))
        for later in (0, HELD_OFF_FOR - 1):
            clock.advance(later)
            assert set_cookies(attacker.do(put(evil=1))) == []

    @pytest.mark.parametrize("later", [HELD_OFF_FOR, A_MINUTE - 1])
    def test_is_a_dead_one_after_that(self, attacker, victim, clock, later):
        planted = attacker.session_id
        victim.request(log_in("victim"))
        clock.advance(later)
        assert len(set_cookies(attacker.do(put(evil=1)))) == 1
        assert attacker.session_id not in (planted, victim.session_id)
        assert attacker.data() == {"evil": 1}
        assert "evil" not in victim.data()

    def test_stores_nothing_just_after_the_login(self, app, attacker, victim):
        victim.request(log_in("victim"))
        before = sorted(app.plug.ids())
        attacker.do(put(evil=1))
        assert sorted(app.plug.ids()) == before

    def test_is_forgotten_after_the_minute(self, app, attacker, victim, clock):
        victim.request(log_in("victim"))
        clock.advance(A_MINUTE)
        assert app.plug.ids() == [victim.session_id]

    def test_is_not_adopted_after_the_minute(self, app, attacker, victim, clock):
        planted = attacker.session_id
        victim.request(log_in("victim"))
        clock.advance(A_MINUTE)
        attacker.do(put(evil=1))
        assert attacker.session_id not in (planted, victim.session_id)
        assert "evil" not in victim.data()

    def test_is_forgotten_after_the_minute_even_by_a_storage_that_forgets_nothing(self, clock):
        app = App(plug=PlainPlug())
        attacker = visitor(app, a=1)
        planted = attacker.session_id
        app.client(cookie=attacker.cookie).request(log_in("victim"))
        clock.advance(A_MINUTE)
        assert len(set_cookies(attacker.do(put(b=2)))) == 1
        assert attacker.session_id != planted
        assert attacker.data() == {"b": 2}

    def test_cannot_end_the_session_of_the_victim(self, attacker, victim):
        victim.request(log_in("victim"))
        attacker.do(lambda session: session.invalidate())
        assert victim.data()["auth.userid"] == "victim"

    def test_cannot_log_the_attacker_in_to_the_session_of_the_victim(self, attacker, victim):
        victim.request(log_in("victim"))
        attacker.request(log_in("mallory"))
        assert victim.data()["auth.userid"] == "victim"

    def test_of_a_logged_in_attacker_brings_nothing_of_his_along(self, app):
        attacker = app.client()
        attacker.request(log_in("mallory"))
        attacker.do(put(address="Mallory's"))
        victim = app.client(cookie=attacker.cookie)
        victim.request(log_in("victim"))
        assert "address" not in victim.data()
        assert attacker.data() == {}

    def test_loses_a_race_against_the_login(self, app, attacker, victim):
        """The attacker's request has loaded the session when the login happens."""

        def slow(request):
            request.session["evil"] = 1
            victim.request(log_in("victim"))
            return {}

        response = attacker.request(slow)
        assert set_cookies(response) == []
        assert "evil" not in victim.data()

    def test_does_not_get_a_known_csrf_token_in_during_the_login(self, policy, attacker, victim):
        """The attacker makes himself a token while the login is under way."""
        known = []

        def new_token(request):
            known.append(policy.new_csrf_token(request))
            return {}

        def slow_login(request):
            helper.remember(request, "victim")
            attacker.request(new_token)
            return {}

        victim.request(slow_login)
        assert victim.data()["auth.userid"] == "victim"
        assert _token(victim) not in known

    def test_that_moved_during_the_login_keeps_the_login_from_being_shared(self, attacker, victim):
        """The attacker logs in to the planted session while the victim does."""

        def slow_login(request):
            helper.remember(request, "victim")
            attacker.request(log_in("mallory"))
            attacker.do(put(evil=1))
            return {}

        response = victim.request(slow_login)
        assert len(set_cookies(response)) == 1
        assert attacker.data()["auth.userid"] == "mallory"
        data = victim.data()
        assert data["auth.userid"] == "victim"
        assert "evil" not in data
        assert victim.session_id != attacker.session_id
        assert _token(victim) != _token(attacker)

    def test_that_a_login_left_lets_nobody_else_get_at_its_session(self, app, attacker, victim):
        """By logging in with it the attacker gets what any visitor gets: a session of his own."""
        victim.do(put(cart="tea"))
        victim.request(log_in("victim"))
        attacker.request(log_in("mallory"))
        assert attacker.data().items() >= {"auth.userid": "mallory"}.items()
        assert "cart" not in attacker.data()
        assert victim.data().items() >= {"auth.userid": "victim", "cart": "tea"}.items()
        assert attacker.session_id != victim.session_id


def start_over(session):
    session.start_over()
    session["user"] = "ada"


def rotate(session):
    """Give the session a new id from time to time, as in a tween."""
    if "rotated" not in session:
        session["rotated"] = True
        session.regenerate_id()


def enter_second_factor(session):
    session.regenerate_id()
    session["second_factor"] = True


def follow_a_ticket(session):
    session.owner = "ada"


def log_out(session):
    session.invalidate()
    session.flash("You are logged out.")


def log_in_and_out(session):
    session["before"] = 1
    helper.remember(session.request, "ada")
    session.invalidate()
    session.flash("You are logged out.")


def log_in_and_out_and_rotate(session):
    log_in_and_out(session)
    session.regenerate_id()


class TestAnIdThatMovedAMomentAgo:
    """The answer to the login is lost, or its button was clicked twice."""

    @pytest.fixture
    def client(self, app):
        return visitor(app, cart="tea")

    @pytest.fixture
    def again(self, app, client):
        """The browser without the answer. What it was answered is in ``client``."""
        again = app.client(cookie=client.cookie)
        client.request(log_in("ada"))
        app.event_names()
        return again

    def test_is_good_for_a_login(self, app, client, again):
        moved = again.session_id

        def view(request):
            request.session["before"] = 1
            helper.remember(request, "ada")
            request.session["after"] = 2
            return {}

        assert len(set_cookies(again.request(view))) == 1
        assert app.event_names() == ["SessionCreated"]
        assert _data(again) == {"before": 1, "auth.userid": "ada", "after": 2}
        assert _data(client) == {"cart": "tea", "auth.userid": "ada"}
        assert len({moved, client.session_id, again.session_id}) == 3
        assert sorted(app.plug.ids()) == sorted([moved, client.session_id, again.session_id])

    @pytest.mark.parametrize("by_hand", ["owner first", "owner last", "start_over"])
    def test_is_good_for_a_login_by_hand(self, again, by_hand):
        def action(session):
            if by_hand == "start_over":
                start_over(session)
            elif by_hand == "owner first":
                session.owner = "ada"
                session.regenerate_id()
            else:
                session.regenerate_id()
                session.owner = "ada"
            session["user"] = "ada"

        assert len(set_cookies(again.do(action))) == 1
        assert again.data() == {"user": "ada"}

    def test_has_a_new_token_after_the_login(self, again):
        tokens = []

        def view(request):
            tokens.append(get_csrf_token(request))
            helper.remember(request, "ada")
            return {}

        again.request(view)
        assert _token(again) not in tokens

    def test_holds_others_off_after_the_second_login_as_well(self, app, client, again):
        late = app.client(cookie=again.cookie)
        again.request(log_in("ada"))
        assert set_cookies(late.do(put(a=1))) == []

    @pytest.mark.parametrize(
        "action",
        [
            *(rotate, enter_second_factor, follow_a_ticket),
            *(log_out, log_in_and_out, log_in_and_out_and_rotate),
        ],
        ids=lambda action: action.__name__,
    )
    def test_gives_no_cookie_to_what_is_no_login(self, app, client, again, action):
        """It would take the place of the login's, which the browser may have got meanwhile."""
        before = sorted(app.plug.ids())
        assert set_cookies(again.do(action)) == []
        assert app.event_names() == ["SessionDropped:moved"]
        assert sorted(app.plug.ids()) == before
        assert client.data()["auth.userid"] == "ada"

    def test_sends_no_cookie_for_an_empty_session(self, again):
        def action(session):
            session.start_over()

        assert set_cookies(again.do(action)) == []

    def test_is_still_marked_after_a_login_that_ended_at_once(self, app, client, again):
        again.do(log_in_and_out)
        assert set_cookies(again.do(put(a=1))) == []

    def test_is_one_that_rotation_may_leave_behind(self, app):
        """Two requests of a page, of which each would give the session a new id."""
        browser = visitor(app, cart="tea")
        late = app.client(cookie=browser.cookie)
        browser.do(rotate)
        assert set_cookies(late.do(rotate)) == []
        assert browser.data() == {"cart": "tea", "rotated": True}


class TestRegenerateId:
    def test_changes_a_csrf_token_that_another_request_makes_meanwhile(self, app):
        """As above, but with ``regenerate_id`` alone and no token at the start."""
        attacker = visitor(app, a=1)
        victim = app.client(cookie=attacker.cookie)
        known = []

        def slow(request):
            request.session.regenerate_id()
            known.append(attacker.do(lambda session: session.get_csrf_token()).result)
            return {}

        victim.request(slow)
        assert victim.do(lambda session: session.get_csrf_token()).result != known[0]

    def test_leaves_a_record_from_which_the_new_id_cannot_be_read(self, app):
        client = visitor(app, a=1)
        old = client.session_id
        client.do(lambda session: session.regenerate_id())
        mark = app.plug.loads(_Key(old), None)
        assert client.session_id.encode() not in mark
        assert bytes.fromhex(client.session_id) not in mark

    def test_leaves_a_record_without_the_data(self, app):
        client = visitor(app, word="plaintext")
        old = client.session_id
        client.do(lambda session: session.regenerate_id())
        assert b"plaintext" not in app.plug.loads(_Key(old), None)


def _token_into_session(request):
    get_csrf_token(request)
    return {}


def _data(client):
    return {key: value for key, value in client.data().items() if key != "_csrft_"}


def _token(client):
    box = []

    def view(request):
        box.append(get_csrf_token(request))
        return {}

    client.request(view)
    return box[0]


class _Key:
    expires_at = None

    def __init__(self, session_id):
        self.session_id = session_id
