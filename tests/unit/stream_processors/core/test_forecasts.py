"""Who will exceed a limit at the pace so far is said once a window, and taken back when the pace has fallen."""

from dataclasses import replace
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.arrow import MEASURES
from schemas.calendar import Calendar
from schemas.codec import avro_schema, decode, encode
from stream_processors.core.alerts import AlertBook
from stream_processors.core.budget_history import Dated
from stream_processors.core.budgets import Budget, Grant
from stream_processors.core.forecasts import forecast_record, is_early, projection, reaching
from stream_processors.core.gcounter import WIDTH
from stream_processors.core.scopes import ScopeIndex
from stream_processors.core.watch import Watch

START = 1_793_491_200_000_000  # of November 2026
MONTH = Calendar().window("month", START)
LENGTH = MONTH.end - MONTH.start
HALF = START + LENGTH // 2
BUDGET = Budget("dept", "*", "user", "*", "month", "requests", 1_000, (50, 100), 1, forecast=True)


class Ledger:
    """One user under one budget; what is due is appended and folded, as the agent does."""

    def __init__(self) -> None:
        self.book, self.index = AlertBook(), ScopeIndex()
        self.ids = np.array([self.index.id_of(2, "acme", "ann")])

    def at(self, now: int, used: int, budget: Budget = BUDGET) -> list[dict[str, Any]]:
        watch = Watch([(Dated(0, budget),)], now, self.book, self.index)
        values = np.zeros((1, WIDTH), np.int64)
        values[0, MEASURES.index("requests")] = used
        found = watch.forecasts(budget, MONTH, self.ids, values, now)
        records = [forecast_record(each, own, [], now) for own, each in found]
        for record in records:
            assert self.book.fold(self.book.head + 1, self.book.head, record)
        return records


def told(records: list[dict[str, Any]]) -> list[tuple[str, int, int]]:
    return [(record["state"], record["threshold"], record["revision"]) for record in records]


def test_a_pace_that_exceeds_the_limit_is_said_once_and_taken_back_below_nine_tenths() -> None:
    ledger = Ledger()
    assert told(ledger.at(HALF, 499)) == []
    assert told(ledger.at(HALF, 500)) == [("raised", 100, 0)]
    assert told(ledger.at(HALF, 700)) == []
    assert told(ledger.at(HALF, 450)) == []  # nine tenths
    assert told(ledger.at(HALF, 449)) == [("retracted", 89, 0)]
    assert told(ledger.at(HALF, 499)) == []
    assert told(ledger.at(HALF, 600)) == [("raised", 120, 1)]


def test_a_limit_that_is_reached_is_no_forecast() -> None:
    ledger = Ledger()
    assert told(ledger.at(HALF, 1_000)) == []
    assert told(ledger.at(HALF, 999)) == [("raised", 199, 0)]
    assert told(ledger.at(HALF, 1_200)) == []  # it has come true, and stands


def test_a_top_up_counts() -> None:
    granted = replace(BUDGET, grants=(Grant("acme", "ann", 1_000, HALF),))
    ledger = Ledger()
    assert told(ledger.at(HALF, 600)) == [("raised", 120, 0)]
    assert told(ledger.at(HALF, 600, granted)) == [("retracted", 60, 0)]
    [again] = ledger.at(HALF, 1_100, granted)
    assert (again["limit"], again["threshold"], again["revision"]) == ("2000", 110, 1)


def test_requests_without_a_price_count_at_the_fallback() -> None:
    budget = replace(BUDGET, unit="cost", limit=10 * 10**12, fallback_pico=2 * 10**12)
    index, book = ScopeIndex(), AlertBook()
    values = np.zeros((1, WIDTH), np.int64)
    values[0, MEASURES.index("unpriced_requests")] = 3
    watch = Watch([(Dated(0, budget),)], HALF, book, index)
    [(own, found)] = watch.forecasts(budget, MONTH, np.array([index.id_of(2, "acme", "ann")]), values, HALF)
    assert own == budget
    record = forecast_record(found, budget, [], HALF)
    assert (record["used"], record["estimated"], record["threshold"]) == ("6.00", "6.00", 120)


def test_what_it_says() -> None:
    [record] = Ledger().at(HALF, 600)
    assert record["detail"] == (
        "user ann of acme will exceed 1,000 requests for the month from 2026-11-01 00:00 UTC at its pace so far: "
        "600 used, 1,200 at its end"
    )
    assert set(record) == {field["name"] for field in avro_schema("alert.v1")["fields"]}
    assert decode(encode(record, "alert.v1", 7), avro_schema("alert.v1")) == record


def test_forecasts_do_not_mix_with_thresholds_and_are_forgotten_with_their_window() -> None:
    ledger = Ledger()
    [record] = ledger.at(HALF, 600)
    due = ledger.book.due(BUDGET, "acme", "user", "ann", MONTH, 600)
    assert [(change.threshold, change.revision) for change in due] == [(50, 0)]
    ledger.book.forget({"month": MONTH.end})
    assert ledger.book.forecasts.standing(BUDGET, MONTH) == [("acme", "ann")]
    ledger.book.forget({"month": MONTH.end + 1})
    assert ledger.book.forecasts.standing(BUDGET, MONTH) == []
    assert record["alert_id"] == ledger.at(HALF, 600)[0]["alert_id"]


def test_a_tenth_of_the_window_must_have_passed() -> None:
    assert is_early(MONTH, START + LENGTH // 10 - 1)
    assert not is_early(MONTH, START + LENGTH // 10)


@given(st.integers(1, 10**30), st.integers(-(10**30), 10**30), st.integers(0, LENGTH - 1))
def test_the_smallest_amount_that_is_projected_to_reach_a_limit(limit: int, used: int, past: int) -> None:
    now = START + past
    assert (used >= reaching(limit, MONTH, now)) is (projection(used, MONTH, now) >= limit)


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(LENGTH // 10, LENGTH - 1), st.integers(-10, 3_000)), max_size=12))
def test_no_id_is_said_twice_and_nothing_more_is_due(steps: list[tuple[int, int]]) -> None:
    ledger, said = Ledger(), []
    for past, used in steps:
        said += ledger.at(START + past, used)
        assert ledger.at(START + past, used) == []
    seen = [(record["alert_id"], record["state"]) for record in said]
    assert len(seen) == len(set(seen))
    assert [record["state"] == "raised" for record in said] == [number % 2 == 0 for number in range(len(said))]
