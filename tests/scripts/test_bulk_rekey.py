"""``psessions rekey``: after it, no record needs an old secret any more."""

from __future__ import annotations

import json
import os
import signal
import threading
import time

import pytest
from bulk import NEW, OLD, Site, after, contents, fail, fill, hooks, new_key, record, sealer

from apps import App
from pyramid_pluggable_session.errors import SessionTooLarge
from pyramid_pluggable_session.keys import handle
from pyramid_pluggable_session.plugs.sqlite import SqlitePlug
from pyramid_pluggable_session.record import Kind

BOTH = (NEW, OLD)


@pytest.fixture(autouse=True)
def no_hooks():
    hooks.clear()
    yield
    hooks.clear()


@pytest.fixture
def site(tmp_path):
    return Site(tmp_path, "bulk.HookedPlug", *BOTH, **{"hooked.path": f"{tmp_path}/s.db"})


def counts(capsys):
    """Return what the command has printed as JSON, without what is 0."""
    found = json.loads(capsys.readouterr().out)
    assert found.pop("finished") is True
    found.pop("cookies_until")
    return {name: value for name, value in found.items() if value}


def old_seal(**options):
    return sealer(OLD, **options)


@pytest.mark.parametrize("storage", ["file", "valkey", "postgresql"])
def test_every_kind_is_sealed_with_the_first_secret(storage, tmp_path, url_of, running, capsys):
    plug = url_of(storage)
    if storage == "valkey":
        running(storage).flush()
    if storage == "postgresql":
        plug += f"?table=t{os.urandom(6).hex()}"
    site = Site(tmp_path, plug, *BOTH)
    with site.storage() as plug:
        stored = fill(plug, 20, by=old_seal())
        for kind in (Kind.MOVED, Kind.ENDED, Kind.OWNER):
            key = new_key()
            stored[key] = record(key, kind=kind, by=old_seal(), renewed=time.time() - 600)
            plug.dumps(key, None, stored[key])
        current = fill(plug, 3)
        before = {key.session_id: key.expires_at for key in plug.scan()}
        assert site.run("rekey", "--json") == 0
        assert counts(capsys) == {"sealed": len(stored), "current": 3}
        assert contents(plug, current) == current
        for key, old in stored.items():
            was = old_seal().unseal(key.session_id, old)
            if was.kind in (Kind.SESSION, Kind.OWNER):
                assert sealer(NEW).unseal(key.session_id, plug.loads(key, None)) == was
        kept = {key.session_id: key.expires_at for key in plug.scan()}
        for session_id, expires_at in kept.items():
            assert expires_at == pytest.approx(before[session_id], abs=0.1)
        # Marks that have done their service are not kept any longer.
        assert len(kept) == len(before) - 2
    assert site.run("rekey", "--json") == 0
    assert counts(capsys) == {"current": len(stored) + 1}


@pytest.mark.parametrize("encrypt", ["true", "false"])
def test_encryption_is_as_configured(site, encrypt, capsys):
    site.configure(encrypt=encrypt)
    as_configured = sealer(NEW, encrypt=encrypt == "true")
    with site.storage() as plug:
        stored = fill(plug, 5, by=sealer(NEW, encrypt=encrypt != "true"))
        assert site.run("rekey", "--json") == 0
        assert counts(capsys) == {"sealed": 5}
        for key in stored:
            data = plug.loads(key, None)
            assert as_configured.is_current(data)
            assert (b"user" in data) == (encrypt == "false")


def test_what_is_unreadable_is_named_and_left(site, capsys):
    with site.storage() as plug:
        (key,) = stored = fill(plug, 1, by=sealer("another" * 9))
        assert site.run("rekey") == 1
        assert contents(plug, stored) == stored
    out, err = capsys.readouterr()
    assert "left as they are     1" in out
    assert err == f"{handle(key.session_id)}: unreadable (unknown key)\n"


def refuse(self, session, request, expected, session_data):
    raise SessionTooLarge("10 bytes at most", len(session_data), 10)


def test_what_gets_too_large_is_named_and_left(site, capsys, monkeypatch):
    with site.storage() as plug:
        (key,) = fill(plug, 1, by=old_seal())
    monkeypatch.setattr(SqlitePlug, "swap", refuse)
    assert site.run("rekey") == 1
    assert capsys.readouterr().err == f"{handle(key.session_id)}: 10 bytes at most\n"


def test_the_front_of_a_chain_is_not_filled(tmp_path, capsys):
    authority = f"sqlite://{tmp_path}/s.db"
    site = Site(
        tmp_path,
        "chain",
        *BOTH,
        **{"chain.plugs": f"file\n{authority}", "file.path": f"{tmp_path}/front"},
    )
    with site.storage(authority) as plug, site.storage("file") as front:
        stored = fill(plug, 3, by=old_seal())
        assert site.run("rekey", "--json") == 0
        assert counts(capsys) == {"sealed": 3}
        assert contents(front, stored) == {}


class TestWithWriters:
    """``hooks["swap"]`` is called between the reading and the swap of the command."""

    def test_what_ends_meanwhile_does_not_come_back(self, site, capsys):
        with site.storage() as plug:
            stored = fill(plug, 3, by=old_seal())
            hooks["swap"] = lambda plug, key: plug.clear(key, None)
            assert site.run("rekey", "--json") == 0
            assert counts(capsys) == {"ended": 3}
            assert contents(plug, stored) == {}

    @pytest.mark.parametrize(("secret", "outcome"), [(OLD, "sealed"), (NEW, "current")])
    def test_what_changes_meanwhile_is_kept(self, site, secret, outcome, capsys):
        def write(plug, key):
            plug.dumps(new_key(session_id=key.session_id), None, record(key, 7, by=sealer(secret)))
            return False

        with site.storage() as plug:
            (key,) = fill(plug, 1, by=old_seal())
            hooks["swap"] = write
            assert site.run("rekey", "--json") == 0
            assert counts(capsys) == {outcome: 1}
            (found,) = plug.scan()
            assert b"\xa4user\x07" in sealer(NEW).unseal(*_read(plug, key)).body
            assert found.expires_at > key.expires_at + 500, "it was renewed"

    def test_what_never_stops_changing_is_named(self, site, capsys, monkeypatch):
        monkeypatch.setattr("pyramid_pluggable_session.scripts.commands.rekey_.ATTEMPTS", 3)
        with site.storage() as plug:
            (key,) = fill(plug, 1, by=old_seal())
            hooks["swap"] = lambda plug, key: plug.dumps(
                key, None, record(key, time.time_ns() % 1000, by=old_seal())
            )
            assert site.run("rekey") == 1
        assert f"{handle(key.session_id)}: changed by others" in capsys.readouterr().err

    def test_nothing_that_requests_write_is_lost(self, tmp_path):
        """Processes that seal with the old secret, those with the new one, and the command."""
        url = f"sqlite://{tmp_path}/s.db?timeout=30"
        site = Site(tmp_path, url, *BOTH)
        plugs = [SqlitePlug(path=f"{tmp_path}/s.db", timeout=30) for _ in range(2)]
        orders = ((OLD, NEW), BOTH)
        apps = [
            App(plug=plug, secret="\n".join(order))
            for plug, order in zip(plugs, orders, strict=True)
        ]
        clients = [[app.client() for _ in range(5)] for app in apps]
        for each in clients:
            for client in each:
                client.do(lambda session: session.update(count=0))
        over = threading.Event()
        wrong = []

        def count(clients):
            expected = 0
            while not over.is_set():
                expected += 1
                for client in clients:
                    client.do(lambda session: session.update(count=session["count"] + 1))
                    if client.data() != {"count": expected}:
                        wrong.append((client.data(), expected))

        threads = [threading.Thread(target=count, args=(each,)) for each in clients]
        for thread in threads:
            thread.start()
        try:
            codes = [site.run("rekey", "--quiet") for _ in range(5)]
        finally:
            over.set()
            for thread in threads:
                thread.join()
        assert codes == [0] * 5
        assert not wrong
        assert site.run("rekey") == 0
        only_new = App(plug=plugs[0], secret=NEW)
        (ours, theirs) = (clients[1][0], clients[0][0])
        assert only_new.client(cookie=ours.cookie).data() == ours.data() != {}
        assert only_new.client(cookie=theirs.cookie).data() == {}, "its cookie is an old one"
        for plug in plugs:
            plug.close()


def _read(plug, key):
    return key.session_id, plug.loads(key, None)


class TestCookies:
    """A rekeyed record does not make the cookie in the browser a new one."""

    @pytest.fixture
    def client(self, site):
        self.plug = SqlitePlug(path=site.settings["pluggable_session.hooked.path"])
        client = App(plug=self.plug, secret=OLD, timeout="1200").client()
        client.do(lambda session: session.update(user="ada"))
        yield client
        self.plug.close()

    def at(self, client, *secrets):
        app = App(plug=self.plug, secret="\n".join(secrets), timeout="1200")
        return app.client(cookie=client.cookie)

    def test_the_old_secret_still_opens_them(self, site, client):
        assert site.run("rekey") == 0
        assert self.at(client, *BOTH).data() == {"user": "ada"}

    def test_to_drop_it_at_once_logs_out(self, site, client):
        assert site.run("rekey") == 0
        assert self.at(client, NEW).data() == {}

    def test_a_visit_signs_it_anew(self, site, client):
        assert site.run("rekey") == 0
        again = self.at(client, *BOTH)
        again.do(lambda session: session.update(seen=1))
        assert self.at(again, NEW).data() == {"user": "ada", "seen": 1}

    def test_the_command_says_until_when_to_keep_the_old_secret(self, site, client, capsys):
        assert site.run("rekey") == 0
        out, _ = capsys.readouterr()
        assert "so keep it until" in out
        assert "(in 20 min)" in out
        assert site.run("rekey") == 0
        assert "cookies" not in capsys.readouterr().out

    def test_in_json_too(self, site, client, capsys):
        assert site.run("rekey", "--json") == 0
        until = json.loads(capsys.readouterr().out)["cookies_until"]
        assert until == pytest.approx(time.time() + 1200, abs=60)

    def test_without_a_timeout_there_is_no_end(self, site, client, capsys):
        with site.storage() as plug:
            fill(plug, 3, by=old_seal())
        site.configure(timeout="none")
        assert site.run("rekey") == 0
        assert "some have no end" in capsys.readouterr().out


def test_a_storage_that_fails_in_the_middle(site, capsys):
    with site.storage() as plug:
        fill(plug, 10, by=old_seal())
    hooks["swap"] = after(4, fail)
    assert site.run("rekey", "--json") == 3
    out, err = capsys.readouterr()
    assert json.loads(out)["sealed"] == 4
    assert json.loads(out)["finished"] is False
    assert "run the command again" in err
    hooks.clear()
    assert site.run("rekey", "--json") == 0
    assert counts(capsys) == {"sealed": 6, "current": 4}


def test_an_interrupt(site, capsys):
    with site.storage() as plug:
        fill(plug, 10, by=old_seal())
    hooks["swap"] = after(4, lambda: os.kill(os.getpid(), signal.SIGINT))
    assert site.run("rekey") == 130
    assert "sealed anew          4" in capsys.readouterr().out


def test_what_cannot_swap_is_refused(tmp_path, capsys):
    site = Site(tmp_path, "bulk.ThreeMethods", **{"three.path": f"{tmp_path}/t.db"})
    assert site.run("rekey") == 2
    assert "could be lost" in capsys.readouterr().err
