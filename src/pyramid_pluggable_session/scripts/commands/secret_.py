"""``psessions INI secret``: make a good secret."""

from __future__ import annotations

import argparse
import secrets
from typing import Final

from ..context import Context

HELP: Final = "make a secret for pluggable_session.secret"
EXAMPLES: Final = ("production.ini secret",)

_BYTES = 48


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments: none."""


def run(context: Context, args: argparse.Namespace) -> int:
    """Print a new secret."""
    context.output.line(secrets.token_urlsafe(_BYTES))
    return 0
