"""What the guard makes of the records it follows."""

from datetime import UTC, datetime

import orjson

from producers.guard import eras_of, limit_of
from producers.limit_book import Era, GuardedBudget, Limit

END = datetime(2026, 12, 1, tzinfo=UTC)
ENTRY = {"organization": "acme", "scope": "user:*", "period": "month", "unit": "cost", "limit": "1.50"}
RECORD = {
    "budget_id": "b",
    "organization": "acme",
    "scope_kind": "user",
    "scope": "ada",
    "window_end": END,
    "conditions": "",
    "unit": "cost",
    "used": "0.25",
    "limit": "1.50",
    "decision": "block new",
    "positions": [{"src_partition": 2, "src_offset": 41}],
}


def history(*entries: dict[str, object]) -> bytes:
    return orjson.dumps({"id": "b", "history": entries})


def test_each_entry_of_a_history_is_in_force_until_the_next() -> None:
    older, newest = ENTRY | {"effective_at": 5}, ENTRY | {"effective_at": 9, "limit": "2", "action": "block_new"}
    assert eras_of("b", history(older, newest)) == [
        Era(5, 9, GuardedBudget("b", "acme", "user", "*", "cost", 1_500_000_000_000, "alert")),
        Era(9, None, GuardedBudget("b", "acme", "user", "*", "cost", 2_000_000_000_000, "block_new")),
    ]
    assert eras_of("b", None) == []


def test_the_dates_of_a_budget_bound_its_era() -> None:
    entry = ENTRY | {"valid_from": "1970-01-01T00:00:07Z", "valid_until": "1970-01-01T00:00:08.000001Z"}
    [era] = eras_of("b", history(entry | {"effective_at": 5}))
    assert (era.start, era.end) == (7_000_000, 8_000_001)
    [early, _] = eras_of("b", history(entry | {"effective_at": 5}, ENTRY | {"effective_at": 7_500_000}))
    assert (early.start, early.end) == (7_000_000, 7_500_000)


def test_a_limit_is_read_in_its_unit() -> None:
    end = int(END.timestamp()) * 1_000_000
    expected = Limit("b", "acme", "user", "ada", end, 250_000_000_000, 1_500_000_000_000, "block_new", {2: 41})
    assert limit_of(RECORD) == expected


def test_a_budget_with_conditions_holds_nothing_up() -> None:
    """What it counts is a part of a scope's usage: taken for all of it, a guard would be wrong."""
    conditional = ENTRY | {"effective_at": 5, "conditions": {"model": ["gpt-4o"]}}
    assert eras_of("b", history(conditional)) == []
    assert [(era.start, era.end) for era in eras_of("b", history(ENTRY | {"effective_at": 1}, conditional))] == [(1, 5)]
    assert limit_of(RECORD | {"conditions": "model=gpt-4o"}) is None
