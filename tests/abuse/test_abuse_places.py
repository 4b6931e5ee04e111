"""Places for sessions that somebody else has a hand in, at the start of a real process."""

from __future__ import annotations

import os
import stat

import pytest
from attacked import request, send


def link(path, plug):
    """Somebody put a link where the sessions are to be."""
    target = path.with_name("elsewhere")
    target.mkdir() if plug == "file" else target.write_bytes(b"")
    path.symlink_to(target)


def dangling_link(path, plug):
    path.symlink_to(path.with_name("nowhere"))


def of_another_user(path, plug):
    path.mkdir() if plug == "file" else path.write_bytes(b"")
    os.chown(path, os.geteuid() + 1, -1)


def writable_by_everybody(path, plug):
    path.mkdir() if plug == "file" else path.write_bytes(b"")
    path.chmod(0o777)


def pipe(path, plug):
    os.mkfifo(path)


def other_kind(path, plug):
    path.write_bytes(b"") if plug == "file" else path.mkdir()


TRAPS = [
    (link, "is a symbolic link"),
    (dangling_link, "is a symbolic link"),
    (of_another_user, "belongs to another user"),
    (writable_by_everybody, "can be written by everybody"),
    (pipe, "is not a"),
    (other_kind, "is not a"),
]


@pytest.mark.parametrize("plug", ["file", "sqlite"])
@pytest.mark.parametrize(("prepare", "why"), TRAPS, ids=[trap.__name__ for trap, _ in TRAPS])
def test_a_place_in_other_hands_is_refused_at_the_start(start, tmp_path, prepare, why, plug):
    path = tmp_path / "sessions"
    try:
        prepare(path, plug)
    except PermissionError:
        pytest.skip("only root can give a file away")
    before = sorted(map(str, tmp_path.rglob("*")))
    process = start(f"plug={plug}://{path}")
    assert process.port is None
    assert f"pluggable_session.{plug}.path: {path}" in process.said
    assert why in process.said
    assert "ConfigurationError" in process.said
    assert sorted(map(str, tmp_path.rglob("*"))) == before


@pytest.mark.parametrize("plug", ["file", "sqlite", "dbm"])
def test_whatever_the_umask_nobody_else_can_read_what_is_stored(start, tmp_path, plug):
    folder = tmp_path / "data"
    folder.mkdir(mode=0o755)
    process = start(f"plug={plug}://{folder / 'sessions'}", umask=0)
    given = send(process.port, request("POST", "/put", body=b"word=secret"))
    cookie = f"Cookie: session={given.cookies['session']}".encode()
    assert send(process.port, request("GET", "/whoami", [cookie])).text == '{"word":"secret"}'
    send(process.port, request("POST", "/logout", [cookie]))
    send(process.port, request("POST", "/put", body=b"word=secret"))
    made = list(folder.rglob("*"))
    assert made != []
    assert [str(path) for path in made if stat.S_IMODE(path.stat().st_mode) & 0o077] == []


@pytest.mark.parametrize("plug", ["file", "sqlite"])
def test_what_was_made_by_an_application_is_good_for_the_next_one(start, tmp_path, plug):
    """So that the first test does not pass for another reason."""
    spec = f"plug={plug}://{tmp_path / 'sessions'}"
    first = start(spec, umask=0)
    given = send(first.port, request("POST", "/put", body=b"word=kept"))
    first.close()
    cookie = f"Cookie: session={given.cookies['session']}".encode()
    second = start(spec)
    assert send(second.port, request("GET", "/whoami", [cookie])).text == '{"word":"kept"}'


def test_a_shard_that_became_a_link_is_not_followed(start, tmp_path):
    """A directory of sessions that others can write to after all, as by a backup restored."""
    path, elsewhere = tmp_path / "sessions", tmp_path / "elsewhere"
    elsewhere.mkdir()
    path.mkdir(mode=0o700)
    for number in range(256):
        (path / f"{number:02x}").symlink_to(elsewhere)
    process = start(f"plug=file://{path}")
    given = send(process.port, request("POST", "/put", body=b"word=secret"))
    assert given.status == 503
    assert given.cookies == {}
    assert list(elsewhere.iterdir()) == []
