"""Reading the ``Cookie`` header: duplicates, smuggling, and whatever else may be in it."""

from __future__ import annotations

import hmac

import pytest
from attacks import OTHER_SECRET, put, send, visitor

from apps import App, set_cookies
from pyramid_pluggable_session.keyring import Keyring

SID = "0" * 64


@pytest.fixture
def app():
    return App()


@pytest.fixture
def alice(app):
    return visitor(app, who="alice")


@pytest.fixture
def good(alice):
    return alice.cookie


@pytest.fixture
def hmac_calls(monkeypatch, app):
    """Return a list that gets an entry for every tag that is computed from now on."""
    calls = []
    tag, digest = Keyring.tag, hmac.digest

    def spy_tag(self, key, message):
        calls.append(message)
        return tag(self, key, message)

    def spy_digest(key, msg, digest_name):
        calls.append(msg)
        return digest(key, msg, digest_name)

    monkeypatch.setattr(Keyring, "tag", spy_tag)
    monkeypatch.setattr(hmac, "digest", spy_digest)
    return calls


class TestOneCookie:
    def test_that_we_signed_is_accepted(self, app, good):
        assert send(app, f"session={good}").result == {"who": "alice"}

    @pytest.mark.parametrize(
        "header",
        [
            "session={}",
            " session={} ",
            "\tsession\t=\t{}\t",
            "session ={}",
            "session= {}",
            "a=b;session={};c=d",
            "a=b;  session={}  ;  c=d",
            ";;session={};;",
            "novalue; session={}",
            '$Version="1"; session={}; $Path="/"',
            "a==; session={}",
            'a="; session={}; b="',
        ],
    )
    def test_is_found_between_semicolons_with_white_space_around(self, app, good, header):
        assert send(app, header.format(good)).result == {"who": "alice"}

    @pytest.mark.parametrize(
        "header",
        [
            # Other names
            "SESSION={}",
            "Session={}",
            "a=session; SESSION={}",
            "a=session; Session={}",
            "session2={}",
            "xsession={}",
            "session.={}",
            "__Host-session={}",
            "[session]={}",
            "ses\u017fion={}".encode().decode("latin-1"),  # with a long s
            "\u0455ession={}".encode().decode("latin-1"),  # with a Cyrillic s
            "session\u200b={}".encode().decode("latin-1"),
            "\xa0session={}",
            "session\x85={}",
            "\x0bsession={}",
            "session\x0c={}",
            "\x00session={}",
            "session\x00={}",
            '"session"={}',
            "={}",
            "{}",
            "=session={}",
            # Smuggled in the value of another cookie
            "a=b,session={}",
            "a=b, session={}",
            "a=b session={}",
            "a=b\tsession={}",
            'a="b session={}"',
            'a="b, session={}"',
            "a='b session={}'",
            "a=b\x00session={}",
            "a=b\x0bsession={}",
            "a=b\x85session={}",
            "a=b\xa0session={}",
            "a=b&session={}",
            "a=%3B session={}",
            r"a=b\073 session={}",
            'a="b\\"; session={}"',
            "$Version=1, session={}",
            "$session={}",
            # Other values
            'session="{}"',
            "session='{}'",
            "session={}x",
            "session=x{}",
            "session=={}",
            "session={},a=b",
            "session={} a=b",
            "session={}\x00",
            "session=\x00{}",
            "session={}\xa0",
            "session={}%20",
            "session=\xff{}",
            "session=../{}",
            "session:{}",
        ],
    )
    def test_in_any_other_form_is_not_accepted(self, app, good, header):
        assert send(app, header.format(good)).result == {}

    @pytest.mark.parametrize(
        "change",
        [
            str.upper,
            lambda value: value[:64].upper() + value[64:],
            lambda value: value[:64] + value[64:].upper(),
            lambda value: value[:-1],
            lambda value: value[1:],
            lambda value: value[64:] + value[:64],
            lambda value: value[::-1],
            lambda value: value[:64],
            lambda value: value[64:],
            lambda value: value[:64] + "0" * 64,
            lambda value: value[:63] + "\u0660".encode().decode("latin-1")[:1] + value[64:],
            lambda value: value[:126] + "\xb2\xb3",
        ],
        ids=lambda change: "",
    )
    def test_that_was_changed_is_not_accepted(self, app, good, change):
        assert change(good) != good
        assert send(app, f"session={change(good)}").result == {}

    def test_with_any_character_changed_is_not_accepted(self, app, good):
        accepted = []
        for at in range(len(good)):
            value = good[:at] + ("1" if good[at] == "0" else "0") + good[at + 1 :]
            if send(app, f"session={value}").result != {}:
                accepted.append(at)
        assert accepted == []

    @pytest.mark.parametrize(
        "value",
        [
            "",
            " ",
            "0",
            "deleted",
            "None",
            "\x00" * 128,
            "\xff" * 128,
            "g" * 128,
            "../" * 42 + "..",
            "../../../../etc/passwd",
            "/etc/passwd",
            "*",
            "%00",
            "\u20ac".encode().decode("latin-1"),
            SID + "/../../../../etc/passwd" + "0" * 41,
            "0" * 63 + "\n" + "0" * 64,
        ],
    )
    def test_that_has_no_form_does_not_reach_the_storage(self, app, value):
        assert send(app, f"session={value}").result == {}
        assert app.plug.taken() == []

    @pytest.mark.parametrize("header", ["", ";", "=", ";=;", "session", "\x00", "=" * 5000])
    def test_that_is_no_cookie_at_all_is_no_error(self, app, header):
        assert send(app, header).result == {}

    def test_of_another_name_is_read_when_it_is_configured(self):
        app = App(cookie_name="sid")
        client = app.client()
        (header,) = set_cookies(client.do(put(a=1)))
        value = header.partition(";")[0].partition("=")[2]
        assert send(app, f"sid={value}").result == {"a": 1}
        assert send(app, f"session={value}").result == {}


class TestSeveralCookiesOfOurName:
    @pytest.mark.parametrize(
        "header",
        [
            "session={good}; session=garbage",
            "session=garbage; session={good}",
            "session=; session={good}; session=",
            "session={forged}; session={good}",
            "session={good}; session={forged}",
            "session={good}; session={good}",
            "session=a; session=b; session={good}; session=c",
        ],
    )
    def test_the_only_one_that_we_signed_is_used(self, app, good, header):
        forged = visitor(App(secret=OTHER_SECRET), who="mallory").cookie
        assert send(app, header.format(good=good, forged=forged)).result == {"who": "alice"}

    @pytest.mark.parametrize("order", ["session={a}; session={b}", "session={b}; session={a}"])
    def test_two_that_we_signed_are_none(self, app, alice, order):
        mallory = visitor(app, who="mallory")
        app.plug.taken()
        assert send(app, order.format(a=alice.cookie, b=mallory.cookie)).result == {}
        assert app.plug.taken() == []

    def test_two_that_we_signed_are_told_as_an_event(self, app, alice):
        mallory = visitor(app, who="mallory")
        app.event_names()
        send(app, f"session={alice.cookie}; session={mallory.cookie}")
        assert app.event_names() == ["SessionRejected:cookie: two that differ"]

    def test_two_that_we_signed_leave_both_sessions_alone(self, app, alice):
        mallory = visitor(app, who="mallory")
        both = f"session={alice.cookie}; session={mallory.cookie}"
        send(app, both, put(evil=1))
        send(app, both, lambda session: session.invalidate())
        assert alice.data() == {"who": "alice"}
        assert mallory.data() == {"who": "mallory"}

    def test_a_dead_one_of_ours_counts_as_well(self, app, alice):
        """Else the answer would tell whether a session is alive, and a logout would change it."""
        gone = visitor(app, who="mallory")
        dead = gone.cookie
        gone.do(lambda session: session.invalidate())
        assert send(app, f"session={alice.cookie}; session={dead}").result == {}

    def test_the_same_session_signed_by_an_old_and_a_new_secret_is_one(self):
        old = App()
        client = visitor(old, who="alice")
        new = App(plug=old.plug, secret=f"{OTHER_SECRET}\n{old.registry.settings[SETTING]}")
        again = new.client(cookie=client.cookie)
        again.do(put(b=2))
        assert again.cookie != client.cookie
        header = f"session={client.cookie}; session={again.cookie}"
        assert send(new, header).result == {"who": "alice", "b": 2}


SETTING = "pluggable_session.secret"


class TestLongValues:
    @pytest.mark.parametrize("length", [0, 1, 127, 129, 8 * 1024, 64 * 1024, 1024 * 1024])
    @pytest.mark.parametrize("character", ["a", "0", "\xff"])
    def test_of_another_length_cost_no_cryptography(self, app, hmac_calls, length, character):
        assert send(app, "session=" + character * length).result == {}
        assert hmac_calls == []

    def test_of_the_right_length_do(self, app, hmac_calls):
        """So that the test above does not pass for another reason."""
        send(app, "session=" + "0" * 128)
        assert len(hmac_calls) >= 1

    @pytest.mark.parametrize("value", ["g" * 128, "A" * 128, "0" * 63 + "\xff" + "0" * 64])
    def test_of_the_right_length_in_the_wrong_form_cost_no_cryptography(
        self, app, hmac_calls, value
    ):
        send(app, f"session={value}")
        assert hmac_calls == []

    def test_beside_a_good_one_do_not_matter(self, app, good):
        header = f"a={'x' * 65536}; session={'0' * 65536}; session={good}"
        assert send(app, header).result == {"who": "alice"}

    def test_ten_thousand_cookies_are_no_error(self, app, good):
        header = "; ".join([f"c{i}=v" for i in range(10_000)] + [f"session={good}"])
        assert send(app, header).result == {"who": "alice"}


class TestWhatARequestMayNotDoWithoutAGoodCookie:
    @pytest.mark.parametrize("value", ["", "garbage", "0" * 128, "\xff", "x" * 8192])
    def test_a_bad_one_is_not_answered_with_a_cookie(self, app, value):
        assert set_cookies(send(app, f"session={value}")) == []

    @pytest.mark.parametrize("value", ["garbage", "0" * 128])
    def test_a_bad_one_is_not_deleted_by_a_logout(self, app, value):
        """It is not ours: a neighbouring application may use the same name on another path."""
        response = send(app, f"session={value}", lambda session: session.invalidate())
        assert set_cookies(response) == []

    def test_the_refused_value_is_not_sent_back(self, app):
        response = send(app, "session=garbage-from-the-client", put(a=1))
        assert "garbage-from-the-client" not in str(response.headers)
