"""``psessions copy``: every session of one storage to another, as often as it takes."""

from __future__ import annotations

import json
import os
import signal
import time

import bulk
import pytest
from bulk import Site, after, contents, fail, fill, hooks, new_key, record

from pyramid_pluggable_session.errors import SessionTooLarge
from pyramid_pluggable_session.keys import SessionKey, handle
from pyramid_pluggable_session.plugs.sqlite import SqlitePlug
from pyramid_pluggable_session.record import Kind
from servers.redis import Valkey

COUNT = 30
PAIRS = [
    ("sqlite", "file"),
    ("file", "valkey"),
    ("valkey", "postgresql"),
    ("postgresql", "sqlite"),
]


@pytest.fixture(autouse=True)
def no_hooks():
    hooks.clear()
    yield
    hooks.clear()


@pytest.fixture
def spec(tmp_path, url_of, running):
    """Return a function from a storage's name to an empty one of the kind, as a plug's URL."""

    def spec(name):
        if name == "valkey":
            running(name).flush()
        if name == "postgresql":
            return f"{url_of(name)}?table=t{os.urandom(6).hex()}"
        return url_of(name)

    return spec


@pytest.fixture
def site(tmp_path):
    """A site on sqlite whose operations can be watched; ``target`` is another database."""
    site = Site(tmp_path, "bulk.HookedPlug", **{"hooked.path": f"{tmp_path}/source.db"})
    site.target = f"sqlite://{tmp_path}/target.db"
    return site


def counts(capsys):
    """Return what the command has printed as JSON, without what is 0."""
    out, _ = capsys.readouterr()
    return {name: value for name, value in json.loads(out).items() if value}


@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_all_of_every_kind_as_the_bytes_that_they_are(source, target, spec, tmp_path, capsys):
    site = Site(tmp_path, spec(source))
    target = spec(target)
    now = time.time()
    with site.storage() as plug:
        stored = fill(plug, COUNT)
        for kind in (Kind.MOVED, Kind.ENDED, Kind.OWNER):
            key = SessionKey(new_key().session_id, now + 60)
            stored[key] = record(key, kind=kind, renewed=now)
            plug.dumps(key, None, stored[key])
        for_ever = SessionKey(new_key().session_id, None)
        stored[for_ever] = record(for_ever, kind=Kind.OWNER, renewed=now - 7200)
        plug.dumps(for_ever, None, stored[for_ever])
    assert site.run("copy", "--to", target, "--json") == 0
    assert counts(capsys) == {"finished": True, "copied": len(stored)}
    with site.storage(target) as plug:
        assert contents(plug, stored) == stored
        kept = {key.session_id: key.expires_at for key in plug.scan()}
    for key in stored:
        if key.expires_at is None:
            assert kept.pop(key.session_id) is None
        elif len(stored[key]) and key.expires_at > now + 60:
            assert kept.pop(key.session_id) == pytest.approx(key.expires_at, abs=0.1)
    assert site.run("copy", "--to", target, "--json") == 0
    assert counts(capsys) == {"finished": True, "present": len(stored)}


def test_a_second_run_copies_what_has_changed(site, capsys):
    with site.storage() as source, site.storage(site.target) as target:
        stored = fill(source, COUNT)
        assert site.run("copy", "--to", site.target) == 0
        keys = list(stored)
        changed, elsewhere, ended, in_place_of = keys[:4]
        source.dumps(changed, None, record(changed, 100))
        target.dumps(elsewhere, None, newest := record(elsewhere, 101))
        source.clear(ended, None)
        source.dumps(in_place_of, None, mark := record(in_place_of, kind=Kind.MOVED))
        added = new_key()
        source.dumps(added, None, record(added, 102))
        capsys.readouterr()
        assert site.run("copy", "--to", site.target, "--json") == 0
        assert counts(capsys) == {
            "finished": True, "copied": 1, "updated": 2, "newer": 1, "present": COUNT - 4,
        }  # fmt: skip
        assert contents(target, [changed, added]) == contents(source, [changed, added])
        assert target.loads(elsewhere, None) == newest
        assert target.loads(in_place_of, None) == mark
        assert target.loads(ended, None) == stored[ended], "as the help says"


class TestOfTheSameAge:
    @pytest.fixture(autouse=True)
    def stored(self, site):
        self.key, renewed = new_key(), time.time()
        with site.storage() as source, site.storage(site.target) as target:
            source.dumps(self.key, None, record(self.key, 1, renewed=renewed))
            target.dumps(self.key, None, record(self.key, 2, renewed=renewed))

    def test_the_target_is_left_alone(self, site, capsys):
        assert site.run("copy", "--to", site.target, "--json") == 0
        assert counts(capsys) == {"finished": True, "newer": 1}

    def test_a_mirror_is_as_its_source(self, site, capsys):
        assert site.run("copy", "--to", site.target, "--json", "--mirror") == 0
        assert counts(capsys) == {"finished": True, "updated": 1}


def test_what_is_sealed_as_new_ones_are_replaces_what_is_not(site, capsys):
    site.configure(secret=f"{bulk.NEW}\n{bulk.OLD}")
    key, renewed = new_key(), time.time()
    old, new = (
        record(key, 1, renewed=renewed, by=bulk.sealer(secret)) for secret in (bulk.OLD, bulk.NEW)
    )
    with site.storage() as source, site.storage(site.target) as target:
        for in_source, in_target, outcome in ((new, old, "updated"), (old, new, "present")):
            source.dumps(key, None, in_source)
            target.dumps(key, None, in_target)
            assert site.run("copy", "--to", site.target, "--json") == 0
            assert counts(capsys) == {"finished": True, outcome: 1}
            assert target.loads(key, None) == new


def test_a_renewal_after_the_scan_counts_for_the_expiry(site, capsys):
    def renew(plug, key):
        now = time.time()
        plug.dumps(new_key(now, key.session_id), None, record(key, renewed=now))
        return False

    with site.storage() as source, site.storage(site.target) as target:
        (key,) = fill(source, 1)
        hooks["loads"] = lambda plug, key: None if key.expires_at is None else renew(plug, key)
        assert site.run("copy", "--to", site.target) == 0
        (copied,) = target.scan()
        (renewed,) = source.scan()
    assert copied.expires_at == renewed.expires_at > key.expires_at + 500


def test_a_site_that_has_got_rid_of_the_timeout(site):
    site.configure(timeout="none")
    with site.storage() as source, site.storage(site.target) as target:
        key = new_key()
        source.dumps(key, None, record(key))
        assert site.run("copy", "--to", site.target) == 0
        assert [each.expires_at for each in target.scan()] == [None]


def test_a_mark_that_has_done_its_service_is_not_copied(site, capsys):
    with site.storage() as source:
        key = new_key()
        source.dumps(key, None, record(key, kind=Kind.MOVED, renewed=time.time() - 61))
    assert site.run("copy", "--to", site.target, "--json") == 0
    assert counts(capsys) == {"finished": True, "ended": 1}


def test_what_ends_after_the_scan_is_not_copied(site, capsys):
    with site.storage() as source:
        fill(source, 2)
        hooks["loads"] = lambda plug, key: plug.clear(key, None)
        assert site.run("copy", "--to", site.target, "--json") == 0
    assert counts(capsys) == {"finished": True, "ended": 2}


def test_what_is_not_ours_is_named(site, capsys):
    with site.storage() as source, site.storage(site.target) as target:
        stored = fill(source, 12, by=bulk.sealer("of-another-application" * 3))
        mine = fill(source, 1)
        assert site.run("copy", "--to", site.target) == 1
        assert contents(target, {**stored, **mine}) == mine
    out, err = capsys.readouterr()
    assert "not copied     12" in out
    assert err.count("unreadable (unknown key)") == 10
    assert "and 2 more" in err
    handles = {handle(key.session_id) for key in stored}
    assert {line.split(":")[0] for line in err.splitlines()[:10]} <= handles
    assert not any(key.session_id in out + err for key in stored)


def test_what_is_not_ours_in_the_target_gives_way(site, capsys):
    with site.storage() as source, site.storage(site.target) as target:
        (key,) = stored = fill(source, 1)
        target.dumps(key, None, b"damaged")
        assert site.run("copy", "--to", site.target) == 0
        assert contents(target, stored) == stored


def test_another_who_writes_to_the_target_at_the_same_moment(site, capsys, monkeypatch):
    swap = SqlitePlug.swap
    others = []

    def swap_after_another(self, session, request, expected, data):
        if not others:
            others.append(older := record(session, 9, renewed=time.time() - 900))
            self.dumps(session, request, older)
        return swap(self, session, request, expected, data)

    with site.storage() as source, site.storage(site.target) as target:
        stored = fill(source, 1)
        monkeypatch.setattr(SqlitePlug, "swap", swap_after_another)
        assert site.run("copy", "--to", site.target, "--json") == 0
        assert counts(capsys) == {"finished": True, "updated": 1}
        assert contents(target, stored) == stored


def test_what_is_written_is_read_back(site, tmp_path, capsys):
    site.configure(**{"lying.path": f"{tmp_path}/lies.db"})
    with site.storage() as source:
        (key,) = fill(source, 1)
    assert site.run("copy", "--to", "bulk.LyingPlug", "--json") == 1
    out, err = capsys.readouterr()
    assert json.loads(out)["failed_handles"] == [handle(key.session_id)]
    assert "what is read back from the target is not what was written" in err


def test_what_ends_while_it_is_copied_is_no_failure(site, tmp_path, capsys):
    def end(plug, key):
        (record,) = plug.scan()
        plug.clear(record, None)
        return False

    site.configure(**{"lying.path": f"{tmp_path}/lies.db"})
    with site.storage() as source:
        fill(source, 1)
    calls = iter((None, None, end))  # the probe, the record, and once more in the end
    hooks["loads"] = lambda plug, key: (next(calls) or (lambda *_: None))(plug, key)
    assert site.run("copy", "--to", "bulk.LyingPlug", "--json") == 0
    assert counts(capsys) == {"finished": True, "ended": 1}


def test_what_is_too_large_for_the_target_is_named(site, capsys, monkeypatch):
    def refuse(self, session, request, expected, session_data):
        raise SessionTooLarge("the target takes 10 bytes at most", len(session_data), 10)

    with site.storage() as source:
        (key,) = fill(source, 1)
    monkeypatch.setattr(SqlitePlug, "swap", refuse)
    assert site.run("copy", "--to", site.target) == 1
    assert f"{handle(key.session_id)}: the target takes 10 bytes at most" in capsys.readouterr().err


class TestStopped:
    def check_rest(self, site, capsys, stored, done):
        hooks.clear()
        assert site.run("copy", "--to", site.target, "--json") == 0
        found = json.loads(capsys.readouterr().out)
        assert (found["copied"], found["present"]) == (len(stored) - done, done)
        with site.storage(site.target) as target:
            assert contents(target, stored) == stored

    def test_a_storage_that_fails_in_the_middle(self, site, capsys):
        with site.storage() as source:
            stored = fill(source, COUNT)
        hooks["loads"] = after(11, fail)  # the first is to see that there are two storages
        assert site.run("copy", "--to", site.target, "--json") == 3
        out, err = capsys.readouterr()
        assert json.loads(out)["copied"] == 10
        assert json.loads(out)["finished"] is False
        assert "the disk is on fire" in err
        assert "Not all is done: run the command again." in err
        self.check_rest(site, capsys, stored, 10)

    def test_an_interrupt(self, site, capsys):
        with site.storage() as source:
            stored = fill(source, COUNT)
        hooks["loads"] = after(11, lambda: os.kill(os.getpid(), signal.SIGINT))
        assert site.run("copy", "--to", site.target, "--json") == 130
        out, err = capsys.readouterr()
        assert json.loads(out)["copied"] == 10
        assert "run it again" in err
        self.check_rest(site, capsys, stored, 10)

    def test_a_server_that_is_killed(self, site, tmp_path, need, capsys):
        need(Valkey)
        server = Valkey(tmp_path / "valkey")
        with server, site.storage() as source:
            stored = fill(source, COUNT)
            site.target = f"{server.url}?connect_timeout=0.5&timeout=5"
            hooks["loads"] = after(11, server.kill)
            assert site.run("copy", "--to", site.target, "--json") == 3
            out, err = capsys.readouterr()
            assert json.loads(out)["copied"] == 10
            assert f"127.0.0.1:{server.port}" in err
            hooks.clear()
            server.start()
            self.check_rest(site, capsys, stored, 0)  # it keeps nothing

    def test_a_target_that_is_down(self, site, tmp_path, capsys):
        assert site.run("copy", "--to", "redis://127.0.0.1:1/0") == 3
        assert "127.0.0.1:1" in capsys.readouterr().err


def test_two_at_once_do_no_harm(site, spec):
    target = spec("valkey")
    with site.storage() as source:
        stored = fill(source, 300)
    copies = [site.start("copy", "--to", target, "--json") for _ in range(2)]
    ended = [each.communicate(timeout=120) for each in copies]
    assert [each.returncode for each in copies] == [0, 0], ended
    results = [json.loads(out) for out, _ in ended]
    for result in results:
        assert result["copied"] + result["present"] == len(stored)
        assert result["failed"] == 0
    assert sum(result["copied"] for result in results) == len(stored)
    with site.storage(target) as plug:
        assert contents(plug, stored) == stored


class TestMirror:
    def test_what_has_ended_does_not_come_back(self, site, capsys):
        with site.storage() as source, site.storage(site.target) as target:
            stored = fill(source, COUNT)
            assert site.run("copy", "--to", site.target) == 0
            ended = list(stored)[:3]
            for key in ended:
                source.clear(key, None)
            foreign = new_key()
            target.dumps(foreign, None, b"of somebody else")
            capsys.readouterr()
            assert site.run("copy", "--to", site.target, "--mirror", "--json") == 0
            assert counts(capsys) == {
                "finished": True, "present": COUNT - 3, "deleted": 3, "foreign": 1,
            }  # fmt: skip
            assert not contents(target, ended)
            assert target.loads(foreign, None) == b"of somebody else"
            assert contents(target, list(stored)[3:]) == contents(source, stored)

    def test_a_source_that_fails_is_not_one_that_is_empty(self, site, capsys):
        with site.storage() as source, site.storage(site.target) as target:
            stored = fill(source, 5)
            assert site.run("copy", "--to", site.target) == 0
            hooks["loads"] = after(6, fail)
            assert site.run("copy", "--to", site.target, "--mirror") == 3
            assert contents(target, stored) == stored

    def test_what_goes_from_the_target_meanwhile_was_not_deleted(self, site, capsys):
        with site.storage() as source, site.storage(site.target) as target:
            fill(target, 2)
            source.clear(new_key(), None)
            hooks["loads"] = after(1, lambda: [target.clear(key, None) for key in target.scan()])
            assert site.run("copy", "--to", site.target, "--mirror", "--json") == 0
        assert counts(capsys) == {"finished": True}


class TestNotCopied:
    def fails(self, site, capsys, *arguments):
        assert site.run("copy", *arguments) == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert err.count("\n") == 1
        return err

    def test_nowhere(self, site, capsys):
        assert "--to PLUG" in self.fails(site, capsys)

    def test_an_unknown_plug(self, site, capsys):
        assert "Did you mean" in self.fails(site, capsys, "--to", "sqlit")

    def test_a_bad_option(self, site, capsys):
        assert "timeout" in self.fails(site, capsys, "--to", site.target + "?timeout=soon")

    @pytest.mark.parametrize("mirror", [(), ("--mirror",)])
    def test_the_same_storage(self, tmp_path, running, capsys, mirror):
        server = running("valkey")
        server.flush()
        site = Site(tmp_path, server.url)
        with site.storage() as plug:
            stored = fill(plug, 2)
            for same in (server.url, f"redis+unix://{server.socket}"):
                said = self.fails(site, capsys, "--to", same, *mirror)
                assert "is the storage that the application uses already" in said
            assert {key.session_id for key in plug.scan()} == {key.session_id for key in stored}

    def test_a_password_is_not_shown(self, tmp_path, running, capsys):
        server = running("valkey")
        site = Site(tmp_path, server.url)
        target = server.url.replace("//", "//:hunter2@")
        assert site.run("copy", "--to", target) in (2, 3)
        out, err = capsys.readouterr()
        assert "hunter2" not in out + err

    def test_to_the_browsers(self, site, capsys):
        assert "in the browsers" in self.fails(site, capsys, "--to", "cookie")

    def test_from_the_browsers(self, site, tmp_path, capsys):
        site = Site(tmp_path, "cookie")
        assert "in the browsers" in self.fails(site, capsys, "--to", "sqlite:///x.db")

    def test_from_what_cannot_list(self, tmp_path, capsys):
        site = Site(tmp_path, "bulk.ThreeMethods", **{"three.path": f"{tmp_path}/t.db"})
        said = self.fails(site, capsys, "--to", f"sqlite://{tmp_path}/target.db")
        assert "cannot list its sessions" in said

    @pytest.mark.parametrize("target", ["memory", "chain"])
    def test_to_memory(self, site, target, capsys):
        site.configure(**{"chain.plugs": "memory"})
        assert "end with this command" in self.fails(site, capsys, "--to", target)

    def test_mirror_to_what_cannot_list(self, site, tmp_path, capsys):
        site.configure(**{"three.path": f"{tmp_path}/t.db"})
        said = self.fails(site, capsys, "--to", "bulk.ThreeMethods", "--mirror")
        assert "--mirror cannot delete" in said


def test_to_what_cannot_swap(site, tmp_path, capsys):
    site.configure(**{"three.path": f"{tmp_path}/t.db"})
    with site.storage() as source:
        stored = fill(source, 5)
    assert site.run("copy", "--to", "bulk.ThreeMethods") == 0
    assert "cannot compare and swap" in capsys.readouterr().err
    with site.storage("bulk.ThreeMethods") as target:
        assert contents(target, stored) == stored


def test_a_chain_is_read_at_its_end(tmp_path, capsys):
    site = Site(
        tmp_path,
        "chain",
        **{"chain.plugs": f"file\nsqlite://{tmp_path}/s.db", "file.path": f"{tmp_path}/front"},
    )
    target = f"sqlite://{tmp_path}/target.db"
    with site.storage(f"sqlite://{tmp_path}/s.db") as authority:
        stored = fill(authority, 5)
    assert site.run("copy", "--to", target) == 0
    with site.storage(target) as plug, site.storage("file") as front:
        assert contents(plug, stored) == stored
        assert contents(front, stored) == {}


def test_the_settings_of_the_target_are_in_the_ini_file(site, tmp_path):
    site.configure(**{"file.path": f"{tmp_path}/files"})
    with site.storage() as source:
        stored = fill(source, 5)
    assert site.run("copy", "--to", "file") == 0
    with site.storage("file") as target:
        assert contents(target, stored) == stored


class TestWithTheMigrationPlug:
    @pytest.fixture
    def site(self, tmp_path):
        self.old, self.new = f"sqlite://{tmp_path}/old.db", f"sqlite://{tmp_path}/new.db"
        return Site(tmp_path, "migration", **{"migration.old": self.old, "migration.new": self.new})

    def test_the_rest_is_moved(self, site, capsys):
        with site.storage(self.old) as old, site.storage(self.new) as new:
            stored = fill(old, COUNT)
            assert site.run("copy", "--json") == 0
            assert counts(capsys) == {"finished": True, "moved": COUNT}
            assert contents(new, stored) == stored
            assert contents(old, stored) == {}
        assert site.run("copy") == 0
        assert capsys.readouterr().out == "moved            0\nended meanwhile  0\n"

    def test_not_while_the_old_one_is_written_to(self, site, capsys):
        site.configure(**{"migration.write": "old"})
        with site.storage(self.old) as old:
            fill(old, 1)
        assert site.run("copy") == 2
        assert "write = old" in capsys.readouterr().err

    def test_what_is_too_large_for_the_new_one_is_named(self, site, capsys, monkeypatch):
        from pyramid_pluggable_session.plugs.migration import MigrationPlug

        def refuse(self, key):
            raise SessionTooLarge("10 bytes at most", 100, 10)

        with site.storage(self.old) as old:
            (key,) = fill(old, 1)
        monkeypatch.setattr(MigrationPlug, "promote", refuse)
        assert site.run("copy") == 1
        out, err = capsys.readouterr()
        assert "not moved        1" in out
        assert err == f"{handle(key.session_id)}: 10 bytes at most\n"

    def test_neither_is_a_target(self, site, capsys):
        for target in (self.old, self.new):
            assert site.run("copy", "--to", target, "--mirror") == 2
            assert "uses already" in capsys.readouterr().err

    def test_it_is_asked_for_where_there_is_none(self, tmp_path, capsys):
        site = Site(tmp_path, f"sqlite://{tmp_path}/s.db")
        assert site.run("copy") == 2
        assert "--to PLUG" in capsys.readouterr().err
