"""The harness' arithmetic, with the sums in the open."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.figures import growth, percentile, rate, spread

VALUES = st.lists(st.floats(0, 1e6), min_size=1)


def test_rate_is_events_over_seconds() -> None:
    assert rate(600_000, 4.0) == 150_000.0
    with pytest.raises(ValueError, match="seconds = 0"):
        rate(10, 0)


def test_spread_is_the_range_over_the_median() -> None:
    assert spread([90, 100, 120]) == 0.3  # (120 - 90) / 100
    assert spread([100]) == 0


def test_percentile_is_a_measured_value() -> None:
    hundred = list(range(1, 101))
    assert [percentile(hundred, p) for p in (50, 95, 99, 100)] == [50, 95, 99, 100]
    assert percentile([7], 99) == 7
    with pytest.raises(ValueError, match="empty"):
        percentile([], 50)


@given(VALUES, st.integers(1, 100))
def test_at_least_so_many_values_do_not_exceed_a_percentile(values: list[float], percent: int) -> None:
    found = percentile(values, percent)
    assert found in values
    assert sum(value <= found for value in values) >= math.ceil(percent / 100 * len(values))
    assert sum(value < found for value in values) < math.ceil(percent / 100 * len(values))


def test_growth_compares_the_end_with_what_follows_the_warm_up() -> None:
    warm_up, steady, end = [50.0] * 10, [100.0] * 80, [104.0] * 10
    assert growth(warm_up + steady + end) == pytest.approx(0.04)
    with pytest.raises(ValueError, match="at least 10"):
        growth([1.0] * 9)
