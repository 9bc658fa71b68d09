"""Windows of one kind lie end to end, also where clocks change; bad calendars are refused by name."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.calendar import DAYS, PERIODS, Calendar, load_calendar

HOUR = 3_600_000_000
ZONES = (
    "UTC",
    "Europe/Berlin",
    "Asia/Kathmandu",
    "Asia/Kolkata",
    "America/New_York",
    "America/Havana",  # the clock goes forward at midnight: days begin at 1 o'clock
    "Africa/Cairo",
    "America/Santiago",
    "Pacific/Chatham",
    "Pacific/Kiritimati",
    "Antarctica/Troll",  # by two hours
)
CALENDARS = {zone: Calendar(zone) for zone in ZONES}
KINDS = st.sampled_from(PERIODS)
RULES = st.builds(
    Calendar,
    st.sampled_from(ZONES),
    st.sampled_from(DAYS),
    st.integers(1, 12),
    st.one_of(st.integers(1, 31), st.integers(28, 31)),
)


def at(text: str) -> int:
    """Microseconds UTC of an ISO instant."""
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * 1_000_000


@st.composite
def instants(draw: st.DrawFn, zone: str) -> int:
    """From 2020 to 2037; every other one within two days of a clock change, at the edge of a quarter of an hour."""
    if draw(st.booleans()):
        return draw(st.integers(at("2020-01-01"), at("2037-12-31")))
    day = draw(st.sampled_from(["2024-02-29", "2026-03-29", "2026-10-25", "2026-03-08", "2026-11-01", "2026-04-24"]))
    return at(day) + draw(st.integers(-192, 192)) * 900_000_000 + draw(st.integers(-1, 1))


@given(RULES, KINDS, st.data())
def test_windows_lie_end_to_end(calendar: Calendar, kind: str, data: st.DataObject) -> None:
    instant = data.draw(instants(calendar.zone))
    window = calendar.window(kind, instant)
    assert window.kind == kind
    assert window.start <= instant < window.end
    assert calendar.window(kind, window.start) == calendar.window(kind, window.end - 1) == window
    assert calendar.window(kind, window.end).start == window.end
    assert calendar.window(kind, window.start - 1).end == window.start


@given(st.sampled_from(ZONES), st.data())
def test_hours_lie_in_days_and_days_in_months(zone: str, data: st.DataObject) -> None:
    instant = data.draw(instants(zone))
    hour, day, month = (CALENDARS[zone].window(kind, instant) for kind in ("hour", "day", "month"))
    assert month.start <= day.start <= hour.start < hour.end <= day.end <= month.end
    assert hour.end - hour.start == HOUR


@given(
    RULES,
    st.sampled_from([("day", "week"), ("day", "billing_cycle"), ("month", "quarter"), ("quarter", "year")]),
    st.data(),
)
def test_longer_windows_are_whole_shorter_ones(calendar: Calendar, kinds: tuple[str, str], data: st.DataObject) -> None:
    """Both edges of the longer window are edges of the shorter kind: it is made of them and of nothing else."""
    shorter, longer = kinds
    window = calendar.window(longer, data.draw(instants(calendar.zone)))
    assert calendar.window(shorter, window.start).start == window.start
    assert calendar.window(shorter, window.end - 1).end == window.end


@given(RULES, st.data())
def test_each_begins_on_the_day_that_the_calendar_names(calendar: Calendar, data: st.DataObject) -> None:
    instant = data.draw(instants(calendar.zone))

    def begins(kind: str) -> datetime:
        return datetime.fromtimestamp(calendar.window(kind, instant).start // 1_000_000, ZoneInfo(calendar.zone))

    assert DAYS[begins("week").weekday()] == calendar.first_day_of_week
    assert (begins("year").day, begins("year").month) == (1, calendar.fiscal_start_month)
    assert (begins("quarter").day, (begins("quarter").month - calendar.fiscal_start_month) % 3) == (1, 0)
    cycle = begins("billing_cycle")
    tomorrow = cycle + timedelta(days=1)
    assert cycle.day == calendar.billing_anchor_day or (cycle.day < calendar.billing_anchor_day and tomorrow.day == 1)


@given(st.sampled_from(ZONES), st.data())
def test_a_window_is_a_date_of_its_zone(zone: str, data: st.DataObject) -> None:
    """Against the wall clock itself: all its instants have one date, and those next to it another."""
    instant = data.draw(instants(zone))
    dates = [("day", "%Y-%m-%d"), ("month", "%Y-%m")]
    for kind, form in dates:
        window = CALENDARS[zone].window(kind, instant)
        shown = [
            datetime.fromtimestamp(edge // 1_000_000, ZoneInfo(zone)).strftime(form)
            for edge in (window.start - 1, window.start, instant, window.end - 1, window.end)
        ]
        assert shown[0] < shown[1] == shown[2] == shown[3] < shown[4]


@pytest.mark.parametrize(
    ("zone", "instant", "hours"),
    [
        ("Europe/Berlin", "2026-03-29T12:00", 23),
        ("Europe/Berlin", "2026-10-25T12:00", 25),
        ("America/New_York", "2026-03-08T12:00", 23),
        ("America/New_York", "2026-11-01T12:00", 25),
        ("America/Havana", "2026-03-08T12:00", 23),
        ("UTC", "2026-03-29T12:00", 24),
        ("Asia/Kathmandu", "2026-03-29T12:00", 24),
    ],
)
def test_days_of_a_clock_change_have_23_or_25_hours(zone: str, instant: str, hours: int) -> None:
    calendar = CALENDARS[zone]
    day = calendar.window("day", at(instant))
    assert day.end - day.start == hours * HOUR
    inside = {calendar.window("hour", day.start + quarter * HOUR // 4) for quarter in range(4 * hours)}
    assert len(inside) == hours


@pytest.mark.parametrize(
    ("zone", "kind", "instant", "start", "end"),
    [
        ("Asia/Kathmandu", "hour", "2026-01-01T00:14:59", "2025-12-31T23:15", "2026-01-01T00:15"),
        ("Asia/Kathmandu", "day", "2026-01-01T18:15", "2026-01-01T18:15", "2026-01-02T18:15"),
        ("Europe/Berlin", "month", "2026-03-31T21:59:59", "2026-02-28T23:00", "2026-03-31T22:00"),
        ("America/New_York", "month", "2026-11-30T12:00", "2026-11-01T04:00", "2026-12-01T05:00"),
        ("UTC", "day", "2024-02-29T23:59:59", "2024-02-29T00:00", "2024-03-01T00:00"),
        ("UTC", "month", "2024-02-29T00:00", "2024-02-01T00:00", "2024-03-01T00:00"),
        ("UTC", "month", "2025-12-31T23:59:59", "2025-12-01T00:00", "2026-01-01T00:00"),
    ],
)
def test_known_windows(zone: str, kind: str, instant: str, start: str, end: str) -> None:
    window = CALENDARS[zone].window(kind, at(instant))
    assert (window.start, window.end) == (at(start), at(end))


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(ValueError, match="'fortnight': one of hour, day, week"):
        Calendar().window("fortnight", 0)


@pytest.mark.parametrize(
    ("calendar", "kind", "instant", "start", "end"),
    [
        (Calendar(), "week", "2024-02-29T12:00", "2024-02-26", "2024-03-04"),
        (Calendar(first_day_of_week="sunday"), "week", "2026-03-01", "2026-03-01", "2026-03-08"),
        (Calendar("Europe/Berlin"), "week", "2026-03-29T12:00", "2026-03-22T23:00", "2026-03-29T22:00"),
        (Calendar(), "quarter", "2026-12-31T23:59", "2026-10-01", "2027-01-01"),
        (Calendar(fiscal_start_month=2), "quarter", "2026-01-15", "2025-11-01", "2026-02-01"),
        (Calendar(fiscal_start_month=4), "year", "2026-03-31", "2025-04-01", "2026-04-01"),
        (Calendar(), "year", "2024-02-29", "2024-01-01", "2025-01-01"),
        (Calendar(billing_anchor_day=31), "billing_cycle", "2026-02-27", "2026-01-31", "2026-02-28"),
        (Calendar(billing_anchor_day=31), "billing_cycle", "2026-02-28", "2026-02-28", "2026-03-31"),
        (Calendar(billing_anchor_day=30), "billing_cycle", "2024-02-29", "2024-02-29", "2024-03-30"),
        (Calendar(billing_anchor_day=29), "billing_cycle", "2026-03-28", "2026-02-28", "2026-03-29"),
        (Calendar(billing_anchor_day=15), "billing_cycle", "2026-01-14", "2025-12-15", "2026-01-15"),
    ],
)
def test_known_longer_windows(calendar: Calendar, kind: str, instant: str, start: str, end: str) -> None:
    window = calendar.window(kind, at(instant))
    assert (window.start, window.end) == (at(start), at(end))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('zone = "Mars/Olympus"', "zone = 'Mars/Olympus'"),
        ('zone = "America"', "zone = 'America'"),
        ('zone = ""', "zone = ''"),
        ('zone = "../etc"', "zone = '../etc'"),
        ("zone = 1", "zone = 1"),
        ('zone = "Australia/Lord_Howe"', "less than an hour"),
        ('first_day_of_week = "Monday"', "first_day_of_week = 'Monday'"),
        ("fiscal_start_month = 13", "fiscal_start_month = 13"),
        ('fiscal_start_month = "may"', "fiscal_start_month = 'may'"),
        ("billing_anchor_day = 0", "billing_anchor_day = 0"),
        ("billing_anchor_day = [1]", "billing_anchor_day = \\[1\\]"),
        ("zones = 1", "unknown field 'zones'"),
    ],
)
def test_a_bad_calendar_is_refused_by_field_and_value(tmp_path: Path, line: str, message: str) -> None:
    path = tmp_path / "calendar.toml"
    path.write_text(line)
    with pytest.raises(ValueError, match=message):
        load_calendar(path)


def test_a_calendar_is_read_and_missing_means_the_default(tmp_path: Path) -> None:
    path = tmp_path / "calendar.toml"
    assert load_calendar(path) == Calendar("UTC", "monday", 1, 1)
    path.write_text('zone = "Asia/Kathmandu"\nfirst_day_of_week = "sunday"\nfiscal_start_month = 4\n')
    assert load_calendar(path) == Calendar("Asia/Kathmandu", "sunday", 4, 1)
