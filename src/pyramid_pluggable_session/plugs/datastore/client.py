"""Clients of Google Cloud Datastore: one of our own, or the application's."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Mapping
from typing import Any, Final

from google.auth.credentials import AnonymousCredentials
from google.auth.exceptions import GoogleAuthError
from google.cloud import datastore
from google.oauth2 import service_account
from pyramid.exceptions import ConfigurationError
from requests.adapters import HTTPAdapter

from ..common_options import from_application
from .options import SETTING

# These come without type hints.
_Client: Any = datastore.Client
_Anonymous: Any = AnonymousCredentials
_ServiceAccount: Any = service_account.Credentials

_CONNECTIONS: Final = 100  # so many threads find one kept open


def client_maker(
    config: Any, own: Any, place: Mapping[str, str | None], how: Mapping[str, str | None]
) -> Callable[[], Any]:
    """Return what makes a client, or returns the application's own. It may talk to the network.

    ``place`` has the project, the namespace and the database; ``how`` the ``credentials_file`` and
    the ``emulator_host``.
    """
    if own is not None:
        for name, value in {**place, **how}.items():
            if value is not None:
                raise ConfigurationError(f"{SETTING}client and {name} exclude each other.")
        given = _own_client(config, own)
        return lambda: given
    path, emulator = how["credentials_file"], how["emulator_host"]
    if path is not None and emulator is not None:
        raise ConfigurationError(f"{SETTING}emulator_host and credentials_file exclude each other.")
    credentials = None if path is None else _service_account_in(path)
    return functools.partial(_make_client, credentials, emulator, place)


def _own_client(config: Any, own: Any) -> Any:
    client = from_application(config, own)
    if isinstance(client, datastore.Client):
        return client
    raise ConfigurationError(
        f"{SETTING}client must be a google.cloud.datastore.Client, or a callable that takes config "
        f"and returns one, not {type(client).__name__}."
    )


def _service_account_in(path: str) -> Any:
    try:
        return _ServiceAccount.from_service_account_file(path, scopes=_Client.SCOPE)
    except (OSError, ValueError, TypeError, AttributeError, GoogleAuthError) as error:
        # A parser's message may quote the file, which is a secret.
        reason = error.strerror if isinstance(error, OSError) else "it has something else in it"
        raise ConfigurationError(
            f"{SETTING}credentials_file must be the JSON key file of a service account. {path} "
            f"cannot be used: {reason}."
        ) from None


def _make_client(credentials: Any, emulator: str | None, place: Mapping[str, str | None]) -> Any:
    if os.environ.get("DATASTORE_EMULATOR_HOST"):
        # Then the client needs none, and refuses to be given any.
        credentials = None
    elif emulator is not None:
        credentials = _Anonymous()
    # Not gRPC: it would be a millisecond or two faster, but it hangs in a process that was forked
    # while another thread was using it. What is public, GOOGLE_CLOUD_DISABLE_GRPC, would change
    # every other client of the application as well.
    client = _Client(credentials=credentials, _use_grpc=False, **place)
    if emulator is not None:
        client.base_url = f"http://{emulator}"
    # As it comes, it keeps ten connections, and has more threads connect for every request.
    for scheme in ("https://", "http://"):
        client._http.mount(scheme, HTTPAdapter(pool_maxsize=_CONNECTIONS))
    return client
