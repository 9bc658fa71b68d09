"""Copies that were booked: all but the run that stands are taken back, once, in whatever order they are found."""

from collections import Counter
from datetime import UTC, datetime
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from schemas.arrow import MEASURES, ROW_KEYS, TOKEN_CLASSES
from schemas.event import ADJUSTMENT_RULES, UsageEvent
from stream_processors.core.copies import entry_reversals, reversals

AT = datetime(2026, 3, 1, 12, tzinfo=UTC)


def booked(offset: int, partition: int = 0, **fields: Any) -> dict[str, Any]:
    """One row of usage: 1 000 tokens in, 0.0025 dollars."""
    return {
        **dict.fromkeys(ROW_KEYS, ""),
        **dict.fromkeys(TOKEN_CLASSES, 0),
        "event_id": "e1",
        "source": "gateway",
        "revision": 0,
        "kind": "usage",
        "corrects": "",
        "adjustment_type": "",
        "tags": {},
        "occurred_at": AT,
        "organization": "acme",
        "department": "eng",
        "service_tier": "default",
        "status": "ok",
        "input_tokens": 1000,
        "units": {},
        "cost_pico": 2_500_000_000,
        "requests": 1,
        "unpriced_requests": 0,
        "src_epoch": "e",
        "src_partition": partition,
        "src_offset": offset,
        "src_entry": 0,
        "booked_us": 100 * offset + partition,
        **fields,
    }


def entered(entry: UsageEvent, offset: int) -> dict[str, Any]:
    """The row that an adjustment becomes."""
    rule = ADJUSTMENT_RULES[entry.adjustment_type]  # type: ignore[index] # it has a type
    unpriced = rule.requests if entry.amount_pico is None else rule.unpriced_requests
    counts = {"requests": rule.requests, "unpriced_requests": unpriced, "cost_pico": entry.amount_pico}
    return booked(offset, **entry.model_dump() | counts)


def net(rows: list[dict[str, Any]]) -> Counter[tuple[Any, ...]]:
    total: Counter[tuple[Any, ...]] = Counter()
    for row in rows:
        for name in (*MEASURES, "cost_pico"):
            total[(*(row[key] for key in ROW_KEYS), name)] += row[name] or 0
    return Counter({key: count for key, count in total.items() if count})


def test_the_later_copy_is_taken_back_and_says_where_it_was() -> None:
    (entry,) = reversals([booked(7), booked(3, partition=2)])
    assert (entry.adjustment_type, entry.corrects, entry.amount_pico) == ("reversal", "e1", -2_500_000_000)
    assert (entry.reason, entry.author) == ("booked more than once: at usage.events[0] 7 too", "tollbook")


def test_found_again_it_is_not_entered_again() -> None:
    rows = [booked(3), booked(7)]
    (entry,) = reversals(rows)
    assert reversals(rows) == [entry]  # before it has landed: the same id, which counts once
    assert reversals([*rows, entered(entry, 9)]) == []


def test_what_somebody_took_back_already_is_left() -> None:
    rows = [booked(3), booked(7)]
    by_hand = entered(reversals(rows)[0].model_copy(update={"event_id": "by hand"}), 9)
    assert reversals([*rows, by_hand]) == []
    assert reversals([booked(3)]) == []
    assert reversals([]) == []


def test_a_revision_that_came_too_late_to_be_known_stands() -> None:
    first = booked(3, kind="provisional")
    more = booked(4, kind="provisional", revision=1, requests=0, input_tokens=500, cost_pico=1_250_000_000)
    last = booked(9, kind="final", revision=2, input_tokens=1700, cost_pico=4_250_000_000)
    (entry,) = reversals([first, more, last])
    assert (entry.input_tokens, entry.amount_pico) == (-1500, -3_750_000_000)
    assert net([first, more, last, entered(entry, 10)]) == net([last])


def test_a_pair_of_a_revision_is_no_copy() -> None:
    elsewhere = booked(4, revision=1, department="ops")
    back = booked(4, revision=1, requests=-1, input_tokens=-1000, cost_pico=-2_500_000_000, src_entry=1)
    assert reversals([booked(3), elsewhere, back]) == []


runs = st.lists(
    st.tuples(
        st.integers(0, 1),  # partition
        st.sampled_from([None, 1, 2_500_000_000]),  # cost
        st.integers(0, 2),  # revision
        st.sampled_from(["eng", "ops"]),
    ),
    min_size=1,
    max_size=5,
)


@given(runs)
def test_what_is_left_is_one_use(drawn: list[tuple[int, int | None, int, str]]) -> None:
    rows = [
        booked(
            offset, part, cost_pico=cost, unpriced_requests=int(cost is None), revision=revision, department=department
        )
        for offset, (part, cost, revision, department) in enumerate(drawn)
    ]
    entries = reversals(rows)
    assert len({entry.event_id for entry in entries}) == len(entries) == len(rows) - 1
    landed = [entered(entry, 100 + number) for number, entry in enumerate(entries)]
    best = max(row["revision"] for row in rows)
    assert net([*rows, *landed]) == net([next(row for row in rows if row["revision"] == best)])
    for number in range(len(landed) + 1):  # ended half-way
        again = {entry.event_id for entry in reversals([*rows, *landed[:number]])}
        assert again == {entry.event_id for entry in entries[number:]}


def adjusted(offset: int, kind: str, cost_pico: int | None, partition: int = 0, **fields: Any) -> dict[str, Any]:
    """The row of an entry about e1, or about nothing."""
    rule = ADJUSTMENT_RULES[kind]  # type: ignore[index] # a name of one
    counts = {"requests": rule.requests, "unpriced_requests": rule.unpriced_requests if cost_pico is not None else 0}
    about = {"event_id": f"the {kind}", "corrects": "e1" if rule.corrects else "", "tags": {"price_version": "v2"}}
    said = {"kind": "adjustment", "adjustment_type": kind, "input_tokens": 0, "cost_pico": cost_pico}
    return booked(offset, partition, **counts | about | said | fields)


def test_a_credit_that_was_entered_twice_counts_once() -> None:
    credit = {"kind": "credit", "cost_pico": -5_000_000_000}
    rows = [adjusted(3, **credit), adjusted(8, **credit)]  # type: ignore[arg-type]
    (entry,) = entry_reversals(rows)
    assert (entry.adjustment_type, entry.corrects, entry.amount_pico) == ("correction", "the credit", 5_000_000_000)
    assert entry.reason == "booked more than once: at usage.events[0] 8 too"
    assert entry_reversals([*rows, entered(entry, 9)]) == []
    assert entry_reversals(rows[:1]) == []


def test_the_copy_of_a_price_is_taken_back_by_a_price() -> None:
    """So that re-rating, which adds up what usage was charged by types, finds nothing to do."""
    rows = [
        adjusted(3, "re-rating", 7),
        adjusted(8, "re-rating", 7),
        adjusted(4, "pricing", 9),
        adjusted(9, "pricing", 9),
    ]
    found = {entry.adjustment_type: entry for entry in entry_reversals(rows)}
    assert {kind: (entry.amount_pico, dict(entry.tags)) for kind, entry in found.items()} == {
        "re-rating": (-7, {"price_version": "v2"}),
        "unpricing": (-9, {"price_version": "v2"}),
    }


@given(
    st.lists(
        st.tuples(st.sampled_from(sorted(ADJUSTMENT_RULES)), st.integers(-(10**9), 10**9), st.integers(1, 3)),
        max_size=4,
        unique_by=lambda drawn: drawn[0],
    ),
    st.randoms(use_true_random=False),
)
def test_what_is_left_of_entries_is_each_once(drawn: list[tuple[str, int, int]], random: Any) -> None:
    once, rows, offset = [booked(0)], [booked(0)], 0
    for kind, cost, copies in drawn:
        for number in range(copies):
            offset += 1
            row = adjusted(offset, kind, cost, partition=number)
            rows.append(row)
            once += [row] if number == 0 else []
    random.shuffle(rows)
    entries = entry_reversals(rows)
    landed = [entered(entry, 100 + number) for number, entry in enumerate(entries)]
    assert len({entry.event_id for entry in entries}) == len(entries)
    assert net([*rows, *landed]) == net(once)
    assert entry_reversals([*rows, *landed]) == []
