"""A simulation is repeatable, meets the published figures, and every event of it is right and priced."""

from collections.abc import Sequence
from dataclasses import replace
from functools import cache

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from genai_prices import Usage, calc_price

from producers.batches import encode_batch, keys_and_partitions
from producers.catalog import FEATURES, MODELS
from producers.figures import QUANTILES, WORKLOADS, Workload, arrivals
from producers.people import DEPARTMENTS, ORGANIZATIONS
from producers.simulate import Simulation, simulate
from schemas.arrow import EVENT_COLUMNS

HOUR_US = 3_600_000_000
START = 1_767_600_000_000_000  # Monday 5 January 2026, 08:00 UTC
DAY = Simulation(seed=1, events=60_000, start=START, end=START + 24 * HOUR_US, duplicates=0.02, late=0.03)


@cache
def table(simulation: Simulation) -> pa.Table:
    batches = list(simulate(simulation))
    repeated = np.concatenate([batch.repeated for batch in batches])
    late = np.concatenate([batch.late for batch in batches])
    events = pa.Table.from_batches([batch.events for batch in batches]).unify_dictionaries()
    return events.append_column("repeated", pa.array(repeated)).append_column("late", pa.array(late))


def column(name: str) -> pa.ChunkedArray:
    found = table(DAY).column(name)
    return found.cast(pa.string()) if pa.types.is_dictionary(found.type) else found


def values(simulation: Simulation) -> list[bytes]:
    return [value for batch in simulate(simulation) for value in encode_batch(batch.events, 1)]


def test_the_same_simulation_has_the_same_bytes() -> None:
    small = replace(DAY, events=25_000)
    assert values(small) == values(small)


@pytest.mark.parametrize("change", [{"seed": 2}, {"events": 999}, {"end": START + HOUR_US}, {"late": 0.5}])
def test_another_simulation_shares_no_event(change: dict[str, float]) -> None:
    one = replace(DAY, events=1000)
    other = replace(one, **change)  # type: ignore[arg-type]
    ids = [set(table(each).column("event_id").to_pylist()) for each in (one, other)]
    assert not ids[0] & ids[1]


def test_there_are_as_many_records_as_asked_for() -> None:
    for count in (0, 1, 19_999, 20_001):
        assert sum(batch.events.num_rows for batch in simulate(replace(DAY, events=count))) == count


def test_columns_are_those_of_the_schema() -> None:
    assert next(simulate(DAY)).events.schema == EVENT_COLUMNS


def test_copies_and_only_copies_are_marked_and_are_the_same_event() -> None:
    ids = column("event_id").to_pylist()
    seen: dict[str, int] = {}
    repeated = column("repeated").to_pylist()
    for row, event_id in enumerate(ids):
        assert (event_id in seen) == repeated[row]
        seen.setdefault(event_id, row)
    assert sum(repeated) == pytest.approx(DAY.duplicates * DAY.events, rel=0.15)
    encoded = values(replace(DAY, events=20_000))
    first = next(simulate(replace(DAY, events=20_000)))
    originals = dict(zip(first.events["event_id"].to_pylist(), encoded, strict=True))
    copies = np.flatnonzero(first.repeated)
    assert len(copies) > 0
    assert all(encoded[row] == originals[first.events["event_id"][row].as_py()] for row in copies)


def test_a_copy_goes_where_its_first_went() -> None:
    first = next(simulate(DAY)).events
    _, partitions = keys_and_partitions(first, 4)
    places: dict[str, set[int]] = {}
    for event_id, partition in zip(first["event_id"].to_pylist(), partitions.tolist(), strict=True):
        places.setdefault(event_id, set()).add(partition)
    assert all(len(found) == 1 for found in places.values())


def test_rates_of_nothing_give_none() -> None:
    for batch in simulate(replace(DAY, events=5000, duplicates=0, late=0)):
        assert not batch.repeated.any()
        assert not batch.late.any()


def test_late_events_and_only_they_are_out_of_order() -> None:
    fresh = table(DAY).filter(pc.invert(pc.or_(column("late"), column("repeated"))))
    at = fresh.column("occurred_at").cast(pa.int64()).to_numpy()
    assert np.all(np.diff(at) >= 0)
    assert pc.sum(column("late")).as_py() == pytest.approx(DAY.late * DAY.events, rel=0.15)


def test_event_times_stay_within_their_bounds() -> None:
    at = column("occurred_at").cast(pa.int64())
    assert pc.min(at).as_py() >= DAY.start
    assert pc.max(at).as_py() < DAY.end


def test_organizations_share_departments_and_users() -> None:
    rows = set(zip(*(column(name).to_pylist() for name in ("organization", "department", "user")), strict=True))
    assert {organization for organization, _, _ in rows} == set(ORGANIZATIONS)
    assert {department for _, department, _ in rows} == {department.name for department in DEPARTMENTS}
    acme, globex = ({(d, u) for o, d, u in rows if o == name} for name in ("acme", "globex"))
    assert len(acme & globex) > 100


def test_a_project_belongs_to_its_department() -> None:
    allowed = {(each.name, project) for each in DEPARTMENTS for project in each.projects}
    found = set(zip(column("department").to_pylist(), column("project").to_pylist(), strict=True))
    assert found == allowed


def test_failed_calls_have_no_output() -> None:
    failed = pc.equal(column("status"), "error")
    assert pc.mean(failed.cast(pa.int8())).as_py() == pytest.approx(0.015, rel=0.3)
    assert set(column("output_tokens").filter(failed).to_pylist()) == {0}
    assert "" not in column("error_type").filter(failed).to_pylist()
    assert set(column("error_type").filter(pc.invert(failed)).to_pylist()) == {""}
    assert set(column("status").to_pylist()) == {"ok", "error", "cancelled"}


def of_workload(workload: Workload, name: str) -> pa.ChunkedArray:
    features = pa.array([each.name for each in FEATURES if each.workload == workload.name])
    rows = pc.and_(pc.is_in(column("feature"), features), pc.equal(column("status"), "ok"))
    return column(name).filter(rows)


def check_percentiles(found: Sequence[float], published: Sequence[float], tolerance: float) -> None:
    """Compared as ranks: the share of values at or below each published percentile is that percentile."""
    sorted_values = np.sort(np.asarray(found))
    for quantile, value in zip(QUANTILES, published, strict=True):
        below = np.searchsorted(sorted_values, value, side="left") / len(sorted_values)
        up_to = np.searchsorted(sorted_values, value, side="right") / len(sorted_values)
        assert below - tolerance <= quantile <= up_to + tolerance, f"{value} is at {below} to {up_to}, not {quantile}"


@pytest.mark.parametrize("workload", WORKLOADS, ids=lambda workload: workload.name)
def test_lengths_have_the_published_percentiles(workload: Workload) -> None:
    check_percentiles(of_workload(workload, "input_tokens").to_numpy(), workload.input_tokens, 0.02)
    check_percentiles(of_workload(workload, "output_tokens").to_numpy(), workload.output_tokens, 0.02)


@pytest.mark.parametrize(("number", "given", "made"), [(0, 2047.8, 27.9), (1, 1154.7, 211.1)])
def test_lengths_have_about_the_published_means(number: int, given: float, made: float) -> None:
    assert pc.mean(of_workload(WORKLOADS[number], "input_tokens")).as_py() == pytest.approx(given, rel=0.06)
    assert pc.mean(of_workload(WORKLOADS[number], "output_tokens")).as_py() == pytest.approx(made, rel=0.25)


def test_cached_shares_have_the_published_percentiles() -> None:
    cached = of_workload(WORKLOADS[2], "cache_read_tokens").to_numpy()
    given = of_workload(WORKLOADS[2], "input_tokens").to_numpy()
    check_percentiles(cached / given, WORKLOADS[2].cached, 0.02)
    assert cached.sum() / given.sum() == pytest.approx(0.374, abs=0.08)
    assert pc.sum(of_workload(WORKLOADS[0], "cache_read_tokens")).as_py() == 0


def test_code_requests_come_in_bursts_and_conversations_do_not() -> None:
    """As in the Azure traces: per 10 s, the busiest is some 12 times the mean for code, not twice for conversations."""
    start = START + HOUR_US  # 09:00, the rate is steady for this hour
    arrive = arrivals(np.random.default_rng(5), start, start + HOUR_US, code_share=0.5)
    quantiles = np.sort(np.random.default_rng(6).random(18_000))
    code = np.random.default_rng(7).random(18_000) < arrive.code_shares(quantiles)
    seconds = (arrive.times(quantiles) - start) / 1e6
    gaps = {is_code: np.diff(seconds[code == is_code]) for is_code in (True, False)}
    assert np.std(gaps[True]) / np.mean(gaps[True]) > 3
    assert np.std(gaps[False]) / np.mean(gaps[False]) == pytest.approx(1.1, abs=0.25)
    counts = np.bincount((seconds[code] // 10).astype(int), minlength=360)
    assert counts.min() == 0
    assert 6 < counts.max() / counts.mean() < 25


def test_working_hours_are_busier_than_nights_and_weekdays_than_weekends() -> None:
    week = replace(DAY, end=START + 7 * 24 * HOUR_US, late=0, events=40_000)
    at = table(week).column("occurred_at").cast(pa.int64()).to_numpy()
    hours = np.bincount(at // HOUR_US % 24, minlength=24)
    days = np.bincount((at // (24 * HOUR_US) + 3) % 7, minlength=7)
    assert hours[9:12].mean() > 10 * hours[1:4].mean()
    assert days[:5].min() > 2 * days[5:].max()


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)
def test_every_model_has_a_list_price(model: object) -> None:
    assert isinstance(model, type(MODELS[0]))
    usage = Usage(input_tokens=1000, cache_read_tokens=100, cache_write_tokens=50, output_tokens=100)
    assert calc_price(usage, model.name, provider_id=model.provider).total_price > 0


def test_every_model_and_feature_is_used() -> None:
    assert set(column("model").to_pylist()) == {model.name for model in MODELS}
    assert set(column("feature").to_pylist()) == {feature.name for feature in FEATURES}
    pairs = set(zip(column("provider").to_pylist(), column("model").to_pylist(), strict=True))
    assert pairs == {(model.provider, model.name) for model in MODELS}


@pytest.mark.parametrize(
    ("change", "message"),
    [({"end": START}, "end = "), ({"duplicates": 1.5}, "duplicates = 1.5"), ({"late": -0.1}, "late = -0.1"),
     ({"events": -1}, "events = -1")],
)  # fmt: skip
def test_a_wrong_setting_is_named(change: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(DAY, **change)  # type: ignore[arg-type]
