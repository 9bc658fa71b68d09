"""What is left of a window is carried into the next one: sums in the open, and the same in whatever order."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.arrow import MEASURES
from schemas.calendar import Calendar
from stream_processors.core.alerts import AlertBook, alert_record, limit_record
from stream_processors.core.budget_forms import faults_of
from stream_processors.core.budget_history import Dated
from stream_processors.core.budgets import Budget, Grant
from stream_processors.core.carry import carried, left_of, with_next
from stream_processors.core.gcounter import WIDTH
from stream_processors.core.scopes import ScopeIndex
from stream_processors.core.watch import Watch

NOW = 1_795_824_000_000_000
CALENDAR = Calendar()
WINDOW = CALENDAR.window("month", NOW)
BEFORE = CALENDAR.window("month", WINDOW.start - 1)
BUDGET = Budget("b", "acme", "user", "*", "month", "requests", 100, (75, 100), 1, carry_over=True)
COUNTS = st.integers(-20, 400)


def test_what_is_left_is_the_limit_and_what_was_granted_less_what_was_used() -> None:
    topped_up = replace(BUDGET, grants=(Grant("acme", "ann", 50, BEFORE.start), Grant("acme", "ann", 7, WINDOW.start)))
    assert left_of(BUDGET, "acme", "ann", BEFORE, 40) == 60
    assert left_of(topped_up, "acme", "ann", BEFORE, 40) == 110  # 100 + 50 - 40; the 7 are of the next window
    assert left_of(topped_up, "acme", "bob", BEFORE, 130) == 0
    assert left_of(BUDGET, "acme", "ann", BEFORE, -5) == 105  # more was taken back than used


def test_it_is_a_part_of_the_next_window_s_limit_and_of_no_other() -> None:
    own = carried(BUDGET, "acme", "ann", WINDOW, 60)
    limits = {
        (scope, window): limit_record(own, "acme", "user", scope, window, 10, False, [], NOW)["limit"]
        for scope in ("ann", "bob")
        for window in (BEFORE, WINDOW, CALENDAR.window("month", WINDOW.end))
    }
    assert {place: limit for place, limit in limits.items() if limit != "100"} == {("ann", WINDOW): "160"}


def test_the_window_that_follows_is_touched_once_it_has_begun() -> None:
    ann, bob = np.array([1]), np.array([2])
    touched = {BEFORE: ann, WINDOW: bob}
    found = with_next(CALENDAR, touched, NOW)
    assert {window: ids.tolist() for window, ids in found.items()} == {BEFORE: [1], WINDOW: [1, 2]}
    assert list(with_next(CALENDAR, {BEFORE: ann}, WINDOW.start - 1)) == [BEFORE]


class Books:
    """Usage of two windows by one scope, judged after each change as the agent does."""

    def __init__(self) -> None:
        self.index, self.book = ScopeIndex(), AlertBook()
        self.ids = np.array([self.index.id_of(2, "acme", "ann")])
        self.used = {BEFORE: 0, WINDOW: 0}

    def use(self, window: Any, count: int) -> None:
        self.used[window] += count
        watch = Watch([(Dated(0, BUDGET),)], NOW, self.book, self.index)
        left = watch.left(BUDGET, BEFORE, self.ids, self._values(BEFORE))
        for _, own, change in watch.due_with(BUDGET, WINDOW, self.ids, self._values(WINDOW), left):
            record = alert_record(change, own, [], "", NOW)
            assert self.book.fold(self.book.head + 1, self.book.head, record)

    def standing(self) -> set[int]:
        watch = Watch([(Dated(0, BUDGET),)], NOW, self.book, self.index)
        left = watch.left(BUDGET, BEFORE, self.ids, self._values(BEFORE))
        assert watch.due_with(BUDGET, WINDOW, self.ids, self._values(WINDOW), left) == []
        limit = BUDGET.limit + left[0]
        return {each for each in BUDGET.thresholds if self.used[WINDOW] * 100 >= limit * each}

    def _values(self, window: Any) -> Any:
        values = np.zeros((1, WIDTH), np.int64)
        values[0, MEASURES.index("requests")] = self.used[window]
        return values


@given(st.lists(st.tuples(st.sampled_from([BEFORE, WINDOW]), COUNTS), max_size=8), st.randoms(use_true_random=False))
def test_whatever_the_order_the_same_thresholds_stand(uses: list[tuple[Any, int]], random: Any) -> None:
    ended = []
    for _ in range(2):
        books = Books()
        for window, count in uses:
            books.use(window, count)
        ended.append(books.standing())
        random.shuffle(uses)
    assert ended[0] == ended[1]


@pytest.mark.parametrize(
    ("fields", "field", "said"),
    [
        ({"scope": "user:*"}, "scope", "must be of task or session for period lifetime"),
        ({"forecast": True}, "forecast", "must be left out for period lifetime"),
        ({"carry_over": True}, "carry_over", "must be left out for period lifetime"),
    ],
)
def test_a_life_has_no_pace_and_no_next_one(fields: dict[str, Any], field: str, said: str) -> None:
    table = {"id": "b", "scope": "task:*", "period": "lifetime", "unit": "tokens", "limit": 5}
    assert faults_of([table]) == []
    [fault] = faults_of([table | fields])
    assert (fault.field, said in fault.problem) == (field, True)


@pytest.mark.parametrize(("fields", "said"), [({"carry_over": 1}, "true or false"), ({"period": "year"}, "left out")])
def test_a_mistake_is_named(fields: dict[str, Any], said: str) -> None:
    table = {"id": "b", "scope": "user:*", "period": "month", "unit": "cost", "limit": "1", "carry_over": True}
    [fault] = faults_of([table | fields])
    assert (fault.field, said in fault.problem) == ("carry_over", True)
