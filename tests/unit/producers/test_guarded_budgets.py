"""What the guard makes of the records it follows."""

from datetime import UTC, datetime

import orjson

from producers.guard import budget_of, limit_of
from producers.limit_book import GuardedBudget, Limit

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


def test_the_newest_entry_of_a_history_is_in_force() -> None:
    newest = ENTRY | {"limit": "2", "action": "block_new"}
    expected = GuardedBudget("b", "acme", "user", "*", "cost", 2_000_000_000_000, "block_new")
    assert budget_of("b", history(ENTRY, newest)) == expected
    assert budget_of("b", None) is None


def test_a_limit_is_read_in_its_unit() -> None:
    end = int(END.timestamp()) * 1_000_000
    expected = Limit("b", "acme", "user", "ada", end, 250_000_000_000, 1_500_000_000_000, "block_new", {2: 41})
    assert limit_of(RECORD) == expected


def test_a_budget_with_conditions_holds_nothing_up() -> None:
    """What it counts is a part of a scope's usage: taken for all of it, a guard would be wrong."""
    assert budget_of("b", history(ENTRY | {"conditions": {"model": ["gpt-4o"]}})) is None
    assert limit_of(RECORD | {"conditions": "model=gpt-4o"}) is None
