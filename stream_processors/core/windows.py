"""Which hour, day and month an instant belongs to, for arrays of instants; and what longer windows are made of.

The stream keeps hours, days and months. Weeks and billing cycles are whole days, quarters and years whole months, so
their totals are sums of totals that are there anyway: no further window to add to, to send or to write down.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from schemas.arrow import WINDOW_KINDS
from schemas.calendar import LIFETIME, QUARTER_US, Calendar, Window
from stream_processors.core.scopes import Ids

HOUR_US = 3_600_000_000
DAY_US = 24 * HOUR_US
#: How long after its end a window stays in memory; a later entry opens a new segment. Days and months outlast what
#: is made of them: the first day of a billing cycle ends 30 days before the cycle does, the first month of a year 335.
KEEP_US = {"hour": 48 * HOUR_US, "day": 72 * DAY_US, "month": 400 * DAY_US}
#: For each of `BUDGET_PERIODS` the kind of window that it is made of.
BASE_KIND = {
    "hour": "hour",
    "day": "day",
    "week": "day",
    "billing_cycle": "day",
    "month": "month",
    "quarter": "month",
    "year": "month",
    LIFETIME: "month",  # those in memory: what is older than KEEP_US does not count any more
}


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


def is_base(window: Window) -> bool:
    """Whether the stream keeps windows of this kind itself."""
    return BASE_KIND[window.kind] == window.kind


def in_period(calendar: Calendar, period: str, touched: Mapping[Window, Ids]) -> dict[Window, Ids]:
    """The windows of a period that hold any of the touched ones, each with the scopes touched in it."""
    if BASE_KIND[period] == period:
        return {window: ids for window, ids in touched.items() if window.kind == period}
    found: dict[Window, list[Ids]] = defaultdict(list)
    for window, ids in touched.items():
        if window.kind == BASE_KIND[period]:
            found[calendar.window(period, window.start)].append(ids)
    return {window: np.unique(np.concatenate(parts)) for window, parts in found.items()}


def parts_of(window: Window, kept: Iterable[Window]) -> list[Window]:
    """Those of `kept` that a window is made of: itself, or the days or months within it."""
    kind = BASE_KIND[window.kind]
    return [each for each in kept if each.kind == kind and window.start <= each.start < window.end]


def kept_until(window: Window) -> int:
    """Until when, by the chain's clock, all that the window is made of is in memory (microseconds UTC).

    Of what is made of several, the first goes first; that its end is later than the window's start makes up a margin.
    """
    if window.kind == LIFETIME:
        return window.end
    return (window.end if is_base(window) else window.start) + KEEP_US[BASE_KIND[window.kind]]


def forgotten(window: Window, opened_at: int, clock: int) -> bool:
    """Whether a window that was opened at `opened_at` is let go when the chain's clock says `clock`."""
    return clock >= max(window.end, opened_at) + KEEP_US[window.kind]


def opened_at(window: Window, touches: Iterable[tuple[int, int]]) -> int:
    """When the window's newest life in memory began, as a replay of the chain would say.

    `touches` has the chain's clock before and with each block that has rows in the window, in order. Those that came
    before the window's end, but for the first, make no difference. Raises StopIteration when there is none.
    """
    remaining = iter(touches)
    _, opened = next(remaining)
    for before, clock in remaining:
        if forgotten(window, opened, before):
            opened = clock
    return opened
