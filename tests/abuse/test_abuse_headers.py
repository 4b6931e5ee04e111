"""``Cookie`` headers as no browser sends them, and cookies that a neighbouring site has set.

Each row says what comes of it: alice's page, nobody's, or 400 by the web server itself. Never
another user's, and never an error of ours.
"""

from __future__ import annotations

import pytest
from attacked import Browser, Site, request, send

from apps import CountingPlug

ALICE, NOBODY, REFUSED = "alice", "nobody", "refused"
KIB = 1024

HEADERS = [
    # (what it is, the header's lines, what comes of it)
    ("a browser", b"Cookie: session=GOOD", ALICE),
    ("another case of the header", b"COOKIE: session=GOOD", ALICE),
    ("another case again", b"cOOkie: session=GOOD", ALICE),
    ("no space after the colon", b"Cookie:session=GOOD", ALICE),
    ("a tab after the colon", b"Cookie:\tsession=GOOD\t", ALICE),
    ("a space before the colon", b"Cookie : session=GOOD", REFUSED),
    ("an underscore for a hyphen", b"X_Cookie: session=GOOD", NOBODY),
    ("the variable of CGI", b"HTTP_COOKIE: session=GOOD", NOBODY),
    ("the header of RFC 2965", b"Cookie2: session=GOOD", NOBODY),
    ("another case of the name", b"Cookie: Session=GOOD", NOBODY),
    ("another case of the name beside", b"Cookie: Session=EVIL; session=GOOD", ALICE),
    ("upper-case digits", b"Cookie: session=UPPER", NOBODY),
    # Cookies from a sub-domain or of another path: whoever sets them chooses their order.
    ("garbage before", b"Cookie: session=garbage; session=GOOD", ALICE),
    ("garbage after", b"Cookie: session=GOOD; session=garbage", ALICE),
    ("many before", b"Cookie: " + b"session=x; " * 180 + b"session=GOOD", ALICE),
    ("an empty one before", b"Cookie: session=; session=GOOD", ALICE),
    ("an unsigned one before", b"Cookie: session=" + b"0" * 128 + b"; session=GOOD", ALICE),
    ("the attacker's before", b"Cookie: session=EVIL; session=GOOD", NOBODY),
    ("the attacker's after", b"Cookie: session=GOOD; session=EVIL", NOBODY),
    ("the attacker's twice", b"Cookie: session=EVIL; session=GOOD; session=EVIL", NOBODY),
    ("the attacker's alone", b"Cookie: session=EVIL", "mallory"),
    ("the same twice", b"Cookie: session=GOOD; session=GOOD", ALICE),
    ("with a path", b"Cookie: session=GOOD; $Path=/; session=garbage; $Path=/mine", ALICE),
    ("a name without a value", b"Cookie: session; session=GOOD", ALICE),
    ("a value without a name", b"Cookie: =session=EVIL; session=GOOD", ALICE),
    ("a value and nothing else", b"Cookie: EVIL; session=GOOD", ALICE),
    # Several headers are for HTTP/2 (RFC 9113, section 8.2.3). WSGI servers join them with commas.
    ("two headers", b"Cookie: a=b\r\nCookie: session=GOOD", NOBODY),
    ("two headers of ours", b"Cookie: session=GOOD\r\nCookie: session=EVIL", NOBODY),
    ("two headers, reversed", b"Cookie: session=EVIL\r\nCookie: session=GOOD", NOBODY),
    ("two headers, separated", b"Cookie: session=GOOD;\r\nCookie: a=b", ALICE),
    # A cookie in the value of another one
    ("a comma", b"Cookie: a=b, session=EVIL; session=GOOD", ALICE),
    ("a space", b"Cookie: a=b session=EVIL; session=GOOD", ALICE),
    ("quotes", b'Cookie: a="b session=EVIL"; session=GOOD', ALICE),
    ("quotes and a semicolon", b'Cookie: a="b; session=EVIL"; session=GOOD', ALICE),
    ("an open quote before", b'Cookie: a="; session=GOOD', ALICE),
    ("an escaped quote", b'Cookie: a="\\"; session=EVIL"; session=GOOD', ALICE),
    ("octal escapes", b'Cookie: a="\\073 session=EVIL"; session=GOOD', ALICE),
    ("percent-encoding", b"Cookie: a=b%3B session=EVIL; session=GOOD", ALICE),
    ("an ampersand", b"Cookie: a=b&session=EVIL; session=GOOD", ALICE),
    ("a version", b'Cookie: $Version="1"; session=GOOD; $Path="/"', ALICE),
    ("a version and a comma", b'Cookie: $Version="1", session=EVIL; session=GOOD', ALICE),
    ("brackets, as PHP has it", b"Cookie: [session=EVIL; session=GOOD", ALICE),
    # Ours in another form
    ("ours in quotes", b'Cookie: session="GOOD"', NOBODY),
    ("ours percent-encoded", b"Cookie: session=PERCENT", NOBODY),
    ("our name percent-encoded", b"Cookie: %73ession=GOOD", NOBODY),
    ("ours and a comma", b"Cookie: session=GOOD,", NOBODY),
    ("ours with a newline's code", b"Cookie: session=GOOD%0A", NOBODY),
    ("ours and more", b"Cookie: session=GOOD0", NOBODY),
    ("ours without its last digit", b"Cookie: session=CUT", NOBODY),
    ("alice's id, mallory's signature", b"Cookie: session=MIXED", NOBODY),
    # Bytes that do not belong in a header
    ("a zero byte", b"Cookie: session=GOOD\0", REFUSED),
    ("a zero byte before", b"Cookie: a=\0; session=GOOD", REFUSED),
    ("a bell", b"Cookie: a=\x07; session=GOOD", REFUSED),
    ("a bare newline", b"Cookie: a=b\nCookie: session=EVIL", REFUSED),
    ("a bare carriage return", b"Cookie: a=b\rCookie: session=EVIL", REFUSED),
    ("UTF-8 beside", "Cookie: a=\u20ac; session=GOOD".encode(), ALICE),
    ("UTF-8 in the name", "Cookie: se\u017fsion=GOOD".encode(), NOBODY),
    ("UTF-8 in the value", "Cookie: session=GOOD\u200b".encode(), NOBODY),
    ("a byte that is no UTF-8", b"Cookie: a=\xff; session=GOOD", ALICE),
    ("full-width digits", "Cookie: session=\uff10".encode() + b"0" * 125, NOBODY),
    ("a no-break space", b"Cookie: \xa0session=GOOD", NOBODY),
    # A line that goes on in the next one is obsolete (RFC 9112, section 5.2); it means a space.
    ("folded", b"Cookie: a=b;\r\n session=GOOD", ALICE),
    ("folded without a semicolon", b"Cookie: a=b\r\n session=EVIL", NOBODY),
    ("folded within ours", b"Cookie: session=\r\n\tGOOD", ALICE),
    # Sizes
    ("8 KiB beside", b"Cookie: a=" + b"x" * 8 * KIB + b"; session=GOOD", ALICE),
    ("64 KiB beside", b"Cookie: a=" + b"x" * 64 * KIB + b"; session=GOOD", ALICE),
    ("8 KiB in ours", b"Cookie: session=" + b"0" * 8 * KIB, NOBODY),
    ("64 KiB in ours", b"Cookie: session=" + b"0" * 64 * KIB, NOBODY),
    ("64 KiB in one of two", b"Cookie: session=" + b"0" * 64 * KIB + b"; session=GOOD", ALICE),
    ("64 KiB of semicolons", b"Cookie: " + b";" * 64 * KIB + b"session=GOOD", ALICE),
    ("64 KiB of a name", b"Cookie: " + b"session" * 9 * KIB + b"=EVIL; session=GOOD", ALICE),
    ("2 MiB", b"Cookie: session=" + b"0" * 2 * KIB * KIB, REFUSED),
    # Ids that mean something to a storage
    ("a path", b"Cookie: session=../../../../etc/passwd", NOBODY),
    ("a path of the right length", b"Cookie: session=" + b"../" * 21 + b"." + b"0" * 64, NOBODY),
    ("a path, percent-encoded", b"Cookie: session=" + b"%2e%2e%2f" * 14 + b"00", NOBODY),
    ("SQL", b"Cookie: session=' OR '1'='1", NOBODY),
    ("a pattern", b"Cookie: session=" + b"*" * 128, NOBODY),
    ("LDAP", b"Cookie: session=*)(id=*", NOBODY),
    ("a template", b"Cookie: session=${jndi:ldap://x/y}", NOBODY),
]  # fmt: skip


@pytest.fixture(scope="module")
def served_words():
    """Return a site, its storage, and what the words in capitals of the table stand for."""
    plug = CountingPlug()
    with Site(plug) as site:
        cookies = {}
        for user in ("alice", "mallory"):
            browser = Browser(site.port)
            browser.post(f"/login?user={user}")
            cookies[user] = browser.cookies["session"]
        good, evil = cookies["alice"], cookies["mallory"]
        words = {
            "GOOD": good,
            "EVIL": evil,
            "UPPER": good.upper(),
            "PERCENT": "".join(f"%{ord(digit):x}" for digit in good),
            "CUT": good[:-1],
            "MIXED": good[:64] + evil[64:],
        }
        yield site, plug, {name.encode(): value.encode() for name, value in words.items()}


@pytest.mark.parametrize(
    ("lines", "outcome"), [row[1:] for row in HEADERS], ids=[row[0] for row in HEADERS]
)
def test_a_header(served_words, lines, outcome):
    site, plug, words = served_words
    for word, value in words.items():
        lines = lines.replace(word, value)
    plug.taken()
    before = sorted(plug.ids())
    given = send(site.port, request("GET", "/mine", [lines]))
    who = {"alice": "alice", "mallory": "mallory", NOBODY: "None"}.get(outcome)
    if outcome is REFUSED:
        assert given.status in (400, 431)
    else:
        assert given.status == 200
        assert given.text.startswith(f"for {who} #")
    assert plug.taken() == (["loads"] if outcome in ("alice", "mallory") else [])
    assert sorted(plug.ids()) == before
    assert given.cookies == {}
    assert "garbage" not in str(given.headers)


INJECTIONS = {
    "a line break": "x%0D%0ASet-Cookie: session=EVIL",
    "a newline": "x%0ASet-Cookie: session=EVIL",
    "a semicolon": "x; Domain=evil.example",
    "a UTF-8 line break": "x%E5%98%8A%E5%98%8DSet-Cookie: session=EVIL",
    "a zero byte": "x%00",
    "a surrogate": "%ED%A0%80",
}


@pytest.mark.parametrize("plug_name", ["memory", "cookie"])
@pytest.mark.parametrize("text", INJECTIONS.values(), ids=INJECTIONS)
def test_data_does_not_get_into_headers(serve, plug_name, text):
    """Not even with the storage that puts the data into cookies."""
    site = serve(plug_name)
    body = f"name={text}&{text}=value".replace(" ", "+").encode()
    given = send(site.port, request("POST", "/put", body=body))
    assert given.status == 200
    assert given.cookies.keys() <= {"session", "session.0"}
    assert "evil" not in str(given.headers).lower()
    for line in given.all("Set-Cookie"):
        _, *attributes = line.split("; ")
        assert {each.partition("=")[0] for each in attributes} <= {
            "Path", "Max-Age", "HttpOnly", "SameSite",
        }  # fmt: skip


ATTRIBUTES = {
    "path": "/; Domain=evil.example",
    "domain": "site.example;Secure",
    "cookie_name": "session; evil",
    "samesite": "Lax; Domain=evil.example",
}


@pytest.mark.parametrize(("name", "value"), ATTRIBUTES.items())
def test_settings_do_not_get_into_headers(start, name, value):
    process = start("plug=memory", f"{name}={value}")
    assert process.port is None
    assert f"pluggable_session.{name}" in process.said
    assert "ConfigurationError" in process.said


PATHS = [
    "../" * 21 + "." + "0" * 64,
    "..%2f..%2f" + "0" * 118,
    "/etc/passwd" + "0" * 117,
    "0" * 62 + "/." + "0" * 64,
    ".lock" + "0" * 123,
    ".",
]


@pytest.mark.parametrize("plug_name", ["file", "sqlite", "dbm"])
def test_no_cookie_reaches_a_file(serve, tmp_path, plug_name):
    site = serve(f"{plug_name}://{tmp_path / 'sessions'}")
    before = sorted(map(str, tmp_path.rglob("*")))
    for value in PATHS:
        for method, path in (("GET", "/whoami"), ("POST", "/logout")):
            raw = request(method, path, [f"Cookie: session={value}".encode()])
            assert send(site.port, raw).status in (200, 303)
    assert sorted(map(str, tmp_path.rglob("*"))) == before
