"""The options of the datastore plug, and what can be seen to be wrong with them offline."""

from __future__ import annotations

import re
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from pyramid.exceptions import ConfigurationError

from ... import settings
from ...settings import PREFIX, Option, or_none, unknown
from ..common_options import CONNECT_TIMEOUT, TIMEOUT

SETTING: Final = f"{PREFIX}datastore."

# Google's rules for names. Its server says no more than "bad request" where they are broken.
_PROJECT = re.compile(r"([a-z0-9.-]+:)?[a-z][a-z0-9-]*[a-z0-9]")
_NAMESPACE = re.compile(r"(?!__)[0-9A-Za-z._-]{1,100}")
_DATABASE = re.compile(r"[a-z][a-z0-9-]{2,61}[a-z0-9]")
_KIND = re.compile(r"(?!__)[^\s/]{1,200}")
_ADDRESS = re.compile(r"(?:[^\s/:@?#]+|\[[0-9A-Fa-f:.]+\]):([0-9]{1,5})")


def _project(value: Any) -> str:
    return _match(_PROJECT, value, "the id of a project, such as my-project-1")


def _namespace(value: Any) -> str:
    right = "up to 100 letters, digits, '.', '_' and '-', not beginning with '__'"
    return _match(_NAMESPACE, value, right)


def _database(value: Any) -> str | None:
    # The service calls its first database so; to its clients that one has no name.
    if value == "(default)":
        return None
    return _match(_DATABASE, value, "the id of a database, such as sessions, or (default)")


def _kind(value: Any) -> str:
    right = "up to 200 characters without white space or '/', not beginning with '__'"
    return _match(_KIND, value, right)


def _address(value: Any) -> str:
    right = "host:port, such as localhost:8081"
    text = _match(_ADDRESS, value, right)
    if not 0 < int(text.rpartition(":")[2]) < 1 << 16:
        raise ValueError(right)
    return text


def _match(pattern: re.Pattern[str], value: Any, right: str) -> str:
    if isinstance(value, str) and pattern.fullmatch(value.strip()):
        return value.strip()
    raise ValueError(right)


OPTIONS: Final[tuple[Option, ...]] = (
    Option(
        "url",
        or_none(settings.text),
        None,
        "datastore://project-id, with other options behind a '?'.",
        from_url="url",
    ),
    Option(
        "project",
        or_none(_project),
        None,
        "The project, if the URL does not name it; none for the one of the credentials or of "
        "the environment.",
    ),
    Option("namespace", or_none(_namespace), None, "The namespace of the entities."),
    Option("database", or_none(_database), None, "The database; none for the default one."),
    Option("kind", _kind, "PluggableSession", "The kind of the entities."),
    Option(
        "credentials_file",
        or_none(settings.path),
        None,
        "The JSON key file of a service account; none for Google's application default "
        "credentials.",
    ),
    Option(
        "emulator_host",
        or_none(_address),
        None,
        "host:port of an emulator; none for DATASTORE_EMULATOR_HOST, or the real Datastore.",
    ),
    CONNECT_TIMEOUT,
    TIMEOUT,
    Option(
        "client",
        settings.dotted,
        None,
        "The dotted name of a google.cloud.datastore.Client of the application's own, or of a "
        "callable that takes config and returns one. The options that tell how to make one, and "
        "connect_timeout, do not go with it.",
    ),
)


def project_of(url: str | None, project: str | None) -> str | None:
    """Return the project that the URL or the option names, or None if neither does."""
    if url is None:
        return project
    parts = urlsplit(url)
    if parts.query:
        raise unknown(
            parts.query.partition("&")[0].partition("=")[0],
            [option.name for option in OPTIONS if option.from_url is None],
            lambda name: f"{name}, in the URL of the datastore plug,",
        )
    if parts.scheme != "datastore" or parts.path not in ("", "/") or parts.fragment:
        raise ConfigurationError(
            f"{SETTING}url must be datastore://project-id, with options behind a '?'."
        )
    if "@" in parts.netloc:
        raise ConfigurationError(
            f"{SETTING}url has no user and no password. Credentials are in a file: see "
            f"{SETTING}credentials_file."
        )
    if not parts.netloc:
        return project
    try:
        in_url = _project(unquote(parts.netloc))
    except ValueError as error:
        raise ConfigurationError(
            f"What follows datastore:// in {SETTING}url must be {error}, not {parts.netloc!r}."
        ) from None
    if project not in (None, in_url):
        raise ConfigurationError(f"{SETTING}project is another project than the URL's. Set one.")
    return in_url
