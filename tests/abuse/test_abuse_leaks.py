"""What a process says at its most talkative, and what it shows to clients: no secret and no id."""

from __future__ import annotations

import re

import pytest
from attacked import SECRET, Browser, request, send

PASSWORD = "hunter2-of-the-storage"


@pytest.mark.parametrize("plug", ["memory", "file", "sqlite", "dbm", "cookie"])
def test_a_process_that_logs_everything(start, tmp_path, plug):
    spec = plug if plug in ("memory", "cookie") else f"{plug}://{tmp_path / 'sessions'}"
    process = start(f"plug={spec}")
    port, shown, known = process.port, [], {SECRET}

    def ask(method, path, browser, body=b""):
        given = browser.ask(method, path, body)
        # The cookies are for the client; whatever else is in the answer is for everybody.
        shown.append(given.text)
        shown.extend(value for name, value in given.headers if name.lower() != "set-cookie")
        for value in given.cookies.values():
            known.update(each for each in (value, value[:64], value[64:]) if len(each) > 20)
        return given

    alice = Browser(port)
    ask("POST", "/login?user=alice", alice)
    ask("POST", "/put", alice, b"word=plaintext-of-the-session")
    old = Browser(port, alice.cookies)
    ask("GET", "/mine", alice)
    assert ask("GET", "/fail", alice).status == 500
    assert ask("POST", "/form", alice, b"csrf_token=wrong").status == 400
    ask("POST", "/login?user=bob", alice)
    ask("GET", "/visit", old)
    damaged = Browser(port, {name: value[:-1] + "0" for name, value in alice.cookies.items()})
    ask("GET", "/whoami", damaged)
    ask("POST", "/login?user=again", Browser(port, {"session": "0" * 128}))
    for path in tmp_path.rglob("*"):
        if path.is_file() and path.stat().st_size:
            path.write_bytes(b"damage" * 1000)
    for name in ("/whoami", "/visit"):
        ask("GET", name, alice)
        ask("GET", name, Browser(port))
    ask("POST", "/logout", alice)
    process.close()
    shown.append(process.said)
    text = "\n".join(shown)
    assert "RuntimeError: the application has a bug" in process.said
    assert "DEBUG" in process.said or "INFO" in process.said
    assert [each for each in known if each in text] == []
    assert "plaintext-of-the-session" not in process.said
    # And nothing like an id that this test did not get to see.
    assert re.findall(r"[0-9a-f]{64}", process.said) == []


@pytest.mark.parametrize(
    "arguments",
    [
        ("plug=nosuch",),
        ("plug=memory", "timeout=soon"),
        (f"plug=redis://user:{PASSWORD}@127.0.0.1:no/0",),
        (f"plug=nosuch://user:{PASSWORD}@host/",),
        (f"plug=sqlite://user:{PASSWORD}@/no/such/place",),
        (f"plug=redis://user:{PASSWORD}@[::1/0",),
        (f"plug=redis://user:{PASSWORD}@h\u2100st/0",),
    ],
    ids=lambda arguments: arguments[-1].replace(PASSWORD, "..."),
)
def test_a_process_that_cannot_start(start, arguments):
    process = start(*arguments)
    assert process.port is None
    assert SECRET not in process.said
    assert PASSWORD not in process.said


def test_an_answer_without_a_session_shows_nothing_of_one(start):
    process = start("plug=memory")
    given = send(process.port, request("GET", "/whoami"))
    assert given.cookies == {}
    assert not [name for name, _ in given.headers if "session" in name.lower()]
    assert re.findall(r"[0-9a-f]{64}", str(given)) == []
