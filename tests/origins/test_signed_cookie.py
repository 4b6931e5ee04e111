"""Sessions of Pyramid's own signed cookie go on in ours."""

from __future__ import annotations

import pickle
from http.cookiejar import CookieJar

import pytest
from peers import DATA, RICH, SECRET, Theirs, check_moved, names, ours, visit, with_value
from pyramid.exceptions import ConfigurationError
from pyramid.session import JSONSerializer, SignedCookieSessionFactory


class PickleSerializer:
    """As Pyramid 1 had it."""

    def dumps(self, value):
        return pickle.dumps(value, pickle.HIGHEST_PROTOCOL)

    def loads(self, data):
        return pickle.loads(data)


def signed(**options):
    factory = SignedCookieSessionFactory(SECRET, **options)
    return Theirs(lambda config: config.set_session_factory(factory))


def importing(**options):
    return ours({}, **{"import": "signed_cookie", "import.secret": SECRET, **options})


@pytest.mark.parametrize("cookie_name", ["sid", "session"])
def test_a_session_goes_on(cookie_name):
    """Also if our cookie has the same name."""
    theirs, browser = signed(), CookieJar()
    theirs.log_in(browser)
    check_moved(importing(cookie_name=cookie_name), browser, "session")
    assert names(browser) == [cookie_name]


def test_every_argument_counts():
    theirs, browser = (
        signed(cookie_name="old", salt="s", hashalg="sha256", path="/do", timeout=50),
        CookieJar(),
    )
    theirs.log_in(browser)
    app = importing(
        **{"import.cookie_name": "old", "import.salt": "s", "import.hashalg": "sha256"},
        **{"import.path": "/do", "import.timeout": "50"},
    )
    check_moved(app, browser, "old")
    assert names(browser) == ["sid"]


def test_a_pickled_session_goes_on():
    theirs, browser = signed(serializer=PickleSerializer()), CookieJar()
    theirs.log_in(browser, RICH)
    with pytest.raises(ConfigurationError, match="allow_pickle"):
        importing(**{"import.serializer": "pickle"})
    app = importing(**{"import.serializer": "pickle", "import.allow_pickle": "true"})
    check_moved(app, browser, "session", RICH)


@pytest.mark.parametrize(
    "change",
    [
        lambda v: v[:-3] + "AAA",
        lambda v: ("B" if v[0] == "A" else "A") + v[1:],
        lambda v: v[:40],
        lambda v: "",
        str.swapcase,
        lambda v: v * 100,
        lambda v: "%ff" + v,
    ],
)
def test_a_forged_cookie_is_ignored(change):
    theirs, browser = signed(), CookieJar()
    theirs.log_in(browser)
    app = importing()
    assert visit(app, with_value(browser, "session", change)).data() == {}
    assert app.plug.calls == []


def test_another_spelling_of_the_cookie_is_the_same_session():
    """Base64 has several for the same bytes: they must not give several sessions."""
    theirs, browser = signed(), CookieJar()
    theirs.log_in(browser)
    other = with_value(browser, "session", lambda value: value[:5] + "...." + value[5:])
    app = importing()
    first = visit(app, browser).do(lambda session: session.handle).result
    assert visit(app, other).do(lambda session: session.handle).result == first


@pytest.mark.parametrize("content", [[1, 2], [1, 2, [3]], {"a": 1}, 3, ["x", 1, {}], [1, None, {}]])
def test_what_is_signed_and_no_session_is_refused(content, caplog):
    from webob.cookies import SignedSerializer

    theirs, browser = signed(), CookieJar()
    theirs.log_in(browser)
    value = SignedSerializer(SECRET, "pyramid.session.", serializer=JSONSerializer()).dumps(content)
    app = importing(**{"import.timeout": "none"})
    client = visit(app, with_value(browser, "session", lambda _: value.decode()))
    assert client.data() == {}
    if content[:1] != ["x"] if isinstance(content, list) else True:
        assert "not imported from signed_cookie" in caplog.text


def test_an_expired_session_is_ignored(monkeypatch):
    import time

    from pyramid_pluggable_session import clock

    theirs, browser = signed(), CookieJar()
    theirs.log_in(browser)
    now = time.time()
    monkeypatch.setattr(clock, "now", lambda: now + 1202)
    assert visit(importing(), browser).data() == {}
    assert visit(importing(**{"import.timeout": "1300"}), browser).data() == DATA


def test_the_secret_must_be_given_and_is_not_shown():
    with pytest.raises(ConfigurationError, match=r"import\.secret is not set"):
        ours({}, **{"import": "signed_cookie"})
