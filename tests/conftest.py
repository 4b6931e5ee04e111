"""What every test may use."""

import os
import shutil

import pytest
from hypothesis import settings

# How long an example takes says more about the machine than about the code.
settings.register_profile("default", deadline=None)
settings.load_profile("default")


@pytest.fixture(scope="session")
def missing():
    """Return a function that skips the test for a reason, such as a server that is not there.

    With REQUIRE_SERVERS=1 the test fails instead: then nothing may be left out.
    """

    def skip(reason):
        if os.environ.get("REQUIRE_SERVERS") == "1":
            pytest.fail(reason + ", and REQUIRE_SERVERS=1")
        pytest.skip(reason)

    return skip


@pytest.fixture(scope="session")
def require_program(missing):
    """Return a function from a program's name or path to its path; without it, see ``missing``."""

    def require(*names):
        for name in names:
            path = shutil.which(name)
            if path is not None:
                return path
        return missing(f"{' or '.join(names)} is not installed")

    return require
