"""Arguments of several commands."""

from __future__ import annotations

import argparse
import os


def user(text: str) -> str:
    """Return a user id as sessions have it, whatever the locale that the terminal has."""
    try:
        # In the locale C, what is not ASCII comes as bytes in disguise.
        return os.fsencode(text).decode()
    except UnicodeDecodeError:
        raise argparse.ArgumentTypeError("not in UTF-8") from None
