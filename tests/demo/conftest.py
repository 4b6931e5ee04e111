"""The demo is not installed: it is found below the project's directory."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def project():
    return PROJECT


if str(PROJECT) not in sys.path:
    sys.path.append(str(PROJECT))
