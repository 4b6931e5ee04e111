"""``psessions INI secret``: make a good secret."""

from __future__ import annotations

import argparse
import secrets
from typing import Final

from ..output import Output

HELP: Final = "make a secret for pluggable_session.secret"
EXAMPLES: Final = ("production.ini secret",)
NEEDS_APPLICATION: Final = False
"""Without a secret there is none."""

_BYTES = 48


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments: none."""


def run(output: Output, args: argparse.Namespace) -> int:
    """Print a new secret."""
    output.line(secrets.token_urlsafe(_BYTES))
    return 0
