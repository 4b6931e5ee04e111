"""The options of the DynamoDB plug, and its URL."""

from __future__ import annotations

import re
from typing import Any, Final
from urllib.parse import urlsplit

from pyramid.exceptions import ConfigurationError

from ... import settings
from ...settings import Option
from ..common_options import CONNECT_TIMEOUT, TIMEOUT

WHERE: Final = "pluggable_session.dynamodb."

_TABLE = re.compile(r"(arn:\S+:table/)?[A-Za-z0-9_.-]{3,255}")
_REGION = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")


def table(value: Any) -> str:
    """Convert the name or ARN of a table, or the plug's URL, to the name or ARN."""
    given = settings.text(value)
    if given.startswith("dynamodb:"):
        url = urlsplit(given)
        for pair in filter(None, url.query.split("&")):
            raise _unknown(pair.partition("=")[0])
        # Not `hostname`: that is in lower case, and tables' names are not.
        given = url.netloc if url.path in ("", "/") and not url.fragment else ""
    if _TABLE.fullmatch(given):
        return given
    raise ValueError(
        "the name of a table (3 to 255 letters, digits, '_', '-' and '.'), as in dynamodb://sessions"
    )


def region(value: Any) -> str:
    """Convert the name of a region."""
    if isinstance(value, str) and _REGION.fullmatch(value.strip()):
        return value.strip()
    raise ValueError("the name of a region, such as eu-central-1")


def endpoint_url(value: Any) -> str:
    """Convert the URL of a server."""
    given = settings.text(value)
    try:
        url = urlsplit(given)
        plain = not (url.path.strip("/") or url.query or url.fragment or "@" in url.netloc)
        if url.scheme in ("http", "https") and url.hostname and url.port != 0 and plain:
            return given
    except ValueError:
        # a port that is none, or half an IPv6 address
        pass
    raise ValueError("a URL such as http://localhost:8000, with nothing behind the port")


OPTIONS: Final[tuple[Option, ...]] = (
    Option(
        "table",
        table,
        "sessions",
        "The table's name, or its ARN. Its partition key is id, a string; it has no sort key. Let "
        "its time to live (TTL) be enabled on the attribute ttl.",
        from_url="url",
    ),
    Option(
        "region",
        settings.or_none(region),
        None,
        "The region that the table is in; none for the one that boto3 finds in the environment or "
        "in its own configuration.",
    ),
    Option(
        "endpoint_url",
        settings.or_none(endpoint_url),
        None,
        "The server, if it is not the one of the region.",
    ),
    Option(
        "profile",
        settings.or_none(settings.text),
        None,
        "The profile in boto3's own configuration that has the credentials; none for where boto3 "
        "looks for them by default.",
    ),
    Option(
        "create_table",
        settings.boolean,
        False,
        "Whether to make the table, paid by request and with its time to live enabled, when it is "
        "missing.",
    ),
    CONNECT_TIMEOUT,
    TIMEOUT,
    Option(
        "client",
        settings.or_none(settings.dotted),
        None,
        "A boto3 client for DynamoDB of the application's own, instead of region, endpoint_url, "
        "profile and connect_timeout: the dotted name of one, or of a function that gets config "
        "and returns one, in every process anew. It must not retry by itself.",
    ),
)


def _unknown(name: str) -> ConfigurationError:
    def where(each: str) -> str:
        return f"{each}, in the URL of the dynamodb plug," if each == name else WHERE + each

    return settings.unknown(name, (option.name for option in OPTIONS), where)
