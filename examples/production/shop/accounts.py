"""Users and passwords: a stand-in for the table that a real site has.

``python -m shop.accounts ada`` asks for a password and prints a line for the setting.
"""

from __future__ import annotations

import getpass
import hashlib
import hmac
import secrets
import sys


def make_line(name: str, password: str) -> str:
    """Return the line for a user."""
    salt = secrets.token_hex(16)
    return f"{name} {salt} {_digest(password, salt)}"


def is_right(accounts: str, name: str, password: str) -> bool:
    """Tell whether there is a user with this name and password."""
    known = {line.split()[0]: line.split()[1:] for line in accounts.splitlines() if line.strip()}
    # For who is not known as well, or the time it takes would tell who is.
    salt, digest = known.get(name, ("", ""))
    return hmac.compare_digest(_digest(password, salt), digest)


def _digest(password: str, salt: str) -> str:
    return hashlib.scrypt(password.encode(), salt=salt.encode(), n=2**14, r=8, p=5).hex()


if __name__ == "__main__":
    print(make_line(sys.argv[1], getpass.getpass()))
