"""``psessions purge``: for cron, which mails whatever is printed."""

from __future__ import annotations

import json
import time

import pytest
from bulk import Site, contents, fill, new_key

from pyramid_pluggable_session.keys import SessionKey


def expire(plug, count):
    for _ in range(count):
        plug.dumps(SessionKey(new_key().session_id, time.time() - 1), None, b"x")


@pytest.mark.parametrize("storage", ["sqlite", "file"])
def test_it_says_how_many_if_there_were_any(storage, tmp_path, url_of, capsys):
    site = Site(tmp_path, url_of(storage))
    with site.storage() as plug:
        stored = fill(plug, 3)
        if storage == "sqlite":
            expire(plug, 1200)
            assert site.run("purge") == 0
            assert capsys.readouterr() == ("1200 expired records deleted\n", "")
        assert site.run("purge") == 0
        assert capsys.readouterr() == ("", "")
        assert contents(plug, stored) == stored


def test_one(tmp_path, capsys):
    site = Site(tmp_path, f"sqlite://{tmp_path}/s.db")
    with site.storage() as plug:
        expire(plug, 1)
        assert site.run("purge") == 0
        assert capsys.readouterr().out == "1 expired record deleted\n"


def test_json_says_so_in_any_case(tmp_path, capsys):
    site = Site(tmp_path, f"sqlite://{tmp_path}/s.db")
    assert site.run("purge", "--json") == 0
    assert json.loads(capsys.readouterr().out) == {"purged": 0}


def test_where_the_engine_does_it_there_is_nothing_to_do(tmp_path, running, capsys):
    site = Site(tmp_path, running("valkey").url)
    assert site.run("purge") == 0
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("plug", "why"),
    [("cookie", "in the browsers, which delete"), ("bulk.ThreeMethods", "cannot find those")],
)
def test_what_cannot_purge_says_why(plug, why, tmp_path, capsys):
    site = Site(tmp_path, plug, **{"three.path": f"{tmp_path}/t.db"})
    assert site.run("purge") == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "nothing to purge" in err
    assert why in err


def test_an_outage(tmp_path, capsys):
    site = Site(tmp_path, f"sqlite://{tmp_path}/s.db")
    with site.storage() as plug:
        plug._pool.write("DROP TABLE sessions", ())
    assert site.run("purge") in (2, 3)
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("psessions: ")
