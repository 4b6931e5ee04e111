"""Making the table of a DynamoDB plug."""

from __future__ import annotations

import contextlib
from typing import Any, Final

from botocore.exceptions import ClientError

from .client import error_code

_PATIENCE: Final = 60  # seconds that it may take


def create(client: Any, table: str) -> None:
    """Make the table and return when it can be used; other processes may make it as well."""
    with contextlib.suppress(client.exceptions.ResourceInUseException):
        client.create_table(
            TableName=table,
            BillingMode="PAY_PER_REQUEST",
            AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
            KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        )
    waiter = client.get_waiter("table_exists")
    waiter.wait(TableName=table, WaiterConfig={"Delay": 1, "MaxAttempts": _PATIENCE})
    try:
        client.update_time_to_live(
            TableName=table, TimeToLiveSpecification={"Enabled": True, "AttributeName": "ttl"}
        )
    except ClientError as error:
        # Refused as invalid if another process was faster.
        if error_code(error) != "ValidationException":
            raise
