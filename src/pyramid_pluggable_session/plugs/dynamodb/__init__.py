"""Sessions in a table of Amazon DynamoDB."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, ClassVar

import boto3
from botocore.exceptions import BotoCoreError, ClientError
from botocore.parsers import ResponseParserError
from pyramid.exceptions import ConfigurationError
from zope.interface import implementer

from ...interfaces import IPurgePlug, IScanPlug, ISwapPlug
from ...keys import SessionKey
from ...settings import Option
from . import items, remedies, table
from .client import Client, error_code
from .items import expires_at, is_live
from .options import OPTIONS, WHERE

if TYPE_CHECKING:
    from ...interfaces import Key


@implementer(ISwapPlug, IScanPlug, IPurgePlug)
class DynamodbPlug:
    """Keeps records as items of a table, one each.

    An expired one no longer counts, and DynamoDB deletes it some time later.
    """

    name: ClassVar[str] = "dynamodb"
    options: ClassVar[tuple[Option, ...]] = OPTIONS
    outages: ClassVar[tuple[type[Exception], ...]] = (
        BotoCoreError,
        ClientError,
        ResponseParserError,
    )

    def __init__(
        self,
        config: Any = None,
        *,
        table: str = "sessions",
        region: str | None = None,
        endpoint_url: str | None = None,
        profile: str | None = None,
        create_table: bool = False,
        connect_timeout: float = 2.0,
        timeout: float = 5.0,
        client: Any = None,
    ) -> None:
        if client is not None and (region or endpoint_url or profile):
            raise ConfigurationError(
                f"{WHERE}client is a client that is made already: {WHERE}region, endpoint_url and "
                "profile would change nothing. Remove them, or the client."
            )
        self._table = table
        self._create_table = create_table
        self._client = Client(
            config,
            client,
            region=region,
            endpoint_url=endpoint_url,
            profile=profile,
            connect_timeout=connect_timeout,
            timeout=timeout,
        )

    def close(self) -> None:
        """Close the connections. The plug stays usable."""
        self._client.close()

    def remedy(self, error: BaseException) -> str | None:
        """Return what to change."""
        return remedies.remedy(error)

    def loads(self, session: Key, request: Any) -> bytes | None:
        """Return the record, or None when it is absent or expired."""
        answer = self._call(
            "get_item", twice=True, Key=items.key(session.session_id), ConsistentRead=True
        )
        item = answer.get("Item")
        if item is None or not is_live(expires_at(item)):
            return None
        return bytes(item["data"]["B"])

    def dumps(self, session: Key, request: Any, session_data: bytes) -> None:
        """Store the record until ``session.expires_at``."""
        self._put(session, session_data)

    def clear(self, session: Key, request: Any) -> None:
        """Forget the record."""
        self._call("delete_item", twice=True, Key=items.key(session.session_id))

    def swap(self, session: Key, request: Any, expected: bytes | None, session_data: bytes) -> bool:
        """Store the record if what is stored equals ``expected``."""
        try:
            self._put(session, session_data, **items.condition(expected))
        except ClientError as error:
            if error_code(error) == "ConditionalCheckFailedException":
                return False
            raise
        return True

    def scan(self) -> Iterator[SessionKey]:
        """Yield the key of every live record."""
        start: dict[str, Any] = {}
        while True:
            page = self._call(
                "scan",
                twice=True,
                ConsistentRead=True,
                ProjectionExpression="#id, #expires",
                ExpressionAttributeNames={"#id": "id", "#expires": "expires"},
                **start,
            )
            for item in page["Items"]:
                if is_live(until := expires_at(item)):
                    yield SessionKey(item["id"]["S"], until)
            if "LastEvaluatedKey" not in page:
                return
            start = {"ExclusiveStartKey": page["LastEvaluatedKey"]}

    def versions(self) -> dict[str, str]:
        """Return the version of the driver."""
        return {"boto3": boto3.__version__}

    def purge(self) -> int:
        """Return 0: DynamoDB deletes expired records by itself."""
        return 0

    def _put(self, session: Key, data: bytes, **condition: Any) -> None:
        if len(data) > items.LARGEST_RECORD:
            raise items.too_large(data)
        try:
            self._call("put_item", Item=items.item(session, data), **condition)
        except ClientError as error:
            if error_code(error) == "ValidationException" and "Item size" in str(error):
                raise items.too_large(data) from None
            raise

    def _call(self, operation: str, **arguments: Any) -> dict[str, Any]:
        arguments["TableName"] = self._table
        try:
            return self._client.call(operation, **arguments)
        except ClientError as error:
            # To look for the table beforehand would take a round trip, and the right to do so.
            if error_code(error) != "ResourceNotFoundException" or not self._create_table:
                raise
        table.create(self._client.boto3(), self._table)
        return self._client.call(operation, **arguments)
