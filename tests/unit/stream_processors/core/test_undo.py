"""What takes an event back: with it, everything under every key adds up to nothing."""

from collections import Counter
from datetime import UTC, datetime
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from rating_events import columns

from schemas.arrow import MEASURES, ROW_KEYS, TOKEN_CLASSES
from schemas.event import UsageEvent
from stream_processors.core.adjustments import uses, with_adjustments
from stream_processors.core.undo import undo

AT = datetime(2026, 3, 1, 12, tzinfo=UTC)


def booked(**fields: Any) -> dict[str, Any]:
    """One row of usage: 1 000 tokens in, 300 out, 0.0075 dollars."""
    return {
        **dict.fromkeys(ROW_KEYS, ""),
        **dict.fromkeys(TOKEN_CLASSES, 0),
        "occurred_at": AT,
        "organization": "acme",
        "department": "eng",
        "service_tier": "default",
        "status": "ok",
        "input_tokens": 1000,
        "output_tokens": 300,
        "units": {},
        "cost_pico": 7_500_000_000,
        "requests": 1,
        "unpriced_requests": 0,
        **fields,
    }


def undone(*rows: dict[str, Any]) -> list[UsageEvent]:
    return undo(rows, "gateway", "e1", "sent twice", "mia", lambda number: f"id-{number}")


def test_a_reversal_negates_what_was_booked_under_its_scopes_and_time() -> None:
    (entry,) = undone(booked(units={"web_search": 2}))
    assert (entry.adjustment_type, entry.corrects, entry.event_id) == ("reversal", "e1", "id-0")
    assert (entry.input_tokens, entry.output_tokens, entry.amount_pico) == (-1000, -300, -7_500_000_000)
    assert (entry.department, entry.occurred_at, entry.units) == ("eng", AT, {"web_search": -2})


def test_unpriced_usage_is_taken_back_without_an_amount() -> None:
    (entry,) = undone(booked(cost_pico=None, unpriced_requests=1))
    assert (entry.adjustment_type, entry.amount_pico) == ("reversal", None)


def test_what_was_priced_later_is_taken_back_with_that_price() -> None:
    unpriced = booked(cost_pico=None, unpriced_requests=1)
    pricing = booked(input_tokens=0, output_tokens=0, requests=0, unpriced_requests=-1, cost_pico=9)
    (entry,) = undone(unpriced, pricing)
    assert (entry.adjustment_type, entry.amount_pico) == ("reversal", -9)


def test_earlier_corrections_are_taken_into_account_under_their_own_scopes() -> None:
    moved = booked(requests=0, department="ops", cost_pico=5, input_tokens=0, output_tokens=0)
    first, second = undone(booked(), moved)
    assert (first.adjustment_type, first.department, first.amount_pico) == ("reversal", "eng", -7_500_000_000)
    assert (second.adjustment_type, second.department, second.amount_pico) == ("correction", "ops", -5)


def test_nothing_is_left_to_take_back_twice() -> None:
    reversal = booked(requests=-1, input_tokens=-1000, output_tokens=-300, cost_pico=-7_500_000_000)
    assert undone(booked(), reversal) == []


rows = st.builds(
    booked,
    department=st.sampled_from(["eng", "ops"]),
    input_tokens=st.integers(-5, 5),
    cost_pico=st.one_of(st.none(), st.integers(-5, 5)),
    requests=st.integers(-1, 1),
    unpriced_requests=st.integers(-1, 1),
    units=st.dictionaries(st.just("image"), st.integers(-2, 2)),
)


def nets(entries: list[dict[str, Any]]) -> Counter[tuple[str, str]]:
    total: Counter[tuple[str, str]] = Counter()
    for entry in entries:
        for name in MEASURES:
            total[entry["department"], name] += entry[name]
        total[entry["department"], "cost_pico"] += entry["cost_pico"] or 0
        total[entry["department"], "image"] += dict(entry["units"]).get("image", 0)
    return total


def as_booked(entries: list[UsageEvent]) -> list[dict[str, Any]]:
    """The adjustments as rating books them."""
    events = columns([e.model_dump() | {"units": list(e.units.items()), "occurred_at": e.occurred_at} for e in entries])
    count = len(entries)
    measures = with_adjustments(uses(np.zeros(count, np.int64), np.ones(count, bool)), events, np.ones(count, bool))
    return [
        event
        | {
            "cost_pico": int(measures.cost_pico[row]) if measures.priced[row] else None,
            "requests": int(measures.requests[row]),
            "unpriced_requests": int(measures.unpriced_requests[row]),
        }
        for row, event in enumerate(events.to_pylist())
    ]


@given(st.lists(rows, min_size=1, max_size=8))
def test_with_what_undoes_them_rows_add_up_to_nothing(booked_rows: list[dict[str, Any]]) -> None:
    entries = undone(*booked_rows)
    total = nets([*booked_rows, *as_booked(entries)])
    assert set(total.values()) <= {0}
    assert len({entry.event_id for entry in entries}) == len(entries)
