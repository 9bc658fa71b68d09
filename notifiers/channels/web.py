"""Slack and signed webhooks: one POST, no redirect followed, no private address reached unless that is allowed."""

import asyncio
import errno
import socket
from typing import Any

import aiohttp
from yarl import URL

from notifiers import messages, signing
from notifiers.addresses import is_public
from notifiers.config import Slack, Webhook, read_secret
from notifiers.delivery import Batch, Outcome, Result

JSON = {"Content-Type": "application/json", "User-Agent": "Tollbook"}
SHOWN_BYTES = 200


class PrivateAddressError(OSError):
    """A target's name leads to an address that is not public; allow it with `allow_private = true` or mend the name."""


def send_slack(channel: Slack, link: str, batch: Batch) -> Outcome:
    """Slack knows no id: a repetition after a cut cannot be told there."""
    url = read_secret(channel.url_file)
    return post(url, messages.slack(batch.alerts, link), JSON, channel.allow_private, channel.timeout_s)


def send_webhook(channel: Webhook, link: str, batch: Batch, now_s: int) -> Outcome:
    """Signed with each key of `secret_files`, at the time of this attempt."""
    keys = [signing.parse_key(read_secret(path)) for path in channel.secret_files]
    body = messages.webhook(batch.alerts, link)
    headers = JSON | signing.signed_headers(keys, batch.batch_id, now_s, body)
    return post(channel.url, body, headers, channel.allow_private, channel.timeout_s)


def post(url: str, body: bytes, headers: dict[str, str], allow_private: bool, timeout_s: float) -> Outcome:
    """2xx is acceptance, 410 the wish to hear no more, any other answer a refusal."""
    return asyncio.run(_post(url, body, headers, allow_private, timeout_s))


async def _post(url: str, body: bytes, headers: dict[str, str], allow_private: bool, timeout_s: float) -> Outcome:
    # The check is on the address that is about to be connected to: a name cannot lead elsewhere a moment later.
    connector = aiohttp.TCPConnector(socket_factory=_any_socket if allow_private else _public_socket, force_close=True)
    timeout = aiohttp.ClientTimeout(total=timeout_s)
    try:
        async with (
            aiohttp.ClientSession(connector=connector, timeout=timeout) as session,
            session.post(URL(url), data=body, headers=headers, allow_redirects=False) as response,
        ):
            said = (await response.content.read(SHOWN_BYTES)).decode(errors="replace")
            return _outcome(response.status, said)
    except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError, aiohttp.InvalidURL) as error:
        return Outcome(Result.REFUSED, f"{error}")
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        return Outcome(Result.DOUBTFUL, f"no answer: {error!r}")


def _outcome(status: int, said: str) -> Outcome:
    if 200 <= status < 300:
        return Outcome(Result.ACCEPTED)
    reason = f"status {status}: {' '.join(said.split())}"
    return Outcome(Result.GONE if status == 410 else Result.REFUSED, reason)


def _any_socket(info: Any) -> socket.socket:
    family, kind, protocol, *_ = info
    return socket.socket(family, kind, protocol)


def _public_socket(info: Any) -> socket.socket:
    address = info[4][0]
    if not is_public(address):
        raise PrivateAddressError(errno.EACCES, f"{address} is not a public address (allow_private = true allows it)")
    return _any_socket(info)
