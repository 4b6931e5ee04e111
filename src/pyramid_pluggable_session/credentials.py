"""Taking passwords out of what people get to read."""

from __future__ import annotations

import re
from typing import Final

HIDDEN: Final = "(hidden)"

# All up to the last "@": a password may have one, and a slash, though it should not.
_CREDENTIALS = re.compile(
    r"(?<=//)\S*@|(?<=:)[^\s/]\S*@|(?i:(?<=password=)|(?<=session_token[=:]))[^&\s]+"
)


def hide_credentials(text: str) -> str:
    """Return ``text`` without the user and password of a URL in it."""
    return _CREDENTIALS.sub(HIDDEN, text)
