"""Months of the calendar that somebody has closed. Entries for them still come, and are told as prior-period.

The value of a record of `usage.periods`, key `2026-10`, is all that ever happened to the month. A closing names where
`usage.events` ended then: what was appended before belongs to the period as it was closed, whenever it lands.
"""

from datetime import date, datetime
from typing import Annotated, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field


class _Form(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Event(_Form):
    """The month was closed, or opened again; by whom and why, and where the partitions of `usage.events` ended."""

    state: Literal["closed", "open"]
    at: AwareDatetime
    author: Annotated[str, Field(min_length=1)]
    reason: Annotated[str, Field(min_length=1)]
    src_epoch: str
    ends: tuple[int, ...]


class Period(_Form):
    """A month and its history, oldest first."""

    month: date
    history: Annotated[tuple[Event, ...], Field(min_length=1)]

    @property
    def closed(self) -> bool:
        """Whether it is closed now."""
        return self.history[-1].state == "closed"


def after(period: Period | None, month: date, event: Event, month_end: datetime) -> Period:
    """The period with one more event. ValueError when it is in that state already, or closes before it is over."""
    if event.state == "closed" and event.at < month_end:
        raise ValueError(f"month = {month:%Y-%m}: it ends at {month_end.isoformat()}, and is closed after that")
    if (period is not None and period.closed) == (event.state == "closed"):
        by = f" by {period.history[-1].author} at {period.history[-1].at:%Y-%m-%d %H:%M %Z}" if period else ""
        raise ValueError(f"month = {month:%Y-%m}: it is {event.state} already{by}")
    return Period(month=month, history=(*(period.history if period else ()), event))
