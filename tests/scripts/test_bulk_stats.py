"""``psessions stats``: what is stored, in numbers."""

from __future__ import annotations

import json
import random
import time

import pytest
from bulk import NEW, OLD, Site, after, fail, fill, hooks, new_key, record, sealer
from pyramid.exceptions import ConfigurationError

from pyramid_pluggable_session.keys import SessionKey, handle
from pyramid_pluggable_session.record import Kind
from pyramid_pluggable_session.scripts.census import Distribution
from pyramid_pluggable_session.scripts.sketch import Sketch


@pytest.fixture
def site(tmp_path):
    return Site(tmp_path, f"sqlite://{tmp_path}/s.db", NEW, OLD)


def stats(site, capsys):
    assert site.run("stats", "--json") == 0
    return json.loads(capsys.readouterr().out)


def test_of_nothing(site, capsys):
    found = stats(site, capsys)
    assert found["records"] == found["bytes"] == 0
    assert found["age"]["median"] is None
    assert site.run("stats") == 0
    assert "age" not in capsys.readouterr().out


def test_everything_is_counted_once(site, capsys):
    now = time.time()
    with site.storage() as plug:
        sessions = fill(plug, 3) | fill(plug, 2, by=sealer(OLD)) | fill(plug, 1, age=7200)
        encrypted = fill(plug, 1, by=sealer(NEW, encrypt=True))
        others = {}
        for kind, count in ((Kind.MOVED, 2), (Kind.ENDED, 3), (Kind.OWNER, 4)):
            for _ in range(count):
                key = new_key()
                others[key] = record(key, kind=kind)
        over, expired, damaged = new_key(), SessionKey(new_key().session_id, now - 1), new_key()
        others[over] = record(over, renewed=now - 1230)
        plug.dumps(expired, None, record(expired))
        others[damaged] = b"damaged"
        for key, data in others.items():
            plug.dumps(key, None, data)
    found = stats(site, capsys)
    every = [*sessions.values(), *encrypted.values(), *others.values()]
    assert found["records"] == len(every)
    assert found["bytes"] == sum(map(len, every))
    assert [found[name] for name in ("sessions", "moved_marks", "ended_marks", "owner_indexes")] \
        == [8, 2, 3, 4]  # fmt: skip
    assert found["unreadable"] == 1
    assert found["unreadable_because"] == {"too short": 1}
    assert found["unreadable_handles"] == [handle(damaged.session_id)]
    assert found["over"] == 1
    assert found["expired"] == 1
    assert found["secrets"] == {"1": 15, "2": 2}
    assert found["encrypted"] == 1
    assert found["serializers"] == {"msgpack": 8}
    ages = {each["up_to"]: each["count"] for each in found["age"]["counts"]}
    assert ages[600] + ages[3600] == 7
    assert ages[6 * 3600] == 1
    assert found["age"]["median"] == pytest.approx(600, rel=0.03)
    assert found["age"]["p99"] == pytest.approx(7800, rel=0.03)
    assert found["size"]["median"] == pytest.approx(len(next(iter(sessions.values()))), abs=2)


def test_what_an_old_secret_is_still_needed_for(site, capsys):
    with site.storage() as plug:
        fill(plug, 3, by=sealer(OLD))
    assert stats(site, capsys)["secrets"] == {"1": 0, "2": 3}
    assert site.run("rekey") == 0
    capsys.readouterr()
    assert stats(site, capsys)["secrets"] == {"1": 3, "2": 0}


def test_for_people(site, capsys):
    with site.storage() as plug:
        fill(plug, 1200)
        key = new_key()
        plug.dumps(key, None, b"damaged")
    assert site.run("stats") == 0
    out, err = capsys.readouterr()
    assert err == ""
    lines = {" ".join(line.split()) for line in out.splitlines()}
    assert {
        "sessions 1,200", "unreadable 1", f"{handle(key.session_id)} too short",
        "secret 1, seals new 1,200", "secret 2 0", "as msgpack 1,200", "age, median 10 min",
    } <= lines  # fmt: skip
    assert max(map(len, out.splitlines())) <= 40, "fits a narrow terminal"


def test_a_record_that_ends_meanwhile_is_not_counted(tmp_path, capsys):
    site = Site(tmp_path, "bulk.HookedPlug", **{"hooked.path": f"{tmp_path}/s.db"})
    with site.storage() as plug:
        fill(plug, 2)
    hooks["loads"] = lambda plug, key: plug.clear(key, None)
    try:
        assert stats(site, capsys)["records"] == 0
    finally:
        hooks.clear()


def test_an_outage(tmp_path, capsys):
    site = Site(tmp_path, "bulk.HookedPlug", **{"hooked.path": f"{tmp_path}/s.db"})
    with site.storage() as plug:
        fill(plug, 2)
    hooks["loads"] = after(1, fail)
    try:
        assert site.run("stats") == 3
    finally:
        hooks.clear()
    out, err = capsys.readouterr()
    assert out == "", "half of the numbers would mislead"
    assert "the disk is on fire" in err


@pytest.mark.parametrize("storage", ["valkey", "cluster", "file"])
def test_what_expired_is_not_known_to_every_storage(storage, tmp_path, url_of, running, capsys):
    if storage != "file":
        running(storage).flush()
    site = Site(tmp_path, url_of(storage))
    with site.storage() as plug:
        fill(plug, 2)
    assert stats(site, capsys)["expired"] is None
    assert site.run("stats") == 0
    assert "expired, not purged  not known" in capsys.readouterr().out


def test_what_cannot_list_is_refused(tmp_path, capsys):
    site = Site(tmp_path, "bulk.ThreeMethods", **{"three.path": f"{tmp_path}/t.db"})
    assert site.run("stats") == 2
    assert "cannot list its sessions" in capsys.readouterr().err


@pytest.mark.parametrize("seed", range(5))
def test_quantiles_are_within_one_percent(seed):
    chance = random.Random(seed)
    numbers = [chance.lognormvariate(6, 3) + 1 for _ in range(5000)]
    sketch = Sketch()
    for number in numbers:
        sketch.add(number)
    numbers.sort()
    for share in (0.01, 0.5, 0.9, 0.99, 1.0):
        exact = numbers[max(0, -(-int(share * 1000) * len(numbers) // 1000) - 1)]
        assert sketch.quantile(share) == pytest.approx(exact, rel=0.0101)


def test_a_sketch_does_not_grow_with_its_numbers():
    sketch = Sketch()
    for number in range(1, 100_000):
        sketch.add(number * 5000)
    assert len(sketch._classes) < 1000


def test_a_distribution_counts_up_to_its_bounds():
    distribution = Distribution((10, 100))
    for number in (0, 10, 10.5, 100, 101, 1e9):
        distribution.add(number)
    assert distribution.counts() == {10: 2, 100: 2, None: 2}


def test_without_the_cryptography_package(site, capsys, monkeypatch):
    def absent():
        raise ConfigurationError("it is not installed")

    with site.storage() as plug:
        fill(plug, 2)
    monkeypatch.setattr("pyramid_pluggable_session.record.require_cryptography", absent)
    assert stats(site, capsys)["secrets"] == {"1": 2, "2": 0}
