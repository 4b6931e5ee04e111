import pytest

from pyramid_pluggable_session import clock
from pyramid_pluggable_session.keys import SessionKey, new_session_id
from pyramid_pluggable_session.plugs.memory import MemoryPlug
from pyramid_pluggable_session.testing import PlugContract, session_key


class TestMemoryPlug(PlugContract):
    shared_between_processes = False
    survives_restart = False

    @pytest.fixture
    def make_plug(self):
        plug = MemoryPlug()
        return lambda: plug

    def test_expiry_follows_the_clock(self, monkeypatch):
        plug, key = MemoryPlug(), SessionKey(new_session_id(), 1000.0)
        monkeypatch.setattr(clock, "_time", lambda: 999.9)
        plug.dumps(key, None, b"record")
        assert plug.loads(key, None) == b"record"
        monkeypatch.setattr(clock, "_time", lambda: 1000.0)
        assert plug.loads(key, None) is None

    def test_memory_is_bounded_by_the_live_records(self, monkeypatch):
        now, most = 0.0, 0
        monkeypatch.setattr(clock, "_time", lambda: now)
        plug = MemoryPlug()
        for _ in range(50_000):
            now += 0.01
            plug.dumps(session_key(20.0), None, b"")  # so 2000 are live at a time
            most = max(most, len(plug._records))
        assert 2000 <= most <= 2 * 2000 + 1100

    def test_sweeping_is_rare(self, monkeypatch):
        plug, sweeps = MemoryPlug(), []
        sweep = plug._sweep
        monkeypatch.setattr(plug, "_sweep", lambda: sweeps.append(1) or sweep())
        for _ in range(20_000):
            plug.dumps(session_key(), None, b"")
        assert len(sweeps) <= 20

    def test_later_changes_of_the_buffer_change_nothing(self):
        plug, key, buffer = MemoryPlug(), session_key(), bytearray(b"record")
        plug.dumps(key, None, buffer)
        buffer[:] = b"other!"
        assert plug.loads(key, None) == b"record"
