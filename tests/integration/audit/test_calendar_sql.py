"""The audit's calendar, in the engine's SQL, names the same windows as the stream's."""

from datetime import UTC, datetime

import pytest

from schemas.calendar import PERIODS, Calendar
from stream_processors.audit.calendar_sql import window_start
from stream_processors.audit.queries import Ledger

from .conftest import Books

CALENDARS = [
    Calendar(),
    Calendar("Europe/Berlin", "sunday", 4, 31),
    Calendar("America/Havana", "saturday", 2, 30),
    Calendar("Asia/Kathmandu", "wednesday", 11, 29),
]
FIRST = int(datetime(2024, 1, 1, tzinfo=UTC).timestamp())
STEP_S, COUNT = 6 * 3600 + 1799, 4000  # nearly three years, a leap day and six clock changes


@pytest.mark.parametrize("calendar", CALENDARS, ids=lambda calendar: calendar.zone)
def test_windows_begin_where_the_stream_says(empty_books: Books, calendar: Calendar) -> None:
    ledger = Ledger(empty_books.client, calendar)
    starts = ", ".join(f"toUnixTimestamp64Micro({window_start(kind, calendar)}) AS {kind}" for kind in PERIODS)
    rows = ledger.ask_sql(
        f"SELECT toUnixTimestamp64Micro(occurred_at) AS at, {starts} FROM (SELECT toDateTime64("
        f"{FIRST} + number * {STEP_S}, 6, 'UTC') AS occurred_at FROM numbers({COUNT}))",
        {"zone": calendar.zone},
    )
    assert len(rows) == COUNT
    for row in rows:
        assert {kind: row[kind] for kind in PERIODS} == {
            kind: calendar.window(kind, row["at"]).start for kind in PERIODS
        }
