"""What the tests of the import share."""

import peers
import pytest


@pytest.fixture(autouse=True)
def closed():
    yield
    peers.close_all()
