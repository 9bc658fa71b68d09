"""When a delivery is tried again."""

from hypothesis import given
from hypothesis import strategies as st

from notifiers.retry import GIVE_UP_S, LONGEST_S, SECOND_US, next_attempt

CHANCES = st.floats(0, 0.999999)


def pause_s(attempts: int, chance: float) -> float:
    due = next_attempt(attempts, 0, 0, chance)
    assert due is not None
    return due / SECOND_US


def test_the_pause_doubles_from_five_seconds_to_an_hour() -> None:
    longest = [pause_s(attempts, 0.999999999) for attempts in range(1, 12)]
    assert [round(pause) for pause in longest] == [5, 10, 20, 40, 80, 160, 320, 640, 1280, 2560, 3600]
    assert [pause_s(attempts, 0) for attempts in (1, 2, 11, 1000)] == [2.5, 5, 1800, 1800]


@given(attempts=st.integers(1, 10_000), chance=CHANCES)
def test_chance_decides_half_of_the_pause(attempts: int, chance: float) -> None:
    assert 2.5 <= pause_s(attempts, chance) < LONGEST_S


@given(chance=CHANCES)
def test_it_goes_on_for_a_week(chance: float) -> None:
    now, attempts = 0, 0
    while (due := next_attempt(attempts := attempts + 1, 0, now, chance)) is not None:
        now = due
    assert GIVE_UP_S * SECOND_US <= now < (GIVE_UP_S + LONGEST_S) * SECOND_US
    assert attempts < 400


def test_the_last_second_of_the_week_is_still_tried() -> None:
    end = GIVE_UP_S * SECOND_US
    assert next_attempt(9, 7, end + 6, 0) is not None
    assert next_attempt(9, 7, end + 7, 0) is None
