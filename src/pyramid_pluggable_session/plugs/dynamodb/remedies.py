"""What to change when DynamoDB cannot be used."""

from __future__ import annotations

from typing import Final

from botocore.exceptions import (
    ConnectionClosedError,
    ConnectTimeoutError,
    CredentialRetrievalError,
    EndpointConnectionError,
    NoCredentialsError,
    PartialCredentialsError,
    ProxyConnectionError,
    ReadTimeoutError,
    SSLError,
    SSOError,
    WaiterError,
)
from botocore.parsers import ResponseParserError

from .client import WrongServerError, error_code
from .options import WHERE

_ADDRESS: Final = f"{WHERE}region and {WHERE}endpoint_url"
_CREDENTIALS: Final = (
    f"give credentials of this AWS account in the environment, by the machine's role or as "
    f"{WHERE}profile; boto3 says where it looks for them"
)
_NOT_DYNAMODB: Final = f"see that DynamoDB is what listens at {WHERE}endpoint_url"
_CAPACITY: Final = "raise the capacity of the table, or let it be paid by request"
_RIGHTS: Final = (
    "allow dynamodb:GetItem, PutItem, DeleteItem and Scan on the table, and for "
    f"{WHERE}create_table also CreateTable, DescribeTable and UpdateTimeToLive"
)

_BY_CODE: Final = {
    "ResourceNotFoundException": (
        f"make the table or set {WHERE}create_table = true, and see that {WHERE}table, {_ADDRESS} "
        "lead to where it is"
    ),
    "AccessDeniedException": _RIGHTS,
    "UnrecognizedClientException": _CREDENTIALS,
    "InvalidClientTokenId": _CREDENTIALS,
    "InvalidSignatureException": _CREDENTIALS + ", and see that the machine's clock is right",
    "IncompleteSignatureException": _CREDENTIALS,
    "MissingAuthenticationTokenException": _CREDENTIALS,
    "ExpiredTokenException": _CREDENTIALS + "; these have expired",
    "ProvisionedThroughputExceededException": _CAPACITY,
    "ThrottlingException": _CAPACITY,
    "RequestLimitExceeded": "ask for a higher quota of the AWS account",
    "ValidationException": (
        f"the partition key of {WHERE}table must be id, a string, and there must be no sort key"
    ),
}

_BY_CLASS: Final[tuple[tuple[type[Exception] | tuple[type[Exception], ...], str], ...]] = (
    ((NoCredentialsError, PartialCredentialsError, CredentialRetrievalError), _CREDENTIALS),
    (SSOError, "log in again, for example with: aws sso login"),
    (
        SSLError,
        f"see whether {WHERE}endpoint_url must begin with http or https; a certificate of your own "
        "authority is trusted if AWS_CA_BUNDLE names its file",
    ),
    (
        (EndpointConnectionError, ProxyConnectionError, ConnectTimeoutError),
        f"see that {_ADDRESS} are right and that the network lets this machine get there",
    ),
    (
        ReadTimeoutError,
        f"see whether the server is overloaded or hangs, or raise {WHERE}timeout",
    ),
    ((ConnectionClosedError, ResponseParserError, WrongServerError), _NOT_DYNAMODB),
    (WaiterError, "see in the AWS console what keeps the table from becoming active"),
)


def remedy(error: BaseException) -> str | None:
    """Return what to change, or None if it is not known."""
    code = error_code(error)
    if code.isdigit():
        # An error without a name of DynamoDB's: boto3 takes the HTTP status instead.
        return _NOT_DYNAMODB
    if code:
        return _BY_CODE.get(code)
    return next((text for kind, text in _BY_CLASS if isinstance(error, kind)), None)
