"""Which hour, day and month an instant belongs to, for arrays of instants."""

from collections.abc import Iterator
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from schemas.arrow import WINDOW_KINDS
from schemas.calendar import QUARTER_US, Calendar, Window

HOUR_US = 3_600_000_000
#: How long after its end a window stays in memory; a later entry opens a new segment.
KEEP_US = {"hour": 48 * HOUR_US, "day": 40 * 24 * HOUR_US, "month": 40 * 24 * HOUR_US}


@lru_cache(maxsize=65_536)
def windows_at(calendar: Calendar, quarter: int) -> tuple[Window, ...]:
    """The window of each of `WINDOW_KINDS` that holds a quarter of an hour (since the epoch)."""
    return tuple(calendar.window(kind, quarter * QUARTER_US) for kind in WINDOW_KINDS)


def by_hour(
    calendar: Calendar, occurred_at: npt.NDArray[np.int64]
) -> Iterator[tuple[tuple[Window, ...], npt.NDArray[np.intp] | None]]:
    """The windows of each hour that occurs, with the rows that fall into it (None: all of them)."""
    quarters = occurred_at // QUARTER_US
    hours: dict[tuple[Window, ...], list[int]] = {}
    for quarter in np.unique(quarters).tolist():
        hours.setdefault(windows_at(calendar, quarter), []).append(quarter)
    if len(hours) == 1:
        yield next(iter(hours)), None
        return
    for windows, members in hours.items():
        yield windows, np.flatnonzero(np.isin(quarters, members))


def forgotten(window: Window, opened_at: int, clock: int) -> bool:
    """Whether a window that was opened at `opened_at` is let go when the chain's clock says `clock`."""
    return clock >= max(window.end, opened_at) + KEEP_US[window.kind]
