"""A million sessions: as much memory as for ten thousand."""

from __future__ import annotations

import json
import os
import random
import secrets
import sqlite3
import subprocess
import sys
import time

import pytest
from bulk import Site, new_key, record, sealer

from pyramid_pluggable_session.keys import SessionKey
from pyramid_pluggable_session.plugs.sqlite import SqlitePlug

FEW, MANY = 10_000, 1_000_000
MORE = 16 * 1024 * 1024
"""Bytes that more records may take at most: 16 for each would be as much."""

MEASURED = r"""
import re, sys
from pyramid_pluggable_session.scripts.psessions import main
code = main(sys.argv[1:])
# What getrusage() says began with that of the process that has started this one.
print(re.search(r"VmHWM:\s*(\d+) kB", open("/proc/self/status").read())[1], file=sys.stderr)
sys.exit(code)
"""


def make(path, count):
    """Make a database of so many sessions, and a tenth as many that have expired."""
    SqlitePlug(path=path).close()
    seal, now = sealer(), time.time()

    def rows():
        for number in range(count):
            # Long ones: none must expire before the test is through.
            key = SessionKey(secrets.token_hex(32), now + 86400)
            data = record(key, number, renewed=now, by=seal, age=random.expovariate(1 / 5000))
            yield key.session_id, data, key.expires_at
        for _ in range(count // 10):
            yield new_key().session_id, b"x" * 200, now - 1

    connection = sqlite3.connect(path)
    with connection:
        connection.executemany("INSERT INTO sessions VALUES (?, ?, ?)", rows())
    connection.close()


def run(site, *arguments):
    """Return what the command printed as JSON, and the most bytes of memory it had."""
    began = time.monotonic()
    ended = subprocess.run(
        [sys.executable, "-c", MEASURED, str(site.ini), *arguments, "--json"],
        env={**os.environ, "PYTHONPATH": os.path.dirname(__file__)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    memory = int(ended.stderr.splitlines()[-1]) * 1024
    seconds = time.monotonic() - began
    print(f"{arguments[0]:6} {site.name:7} {memory / 1024**2:4.0f} MiB {seconds:6.0f} s")
    return json.loads(ended.stdout), memory


@pytest.mark.soak
def test_memory_does_not_grow_with_the_sessions(tmp_path, running, capsys):
    server = running("valkey")
    memory = {}
    for count in (FEW, MANY):
        folder = tmp_path / str(count)
        folder.mkdir()
        make(folder / "source.db", count)
        server.flush()
        site = Site(folder, f"sqlite://{folder}/source.db")
        site.name = "sqlite"
        other = Site(tmp_path, server.url)
        other.name = "valkey"
        used = memory[count] = {}
        with capsys.disabled():
            print(f"\n{count} sessions")
            found, used["stats"] = run(site, "stats")
            assert (found["sessions"], found["expired"]) == (count, count // 10)
            found, used["purge"] = run(site, "purge")
            assert found == {"purged": count // 10}
            found, used["copy"] = run(site, "copy", "--to", server.url)
            assert found["copied"] == count
            found, used["stats of valkey"] = run(other, "stats")
            assert found["sessions"] == count
            target = f"sqlite://{folder}/target.db"
            found, used["copy of valkey"] = run(other, "copy", "--to", target)
            assert found["copied"] == count
            found, used["again"] = run(other, "copy", "--to", target)
            assert found["present"] == count
    for name, many in memory[MANY].items():
        assert many < memory[FEW][name] + MORE, name
