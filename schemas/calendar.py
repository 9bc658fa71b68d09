"""One calendar decides every hour, day and month: in the stream, in SQL and in Superset.

Windows are half-open (start inclusive, end exclusive), in event time; a day is a day of the calendar's zone,
so days with a clock change have 23 or 25 hours. `calendar.toml`: `zone`, `first_day_of_week`,
`fiscal_start_month`, `billing_anchor_day`; defaults UTC, monday, 1, 1.
"""

import tomllib
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

QUARTER_US = 900_000_000  # every zone's offset today is a multiple of a quarter of an hour
SECOND_US = 1_000_000
#: In these a zone must keep its minutes past the hour, or hours would overlap and differ from SQL's.
STEADY_YEARS = range(2020, 2038)
DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")


@dataclass(frozen=True, slots=True)
class Window:
    """A half-open stretch of event time, microseconds UTC."""

    kind: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Calendar:
    """Where days and months begin."""

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
        """The window of `kind` (hour, day, month) that holds the instant `at` (microseconds UTC)."""
        zone = ZoneInfo(self.zone)
        local = datetime.fromtimestamp(at // SECOND_US, UTC).astimezone(zone)
        if kind == "hour":
            # From the instant, not the wall clock: the doubled hour of a clock change is two windows.
            past = timedelta(minutes=local.minute, seconds=local.second)
            start = local.astimezone(UTC) - past
            return Window(kind, _micros(start), _micros(start + timedelta(hours=1)))
        midnight = local.replace(hour=0, minute=0, second=0, microsecond=0, fold=0)
        if kind == "day":
            return Window(kind, _micros(midnight), _micros(_next_day(midnight)))
        if kind == "month":
            first = midnight.replace(day=1)
            return Window(kind, _micros(first), _micros((first + timedelta(days=32)).replace(day=1)))
        raise ValueError(f"window kind {kind!r}: hour, day or month")


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


def _next_day(midnight: datetime) -> datetime:
    return (midnight + timedelta(days=1)).replace(fold=0)
