"""The pauses between restarts."""

from hypothesis import given
from hypothesis import strategies as st

from local import restarts


def test_first_restart_is_quick_and_none_waits_longer_than_15_s() -> None:
    assert restarts.delay_s(1) == 0.2
    assert [restarts.delay_s(failures) for failures in (7, 8, 1_000)] == [15.0, 15.0, 15.0]


@given(st.integers(1, 100))
def test_pauses_never_shrink(failures: int) -> None:
    assert restarts.delay_s(failures) <= restarts.delay_s(failures + 1)


def test_serving_for_a_while_starts_the_count_anew() -> None:
    assert restarts.failures_after(6, served_s=restarts.STABLE_S) == 1
    assert restarts.failures_after(6, served_s=restarts.STABLE_S - 1) == 7


def test_only_several_ends_in_a_row_mean_that_it_cannot_start() -> None:
    assert not restarts.cannot_start(restarts.LIMIT - 1)
    assert restarts.cannot_start(restarts.LIMIT)
