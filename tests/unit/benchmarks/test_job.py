"""The benchmark's events, their prices and their sums: what every system is held to."""

from datetime import datetime
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest
from genai_prices import Usage, calc_price

from benchmarks.check import differences, ids, wrong
from benchmarks.job import HOUR_US, HOURS, Job, Totals, costs, latest_start, price_list
from benchmarks.load import DEPARTMENTS, SOLD, batches

JOB = Job(seed=7, events=45_000, start=1_760_000_400_000_000 // HOUR_US * HOUR_US, duplicates=0.02)
PRICES = price_list([(model.provider, model.name) for model in SOLD], JOB.start)


def test_prices_are_those_of_genai_prices() -> None:
    events = next(batches(JOB))[0].slice(0, 300)
    cost = costs(events, PRICES)
    for event, pico in zip(events.to_pylist(), cost.tolist(), strict=True):
        long_lived = event["cache_write_1h_tokens"]
        usage = Usage(
            input_tokens=event["input_tokens"],
            output_tokens=event["output_tokens"],
            cache_read_tokens=event["cache_read_tokens"],
            cache_write_tokens=event["cache_write_tokens"],
            **({"cache_write_1h_tokens": long_lived} if long_lived else {}),
        )
        listed = calc_price(
            usage, event["model"], provider_id=event["provider"], genai_request_timestamp=event["occurred_at"]
        )
        assert Decimal(pico).scaleb(-12) == listed.total_price


def test_the_same_job_is_the_same_events_and_spans_its_hours() -> None:
    first, again = list(batches(JOB)), list(batches(JOB))
    assert all(a[0].equals(b[0]) for a, b in zip(first, again, strict=True))
    table = pa.Table.from_batches([events for events, _ in first])
    at = table.column("occurred_at").cast(pa.int64()).to_numpy()
    assert (len(at), at.min() >= JOB.start, at.max() < JOB.start + HOURS * HOUR_US) == (45_000, True, True)
    assert len(table.column("department").unique()) == DEPARTMENTS


def test_copies_are_of_events_sent_before() -> None:
    for events, repeated in batches(JOB):
        names = events.column("event_id").to_pylist()
        assert 0 < repeated.sum() < 1_000
        for row in np.flatnonzero(repeated):
            original = names.index(names[row])
            assert original < row
            assert events.slice(original, 1).equals(events.slice(row, 1))


def test_totals_add_up_alike_by_department_and_by_user() -> None:
    once, as_sent = Totals(), Totals()
    for events, repeated in batches(JOB):
        cost = costs(events, PRICES)
        as_sent.add(events, cost)
        once.add(events.filter(pa.array(~repeated)), cost[~repeated])
    for totals in (once, as_sent):
        sums = {
            kind: [
                sum(column) for column in zip(*(s for (k, *_), s in totals.windows.items() if k == kind), strict=True)
            ]
            for kind in ("department", "user")
        }
        assert sums["department"] == sums["user"]
        assert sums["user"][0] == totals.events
        assert sums["user"][-1] == sum(totals.department_cost.values())
    assert once.events < as_sent.events == JOB.events
    assert wrong(dict(once.windows), once, as_sent) == wrong(dict(as_sent.windows), once, as_sent) == 0


def test_a_wrong_window_is_counted_whether_it_differs_lacks_or_is_too_many() -> None:
    right = {("user", "ada", 0): (1, 10, 5, 7), ("user", "bob", 0): (2, 20, 5, 9)}
    found = {("user", "ada", 0): (1, 10, 5, 8), ("user", "eve", 0): (1, 1, 1, 1)}  # differs; bob lacks; eve is new
    assert differences(right, right) == 0
    assert differences(found, right) == 3


def test_ids_tell_lost_from_doubled_from_kept_copies() -> None:
    sent = ["a", "b", "b", "c", "d", "d"]
    found = ["a", "a", "b", "b", "d"]  # a doubled, b's copy kept, c lost, d's copy dropped
    assert vars_of(ids(found, sent)) == (1, 1, 1, 2)


def vars_of(found: object) -> tuple[int, ...]:
    return tuple(getattr(found, name) for name in ("lost", "doubled", "copies_kept", "sent_again"))


def test_alerts_are_the_thresholds_that_a_departments_cost_has_reached() -> None:
    totals = Totals()
    totals.department_cost.update({"research": 100, "sales": 74, "legal": 49})
    assert totals.alerts(100) == {("research", t) for t in (50, 75, 90, 100)} | {("sales", 50)}


@pytest.mark.parametrize(
    ("now", "start"),
    [
        ("2026-11-30T14:59:59+00:00", "2026-11-30T08:00:00+00:00"),
        ("2026-12-01T06:00:00+00:00", "2026-12-01T00:00:00+00:00"),
        ("2026-12-01T05:59:59+00:00", "2026-11-30T18:00:00+00:00"),  # those of the month that is over
    ],
)
def test_the_hours_are_over_and_of_one_month(now: str, start: str) -> None:
    assert latest_start(datetime.fromisoformat(now)) == int(datetime.fromisoformat(start).timestamp()) * 1_000_000
