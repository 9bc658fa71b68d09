"""The watch over arrays says what asking the book about every scope would say."""

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.arrow import MEASURES, SCOPE_KINDS
from schemas.calendar import Calendar
from stream_processors.core.alerts import AlertBook, Change, alert_record
from stream_processors.core.budget_history import Dated
from stream_processors.core.budgets import UNITS, Budget, used_of
from stream_processors.core.gcounter import WIDTH
from stream_processors.core.scopes import ScopeIndex
from stream_processors.core.watch import Watch, amounts_in

NOW = 1_795_824_000_000_000
HOURS = [Calendar().window("hour", NOW + place * 3_600_000_000) for place in range(2)]
SCOPES = [(kind, organization, name) for kind in (1, 2) for organization in ("acme", "beta") for name in ("", "ann")]

THRESHOLDS = st.sets(st.integers(1, 200), min_size=1, max_size=5).map(lambda found: tuple(sorted(found)))
BUDGETS = st.builds(
    Budget,
    id=st.sampled_from(["a", "b"]),
    organization=st.sampled_from(["*", "acme"]),
    scope_kind=st.sampled_from(["department", "user"]),
    scope=st.sampled_from(["*", "ann", ""]),
    period=st.just("hour"),
    unit=st.sampled_from(UNITS),
    limit=st.one_of(st.integers(1, 300), st.sampled_from([1 << 32, (1 << 32) - 1, 10**18, 1 << 80])),
    thresholds=THRESHOLDS,
    version=st.just(1),
)
COSTS = st.one_of(st.integers(-50, 400), st.sampled_from([(1 << 32) - 1, 1 << 32, -1, 1 << 79, -(1 << 70), 10**18]))


def values_of(counts: list[int], costs: list[int]) -> npt.NDArray[np.int64]:
    rows = [
        [*(count + place for place in range(len(MEASURES))), cost >> 32, cost & 0xFFFF_FFFF]
        for count, cost in zip(counts, costs, strict=True)
    ]
    return np.array(rows, np.int64).reshape(-1, WIDTH)


def naively(book: AlertBook, budget: Budget, window: Any, counts: list[int], costs: list[int], ids: list[int]) -> Any:
    found: list[tuple[int, Change]] = []
    for scope, count, cost in zip(ids, counts, costs, strict=True):
        kind, organization, name = SCOPES[scope]
        if budget.covers(organization, SCOPE_KINDS[kind], name):
            measures = {measure: count + place for place, measure in enumerate(MEASURES)} | {"cost_pico": cost}
            used = used_of(budget.unit, measures)
            found += [(scope, each) for each in book.due(budget, organization, SCOPE_KINDS[kind], name, window, used)]
    return found


@given(st.data())
@settings(deadline=None)
def test_nothing_is_missed_and_nothing_is_invented(data: st.DataObject) -> None:
    """Amounts go up and down, scopes appear one by one, and now and then the budgets change."""
    index, book = ScopeIndex(), AlertBook()
    watch = Watch([], NOW, book, index)
    for _ in range(data.draw(st.integers(1, 8))):
        if not watch.budgets or data.draw(st.integers(0, 4)) == 0:
            found = {b.id: (Dated(0, b),) for b in data.draw(st.lists(BUDGETS, max_size=3))}
            watch = Watch(found.values(), NOW, book, index)
        known = data.draw(st.integers(len(index), len(SCOPES)))
        for scope in SCOPES[:known]:
            index.id_of(*scope)
        ids = data.draw(st.lists(st.sampled_from(range(known)), unique=True)) if known else []
        counts = data.draw(st.lists(st.integers(-20, 400), min_size=len(ids), max_size=len(ids)))
        costs = data.draw(st.lists(COSTS, min_size=len(ids), max_size=len(ids)))
        window = data.draw(st.sampled_from(HOURS))
        for budget in watch.budgets:
            covered = watch.covered(budget, np.array(ids, np.int64))
            rows = [ids.index(scope) for scope in covered.tolist()]
            due = watch.due(budget, window, covered, values_of(counts, costs)[rows])
            assert due == naively(book, budget, window, counts, costs, ids)
            for scope, change in due:
                assert book.fold(book.head + 1, book.head, alert_record(change, budget, [], "", NOW))
                watch.settled(budget, window, scope)


@pytest.mark.parametrize("unit", UNITS)
def test_the_amount_is_that_of_the_unit(unit: str) -> None:
    high, low = amounts_in(unit, values_of([7], [-(1 << 70) + 5]))
    measures = {measure: 7 + place for place, measure in enumerate(MEASURES)} | {"cost_pico": -(1 << 70) + 5}
    assert (int(high[0]) << 32) + int(low[0]) == used_of(unit, measures)


def test_what_was_forgotten_is_asked_for_again() -> None:
    index, book = ScopeIndex(), AlertBook()
    budget = Budget("b", "*", "user", "*", "hour", "cost", 100, (50,), 1)
    watch = Watch([(Dated(0, budget),)], NOW, book, index)
    scope = np.array([index.id_of(2, "acme", "ann")])
    before, after = (values_of([0], [cost]) for cost in (10, 60))
    assert watch.due(budget, HOURS[0], scope, before) == []
    watch.forget({"hour": HOURS[0].end + 1})
    [(_, change)] = watch.due(budget, HOURS[0], scope, after)
    assert (change.threshold, change.used) == (50, 60)
    assert watch.due(replace(budget), HOURS[1], scope, before) == []
