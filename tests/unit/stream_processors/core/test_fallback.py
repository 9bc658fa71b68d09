"""Usage without a price counts against a budget at its fallback, marked as estimated; and no longer once it has one."""

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.arrow import MEASURES
from schemas.calendar import Window
from stream_processors.audit.amounts import compare_one
from stream_processors.audit.compare import SUMS
from stream_processors.audit.model import Check
from stream_processors.core import int128
from stream_processors.core.alerts import AlertBook, alert_record, limit_record
from stream_processors.core.budget_changes import describe
from stream_processors.core.budget_forms import from_record, parse_budgets, to_record
from stream_processors.core.budget_history import Dated
from stream_processors.core.gcounter import HIGH, LOW
from stream_processors.core.watch import counted, estimates

FILE = """
[[budget]]
id = "b"
scope = "department:*"
period = "month"
unit = "cost"
limit = "10.00"
thresholds = [50, 100]
fallback_usd = "0.05"
"""
[BUDGET] = parse_budgets(FILE, "budgets.toml")
USD = 10**12
WHERE = ("acme", "department", "eng")
WINDOW = Window("month", 1_767_225_600_000_000, 1_769_904_000_000_000)
NOW = WINDOW.start + 1


def values(cost_pico: int, unpriced: int) -> npt.NDArray[np.int64]:
    """One row of window totals."""
    row = np.zeros((1, max(HIGH, LOW, len(MEASURES) - 1) + 1), np.int64)
    row[0, HIGH], row[0, LOW] = cost_pico >> 32, cost_pico & 0xFFFF_FFFF
    row[0, MEASURES.index("unpriced_requests")] = unpriced
    return row


@given(st.integers(-(2**80), 2**80), st.integers(-(2**29), 2**29), st.integers(1, 1_000 * USD))
def test_what_counts_is_the_cost_and_each_unpriced_request(cost: int, unpriced: int, fallback: int) -> None:
    budget = replace(BUDGET, fallback_pico=fallback)
    row = values(cost, unpriced)
    assert int128.to_ints(*counted(budget, row)) == [cost + unpriced * fallback]
    assert estimates(budget, row) == [unpriced * fallback]
    without = replace(BUDGET, fallback_pico=None)
    assert (int128.to_ints(*counted(without, row)), estimates(without, row)) == ([cost], [0])


def test_it_is_marked_as_estimated() -> None:
    """4.00 dollars, and 40 requests at 0.05."""
    [used], [estimated] = int128.to_ints(*counted(BUDGET, values(4 * USD, 40))), estimates(BUDGET, values(4 * USD, 40))
    [change] = AlertBook().due(BUDGET, *WHERE, WINDOW, used)
    alert = alert_record(change._replace(estimated=estimated), BUDGET, [], "", NOW)
    assert (alert["threshold"], alert["used"], alert["estimated"]) == (50, "6.00", "2.00")
    assert "6.00 used, 2.00 of it estimated" in alert["detail"]
    limit = limit_record(BUDGET, *WHERE, WINDOW, used, False, [], NOW, estimated)
    assert (limit["used"], limit["estimated"], limit["remaining"]) == ("6.00", "2.00", "4.00")
    exact = alert_record(change, BUDGET, [], "", NOW)
    assert (exact["estimated"], "estimated" in exact["detail"]) == ("0.00", False)


def test_the_true_cost_takes_its_place() -> None:
    """Re-rated: the 40 requests cost 0.40 in all; 50 % is no longer reached."""
    book = AlertBook()
    [used] = int128.to_ints(*counted(BUDGET, values(4 * USD, 40)))
    [change] = book.due(BUDGET, *WHERE, WINDOW, used)
    assert book.fold(0, -1, alert_record(change, BUDGET, [], "", NOW))
    [used] = int128.to_ints(*counted(BUDGET, values(4 * USD + 400 * USD // 1_000, 0)))
    [back] = book.due(BUDGET, *WHERE, WINDOW, used)
    assert (back.state, back.threshold, back.used) == ("retracted", 50, 4_400_000_000_000)


def test_the_history_keeps_it() -> None:
    assert BUDGET.fallback_pico == 50_000_000_000
    record = to_record([Dated(7, replace(BUDGET, version=1))])
    assert record["history"][0]["fallback_usd"] == "0.05"
    [dated] = from_record(record)
    assert dated.budget == replace(BUDGET, version=1)
    assert "unpriced requests at 0.05" in describe(BUDGET)


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ('"0.05"', "0.05", "fallback_usd = 0.05: must be positive dollars up to 1000, as text"),
        ('"0.05"', '"0"', "fallback_usd = '0': must be positive dollars"),
        ('"0.05"', '"-1"', "fallback_usd = '-1'"),
        ('"0.05"', '"1000.01"', "fallback_usd = '1000.01': must be positive dollars up to 1000"),
        ('unit = "cost"\nlimit = "10.00"', 'unit = "tokens"\nlimit = 10', "must be left out for unit tokens"),
    ],
)
def test_a_wrong_fallback_is_named(old: str, new: str, told: str) -> None:
    assert old in FILE
    with pytest.raises(ValueError, match=r"^budgets\.toml:[0-9]+: fallback_usd") as caught:
        parse_budgets(FILE.replace(old, new), "budgets.toml")
    assert told in str(caught.value)


@pytest.mark.parametrize(
    ("used", "estimated", "unpriced", "measures"),
    [
        ("6.00", "2.00", 40, []),
        ("4.00", "0", 40, []),  # a budget without a fallback
        ("6.00", "0", 40, ["used (cost)"]),
        ("6.00", "2.00", 0, ["estimated (cost)"]),
        ("6.000000000001", "2.000000000001", 40, ["estimated (cost)"]),  # not the same for each request
        ("6.00", "two", 40, ["estimated (cost)", "used (cost)"]),
    ],
)
def test_the_audit_knows_what_is_estimated(used: str, estimated: str, unpriced: int, measures: list[str]) -> None:
    item = {
        "key": "k",
        "organization": "acme",
        "scope_kind": "department",
        "scope": "eng",
        "window_kind": "month",
        "start": WINDOW.start,
        "unit": "cost",
        "used": used,
        "estimated": estimated,
        "remaining": "",
        "limit": "10",
        "positions": [],
    }
    sums = [0] * len(SUMS)
    sums[SUMS.index("unpriced_requests")], sums[SUMS.index("cost_usd")] = unpriced, 4
    check = Check("alerts")
    compare_one(check, "alerts", item, sums, {})
    assert [difference.measure for difference in check.differences] == measures
