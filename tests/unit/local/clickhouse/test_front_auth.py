"""Who a request is from."""

from base64 import b64encode

import pytest

from local.clickhouse.auth import Account, authenticate
from local.clickhouse.errors import ClickHouseError

OWNER, READER = Account("owner", "pa:ss ü", readonly=False), Account("reader", "other", readonly=True)
ACCOUNTS = (OWNER, READER)


def basic(name: str, password: str) -> dict[str, str]:
    return {"Authorization": "Basic " + b64encode(f"{name}:{password}".encode()).decode()}


@pytest.mark.parametrize(
    ("headers", "url"),
    [
        (basic("owner", "pa:ss ü"), {}),
        ({"X-ClickHouse-User": "owner", "X-ClickHouse-Key": "pa:ss ü"}, {}),
        ({}, {"user": "owner", "password": "pa:ss ü"}),
    ],
)
def test_each_way_to_say_who(headers: dict[str, str], url: dict[str, str]) -> None:
    assert authenticate(ACCOUNTS, headers, url) is OWNER


@pytest.mark.parametrize(
    ("headers", "url"),
    [
        ({}, {}),
        ({}, {"user": "owner"}),
        (basic("owner", "other"), {}),
        (basic("reader", ""), {}),
        (basic("nobody", "other"), {}),
        ({"Authorization": "Basic %%%"}, {}),
        ({"Authorization": "Bearer x"}, {}),
        (basic("owner", "wrong"), {"user": "owner", "password": "pa:ss ü"}),
    ],
)
def test_anything_else_is_refused(headers: dict[str, str], url: dict[str, str]) -> None:
    with pytest.raises(ClickHouseError) as refused:
        authenticate(ACCOUNTS, headers, url)
    assert (refused.value.code, refused.value.status) == (516, 403)
