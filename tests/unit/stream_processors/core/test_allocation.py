"""Shared costs: parts by largest remainder add up to the amount; what is booked follows by differences."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_processors.core.allocation import (
    MEMBER_TAG,
    Allocation,
    Member,
    by_largest_remainder,
    entries_for,
    shares_due,
)
from stream_processors.core.settlement import Booked

AT = datetime(2026, 10, 31, tzinfo=UTC)
ENG, OPS, SALES, PLATFORM = (Member("department", name) for name in ("eng", "ops", "sales", "platform"))
weights = st.dictionaries(st.sampled_from([ENG, OPS, SALES, PLATFORM]), st.integers(0, 10**20), min_size=1)
amounts = st.integers(-(10**18), 10**18)


def test_the_largest_remainders_are_rounded_up() -> None:
    """100 by 1, 1 and 2: 25, 25, 50. 100 by 1, 1 and 1: 33 and a third each, and the one that is left."""
    assert by_largest_remainder(100, {ENG: 1, OPS: 1, SALES: 2}) == {ENG: 25, OPS: 25, SALES: 50}
    assert by_largest_remainder(100, {SALES: 1, OPS: 1, ENG: 1}) == {ENG: 34, OPS: 33, SALES: 33}
    assert by_largest_remainder(-10, {ENG: 2, OPS: 1}) == {ENG: -7, OPS: -3}


@given(amounts, weights)
def test_parts_add_up_and_none_is_off_by_one(amount: int, used: dict[Member, int]) -> None:
    total = sum(used.values())
    if total == 0:
        with pytest.raises(ValueError, match="nobody used anything"):
            by_largest_remainder(amount, used)
        return
    parts = by_largest_remainder(amount, used)
    assert sum(parts.values()) == amount
    assert all(abs(parts[member] * total - amount * weight) < total for member, weight in used.items())


@given(amounts, weights, weights)
def test_what_is_booked_follows_and_the_organization_s_total_stays(
    amount: int, before: dict[Member, int], after: dict[Member, int]
) -> None:
    allocation = Allocation("gpu", "acme", amount, PLATFORM)
    booked: dict[Member, Booked] = {}
    ids: set[str] = set()
    for used in (before, after, after):
        if not any(weight for member, weight in used.items() if member != PLATFORM):
            return
        due = shares_due(allocation, used)
        entries = entries_for(allocation, due, booked, AT, "GPUs", "mia")
        assert ids.isdisjoint(entry.event_id for entry in entries)
        for entry in entries:
            ids.add(entry.event_id)
            member = Member(*entry.tags[MEMBER_TAG].split("=", 1))
            assert getattr(entry, member.field) == member.value
            was = booked.get(member, Booked(0, 0))
            booked[member] = Booked(was.amount_pico + (entry.amount_pico or 0), was.entries + 1)
        assert {member: each.amount_pico for member, each in booked.items() if each.amount_pico} == {
            member: part for member, part in due.items() if part
        }
        assert sum(each.amount_pico for each in booked.values()) == 0
        assert entries_for(allocation, due, booked, AT, "GPUs", "mia") == []


def test_who_gives_has_no_share() -> None:
    due = shares_due(Allocation("gpu", "acme", 100, PLATFORM), {PLATFORM: 900, ENG: 50, OPS: 50, SALES: 0})
    assert due == {ENG: 50, OPS: 50, PLATFORM: -100}
