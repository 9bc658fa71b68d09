"""Which version of a budget judges a window: of one that is over, what is changed afterwards says nothing new."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.calendar import Calendar, Window
from stream_processors.core.alerts import DAY_US, AlertBook, alert_record
from stream_processors.core.budget_history import Dated, History, budgets_in_force, in_force, judging, predates
from stream_processors.core.budgets import Budget
from stream_processors.core.gcounter import WIDTH
from stream_processors.core.scopes import ScopeIndex
from stream_processors.core.watch import Watch

START = 1_795_824_000_000_000
HOUR_US = 3_600_000_000
HOURS = [Calendar().window("hour", START + place * HOUR_US) for place in range(-1, 4)]
BEFORE, FIRST, SECOND, THIRD, FOURTH = HOURS
BUDGET = Budget("b", "*", "user", "*", "hour", "requests", 10, (50, 100), 1)
HIGHER = replace(BUDGET, limit=40, version=2)
#: Applied in the first hour, changed in the third.
HISTORY: History = (Dated(FIRST.start + 5, BUDGET), Dated(THIRD.start + 7, HIGHER))


@pytest.mark.parametrize(
    ("window", "now", "judge"),
    [
        (FIRST, FIRST.start + 4, None),  # there is no such budget yet
        (BEFORE, FIRST.start + 4, None),
        (FIRST, FIRST.start + 5, BUDGET),
        (BEFORE, FIRST.start + 5, BUDGET),  # it was over before: judged, and only recorded
        (SECOND, THIRD.end, BUDGET),
        (THIRD, THIRD.start + 6, BUDGET),
        (THIRD, THIRD.start + 7, HIGHER),  # running: as it is now
        (SECOND, THIRD.start + 7, BUDGET),  # over: as it was then
        (THIRD, FOURTH.end, HIGHER),
        (FOURTH, FOURTH.end, HIGHER),
    ],
)
def test_a_running_window_is_judged_by_the_budget_as_it_is_and_one_that_is_over_as_it_was(
    window: Window, now: int, judge: Budget | None
) -> None:
    assert judging(HISTORY, window, now) == judge


def test_a_change_at_the_very_end_of_a_window_is_the_next_one_s() -> None:
    history = (*HISTORY[:1], Dated(SECOND.end, HIGHER))
    assert [judging(history, window, FOURTH.end) for window in (SECOND, THIRD)] == [BUDGET, HIGHER]


def test_only_windows_that_were_over_before_there_was_a_budget_predate_it() -> None:
    assert [predates(HISTORY, window) for window in HOURS] == [True, False, False, False, False]


@pytest.mark.parametrize(
    ("dates", "judged"),
    [
        ({}, [True, True, True, True, True]),
        ({"valid_from": SECOND.start}, [False, False, True, True, True]),
        ({"valid_from": SECOND.end - 1}, [False, False, True, True, True]),
        ({"valid_from": SECOND.end}, [False, False, False, True, True]),
        ({"valid_until": SECOND.end}, [True, True, True, False, False]),
        ({"valid_until": SECOND.end - 1}, [True, True, False, False, False]),
        ({"valid_from": FIRST.start, "valid_until": SECOND.end}, [False, True, True, False, False]),
    ],
)
def test_a_window_that_is_over_is_judged_if_the_budget_was_valid_at_its_end(
    dates: dict[str, int], judged: list[bool]
) -> None:
    history = (Dated(FIRST.start, replace(BUDGET, **dates)),)
    assert [judging(history, window, FOURTH.end) is not None for window in HOURS] == judged


def test_a_budget_is_in_force_from_its_first_date_to_before_its_last() -> None:
    history = (Dated(0, replace(BUDGET, valid_from=10, valid_until=20)),)
    assert [in_force(history, at) is not None for at in (9, 10, 19, 20)] == [False, True, True, False]
    later = (Dated(15, HIGHER),)
    assert [len(budgets_in_force([history, later], at)) for at in (9, 10, 15, 20)] == [0, 1, 2, 1]


@given(
    st.lists(st.tuples(st.integers(1, 4 * HOUR_US), st.integers(1, 99)), min_size=1, max_size=5),
    st.integers(0, 2 * HOUR_US),
    st.sampled_from(HOURS),
)
def test_nothing_that_is_changed_after_a_window_changes_who_judges_it(
    changes: list[tuple[int, int]], later: int, window: Window
) -> None:
    history = tuple(
        Dated(START + after, replace(BUDGET, limit=limit, version=version))
        for version, (after, limit) in enumerate(sorted(changes), start=1)
    )
    judges = {judging(history[: count + 1], window, window.end + later) for count in range(len(history))}
    known = [dated for dated in history if dated.effective_at < window.end]
    if known:
        assert judging(history, window, window.end + later) == known[-1].budget
    elif not predates(history, window) or history[0].effective_at > window.end + later:
        assert judges == {None}
    else:
        assert judges == {history[0].budget}


class Turns:
    """As the agent does: what is due is appended and folded."""

    def __init__(self) -> None:
        self.book, self.index = AlertBook(), ScopeIndex()
        self.ann = np.array([self.index.id_of(2, "acme", "ann")])

    def judge(self, history: History, now: int, window: Window, requests: int) -> list[tuple[object, ...]]:
        watch = Watch([history], now, self.book, self.index)
        found: list[tuple[object, ...]] = []
        for budget in watch.budgets:
            judge = watch.judging(budget, window) if window.kind == budget.period else None
            if judge is not None and len(watch.covered(judge, self.ann)):
                for _, change in watch.due(judge, window, self.ann, np.full((1, WIDTH), requests)):
                    record = alert_record(change, judge, [], "", now, watch.predates(budget, window))
                    assert self.book.fold(self.book.head + 1, self.book.head, record)
                    found.append(tuple(record[name] for name in ("state", "threshold", "revision", "late", "deliver")))
        return found


def test_a_changed_limit_judges_the_running_window_anew_and_none_that_is_over() -> None:
    turns, lower = Turns(), replace(BUDGET, limit=4, version=2)
    now = SECOND.start + 9
    applied = (Dated(FIRST.start, BUDGET),)
    assert turns.judge(applied, now - 1, FIRST, 5) == [("raised", 50, 0, True, True)]
    assert turns.judge(applied, now - 1, SECOND, 5) == [("raised", 50, 0, False, True)]
    changed = (*applied, Dated(now, lower))
    assert turns.judge(changed, now, FIRST, 5) == []
    assert turns.judge(changed, now, SECOND, 5) == [("raised", 100, 0, False, True)]
    raised = (*changed, Dated(now + 1, HIGHER))
    assert turns.judge(raised, now + 1, FIRST, 5) == []
    assert turns.judge(raised, now + 1, SECOND, 5) == [
        ("retracted", 100, 0, False, True),
        ("retracted", 50, 0, False, True),
    ]


def test_late_usage_and_corrections_are_held_against_the_limit_of_their_time() -> None:
    turns, now = Turns(), THIRD.start + 9
    history = (Dated(FIRST.start, BUDGET), Dated(THIRD.start, HIGHER))
    assert turns.judge(history, now, FIRST, 4) == []
    assert turns.judge(history, now, FIRST, 10) == [("raised", 50, 0, True, True), ("raised", 100, 0, True, True)]
    assert turns.judge(history, now, FIRST, 9) == [("retracted", 100, 0, True, True)]
    assert turns.judge(history, FIRST.end + DAY_US, FIRST, 11) == [("raised", 100, 1, True, False)]


def test_windows_that_were_over_before_the_budget_are_recorded_and_told_nobody() -> None:
    turns = Turns()
    history = (Dated(SECOND.start + 9, BUDGET),)
    assert turns.judge(history, SECOND.start + 9, FIRST, 5) == [("raised", 50, 0, True, False)]
    assert turns.judge(history, SECOND.start + 9, SECOND, 5) == [("raised", 50, 0, False, True)]


@pytest.mark.parametrize("change", [{"period": "day"}, {"scope_kind": "department"}, {"scope": "bob"}])
def test_a_budget_that_is_about_something_else_now_judges_no_window_of_before(change: dict[str, str]) -> None:
    turns = Turns()
    history = (Dated(FIRST.start, BUDGET), Dated(SECOND.start, replace(BUDGET, version=2, **change)))
    assert turns.judge(history, SECOND.start, SECOND, 10) == []
    known = turns.judge(history, SECOND.start, FIRST, 10)
    assert [each[1] for each in known] == ([50, 100] if change == {"scope": "bob"} else [])
