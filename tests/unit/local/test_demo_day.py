"""When the demonstration's day begins."""

from datetime import UTC, datetime

from local.demo import first_event


def test_it_begins_a_day_ago() -> None:
    assert first_event(datetime(2026, 12, 9, 12, tzinfo=UTC)) == datetime(2026, 12, 8, 12, tzinfo=UTC)


def test_on_the_first_of_a_month_it_begins_with_the_month() -> None:
    assert first_event(datetime(2026, 12, 1, 0, 40, tzinfo=UTC)) == datetime(2026, 12, 1, tzinfo=UTC)
