"""Windowed totals of one source partition: a grow-only counter per scope, window and segment.

A pure function of the chain of blocks up to a position: re-sent, repeated or rebuilt, the same chain gives the
same totals. A *segment* is the life of one window in memory: it is named by the block that opened it and sealed
when the window is forgotten, which depends only on the chain's own clock (append times), never on ours. A later
entry opens a new segment, so a total never shrinks. The total of a window is the sum over its segments; a *seed*
(segment -1, a SQL aggregate up to a position) replaces all segments opened up to there.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from schemas.arrow import MEASURES, WINDOW_KINDS
from schemas.calendar import Calendar, Window
from stream_processors.core import int128
from stream_processors.core.scopes import Ids, ScopeIndex, scope_ids
from stream_processors.core.selection import STANDING, Selection, chosen_rows, family_of
from stream_processors.core.windows import KEEP_US, by_hour, forgotten

SEED = -1
HIGH, LOW = len(MEASURES), len(MEASURES) + 1  # the two columns of cost
WIDTH = len(MEASURES) + 2
Values = npt.NDArray[np.int64]


def _room(length: int) -> int:
    """How long an array is to become that is full: by a quarter, since there are millions of rows."""
    return length + length // 4


@dataclass(slots=True)
class WindowTotals:
    """The scopes of one window: `values[row]` belongs to scope `scopes[row]`; WIDTH columns."""

    window: Window
    segment: int
    opened_at: int
    whole: bool  # no earlier segment: these totals are the window's
    scopes: Ids = field(default_factory=lambda: np.zeros(64, np.int64))
    values: Values = field(default_factory=lambda: np.zeros((64, WIDTH), np.int64))
    selection: str = ""  # `Selection.key` of the track that it belongs to
    size: int = 0
    recent: Ids = field(default_factory=lambda: np.zeros(0, np.int64))  # changed since they were saved with the others
    _rows: npt.NDArray[np.int32] = field(default_factory=lambda: np.full(64, -1, np.int32))

    def rows_of(self, ids: Ids) -> npt.NDArray[np.int32]:
        """The row of each scope (each at most once in `ids`), new rows for new ones."""
        highest = int(ids.max(initial=0))
        if highest >= len(self._rows):
            grown = np.full(max(highest + 1, _room(len(self._rows))), -1, np.int32)
            grown[: len(self._rows)] = self._rows
            self._rows = grown
        new = ids[self._rows[ids] < 0]
        if len(new):
            self._append(new)
        return self._rows[ids]

    def known_rows(self, ids: Ids) -> npt.NDArray[np.int32]:
        """The row of each scope, -1 for scopes that are not here."""
        rows = np.full(len(ids), -1, np.int32)
        inside = ids < len(self._rows)
        rows[inside] = self._rows[ids[inside]]
        return rows

    def _append(self, new: Ids) -> None:
        end = self.size + len(new)
        if end > len(self.scopes):
            room = max(end, _room(len(self.scopes)))
            self.scopes = np.concatenate((self.scopes[: self.size], np.zeros(room - self.size, np.int64)))
            self.values = np.concatenate((self.values[: self.size], np.zeros((room - self.size, WIDTH), np.int64)))
        self.scopes[self.size : end] = new
        self._rows[new] = np.arange(self.size, end, dtype=np.int32)
        self.size = end

    def add(self, ids: Ids, sums: Values) -> None:
        """Add sums of distinct scopes."""
        rows = self.rows_of(ids)
        values = self.values[rows] + sums
        int128.carry(values[:, HIGH], values[:, LOW])
        self.values[rows] = values

    def put(self, ids: Ids, values: Values) -> None:
        """Set absolute values of distinct scopes."""
        rows = self.rows_of(ids)  # may replace self.values
        self.values[rows] = values

    @property
    def family(self) -> str:
        return family_of(self.selection, self.window.kind)


@dataclass(frozen=True, slots=True)
class Progress:
    """Up to where a source partition is counted; `clock` is the chain's append time there (microseconds)."""

    src_partition: int
    block_offset: int = -1
    src_epoch: str = ""
    src_offset: int = -1
    clock: int = 0


@dataclass(slots=True)
class PartitionTotals:
    """Every window in memory of one source partition: of the standing scope kinds, or of one track."""

    progress: Progress
    selections: tuple[Selection, ...] = STANDING
    kinds: tuple[str, ...] = WINDOW_KINDS
    windows: dict[Window, WindowTotals] = field(default_factory=dict)
    sealed: set[tuple[str, int]] = field(default_factory=set)  # (kind, start) forgotten at least once
    unknown_before: int = -1  # chain clock of a seed: windows let go by then may have earlier segments
    ended: list[WindowTotals] = field(default_factory=list)  # let go, but not yet taken out of the table

    def open(self, window: Window, block_offset: int, clock: int) -> WindowTotals:
        """The window's totals in memory, a new segment when there are none."""
        totals = self.windows.get(window)
        if totals is None:
            whole = (window.kind, window.start) not in self.sealed and (
                self.unknown_before < 0 or window.end + KEEP_US[window.kind] > self.unknown_before
            )
            totals = self.windows[window] = WindowTotals(
                window, block_offset, clock, whole, selection=self.selections[0].key
            )
        return totals

    def seed(self, window: Window, opened_at: int, ids: Ids, values: Values) -> None:
        """Put in all that a window had up to `progress`; it is over at once if it would have been let go of by then."""
        held = self.open(window, SEED, opened_at)
        held.whole = True
        held.put(ids, values)
        if forgotten(window, opened_at, self.progress.clock):
            self.end(window)

    def forget(self, clock: int) -> None:
        """Let go of what the chain's clock says is over."""
        over = [w for w, totals in self.windows.items() if forgotten(w, totals.opened_at, clock)]
        for window in over:
            self.end(window)

    def end(self, window: Window) -> None:
        """Seal the segment of a window: what it counted stands, and nothing is added to it any more."""
        self.sealed.add((window.kind, window.start))
        self.ended.append(self.windows.pop(window))

    def take_ended(self) -> list[WindowTotals]:
        """Segments that have ended since the last call."""
        ended, self.ended = self.ended, []
        return ended

    def families(self) -> list[str]:
        """The names of what is kept here, one for each kind of window."""
        return [family_of(self.selections[0].key, kind) for kind in self.kinds]

    def absorb(self, later: "PartitionTotals") -> None:
        """Add what was counted behind a seed, from nothing, by totals that know no more than that.

        Of a window that the seed has, every later segment belongs to it: its totals are those up to one position. The
        others began after it, or are only what came late to windows that had been let go of.
        """
        for held in (*later.ended, *later.windows.values()):
            into = self.windows.get(held.window)
            if into is None:
                into = self.open(held.window, held.segment, held.opened_at)
            into.add(held.scopes[: held.size], held.values[: held.size])
        self.progress = later.progress


def measures_of(rows: pa.RecordBatch) -> Values:
    """The WIDTH numbers of each row that windows add up."""
    values = np.empty((rows.num_rows, WIDTH), np.int64)
    for column, name in enumerate(MEASURES):
        values[:, column] = rows.column(name).to_numpy()
    cost = rows.column("cost_pico").fill_null(0).to_numpy()
    values[:, HIGH], values[:, LOW] = int128.split(cost)
    return values


def sums_by_scope(
    rows: pa.RecordBatch, calendar: Calendar, index: ScopeIndex, selections: Sequence[Selection] = STANDING
) -> list[tuple[tuple[Window, ...], Ids, Values]]:
    """Sums of a block's rows: per hour that occurs (with its day and month), scope ids and their sums.

    `selections` have the same conditions: all the standing ones (none), or a track's.
    """
    if selections[0].conditions:
        rows = _chosen(rows, selections[0])
    if not rows.num_rows:
        return []
    measures = measures_of(rows)
    coded = [scope_ids(rows, index.kind_of(each.text), each.scope_kind, index) for each in selections]
    occurred_at = rows.column("occurred_at").cast(pa.int64()).to_numpy()
    result = []
    for windows, members in by_hour(calendar, occurred_at):
        ids, sums = [], []
        some = measures if members is None else measures[members]
        for codes, scope_of_code in coded:
            present, totals = _group(codes if members is None else codes[members], some)
            ids.append(scope_of_code[present])
            sums.append(totals)
        result.append((windows, np.concatenate(ids), np.concatenate(sums)))
    return result


def _chosen(rows: pa.RecordBatch, selection: Selection) -> pa.RecordBatch:
    """The rows that meet the conditions, with no more columns than windows need."""
    needed = dict.fromkeys(("organization", selection.scope_kind, "occurred_at", *MEASURES, "cost_pico"))
    return rows.select(list(needed)).filter(pa.array(chosen_rows(rows, selection.conditions)))


def _group(codes: npt.NDArray[np.int32], measures: Values) -> tuple[npt.NDArray[np.int32], Values]:
    order = np.argsort(codes.astype(np.int16) if codes.max() < 32_768 else codes, kind="stable")
    ordered = codes[order]
    starts = np.flatnonzero(np.concatenate(([True], ordered[1:] != ordered[:-1])))
    return ordered[starts], np.add.reduceat(measures[order], starts, axis=0)
