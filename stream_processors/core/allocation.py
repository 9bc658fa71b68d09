"""Sharing a cost among members by what they used, to the pico-dollar.

The shares are rounded by largest remainder (Hamilton's method), so they add up to the amount; of equal remainders the
first by name is rounded up. What is booked follows by differences, as settlements do (`settlement.py`).
"""

import hashlib
from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple

import orjson

from schemas.event import UsageEvent
from stream_processors.core.settlement import NOTHING, Booked

SOURCE = "tollbook allocate"
#: The tags that name the allocation, and whose share an entry is, as `department=sales`.
ALLOCATION_TAG, MEMBER_TAG = "allocation", "allocated_to"


class Member(NamedTuple):
    """Who has a share: a field of events, and its value."""

    field: str
    value: str


class Allocation(NamedTuple):
    """An amount to be shared. `taken_from`: whose it was; None when it is new."""

    id: str
    organization: str
    amount_pico: int
    taken_from: Member | None


def shares_due(allocation: Allocation, weights: Mapping[Member, int]) -> dict[Member, int]:
    """What each is to have in pico-dollars, and what is taken from whom; it has no share itself.

    ValueError when nobody used anything.
    """
    sharing = {member: weight for member, weight in weights.items() if weight > 0 and member != allocation.taken_from}
    due = by_largest_remainder(allocation.amount_pico, sharing)
    if allocation.taken_from is not None:
        due[allocation.taken_from] = -allocation.amount_pico
    return due


def by_largest_remainder(amount: int, weights: Mapping[Member, int]) -> dict[Member, int]:
    """Parts of `amount` in proportion to `weights`, whole numbers that add up to it. ValueError without any weight."""
    total = sum(weights.values())
    if total <= 0:
        raise ValueError("nobody used anything by which it could be shared")
    sign = -1 if amount < 0 else 1
    parts = {member: divmod(abs(amount) * weight, total) for member, weight in weights.items()}
    left = abs(amount) - sum(whole for whole, _ in parts.values())
    first = set(sorted(parts, key=lambda member: (-parts[member][1], member))[:left])
    return {member: sign * (whole + (member in first)) for member, (whole, _) in parts.items()}


def entries_for(
    allocation: Allocation,
    due: Mapping[Member, int],
    booked: Mapping[Member, Booked],
    at: datetime,
    reason: str,
    author: str,
) -> list[UsageEvent]:
    """The differences to what is booked for the allocation already, each under its member, dated to `at`."""
    found = []
    for member in sorted(due.keys() | booked.keys()):
        was = booked.get(member, NOTHING)
        difference = due.get(member, 0) - was.amount_pico
        if difference:
            whose: dict[str, Any] = {member.field: member.value}
            found.append(
                UsageEvent(
                    event_id=_id(allocation, member, was.entries),
                    source=SOURCE,
                    kind="adjustment",
                    adjustment_type="allocation",
                    occurred_at=at,
                    organization=allocation.organization,
                    provider="",
                    model="",
                    amount_pico=difference,
                    reason=reason,
                    author=author,
                    tags={ALLOCATION_TAG: allocation.id, MEMBER_TAG: f"{member.field}={member.value}"},
                    **whose,
                )
            )
    return found


def _id(allocation: Allocation, member: Member, entries: int) -> str:
    said = [SOURCE, allocation.organization, allocation.id, *member, entries]
    return hashlib.sha256(orjson.dumps(said)).hexdigest()[:32]
