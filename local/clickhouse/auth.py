"""Who asks: the ledger's owner, or the reader that only selects. Pure, compared in constant time."""

import base64
import binascii
import hmac
from collections.abc import Mapping
from dataclasses import dataclass

from local.clickhouse.errors import AUTHENTICATION_FAILED, refusal


@dataclass(frozen=True, slots=True)
class Account:
    """A user of the front; `readonly` users may only look."""

    name: str
    password: str
    readonly: bool


def authenticate(accounts: tuple[Account, ...], headers: Mapping[str, str], url: Mapping[str, str]) -> Account:
    """The account whose name and password the request carries (headers first, then Basic, then the URL).

    Raises ClickHouseError (516) for a wrong or missing password or an unknown user, without telling which.
    """
    name, password = _credentials(headers, url)
    matching = [account for account in accounts if _same(account.name, name) & _same(account.password, password)]
    if not matching:
        reason = f"{name}: Authentication failed: password is incorrect, or there is no user with such name"
        raise refusal(AUTHENTICATION_FAILED, reason, "AUTHENTICATION_FAILED")
    return matching[0]


def _same(expected: str, given: str) -> bool:
    return hmac.compare_digest(expected.encode(), given.encode())


def _credentials(headers: Mapping[str, str], url: Mapping[str, str]) -> tuple[str, str]:
    if "X-ClickHouse-User" in headers or "X-ClickHouse-Key" in headers:
        return headers.get("X-ClickHouse-User", "default"), headers.get("X-ClickHouse-Key", "")
    kind, _, value = headers.get("Authorization", "").partition(" ")
    if kind.lower() == "basic":
        return _basic(value)
    return url.get("user", "default"), url.get("password", "")


def _basic(value: str) -> tuple[str, str]:
    try:
        name, _, password = base64.b64decode(value, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError) as error:
        raise refusal(AUTHENTICATION_FAILED, "Basic credentials are not base64", "AUTHENTICATION_FAILED") from error
    return name, password
