"""The ``cookie`` plug: the client keeps the record, and can neither read nor change it."""

from __future__ import annotations

import base64
import os

import pytest
from attacks import OTHER_SECRET, flipped, forged_record, put
from pyramid.exceptions import ConfigurationError
from pyramid.response import Response
from webtest import TestApp

from apps import SECRET, App, set_cookies
from pyramid_pluggable_session import SessionTooLarge
from pyramid_pluggable_session.testing import FakeClock

WORD = "a-word-that-is-easily-found"


@pytest.fixture(autouse=True)
def clock():
    with FakeClock() as fake:
        yield fake


@pytest.fixture
def app(clock):
    return App(plug="cookie")


class Jar(dict):
    """A browser that can be tampered with: a dict of its cookies."""

    def __init__(self, app, cookies=()):
        super().__init__(cookies)
        self.app = app

    def do(self, action=dict):
        header = "; ".join(f"{name}={value}" for name, value in self.items())
        response = self.app.client(**({"HTTP_COOKIE": header} if header else {})).do(action)
        for line in set_cookies(response):
            name, _, value = line.partition(";")[0].partition("=")
            if "Max-Age=0" in line:
                self.pop(name, None)
            else:
                self[name] = value
        return response

    def copy(self):
        return Jar(self.app, self)

    def parts(self):
        return [name for name in self if name.startswith("session.")]

    def sealed(self):
        """Return the record in the cookies, as bytes."""
        text = "".join(self[name].split(".")[2] for name in sorted(self.parts()))
        return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))

    def with_sealed(self, data):
        """Return the same browser with another record, in one part."""
        other = self.copy()
        start = self["session.0"].split(".")[0]
        for name in self.parts():
            del other[name]
        text = base64.urlsafe_b64encode(data).decode().rstrip("=")
        other["session.0"] = f"{start}.1.{text}"
        return other


def incompressible(size):
    return os.urandom(size // 2).hex()


@pytest.fixture
def browser(app):
    jar = Jar(app)
    jar.do(put(word=WORD))
    return jar


@pytest.fixture
def long(app):
    jar = Jar(app)
    jar.do(put(word=WORD, long=incompressible(4000)))
    return jar


class TestTheClient:
    def test_keeps_the_session(self, browser):
        assert browser.do().result == {"word": WORD}

    def test_keeps_a_long_session_in_several_parts(self, long):
        assert len(long.parts()) == 2
        assert long.do().result["word"] == WORD

    def test_cannot_read_it(self, browser):
        assert WORD.encode() not in browser.sealed()
        assert b"word" not in browser.sealed()

    def test_finds_no_id_in_its_record(self, browser):
        assert browser["session"][:64] not in browser["session.0"]
        assert bytes.fromhex(browser["session"][:64]) not in browser.sealed()

    def test_cannot_read_it_through_a_chain_either(self):
        """A chain does not encrypt, so it has no place for a client."""
        with pytest.raises(ConfigurationError, match="cookie"):
            App(plug="chain", settings={"pluggable_session.chain.plugs": "cookie memory"})
        with pytest.raises(ConfigurationError, match="cookie"):
            App(plug="chain", settings={"pluggable_session.chain.plugs": "memory cookie"})

    def test_gets_encrypted_records_even_if_encrypt_is_false(self):
        jar = Jar(App(plug="cookie", encrypt="false"))
        jar.do(put(word=WORD))
        assert WORD.encode() not in jar.sealed()


class TestTampering:
    def test_with_any_bit_of_the_record_is_refused(self, browser):
        sealed = browser.sealed()
        accepted = [
            bit
            for bit in range(len(sealed) * 8)
            if browser.with_sealed(flipped(sealed, bit)).do().result != {}
        ]
        assert accepted == []

    def test_with_nothing_is_not(self, browser):
        """So that the test above does not pass for another reason."""
        assert browser.with_sealed(browser.sealed()).do().result == {"word": WORD}

    def test_by_cutting_it_is_refused(self, browser):
        sealed = browser.sealed()
        accepted = [
            length
            for length in range(len(sealed))
            if browser.with_sealed(sealed[:length]).do().result != {}
        ]
        assert accepted == []

    @pytest.mark.parametrize(
        "value",
        [
            *("", ".", "..", "x", "....", "\xff", "0" * 4000),
            *("{handle}.1.", "{handle}.1.=", "{handle}.1.A", "{handle}.1.AA AA", "{handle}.1.\xb2"),
            *("{handle}.0.AAAA", "{handle}.99.AAAA", "{handle}.100.AAAA", "{handle}.-1.AAAA"),
            *("{handle}.\xb2.AAAA", "{handle}.01.AAAA"),
        ],
    )
    def test_with_the_form_is_no_error_and_accepted_by_nobody(self, browser, value):
        browser["session.0"] = value.format(handle=browser["session.0"][:12])
        assert browser.do().result == {}

    def test_is_answered_by_deleting_the_parts_but_not_by_a_new_cookie(self, browser):
        tampered = browser.with_sealed(flipped(browser.sealed(), 300))
        response = tampered.do()
        assert [line.split(";")[0] for line in set_cookies(response)] == ["session.0="]

    def test_is_told_as_an_event(self, app, browser):
        app.event_names()
        browser.with_sealed(flipped(browser.sealed(), 300)).do()
        assert app.event_names() == ["SessionRejected:record: bad signature"]

    def test_by_mixing_the_parts_of_two_sessions_is_refused(self, app, long):
        other = Jar(app)
        other.do(put(word="another", long=incompressible(4000)))
        mixed = long.copy()
        mixed["session.1"] = other["session.1"]
        assert mixed.do().result == {}

    def test_by_mixing_parts_is_refused_even_with_the_right_handle(self, app, long):
        other = Jar(app)
        other.do(put(word="another", long=incompressible(4000)))
        mixed = long.copy()
        mixed["session.1"] = long["session.1"][:12] + other["session.1"][12:]
        assert mixed.do().result == {}

    def test_by_mixing_the_parts_of_two_states_of_one_session_is_refused(self, long):
        before = long.copy()
        long.do(put(long=incompressible(4000)))
        assert long["session.1"] != before["session.1"]
        long["session.1"] = before["session.1"]
        assert long.do().result == {}

    def test_by_swapping_parts_is_refused(self, long):
        long["session.0"], long["session.1"] = long["session.1"], long["session.0"]
        assert long.do().result == {}

    def test_by_leaving_out_a_part_is_refused(self, long):
        for name in long.parts():
            without = long.copy()
            del without[name]
            assert without.do().result == {}

    def test_by_leaving_out_the_id_is_refused(self, browser):
        del browser["session"]
        assert browser.do().result == {}

    def test_by_using_the_record_of_another_session_is_refused(self, app, browser):
        other = Jar(app)
        other.do(put(word="another"))
        other["session.0"] = browser["session.0"]
        assert other.do().result == {}

    def test_by_using_the_record_of_another_session_with_the_right_handle_is_refused(
        self, app, browser
    ):
        other = Jar(app)
        other.do(put(word="another"))
        assert other.with_sealed(browser.sealed()).do().result == {}

    def test_by_bringing_the_record_of_another_secret_is_refused(self, browser):
        foreign = Jar(App(plug="cookie", secret=OTHER_SECRET), browser)
        assert foreign.do().result == {}
        assert browser.do().result == {"word": WORD}

    def test_by_bringing_a_plain_record_of_the_right_secret_needs_the_secret(self, app, browser):
        """A record that is only signed is as authentic as an encrypted one."""
        made = forged_record(browser["session"][:64], {"a": 1}, now=1_800_000_000, secret=SECRET)
        assert browser.with_sealed(made).do().result == {"a": 1}
        foreign = forged_record(
            browser["session"][:64], {"a": 1}, now=1_800_000_000, secret=OTHER_SECRET
        )
        assert browser.with_sealed(foreign).do().result == {}

    def test_by_planting_a_part_of_another_session_before_the_good_one_is_no_help(
        self, app, browser
    ):
        other = Jar(app)
        other.do(put(word="another"))
        header = f"session.0={other['session.0']}; session={browser['session']}; session.0="
        header += browser["session.0"]
        assert app.client(HTTP_COOKIE=header).do(dict).result == {"word": WORD}

    def test_by_planting_a_part_beside_the_good_one_is_no_help(self, app, browser):
        header = (
            f"session.0=garbage; session={browser['session']}; session.0={browser['session.0']}"
        )
        assert app.client(HTTP_COOKIE=header).do(dict).result == {"word": WORD}


class TestTheLimit:
    def test_is_an_error_for_what_is_larger(self, app):
        with pytest.raises(SessionTooLarge) as caught:
            Jar(app).do(put(long=incompressible(8000)))
        assert caught.value.size > caught.value.limit == 7500

    def test_leaves_the_session_of_before(self, app, browser):
        with pytest.raises(SessionTooLarge):
            browser.do(put(long=incompressible(8000)))
        assert browser.do().result == {"word": WORD}

    def test_sends_no_cookie_if_the_application_handles_the_error(self):
        def configure(config):
            config.add_exception_view(
                lambda context, request: Response("too large", status=413), context=SessionTooLarge
            )

        app = App(plug="cookie", configure=configure)
        app.views["write"] = lambda request: request.session.update(a=incompressible(9000)) or {}
        response = TestApp(app.wsgi).get("/do/write", status=413)
        assert "Set-Cookie" not in response.headers

    def test_can_be_set(self):
        app = App(plug="cookie", settings={"pluggable_session.cookie.max_bytes": "500"})
        with pytest.raises(SessionTooLarge):
            Jar(app).do(put(long=incompressible(500)))

    def test_is_one_for_all_cookies_together(self, app):
        jar = Jar(app)
        jar.do(put(long=incompressible(5000)))
        header = "; ".join(f"{name}={jar[name]}" for name in jar.parts())
        assert len(header) <= 7500

    @pytest.mark.parametrize("action", [put(a=1), dict], ids=["writing", "reading"])
    def test_holds_for_what_a_stranger_makes_us_delete(self, app, action):
        """Else many empty parts would cost a response with as many headers, and the time for it."""
        header = "; ".join(f"session.{i}=" for i in range(5000))
        response = app.client(HTTP_COOKIE=header).do(action)
        assert len(set_cookies(response)) <= 101


class TestTheCookies:
    def test_carry_the_attributes_of_the_id(self):
        app = App(plug="cookie", secure="true", samesite="strict", max_age="none")
        lines = set_cookies(app.client().do(put(a=1)))
        for line in lines:
            for attribute in ("Secure", "HttpOnly", "SameSite=Strict", "Path=/"):
                assert f"; {attribute}" in line
        assert len(lines) == 2

    def test_keep_the_response_out_of_shared_caches(self, app):
        def view(request):
            request.session["a"] = 1
            return Response(headerlist=[("Cache-Control", "public, max-age=60")])

        response = app.client().request(view)
        assert response.headers["Cache-Control"] == "max-age=60, private"

    def test_are_deleted_by_a_logout(self, long):
        long.do(lambda session: session.invalidate())
        assert dict(long) == {}

    def test_are_not_sent_when_nothing_changed(self, browser):
        assert set_cookies(browser.do()) == []

    def test_that_are_not_needed_any_more_are_deleted(self, long):
        long.do(lambda session: session.pop("long"))
        assert long.parts() == ["session.0"]
        assert long.do().result == {"word": WORD}


class TestTheDocumentedWeakness:
    """Nothing on the server knows better: whoever kept the cookies has the session."""

    def test_a_replay_after_a_logout_works(self, browser):
        kept = browser.copy()
        browser.do(lambda session: session.invalidate())
        assert browser.do().result == {}
        assert kept.do().result == {"word": WORD}

    def test_a_replay_of_an_older_state_works(self, browser):
        kept = browser.copy()
        browser.do(put(word="newer"))
        assert kept.do().result == {"word": WORD}

    def test_a_replay_after_a_login_works(self, browser):
        kept = browser.copy()
        browser.do(lambda session: session.regenerate_id())
        assert kept.do().result == {"word": WORD}

    def test_a_replay_ends_with_the_idle_timeout(self, browser, clock):
        kept = browser.copy()
        clock.advance(1200)
        assert kept.do().result == {}

    def test_a_login_gives_another_id_all_the_same(self, browser):
        kept = browser.copy()
        browser.do(lambda session: session.regenerate_id())
        assert browser["session"] != kept["session"]
        kept["session"] = browser["session"]
        assert kept.do().result == {}


class TestEndedAndBegunAnewInOneRequest:
    def test_the_new_session_is_what_is_left(self, browser):
        def change_user(session):
            session.invalidate()
            session["user"] = "another"

        before = browser["session"]
        response = browser.do(change_user)
        assert browser["session"] != before
        assert browser.do().result == {"user": "another"}
        names = [line.partition("=")[0] for line in set_cookies(response)]
        assert sorted(names) == ["session", "session.0"]


class TestWithoutATimeout:
    def test_the_cookies_last_as_long_as_browsers_allow(self):
        app = App(plug="cookie", timeout="none")
        data = set_cookies(app.client().do(lambda session: session.update(a=1)))[-1]
        assert data.startswith("session.0=")
        assert "; Max-Age=34560000;" in data
