"""The ledger's ClickHouse, for commands that only ask it something."""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import clickhouse_connect
from clickhouse_connect.driver import Client
from clickhouse_connect.driver.exceptions import ClickHouseError

from schemas.settings import Settings

TIMEOUT_S = 5
# What fails is raised; its log would say it twice.
logging.getLogger("clickhouse_connect").setLevel(logging.CRITICAL)


class WarehouseError(Exception):
    """ClickHouse did not answer, or refused (as before its migrations)."""


@contextmanager
def connect(settings: Settings) -> Iterator[Client]:
    """A client of the ledger's database; what ClickHouse says no to is raised as WarehouseError."""
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
            yield client
    except ClickHouseError as error:
        raise WarehouseError(f"ClickHouse at {settings.clickhouse}: {error}") from error


def ask(settings: Settings, query: str, parameters: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
    """Rows by column name; WarehouseError when there are none to be had."""
    with connect(settings) as client:
        return list(client.query(query, parameters=dict(parameters or {})).named_results())
