"""Totals of windows over all source partitions, for the scopes of one budgets shard.

A fold of `usage.partials`: the messages of a turn count when they continue what is already merged of their source
partition (or are a snapshot), all together or not at all. Rollup sends a snapshot of each partition after every
assignment, so this state needs no table of its own: it is rebuilt from its input.
"""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pyarrow as pa

from schemas.arrow import MEASURES, SCOPE_KINDS
from schemas.calendar import Window
from stream_processors.core import int128
from stream_processors.core.gcounter import HIGH, LOW, SEED, WIDTH, Progress, Values, WindowTotals
from stream_processors.core.rollup import PartialHeader, entry_batch
from stream_processors.core.scopes import Ids, ScopeIndex
from stream_processors.core.windows import BASE_KIND, HOUR_US, forgotten, is_base, kept_until, parts_of

#: Longer than rollup keeps a window, so that what rollup sends of its memory always meets ours.
MARGIN_US = 24 * HOUR_US
_KIND = {kind: number for number, kind in enumerate(SCOPE_KINDS)}

Part = tuple[int, int]  # source partition, segment


class ShardTotals:
    """Every window in memory of one shard."""

    def __init__(self, index: ScopeIndex) -> None:
        self.index = index
        self.watermarks: dict[int, Progress] = {}
        self.partial: dict[str, set[int]] = defaultdict(set)  # starts of windows by kind
        self._unknown_before = -1
        self._arriving: dict[int, list[tuple[PartialHeader, pa.RecordBatch]]] = {}
        self._parts: dict[Window, dict[Part, WindowTotals]] = {}
        self._touched_at: dict[Window, int] = {}  # chain clock
        self._dirty: dict[tuple[Window, Part], list[Ids]] = {}

    def apply(self, header: PartialHeader, entries: pa.RecordBatch) -> dict[Window, Ids]:
        """Merge a turn once its last message is here; returns the scopes that were touched per window."""
        mark = self.watermarks.get(header.src_partition)
        position = mark.block_offset if mark else -1
        if header.since > position or (mark is not None and header.block_offset <= position):
            return {}
        batches = self._arrived(header, entries)
        groups = [group for batch in batches for group in _groups(batch, self.index)]
        if header.since >= 0 and any(self._is_news(header, window, segment) for window, segment, _, _ in groups):
            return {}
        for window in {window for window, segment, _, _ in groups if segment == SEED}:
            self._replace(window, header, {segment for other, segment, _, _ in groups if other == window})
        touched: dict[Window, list[Ids]] = {}
        for window, segment, ids, values in groups:
            part = (header.src_partition, segment)
            self._part(window, part).put(ids, values)
            self._touched_at[window] = max(self._touched_at.get(window, 0), header.clock)
            self._dirty.setdefault((window, part), []).append(ids)
            touched.setdefault(window, []).append(ids)
        if batches:
            self._unknown_before = max(self._unknown_before, header.unknown_before)
            for kind, start in header.partial:
                self.partial[kind].add(start)
            self.watermarks[header.src_partition] = header.progress
            self._forget(header.clock)
        return {window: np.unique(np.concatenate(parts)) for window, parts in touched.items()}

    def _arrived(self, header: PartialHeader, entries: pa.RecordBatch) -> list[pa.RecordBatch]:
        """The entries of a turn once its messages are all there, each behind the one before it."""
        turn = self._arriving.pop(header.src_partition, [])
        if not turn or replace(turn[0][0], part=header.part, last=header.last) != header:
            turn = []
        if header.part == len(turn):
            turn.append((header, entries))
            if header.last:
                return [batch for _, batch in turn]
        if header.part < len(turn):  # nothing is missing before it
            self._arriving[header.src_partition] = turn
        return []

    def _is_news(self, header: PartialHeader, window: Window, segment: int) -> bool:
        """A seed that no snapshot has brought: these entries are only some of its scopes."""
        return segment == SEED and (header.src_partition, SEED) not in self._parts.get(window, {})

    def _replace(self, window: Window, header: PartialHeader, arriving: set[int]) -> None:
        """A seed takes the place of the segments that it was summed from; one that came after it arrives with it."""
        parts = self._parts.get(window, {})
        for part in [p for p in parts if p[0] == header.src_partition and p[1] not in arriving]:
            if part[1] <= header.block_offset:
                del parts[part]

    def _part(self, window: Window, part: Part) -> WindowTotals:
        parts = self._parts.setdefault(window, {})
        held = parts.get(part)
        if held is None:
            held = parts[part] = WindowTotals(window, part[1], 0, whole=True)
        return held

    def _forget(self, clock: int) -> None:
        """Let go of what rollup has let go of long ago; what comes back of it is not the whole window."""
        dirty = {window for window, _ in self._dirty}
        for window in self._parts.keys() - dirty:
            if forgotten(window, self._touched_at[window], clock - MARGIN_US):
                del self._parts[window], self._touched_at[window]
                self.partial[window.kind].add(window.start)

    def whole(self, window: Window) -> bool:
        """Whether totals here are the window's: no earlier segment of what it is made of has been let go."""
        partial = self.partial[BASE_KIND[window.kind]]
        if is_base(window):
            return window.start not in partial
        return kept_until(window) > self._unknown_before and not any(
            window.start <= start < window.end for start in partial
        )

    def everything(self) -> dict[Window, Ids]:
        """All windows and scopes in memory."""
        return {
            window: np.unique(np.concatenate([held.scopes[: held.size] for held in parts.values()]))
            for window, parts in self._parts.items()
        }

    def totals(self, window: Window, ids: Ids) -> Values:
        """Sums over source partitions and segments, of all the window is made of; one row of WIDTH columns a scope."""
        result = np.zeros((len(ids), WIDTH), np.int64)
        for part in [window] if is_base(window) else parts_of(window, self._parts):
            for held in self._parts[part].values():
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
