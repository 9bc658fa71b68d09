"""What the outbox gives to a channel, and what the channel says became of it."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any


@dataclass(frozen=True, slots=True)
class Batch:
    """One message to one target: an alert, or several as a digest. Each attempt has the same id and the same alerts."""

    batch_id: str  # becomes Message-ID and webhook-id
    address: str
    alerts: tuple[dict[str, Any], ...]  # alert.v1, instants as text


class Result(StrEnum):
    """How an attempt ended."""

    ACCEPTED = "accepted"
    REFUSED = "refused"  # certainly not taken
    DOUBTFUL = "doubtful"  # sent whole, and the answer did not come: repeated, with the same id
    GONE = "gone"  # the receiver wants no more of these


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an attempt ended, and what the other side said."""

    result: Result
    reason: str = ""
