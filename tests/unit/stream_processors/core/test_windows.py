"""Rows are put into the windows of their instants, and windows are let go by the chain's clock alone."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.arrow import WINDOW_KINDS
from schemas.calendar import Calendar, Window
from stream_processors.core.windows import KEEP_US, by_hour, forgotten

HOUR, DAY = 3_600_000_000, 86_400_000_000
AROUND = 1_774_742_400_000_000  # 2026-03-29 00:00 UTC: an hour before the clock change in Berlin
CALENDARS = [Calendar(zone) for zone in ("UTC", "Europe/Berlin", "Asia/Kathmandu", "America/New_York")]
INSTANTS = st.one_of(
    st.integers(AROUND - 3 * DAY, AROUND + 3 * DAY),
    st.builds(lambda quarter, edge: AROUND + quarter * 900_000_000 + edge, st.integers(-300, 300), st.integers(-1, 1)),
)


@given(st.lists(INSTANTS, min_size=1, max_size=30), st.sampled_from(CALENDARS))
def test_each_row_is_in_the_windows_of_its_instant_once(instants: list[int], calendar: Calendar) -> None:
    found: dict[int, list[tuple[Window, ...]]] = {}
    for windows, members in by_hour(calendar, np.array(instants, np.int64)):
        for row in range(len(instants)) if members is None else members.tolist():
            found.setdefault(row, []).append(windows)
    assert found == {
        row: [tuple(calendar.window(kind, instant) for kind in WINDOW_KINDS)] for row, instant in enumerate(instants)
    }


def test_no_rows_have_no_windows() -> None:
    assert list(by_hour(Calendar(), np.zeros(0, np.int64))) == []


@pytest.mark.parametrize("kind", WINDOW_KINDS)
def test_a_window_is_kept_for_its_time_after_its_end_or_after_it_was_opened_late(kind: str) -> None:
    window = Calendar().window(kind, AROUND)
    assert not forgotten(window, 0, window.end + KEEP_US[kind] - 1)
    assert forgotten(window, 0, window.end + KEEP_US[kind])
    late = window.end + 400 * DAY
    assert not forgotten(window, late, late + KEEP_US[kind] - 1)
    assert forgotten(window, late, late + KEEP_US[kind])


def test_days_and_months_are_kept_longer_than_what_is_made_of_them() -> None:
    assert KEEP_US == {"hour": 48 * HOUR, "day": 72 * DAY, "month": 400 * DAY}
