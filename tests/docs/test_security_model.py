"""``docs/security-model.md`` and ``SECURITY.md``: the tests that they name, and what they admit."""

from __future__ import annotations

import re

import pytest
from pyramid.csrf import SessionCSRFStoragePolicy

from apps import SECRET, App, PlainPlug, set_cookies
from pyramid_pluggable_session import SessionAuthenticationHelper
from pyramid_pluggable_session.keyring import Keyring
from pyramid_pluggable_session.keys import SessionKey, new_session_id
from pyramid_pluggable_session.options import CORE_OPTIONS
from pyramid_pluggable_session.record import Kind, Meta, Record, Sealer
from pyramid_pluggable_session.serializers import MsgpackSerializer
from pyramid_pluggable_session.testing import FakeClock
from snippets import DOCS, ROOT, rows

PAGE = DOCS / "security-model.md"
POLICY = ROOT / "SECURITY.md"
TESTS = ROOT / "tests"
OPTIONS = {option.name: option for option in CORE_OPTIONS}
SALT = "pyramid_pluggable_session."
DEFAULT, STRICT = 3, 4


def named_tests():
    return re.findall(r"`(\w+/test_\w+\.py)`", PAGE.read_text())


class TestTheTestsThatAreNamed:
    @pytest.mark.parametrize("name", sorted(set(named_tests())))
    def test_exist(self, name):
        assert "def test_" in (TESTS / name).read_text()

    def test_are_all_of_those_about_security(self):
        there = {f"security/{path.name}" for path in TESTS.glob("security/test_*.py")}
        there |= {f"abuse/{path.name}" for path in TESTS.glob("abuse/test_*.py")}
        assert there <= set(named_tests())

    def test_every_attacker_has_one(self):
        attackers = rows(PAGE, "## Who is kept from what")
        shown = rows(PAGE, "## How it is shown")
        assert [row[0] for row in shown] == [row[0] for row in attackers]
        for row in shown:
            assert re.search(r"`\w+/test_\w+\.py`", row[1]), row[0]


def settings(column):
    """Return the values in a column of the OWASP table, by setting."""
    table = [row for row in rows(PAGE, "## The OWASP list") if row[2] and row[column]]
    return {row[2].strip("`"): row[column].strip("`").replace("empty", "") for row in table}


class TestTheOwaspList:
    def test_the_defaults_are_those(self):
        for name, value in settings(DEFAULT).items():
            option = OPTIONS[name]
            assert option.convert(value) == option.default, name

    def test_the_strict_ones_are_others_and_go_together(self):
        strict = settings(STRICT)
        for name, value in strict.items():
            assert OPTIONS[name].convert(value) != OPTIONS[name].default, name
        app = App(**strict)
        client = app.client(**{"wsgi.url_scheme": "https"})
        response = client.do(lambda session: session.update(a=1))
        (cookie,) = set_cookies(response)
        assert re.fullmatch(
            r"__Host-session=\w{128}; Path=/; Secure; HttpOnly; SameSite=Strict", cookie
        )

    def test_a_strict_session_ends(self):
        with FakeClock() as clock:
            app = App(**{name: settings(STRICT)[name] for name in ("timeout", "lifetime")})
            client = app.client()
            client.do(lambda session: session.update(a=1))
            for _ in range(32):
                assert client.data() == {"a": 1}
                clock.advance(899)
            clock.advance(32)
            assert client.data() == {}


def log_in(request):
    SessionAuthenticationHelper().remember(request, "ada")


def signed(session_id):
    """Return a cookie as somebody makes it who has the secret."""
    keyring = Keyring([SECRET.encode()], SALT, "sha256")
    return session_id + keyring.tag(keyring.first.cookie, session_id.encode()).hex()


def sealed(session_id, state, now, encrypt=False):
    sealer = Sealer(Keyring([SECRET.encode()], SALT, "sha256"), encrypt)
    body = MsgpackSerializer().dumps(state)
    return sealer.seal(session_id, Record(Kind.SESSION, Meta(now, now), "msgpack", body))


class TestWhatThePageAdmits:
    def test_a_view_that_writes_for_visitors_makes_a_record_each_time(self):
        app = App()
        for _ in range(3):
            app.client().do(lambda session: session.update(a=1))
        assert len(app.plug.ids()) == 3

    def test_a_cookie_is_the_session_wherever_it_comes_from(self):
        app = App()
        client = app.client(REMOTE_ADDR="192.0.2.1", HTTP_USER_AGENT="here")
        client.do(lambda session: session.update(a=1))
        thief = app.client(client.cookie, REMOTE_ADDR="198.51.100.1", HTTP_USER_AGENT="there")
        assert thief.data() == {"a": 1}

    def test_what_was_in_the_session_before_the_login_stays(self):
        app = App(configure=lambda c: c.set_csrf_storage_policy(SessionCSRFStoragePolicy()))
        mallory = app.client()
        mallory.do(lambda session: session.update(next="https://evil.example"))
        planted = mallory.do(lambda session: session.get_csrf_token()).result
        victim = app.client(mallory.cookie)
        victim.request(log_in)
        data = victim.data()
        assert data["next"] == "https://evil.example"
        assert data["_csrft_"] != planted
        assert mallory.data() == {}

    def test_a_neighbours_session_and_the_users_together_are_none(self):
        app = App()
        user, neighbour = app.client(), app.client()
        user.request(log_in)
        neighbour.do(lambda session: session.update(a=1))
        both = app.client(HTTP_COOKIE=f"session={neighbour.cookie}; session={user.cookie}")
        assert both.data() == {}

    def test_an_older_record_can_be_put_back_until_it_would_have_expired(self):
        with FakeClock() as clock:
            app = App()
            client = app.client()
            client.do(lambda session: session.update(a=1))
            key, cookie = SessionKey(client.session_id, None), client.cookie
            kept = app.plug.loads(key, None)
            client.do(lambda session: session.invalidate())
            app.plug.dumps(key, None, kept)
            assert app.client(cookie).data() == {"a": 1}
            clock.advance(1200)
            app.plug.dumps(key, None, kept)
            assert app.client(cookie).data() == {}


class TestTheSecret:
    def test_alone_is_not_enough(self):
        app = App()
        app.client().request(log_in)
        assert app.client(signed(new_session_id())).data() == {}

    def test_with_an_id_from_the_storage_is_every_user(self):
        app = App()
        user = app.client()
        user.request(log_in)
        assert app.client(signed(user.session_id)).data()["auth.userid"] == "ada"

    def test_with_a_storage_to_write_to_makes_any_session(self):
        with FakeClock() as clock:
            app = App()
            session_id = new_session_id()
            record = sealed(session_id, {"auth.userid": "root"}, clock.now)
            app.plug.dumps(SessionKey(session_id, None), None, record)
            assert app.client(signed(session_id)).data() == {"auth.userid": "root"}

    def test_is_all_that_the_cookie_storage_takes(self):
        import base64

        from pyramid_pluggable_session.keys import handle

        with FakeClock() as clock:
            app = App(plug="cookie")
            session_id = new_session_id()
            record = sealed(session_id, {"auth.userid": "root"}, clock.now, encrypt=True)
            text = base64.urlsafe_b64encode(record).rstrip(b"=").decode()
            client = app.client(signed(session_id))
            client.send_cookie(f"session.0={handle(session_id)}.1.{text}; Path=/")
            assert client.data() == {"auth.userid": "root"}

    def test_once_replaced_is_of_no_use(self):
        plug = PlainPlug()
        user = App(plug=plug).client()
        user.request(lambda request: request.session.update(a=1))
        app = App(plug=plug, secret=SECRET[::-1])
        assert app.client(user.cookie).data() == {}
        assert app.client(signed(user.session_id)).data() == {}


class TestThePolicy:
    def test_its_links_lead_somewhere(self):
        for link in re.findall(r"\]\(([^)]+)\)", POLICY.read_text()):
            assert (ROOT / link).is_file(), link

    def test_page_and_policy_know_each_other(self):
        assert "docs/security-model.md" in POLICY.read_text()
        assert "`SECURITY.md`" in PAGE.read_text()

    def test_it_names_no_address_that_does_not_exist(self):
        assert not re.search(r"https?://|\S@\S", POLICY.read_text())
