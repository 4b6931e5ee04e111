"""The ``Set-Cookie`` header: attribute by attribute, and what is refused at start-up."""

from __future__ import annotations

import pytest
from attacks import put, send, visitor
from pyramid.exceptions import ConfigurationError
from webtest import TestApp

from apps import App, set_cookies
from pyramid_pluggable_session import PluggableSessionFactory

SECRET = "0123456789abcdef" * 3


def attributes(scheme="http", **options):
    """Return the attributes of the cookie that an application with these options sets."""
    app = App(**options)
    app.views["write"] = lambda request: request.session.update(a=1) or {}
    (header,) = set_cookies(TestApp(app.wsgi).get(f"{scheme}://localhost/do/write"))
    return header.split("; ")[1:]


class TestAttributes:
    @pytest.mark.parametrize(
        ("options", "expected"),
        [
            ({}, ["Path=/", "Max-Age=864000", "HttpOnly", "SameSite=Lax"]),
            ({"max_age": "none"}, ["Path=/", "HttpOnly", "SameSite=Lax"]),
            ({"max_age": "60"}, ["Path=/", "Max-Age=60", "HttpOnly", "SameSite=Lax"]),
            ({"httponly": "false"}, ["Path=/", "Max-Age=864000", "SameSite=Lax"]),
            ({"samesite": ""}, ["Path=/", "Max-Age=864000", "HttpOnly"]),
            ({"samesite": "strict"}, ["Path=/", "Max-Age=864000", "HttpOnly", "SameSite=Strict"]),
            ({"path": "/app"}, ["Path=/app", "Max-Age=864000", "HttpOnly", "SameSite=Lax"]),
            (
                {"secure": "true"},
                ["Path=/", "Max-Age=864000", "Secure", "HttpOnly", "SameSite=Lax"],
            ),
            (
                {"secure": "true", "samesite": "none"},
                ["Path=/", "Max-Age=864000", "Secure", "HttpOnly", "SameSite=None"],
            ),
            (
                {"secure": "true", "samesite": "none", "partitioned": "true"},
                ["Path=/", "Max-Age=864000", "Secure", "HttpOnly", "SameSite=None", "Partitioned"],
            ),
            (
                {"domain": "example.com"},
                ["Domain=example.com", "Path=/", "Max-Age=864000", "HttpOnly", "SameSite=Lax"],
            ),
        ],
    )
    def test_are_what_the_options_say(self, options, expected):
        assert attributes(**options) == expected

    @pytest.mark.parametrize(
        ("secure", "scheme", "expected"),
        [
            ("auto", "http", False),
            ("auto", "https", True),
            ("true", "http", True),
            ("true", "https", True),
            ("false", "http", False),
            ("false", "https", False),
        ],
    )
    def test_secure_goes_by_the_scheme_unless_it_is_set(self, secure, scheme, expected):
        found = attributes(scheme, secure=secure)
        assert ("Secure" in found) is expected

    @pytest.mark.parametrize("name", ["__Host-session", "__Secure-session", "__host-x"])
    def test_a_name_with_a_prefix_may_be_used_with_secure(self, name):
        app = App(cookie_name=name, secure="true")
        (header,) = set_cookies(app.client().do(put(a=1)))
        assert header.startswith(f"{name}=")
        assert "Domain" not in header

    def test_every_domain_gets_a_cookie_of_its_own(self):
        app = App(domain="example.com example.org")
        headers = set_cookies(app.client().do(put(a=1)))
        assert ["; Domain=example.com;" in headers[0], "; Domain=example.org;" in headers[1]] == [
            True,
            True,
        ]
        assert len(headers) == 2

    def test_the_one_that_deletes_has_them_too(self):
        """A browser deletes the cookie of the same name, domain and path, and no other."""
        app = App(domain="localhost.local", path="/do", secure="true")
        (header,) = set_cookies(app.client().do(put(a=1)))
        cookie = header.partition(";")[0]
        (header,) = set_cookies(send(app, cookie, lambda session: session.invalidate()))
        assert header.split("; ") == [
            "session=",
            "Domain=localhost.local",
            "Path=/do",
            "Max-Age=0",
            "Expires=Thu, 01 Jan 1970 00:00:00 GMT",
            "Secure",
            "HttpOnly",
            "SameSite=Lax",
        ]

    def test_the_value_is_128_hexadecimal_digits_and_nothing_of_the_data(self):
        client = visitor(App(), who="alice")
        assert len(client.cookie) == 128
        assert set(client.cookie) <= set("0123456789abcdef")

    @pytest.mark.parametrize(
        ("hashalg", "length"), [("sha512", 128), ("sha256", 128), ("sha1", 104), ("sha3_512", 128)]
    )
    def test_the_signature_is_at_most_32_bytes_of_the_hash(self, hashalg, length):
        client = visitor(App(hashalg=hashalg), who="alice")
        assert len(client.cookie) == length
        assert client.data() == {"who": "alice"}

    def test_two_new_sessions_have_nothing_in_common(self):
        app = App()
        one, other = visitor(app, a=1).cookie, visitor(app, a=1).cookie
        assert sum(a == b for a, b in zip(one, other, strict=True)) < 40


CONTRADICTIONS = {
    "host prefix without secure": {"cookie_name": "__Host-s"},
    "host prefix with secure = auto": {"cookie_name": "__Host-s", "secure": "auto"},
    "host prefix with secure = false": {"cookie_name": "__Host-s", "secure": "false"},
    "host prefix with a domain": {
        "cookie_name": "__Host-s",
        "secure": "true",
        "domain": "example.com",
    },
    "host prefix with a path": {"cookie_name": "__Host-s", "secure": "true", "path": "/app"},
    "host prefix in another case": {"cookie_name": "__HOST-s", "secure": "true", "path": "/app"},
    "secure prefix without secure": {"cookie_name": "__Secure-s"},
    "secure prefix in another case": {"cookie_name": "__sEcUrE-s"},
    "samesite = none without secure": {"samesite": "none"},
    "samesite = none with secure = false": {"samesite": "none", "secure": "false"},
    "partitioned without secure": {"partitioned": "true"},
    "a path that does not begin with a slash": {"path": "app"},
    "an unknown samesite": {"samesite": "Relaxed"},
    "an unknown secure": {"secure": "maybe"},
    "an unknown httponly": {"httponly": "maybe"},
    "a negative max_age": {"max_age": "-1"},
}


def each_way(options):
    """Yield what sets these options: the ini file and the call."""
    yield lambda: App(**options)
    yield lambda: PluggableSessionFactory(SECRET, **options)


class TestAtStartUp:
    @pytest.mark.parametrize("options", CONTRADICTIONS.values(), ids=CONTRADICTIONS)
    def test_a_contradiction_is_refused(self, options):
        for start in each_way(options):
            with pytest.raises(ConfigurationError):
                start()

    @pytest.mark.parametrize("option", ["path", "domain", "cookie_name", "samesite"])
    @pytest.mark.parametrize(
        "injection",
        [
            "x\r\nSet-Cookie: evil=1",
            "x\ny",
            "x\ry",
            "x; Domain=evil.example",
            "x\0y",
            "x\x7f",
            "x\xe9",
        ],
    )
    def test_what_would_inject_into_the_header_is_refused(self, option, injection):
        value = "/" + injection if option == "path" else injection
        if option == "domain":
            value = [value]  # from an ini file, white space separates domains
        for start in each_way({option: value}):
            with pytest.raises(ConfigurationError):
                start()

    @pytest.mark.parametrize(
        "name", ["", " ", "a b", "a=b", "a,b", "a;b", "a/b", '"a"', "(a)", "\xe9"]
    )
    def test_what_is_no_cookie_name_is_refused(self, name):
        for start in each_way({"cookie_name": name}):
            with pytest.raises(ConfigurationError):
                start()

    def test_line_breaks_between_domains_do_not_get_into_the_header(self):
        app = App(domain="example.com\r\nexample.org\n")
        headers = set_cookies(app.client().do(put(a=1)))
        assert not any("\r" in header or "\n" in header for header in headers)
        assert len(headers) == 2
