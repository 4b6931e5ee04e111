import pytest
from bounded_session_plug import BoundedPlug

from pyramid_pluggable_session.testing import PlugContract, session_key


class TestBoundedPlug(PlugContract):
    shared_between_processes = False
    survives_restart = False

    @pytest.fixture
    def make_plug(self):
        plug = BoundedPlug(None, size=10_000)
        return lambda: plug


def test_the_first_make_room():
    plug = BoundedPlug(None, size=2)
    first, second, third = (session_key() for _ in range(3))
    for key in (first, second, third):
        plug.dumps(key, None, b"record")
    assert plug.loads(first, None) is None
    assert plug.loads(second, None) == b"record"
    assert plug.loads(third, None) == b"record"
