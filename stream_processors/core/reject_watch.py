"""Whether so many events are rejected that going on would empty the topic into `usage.rejected`.

Rating halts where more than half of 1 000 events in a row are rejected, duplicates not counted. Where that is follows
from the events alone, not from how they were fetched, so a restart halts at the same offset. What was let through
stands in the chain: while its last 1 000 events are above the limit already, somebody has accepted that, and the
watch is quiet until they are below it once. There is no second state that could be lost.
"""

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc

from stream_processors.core.rating import Rated

WINDOW = 1000
PERCENT = 50

Verdicts = npt.NDArray[np.bool_]  # of events in offset order, True: rejected


class RejectWatch:
    """The verdicts on the last events of one source partition."""

    def __init__(self) -> None:
        self._recent: Verdicts = np.empty(0, bool)

    def crossing(self, verdicts: Verdicts) -> int | None:
        """The index of the first event at which the limit is passed; None when it is not. Takes nothing in."""
        if len(self._recent) == WINDOW and not verdicts.any():
            return None  # the common case: nothing can rise
        joined = np.concatenate((self._recent, verdicts))
        totals = np.concatenate(([0], np.cumsum(joined)))
        above = (totals[WINDOW:] - totals[:-WINDOW]) * 100 > WINDOW * PERCENT  # of each window that is full
        if len(self._recent) < WINDOW:
            above = np.concatenate(([False], above))  # no window was full before
        passed = np.flatnonzero(above[1:] & ~above[:-1])
        if not len(passed):
            return None
        first_full = max(0, WINDOW - 1 - len(self._recent))  # the event that fills the first of the new windows
        return first_full + int(passed[0])

    def take(self, verdicts: Verdicts) -> None:
        """These events have been let through, or are."""
        self._recent = np.concatenate((self._recent, verdicts))[-WINDOW:]


def judged(rated: Rated) -> tuple[npt.NDArray[np.int64], Verdicts]:
    """The offsets of what was booked or rejected, duplicates left out, in order; and which of them were rejected.

    An event that books a pair of rows counts once.
    """
    booked = rated.rows.column("src_offset").to_numpy()[rated.rows.column("src_entry").to_numpy() == 0]
    if not rated.rejects.num_rows:
        return booked, np.zeros(len(booked), bool)
    refused = rated.rejects.filter(pc.not_equal(rated.rejects.column("reason").cast("string"), "duplicate"))
    offsets = np.concatenate((booked, refused.column("src_offset").to_numpy()))
    order = np.argsort(offsets)
    return offsets[order], order >= len(booked)
