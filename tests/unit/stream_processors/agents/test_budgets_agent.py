"""A shard lets go of alerts about windows that can no longer be judged, and of nothing else; a pause outlives them."""

from dataclasses import replace

import numpy as np

from schemas.calendar import Calendar
from stream_processors.agents.budget_shard import REMEMBER_US, Shard
from stream_processors.core.alert_subjects import Member
from stream_processors.core.alerts import AlertBook, alert_record
from stream_processors.core.budget_history import Dated
from stream_processors.core.budgets import Budget, Resume
from stream_processors.core.gcounter import WIDTH, Progress
from stream_processors.core.merge import ShardTotals
from stream_processors.core.scopes import ScopeIndex
from stream_processors.core.watch import Watch
from stream_processors.core.windows import HOUR_US

NOW = 1_795_824_000_000_000
HOUR = Calendar().window("hour", NOW)
BUDGET = Budget("b", "*", "user", "*", "hour", "requests", 10, (50, 100), 1)


def shard_with_an_alert() -> Shard:
    index, book = ScopeIndex(), AlertBook()
    shard = Shard(ShardTotals(index), book, Watch([(Dated(0, BUDGET),)], NOW, book, index))
    [(scope, change)] = due(shard)
    book.fold(0, -1, alert_record(change, BUDGET, [], "", NOW))
    shard.watch.settled(BUDGET, HOUR, scope)
    return shard


def due(shard: Shard) -> list[tuple[int, object]]:
    scope = shard.totals.index.id_of(2, "acme", "ann")
    return shard.watch.due(BUDGET, HOUR, np.array([scope]), np.full((1, WIDTH), 5))


def test_alerts_are_remembered_while_their_window_may_come_back() -> None:
    shard = shard_with_an_alert()
    shard.totals.watermarks[0] = Progress(0, 7, "e", 9, HOUR.end + REMEMBER_US["hour"])
    shard.forget()
    assert due(shard) == []
    assert len(shard.book) == 1


def test_alerts_about_windows_long_over_are_let_go() -> None:
    shard = shard_with_an_alert()
    shard.totals.watermarks = {0: Progress(0, 7, "e", 9, HOUR.end + REMEMBER_US["hour"] + 1), 1: Progress(1)}
    shard.forget()
    assert len(shard.book) == 0
    assert len(due(shard)) == 1  # the ranges in which nothing is due went with them


def test_it_looks_once_an_hour_of_the_chains_clock() -> None:
    shard = shard_with_an_alert()
    shard.totals.watermarks[0] = Progress(0, 7, "e", 9, HOUR.end + REMEMBER_US["hour"])
    shard.forget()
    shard.totals.watermarks[0] = Progress(0, 8, "e", 10, HOUR.end + REMEMBER_US["hour"] + HOUR_US - 1)
    shard.forget()
    assert len(shard.book) == 1
    shard.totals.watermarks[0] = Progress(0, 9, "e", 11, HOUR.end + REMEMBER_US["hour"] + HOUR_US)
    shard.forget()
    assert len(shard.book) == 0


def test_who_was_paused_is_told_of_the_window_that_is_running_when_nothing_is_left_of_the_one_that_paused() -> None:
    """The worker was started anew, days later: all it knows is the fold of the alerts."""
    index, book = ScopeIndex(), AlertBook()
    pausing = replace(BUDGET, action="pause")
    for change in book.due(pausing, "acme", "user", "ann", HOUR, 10):
        book.fold(book.head + 1, book.head, alert_record(change, pausing, [], "", NOW))
    resumed = replace(pausing, resumes=(Resume("acme", "ann", "mia", NOW + 1),))
    totals = ShardTotals(index)
    shard = Shard(totals, book, Watch([(Dated(0, resumed),)], NOW, book, index), untold=set(book.pauses))
    later = NOW + 60 * HOUR_US
    shard.note_resumed(Calendar(), later)
    assert shard.untold == set()
    assert shard.limits == {("b", index.id_of(2, "acme", "ann")): Calendar().window("hour", later)}
    assert [book.paused(budget, "acme", "ann") for budget in (pausing, resumed)] == [True, False]


def test_who_was_paused_by_another_budget_waits() -> None:
    index, book = ScopeIndex(), AlertBook()
    other = Member("other", "acme", "user", "ann")
    shard = Shard(ShardTotals(index), book, Watch([(Dated(0, BUDGET),)], NOW, book, index), untold={other})
    shard.note_resumed(Calendar(), NOW)
    assert (shard.untold, shard.limits) == ({other}, {})
