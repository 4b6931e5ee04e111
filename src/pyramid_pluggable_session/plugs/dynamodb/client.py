"""The client of a DynamoDB plug: how it is made, and what is sent again when it fails."""

from __future__ import annotations

import json
import random
import time
from http import HTTPStatus
from typing import Any, Final

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError, ConnectionClosedError, ProfileNotFound
from pyramid.exceptions import ConfigurationError

from ..common_options import from_application
from ..per_process import PerProcess
from .options import WHERE

# These refusals say that nothing was done, so that what was refused can be sent again.
_REFUSED = frozenset(
    {
        "ProvisionedThroughputExceededException",
        "ThrottlingException",
        "RequestLimitExceeded",
        "ReplicatedWriteConflictException",
    }
)
_FIRST_PAUSE = 0.05  # seconds
_CONNECTIONS = 50  # kept open at most by each process

# boto3 would also send again what may have been done already. A swap would then find its own record
# in its way and be taken for lost, and its changes would be merged a second time.
_ONE_ATTEMPT: Final = {"total_max_attempts": 1, "mode": "standard"}


class WrongServerError(OSError):
    """What answered is not DynamoDB, or not all of its answer came."""


class Client:
    """A boto3 client in each process, made at first use: that alone takes a tenth of a second."""

    def __init__(
        self,
        config: Any,
        client: Any,
        *,
        region: str | None,
        endpoint_url: str | None,
        profile: str | None,
        connect_timeout: float,
        timeout: float,
    ) -> None:
        self._timeout = timeout
        self._own = client is None
        if client is None:
            if _session(profile, region).region_name is None:
                raise ConfigurationError(
                    f"{WHERE}region is not set, nor is a region found in the environment "
                    "(AWS_DEFAULT_REGION) or in boto3's own configuration."
                )
            settings = Config(
                connect_timeout=connect_timeout,
                read_timeout=timeout,
                max_pool_connections=_CONNECTIONS,
                retries=_ONE_ATTEMPT,
                # The plug builds what it sends; boto3's look at it takes longer than the rest.
                parameter_validation=False,
            )
            self.boto3 = PerProcess(
                lambda: _watched(
                    _session(profile, region).client(
                        "dynamodb", endpoint_url=endpoint_url, config=settings
                    )
                )
            )
        else:
            if not callable(client):
                _check_attempts(client)
            self.boto3 = PerProcess(
                lambda: _watched(_check_attempts(from_application(config, client)))
            )

    def close(self) -> None:
        """Close the connections, if they are not the application's. They are made anew if used."""
        client = self.boto3.take()
        if self._own and client is not None:
            client.close()

    def call(self, operation: str, *, twice: bool = False, **arguments: Any) -> dict[str, Any]:
        """Do an operation and return the answer.

        What was refused for the moment is sent again, for as long as ``timeout`` lasts. With
        ``twice``, for what may be done twice, also once after a failure that may pass.
        """
        do = getattr(self.boto3(), operation)
        until = time.monotonic() + self._timeout
        pause = _FIRST_PAUSE
        while True:
            try:
                return _from_dynamodb(do(**arguments))
            except (ClientError, ConnectionClosedError) as error:
                # To explain a wrong signature, the further lines repeat what was signed, and a
                # session's token is part of that.
                error.args = (str(error).partition("\n")[0],)
                if error_code(error) not in _REFUSED:
                    if not (twice and _may_pass(error)):
                        raise
                    twice = False
                if time.monotonic() + pause > until:
                    raise
            time.sleep(pause * random.uniform(0.5, 1))  # noqa: S311 (no secret: spreads the load)
            pause *= 2


def error_code(error: BaseException) -> str:
    """Return the server's name for the error, or an empty text if it is not the server's."""
    response = getattr(error, "response", None) or {}
    return str(response.get("Error", {}).get("Code", ""))


def _session(profile: str | None, region: str | None) -> Any:
    try:
        return boto3.session.Session(profile_name=profile, region_name=region)
    except ProfileNotFound as error:
        raise ConfigurationError(
            f"{WHERE}profile must be one that boto3's own configuration has (~/.aws/config, or "
            f"the file that AWS_CONFIG_FILE names): {error}."
        ) from None


def _check_attempts(client: Any) -> Any:
    """Return the application's client if it sends nothing twice by itself."""
    if (client.meta.config.retries or {}).get("total_max_attempts") != 1:
        raise ConfigurationError(
            f"{WHERE}client sends again what failed, and what is stored twice counts as a conflict "
            "with itself. Make the client with "
            'config=botocore.config.Config(retries={"total_max_attempts": 1}).'
        )
    return client


def _watched(client: Any) -> Any:
    """Return the client, which from now on takes no answer that was cut off."""
    client.meta.events.register(
        "before-parse.dynamodb", _check_whole, unique_id="pyramid_pluggable_session"
    )
    return client


def _check_whole(response_dict: dict[str, Any], **others: Any) -> None:
    # If the connection ends in the middle of an answer, to Python's HTTP client the headers have
    # ended, and to boto3 half a JSON text is an answer without content: a session would be absent.
    if response_dict["status_code"] != HTTPStatus.OK:
        return
    try:
        whole = isinstance(json.loads(response_dict["body"]), dict)
    except ValueError:
        whole = False
    if not whole:
        raise WrongServerError("the answer was cut off, or is not DynamoDB's")


def _from_dynamodb(answer: dict[str, Any]) -> dict[str, Any]:
    """Return the answer if DynamoDB gave it.

    boto3 takes any page for an answer without content: a session would be absent, a write done.
    """
    metadata = answer["ResponseMetadata"]
    kind = metadata["HTTPHeaders"].get("content-type", "")
    if "RequestId" not in metadata and not kind.startswith("application/x-amz-json"):
        raise WrongServerError(f"the answer is not DynamoDB's but of type {kind!r}")
    return answer


def _may_pass(error: BaseException) -> bool:
    if isinstance(error, ClientError):
        return int(error.response["ResponseMetadata"]["HTTPStatusCode"]) >= 500  # noqa: PLR2004
    return True
