"""Totals of windows over all source partitions, for the scopes of one budgets shard.

A fold of `usage.partials`: a message counts when it continues what is already merged of its source partition (or is
a snapshot), whole or not at all. Rollup sends a snapshot of each partition after every assignment, so this state
needs no table of its own: it is rebuilt from its input.
"""

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import pyarrow as pa

from schemas.arrow import MEASURES, SCOPE_KINDS
from schemas.calendar import Window
from stream_processors.core import int128
from stream_processors.core.gcounter import HIGH, LOW, SEED, WIDTH, Progress, Values, WindowTotals
from stream_processors.core.rollup import PartialHeader, entry_batch
from stream_processors.core.scopes import Ids, ScopeIndex
from stream_processors.core.windows import HOUR_US, KEEP_US

#: Longer than rollup keeps a window, so that what rollup sends of its memory always meets ours.
MARGIN_US = 24 * HOUR_US
_KIND = {kind: number for number, kind in enumerate(SCOPE_KINDS)}

Part = tuple[int, int]  # source partition, segment


class ShardTotals:
    """Every window in memory of one shard."""

    def __init__(self, index: ScopeIndex) -> None:
        self.index = index
        self.watermarks: dict[int, Progress] = {}
        self.partial: set[tuple[str, int]] = set()
        self._parts: dict[Window, dict[Part, WindowTotals]] = {}
        self._dirty: dict[tuple[Window, Part], list[Ids]] = {}

    def apply(self, header: PartialHeader, entries: pa.RecordBatch) -> dict[Window, Ids]:
        """Merge a message; returns the scopes it touched per window, nothing when it does not continue ours."""
        mark = self.watermarks.get(header.src_partition)
        position = mark.block_offset if mark else -1
        if header.since > position or (mark is not None and header.block_offset <= position):
            return {}
        self.partial.update(header.partial)
        touched: dict[Window, list[Ids]] = {}
        for window, segment, ids, values in _groups(entries, self.index):
            part = (header.src_partition, segment)
            self._part(window, part, header.block_offset).put(ids, values)
            self._dirty.setdefault((window, part), []).append(ids)
            touched.setdefault(window, []).append(ids)
        if header.last:
            self.watermarks[header.src_partition] = header.progress
            self._forget(header.clock)
        return {window: np.unique(np.concatenate(parts)) for window, parts in touched.items()}

    def _part(self, window: Window, part: Part, block_offset: int) -> WindowTotals:
        parts = self._parts.setdefault(window, {})
        held = parts.get(part)
        if held is None:
            held = parts[part] = WindowTotals(window, part[1], 0, whole=True)
            if part[1] == SEED:  # replaces the segments that it was summed from
                for other in [p for p in parts if p[0] == part[0] and SEED < p[1] <= block_offset]:
                    del parts[other]
        return held

    def _forget(self, clock: int) -> None:
        for window in [w for w in self._parts if clock >= w.end + KEEP_US[w.kind] + MARGIN_US and not self._pending(w)]:
            del self._parts[window]

    def _pending(self, window: Window) -> bool:
        return any(w == window for w, _ in self._dirty)

    def whole(self, window: Window) -> bool:
        """Whether totals here are the window's: no earlier segment has been let go."""
        return (window.kind, window.start) not in self.partial

    def everything(self) -> dict[Window, Ids]:
        """All windows and scopes in memory."""
        return {
            window: np.unique(np.concatenate([held.scopes[: held.size] for held in parts.values()]))
            for window, parts in self._parts.items()
        }

    def totals(self, window: Window, ids: Ids) -> Values:
        """Sums over source partitions and segments; one row of WIDTH columns a scope."""
        result = np.zeros((len(ids), WIDTH), np.int64)
        for held in self._parts[window].values():
            rows = held.known_rows(ids)
            known = rows >= 0
            result[known] += held.values[rows[known]]
        int128.carry(result[:, HIGH], result[:, LOW])
        return result

    def take_changed(self) -> Iterator[pa.RecordBatch]:
        """Entries changed since the last call, as `WINDOW_ENTRIES`, each as of its partition's watermark."""
        dirty, self._dirty = self._dirty, {}
        for (window, part), parts in dirty.items():
            held = self._parts.get(window, {}).get(part)
            if held is not None:
                ids = np.unique(np.concatenate(parts))
                yield entry_batch(held, ids, held.values[held.rows_of(ids)], self._position(window, part), self.index)

    def _position(self, window: Window, part: Part) -> Progress:
        """A sealed segment must not claim a position at which a later segment has begun."""
        mark = self.watermarks[part[0]]
        later = [segment for partition, segment in self._parts[window] if partition == part[0] and segment > part[1]]
        if not later:
            return mark
        return Progress(part[0], min(mark.block_offset, min(later) - 1), mark.src_epoch, mark.src_offset, mark.clock)


def _groups(entries: pa.RecordBatch, index: ScopeIndex) -> Iterator[tuple[Window, int, Ids, Values]]:
    """Runs of entries of one window and segment."""
    if not entries.num_rows:
        return
    columns = {name: entries.column(name) for name in entries.schema.names}
    kinds = columns["window_kind"].indices.to_numpy()
    starts = columns["window_start"].cast(pa.int64()).to_numpy()
    ends = columns["window_end"].cast(pa.int64()).to_numpy()
    segments = columns["segment"].to_numpy()
    names = zip(
        columns["scope_kind"].to_pylist(),
        columns["organization"].to_pylist(),
        columns["scope"].to_pylist(),
        strict=True,
    )
    ids = np.fromiter((index.id_of(_KIND[kind], org, scope) for kind, org, scope in names), np.int64, len(kinds))
    values = np.empty((len(kinds), WIDTH), np.int64)
    for column, name in enumerate(MEASURES):
        values[:, column] = columns[name].to_numpy()
    values[:, HIGH], values[:, LOW] = int128.from_decimal(columns["cost_pico"])
    change = (np.diff(kinds) != 0) | (np.diff(starts) != 0) | (np.diff(segments) != 0)
    edges = [0, *(np.flatnonzero(change) + 1).tolist(), len(kinds)]
    kind_names = columns["window_kind"].dictionary.to_pylist()
    for start, end in pairwise(edges):
        window = Window(kind_names[kinds[start]], int(starts[start]), int(ends[start]))
        yield window, int(segments[start]), ids[start:end], values[start:end]
