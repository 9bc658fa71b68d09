"""One calendar decides every hour, day, week, month ...: in the stream, in SQL and in Superset.

Windows are half-open (start inclusive, end exclusive), in event time; a day is a day of the calendar's zone,
so days with a clock change have 23 or 25 hours. Weeks, quarters, years and billing cycles are made of whole days:
quarters and years of whole months, counted from the fiscal start. `calendar.toml`: `zone`, `first_day_of_week`,
`fiscal_start_month`, `billing_anchor_day`; defaults UTC, monday, 1, 1.
"""

import tomllib
from calendar import monthrange
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

QUARTER_US = 900_000_000  # every zone's offset today is a multiple of a quarter of an hour
SECOND_US = 1_000_000
#: In these a zone must keep its minutes past the hour, or hours would overlap and differ from SQL's.
STEADY_YEARS = range(2020, 2038)
#: Every kind of window that the calendar has.
PERIODS = ("hour", "day", "week", "month", "quarter", "year", "billing_cycle")
#: The one window that holds all: that of a budget for the whole life of a task.
LIFETIME = "lifetime"
BUDGET_PERIODS = (*PERIODS, LIFETIME)
END_US = 4_102_444_800 * SECOND_US  # 2100-01-01 UTC, beyond any event
_MONTHS = {"month": 1, "quarter": 3, "year": 12}
DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")


@dataclass(frozen=True, slots=True)
class Window:
    """A half-open stretch of event time, microseconds UTC."""

    kind: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Calendar:
    """Where days, weeks, months, quarters, years and billing cycles begin.

    A billing cycle begins on the anchor day of a month, on its last day where the month is shorter.
    """

    zone: str = "UTC"
    first_day_of_week: str = "monday"
    fiscal_start_month: int = 1
    billing_anchor_day: int = 1

    def __post_init__(self) -> None:
        try:
            zone = ZoneInfo(self.zone)
        except (ZoneInfoNotFoundError, OSError, TypeError, ValueError) as error:
            raise ValueError(f"calendar: zone = {self.zone!r}: not a name of the time zone database") from error
        if len({_past_the_hour(zone, year, month) for year in STEADY_YEARS for month in range(1, 13)}) > 1:
            raise ValueError(f"calendar: zone = {self.zone!r}: its clock changes by less than an hour, ours cannot")
        if self.first_day_of_week not in DAYS:
            raise ValueError(f"calendar: first_day_of_week = {self.first_day_of_week!r}: one of {', '.join(DAYS)}")
        if self.fiscal_start_month not in range(1, 13):
            raise ValueError(f"calendar: fiscal_start_month = {self.fiscal_start_month!r}: 1 to 12")
        if self.billing_anchor_day not in range(1, 32):
            raise ValueError(f"calendar: billing_anchor_day = {self.billing_anchor_day!r}: 1 to 31")

    def window(self, kind: str, at: int) -> Window:
        """The window of `kind` (one of `BUDGET_PERIODS`) that holds the instant `at` (microseconds UTC)."""
        if kind == LIFETIME:
            return Window(LIFETIME, 0, END_US)
        zone = ZoneInfo(self.zone)
        local = datetime.fromtimestamp(at // SECOND_US, UTC).astimezone(zone)
        if kind == "hour":
            # From the instant, not the wall clock: the doubled hour of a clock change is two windows.
            past = timedelta(minutes=local.minute, seconds=local.second)
            start = local.astimezone(UTC) - past
            return Window(kind, _micros(start), _micros(start + timedelta(hours=1)))
        midnight = local.replace(hour=0, minute=0, second=0, microsecond=0, fold=0)
        start, end = self._days(kind, midnight)
        return Window(kind, _micros(start), _micros(end))

    def _days(self, kind: str, midnight: datetime) -> tuple[datetime, datetime]:
        """The midnights where the window begins and ends that holds the day of `midnight`."""
        if kind == "day":
            return midnight, _plus_days(midnight, 1)
        if kind == "week":
            start = _plus_days(midnight, -((midnight.weekday() - DAYS.index(self.first_day_of_week)) % 7))
            return start, _plus_days(start, 7)
        first = midnight.replace(day=1)
        if kind in _MONTHS:
            start = _plus_months(first, -((first.month - self.fiscal_start_month) % _MONTHS[kind]))
            return start, _plus_months(start, _MONTHS[kind])
        if kind == "billing_cycle":
            begun = first if midnight >= self._anchored(first) else _plus_months(first, -1)
            return self._anchored(begun), self._anchored(_plus_months(begun, 1))
        raise ValueError(f"window kind {kind!r}: one of {', '.join(BUDGET_PERIODS)}")

    def _anchored(self, first: datetime) -> datetime:
        """The billing anchor's day in the month that begins at `first`."""
        return first.replace(day=min(self.billing_anchor_day, monthrange(first.year, first.month)[1]))


def load_calendar(path: Path) -> Calendar:
    """The calendar in `path`, or the default when there is no such file; ValueError names a bad field."""
    if not path.exists():
        return Calendar()
    values = tomllib.loads(path.read_text())
    unknown = values.keys() - Calendar.__dataclass_fields__.keys()
    if unknown:
        raise ValueError(f"{path}: unknown field {min(unknown)!r}")
    return Calendar(**values)


def _past_the_hour(zone: ZoneInfo, year: int, month: int) -> timedelta:
    offset = datetime(year, month, 1, tzinfo=zone).utcoffset() or timedelta()
    return offset % timedelta(hours=1)


def _micros(at: datetime) -> int:
    return int(at.timestamp()) * SECOND_US


def _plus_days(midnight: datetime, count: int) -> datetime:
    return (midnight + timedelta(days=count)).replace(fold=0)


def _plus_months(first: datetime, count: int) -> datetime:
    """The first of the month `count` months later."""
    years, month = divmod(first.month - 1 + count, 12)
    return first.replace(year=first.year + years, month=month + 1, fold=0)
