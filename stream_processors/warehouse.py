"""The ledger's ClickHouse, for commands that only ask it something."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import clickhouse_connect
from clickhouse_connect.driver.exceptions import OperationalError

from schemas.settings import Settings

TIMEOUT_S = 5


class WarehouseAwayError(Exception):
    """ClickHouse did not answer."""


def ask(settings: Settings, query: str, parameters: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
    """Rows by column name; WarehouseAwayError when it is away, DatabaseError when it refuses the query."""
    address = urlsplit(settings.clickhouse)
    try:
        with clickhouse_connect.get_client(
            host=address.hostname,
            port=address.port or 8123,
            secure=address.scheme == "https",
            username=settings.clickhouse_user,
            password=settings.clickhouse_password.get_secret_value(),
            database=settings.clickhouse_database,
            connect_timeout=TIMEOUT_S,
        ) as client:
            return list(client.query(query, parameters=dict(parameters or {})).named_results())
    except OperationalError as error:
        raise WarehouseAwayError(f"ClickHouse at {settings.clickhouse}: {error}") from error
