"""What holds from when to when: half-open stretches of time, as prices and exchange rates are written."""

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Annotated, Self, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from schemas.instant import Instant

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_END = datetime(2100, 1, 1, tzinfo=UTC)


def _in_reach(moment: datetime) -> datetime:
    if not EPOCH <= moment <= _END:
        raise ValueError("a time is from 1970-01-01 to 2100-01-01")
    return moment


Moment = Annotated[Instant, AfterValidator(_in_reach)]


class Form(BaseModel):
    """As it is written in a file and kept in a topic."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


class Dated(Form):
    """Holds from `start` to before `end`."""

    start: Annotated[Moment, Field(alias="from")]
    end: Annotated[Moment | None, Field(alias="to")] = None

    @model_validator(mode="after")
    def _ends_after_it_begins(self) -> Self:
        if self.end is not None and self.end <= self.start:
            raise ValueError(f"to = {self.end.isoformat()}: must be after from = {self.start.isoformat()}")
        return self

    @property
    def start_us(self) -> int:
        """Microseconds UTC."""
        return instant_us(self.start)

    @property
    def end_us(self) -> int | None:
        """Microseconds UTC, exclusive; None: open."""
        return None if self.end is None else instant_us(self.end)

    def overlaps(self, other: "Dated") -> bool:
        """Whether there is an instant at which both hold."""
        return (self.end is None or other.start < self.end) and (other.end is None or self.start < other.end)

    def within(self, other: "Dated") -> Self:
        """The part that lies within another, which it overlaps."""
        ends = [end for end in (self.end, other.end) if end is not None]
        return self.model_copy(update={"start": max(self.start, other.start), "end": min(ends, default=None)})

    def text(self) -> str:
        """`2026-01-01T00:00:00Z to 2026-07-01T00:00:00Z`."""
        return f"{instant_text(self.start)} to {'further notice' if self.end is None else instant_text(self.end)}"


Some = TypeVar("Some", bound=Dated)


def require_consecutive(ranges: Iterable[Dated]) -> None:
    """Raises ValueError, with both named, when one does not begin where the one before it ends."""
    for before, after in pairwise(ranges):
        if before.end is None or before.end > after.start:
            raise ValueError(f"ranges {before.text()} and {after.text()} overlap: each ends where the next begins")
        if before.end < after.start:
            raise ValueError(f"ranges {before.text()} and {after.text()} leave a gap: say what holds in between")


def in_force(ranges: Sequence[Some], moment_us: int) -> Some | None:
    """The range that holds at an instant; `ranges` are consecutive, and may be one a day for years."""
    place = bisect_right(ranges, moment_us, key=lambda dated: dated.start_us) - 1
    if place < 0:
        return None
    end_us = ranges[place].end_us
    return ranges[place] if end_us is None or moment_us < end_us else None


def instant_us(moment: datetime) -> int:
    """Microseconds UTC."""
    return (moment - EPOCH) // timedelta(microseconds=1)


def instant_text(moment: datetime) -> str:
    """`2026-01-01T00:00:00Z`."""
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")
