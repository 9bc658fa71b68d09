"""Entries that bring what is booked for volume discounts, overages and credits to what they come to.

The id of an entry is made of the rule, organization, provider and month, and of the number of entries booked for them,
an optimistic lock: whoever settles twice, or at once with another, books it once.
"""

import hashlib
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Literal, NamedTuple

import orjson

from schemas.event import UsageEvent
from stream_processors.core.dated import EPOCH
from stream_processors.core.running_totals import Place

SOURCE = "tollbook settle"
#: The tag that names the rule an entry settles.
RULE_TAG = "settlement_rule"
#: Types of entries: first what discounts and overages come to, then what credits have left of it.
Type = Literal["settlement", "credit"]


class Booked(NamedTuple):
    """What is booked for a place."""

    amount_pico: int
    entries: int


NOTHING = Booked(0, 0)


def entries_for(
    kind: Type,
    due: Mapping[Place, int],
    booked: Mapping[Place, Booked],
    reasons: Mapping[str, str],
    last_of_month: Callable[[int], int],
    now_us: int,
    author: str,
) -> list[UsageEvent]:
    """The differences, each dated into its month: to now, or to its last microsecond (`last_of_month`) once it is over.

    `reasons` says of each rule what its entries are for. What is booked for a rule that is gone, or for usage that was
    taken back, is taken back.
    """
    found = []
    for place in sorted(due.keys() | booked.keys()):
        was = booked.get(place, NOTHING)
        difference = due.get(place, 0) - was.amount_pico
        if difference:
            found.append(
                UsageEvent(
                    event_id=_id(kind, place, was.entries),
                    source=SOURCE,
                    kind="adjustment",
                    adjustment_type=kind,
                    occurred_at=_instant(min(now_us, last_of_month(place.month_us))),
                    organization=place.organization,
                    provider=place.provider,
                    model="",
                    amount_pico=difference,
                    reason=reasons.get(place.rule, f"{place.rule} is gone"),
                    author=author,
                    tags={RULE_TAG: place.rule},
                )
            )
    return found


def _id(kind: str, place: Place, entries: int) -> str:
    return hashlib.sha256(orjson.dumps([SOURCE, kind, *place, entries])).hexdigest()[:32]


def _instant(micros: int) -> datetime:
    return EPOCH + timedelta(microseconds=micros)
