"""What goes wrong with Google Cloud Datastore, and what to change then."""

from __future__ import annotations

from typing import Any, Final

import requests
from google.api_core import exceptions as api
from google.auth import exceptions as auth
from google.protobuf.message import DecodeError

from .options import SETTING

OUTAGES: Final[tuple[type[Exception], ...]] = (
    api.GoogleAPIError,
    auth.GoogleAuthError,
    requests.RequestException,
    DecodeError,
)

_WHERE: Final = f"check {SETTING}project and {SETTING}database"
_EMULATOR: Final = f"{SETTING}emulator_host or DATASTORE_EMULATOR_HOST"

# Of several classes that an error has, the first one here says most.
_REMEDIES: Final[tuple[tuple[Any, str], ...]] = (
    (
        auth.DefaultCredentialsError,
        f"set {SETTING}credentials_file or GOOGLE_APPLICATION_CREDENTIALS to the key file of a "
        "service account, or run gcloud auth application-default login; with an emulator, set "
        f"{SETTING}project",
    ),
    (
        auth.RefreshError,
        "Google does not take these credentials: see whether the service account and its key still "
        f"exist, that the clock is right, and {SETTING}credentials_file",
    ),
    (auth.GoogleAuthError, "no access token: this machine must reach oauth2.googleapis.com"),
    (
        (api.Forbidden, api.Unauthorized),
        "give the application's service account the role roles/datastore.user, see that the "
        f"Datastore API is enabled, and {_WHERE}",
    ),
    (
        api.NotFound,
        f"no such database: {_WHERE}, or make it with gcloud firestore databases create "
        "--type=datastore-mode",
    ),
    (api.TooManyRequests, "a quota of the project is used up: see its quotas and billing"),
    (api.Conflict, "others write the same record all the time"),
    (
        api.BadRequest,
        f"{_WHERE}: it must be a database in Datastore mode, not in native mode",
    ),
    (
        DecodeError,
        f"what answers is not Datastore: check {_EMULATOR}, and proxies on the way",
    ),
    (
        requests.exceptions.SSLError,
        "the certificate is not trusted: if a proxy on the way has one of its own, set "
        "REQUESTS_CA_BUNDLE to its authority",
    ),
    (requests.exceptions.ProxyError, "check HTTPS_PROXY and NO_PROXY"),
    (
        requests.exceptions.ConnectTimeout,
        f"no connection within {SETTING}connect_timeout: check the network, and {_EMULATOR}",
    ),
    (
        (requests.exceptions.Timeout, api.GatewayTimeout),
        f"no answer within {SETTING}timeout: it may be too short, or the server hangs",
    ),
    (
        (requests.exceptions.ConnectionError, api.ServiceUnavailable),
        f"check the network; with an emulator, see that it runs, and {_EMULATOR}",
    ),
)


def remedy(error: BaseException) -> str | None:
    """Return what to change, or None if that is not known."""
    if isinstance(error, api.RetryError):
        error = error.cause
    for classes, words in _REMEDIES:
        if isinstance(error, classes):
            return words
    if type(error) is OSError and "Project" in str(error):
        return f"name it in {SETTING}project, in the URL, or in GOOGLE_CLOUD_PROJECT"
    return None
