"""Totals of windows over all source partitions, for the scopes of one budgets shard.

A fold of `usage.partials`: the messages of a turn count when they continue what is already merged of their source
partition (or are a snapshot), all together or not at all. Rollup sends a snapshot of each partition after every
assignment, so this state needs no table of its own: it is rebuilt from its input.
"""

from collections import defaultdict
from collections.abc import Collection, Iterator
from dataclasses import replace
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from schemas.arrow import MEASURES, SCOPE_KINDS
from schemas.calendar import LIFETIME, Window
from stream_processors.core import int128
from stream_processors.core.gcounter import HIGH, LOW, SEED, WIDTH, Progress, Values, WindowTotals
from stream_processors.core.rollup import PartialHeader
from stream_processors.core.scopes import Ids, ScopeIndex
from stream_processors.core.selection import family_of
from stream_processors.core.window_entries import MESSAGE_ENTRIES, Excerpt, entry_batch
from stream_processors.core.windows import BASE_KIND, HOUR_US, forgotten, is_base, kept_until, parts_of

#: Longer than rollup keeps a window, so that what rollup sends of its memory always meets ours.
MARGIN_US = 24 * HOUR_US

Part = tuple[int, int]  # source partition, segment


class Place(NamedTuple):
    """A window of the standing scope kinds (selection '') or of one track."""

    selection: str
    window: Window


class ShardTotals:
    """Every window in memory of one shard."""

    def __init__(self, index: ScopeIndex) -> None:
        self.index = index
        self.watermarks: dict[int, Progress] = {}
        self.partial: dict[str, set[int]] = defaultdict(set)  # starts of windows by family
        self._unknown_before: dict[str, int] = defaultdict(lambda: -1)  # by family
        self._tracks: dict[int, set[str]] = {}  # families that a source partition counts besides the standing ones
        self._arriving: dict[int, list[tuple[PartialHeader, pa.RecordBatch]]] = {}
        self._parts: dict[Place, dict[Part, WindowTotals]] = {}
        self._touched_at: dict[Place, int] = {}  # chain clock
        self._dirty: dict[tuple[Place, Part], list[Ids]] = {}

    def apply(self, header: PartialHeader, entries: pa.RecordBatch) -> dict[Place, Ids]:
        """Merge a turn once its last message is here; returns the scopes that were touched per window.

        A snapshot with a track that is new counts also at the position that is reached already.
        """
        mark = self.watermarks.get(header.src_partition)
        position = mark.block_offset if mark else -1
        is_new = header.block_offset > position or (
            header.block_offset == position
            and header.since < 0
            and not self._tracks.get(header.src_partition, set()).issuperset(header.tracks)
        )
        if header.since > position or (mark is not None and not is_new):
            return {}
        batches = self._arrived(header, entries)
        groups = [group for batch in batches for group in _groups(batch, self.index)]
        if header.since >= 0 and any(self._is_news(header, place, segment) for place, segment, _, _ in groups):
            return {}
        for place in {place for place, segment, _, _ in groups if segment == SEED}:
            self._replace(place, header, {segment for other, segment, _, _ in groups if other == place})
        touched: dict[Place, list[Ids]] = {}
        for place, segment, ids, values in groups:
            part = (header.src_partition, segment)
            self._part(place, part).put(ids, values)
            self._touched_at[place] = max(self._touched_at.get(place, 0), header.clock)
            self._dirty.setdefault((place, part), []).append(ids)
            touched.setdefault(place, []).append(ids)
        if batches:
            for family, clock in header.unknown_before.items():
                self._unknown_before[family] = max(self._unknown_before[family], clock)
            for family, start in header.partial:
                self.partial[family].add(start)
            before = self._complete()
            tracks = set(header.tracks)  # a new one counts once a snapshot has brought all of it
            self._tracks[header.src_partition] = (
                tracks if header.since < 0 else tracks & self._tracks.get(header.src_partition, set())
            )
            self.watermarks[header.src_partition] = header.progress
            for family in self._complete() - before:  # what the other partitions had sent can be judged only now
                selection = family.partition(" ")[2]
                for window, ids in self.everything(selection).items():
                    touched.setdefault(Place(selection, window), []).append(ids)
            self._forget(header.clock)
        return {place: np.unique(np.concatenate(parts)) for place, parts in touched.items()}

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

    def _is_news(self, header: PartialHeader, place: Place, segment: int) -> bool:
        """A seed that no snapshot has brought: these entries are only some of its scopes.

        Where nothing of the window is known, they are all of them: its other scopes belong to other shards.
        """
        partition, segments = header.src_partition, self._parts.get(place, {})
        if segment != SEED or (partition, SEED) in segments:
            return False
        family = family_of(place.selection, place.window.kind)
        is_kept = not place.selection or family in self._tracks.get(partition, ())
        return not is_kept or any(other == partition for other, _ in segments)

    def _replace(self, place: Place, header: PartialHeader, arriving: set[int]) -> None:
        """A seed takes the place of the segments that it was summed from; one that came after it arrives with it."""
        parts = self._parts.get(place, {})
        for part in [p for p in parts if p[0] == header.src_partition and p[1] not in arriving]:
            if part[1] <= header.block_offset:
                del parts[part]

    def _part(self, place: Place, part: Part) -> WindowTotals:
        parts = self._parts.setdefault(place, {})
        held = parts.get(part)
        if held is None:
            held = parts[part] = WindowTotals(place.window, part[1], 0, whole=True, selection=place.selection)
        return held

    def _forget(self, clock: int) -> None:
        """Let go of what rollup has let go of long ago; what comes back of it is not the whole window."""
        dirty = {place for place, _ in self._dirty}
        for place in self._parts.keys() - dirty:
            if forgotten(place.window, self._touched_at[place], clock - MARGIN_US):
                del self._parts[place], self._touched_at[place]
                self.partial[family_of(place.selection, place.window.kind)].add(place.window.start)

    def keep_only(self, tracks: Collection[str]) -> None:
        """Let go of the windows of tracks (families) that no budget needs any more."""
        for place in list(self._parts):
            if place.selection and family_of(place.selection, place.window.kind) not in tracks:
                del self._parts[place], self._touched_at[place]
        self._tracks = {partition: counted.intersection(tracks) for partition, counted in self._tracks.items()}
        for family in [family for family in self.partial if " " in family and family not in tracks]:
            del self.partial[family]

    def whole(self, window: Window, selection: str = "") -> bool:
        """Whether totals here are the window's: no earlier segment of what it is made of has been let go.

        Those of a track are, once every source partition counts it.
        """
        family = family_of(selection, BASE_KIND[window.kind])
        if selection and family not in self._complete():
            return False
        if window.kind == LIFETIME:  # of what is in memory
            return True
        partial = self.partial[family]
        if is_base(window):
            return window.start not in partial
        return kept_until(window) > self._unknown_before[family] and not any(
            window.start <= start < window.end for start in partial
        )

    def _complete(self) -> set[str]:
        """The tracks that every source partition counts."""
        counted = [self._tracks.get(number, set()) for number in self.watermarks]
        return set.intersection(*counted) if counted else set()

    def everything(self, selection: str = "") -> dict[Window, Ids]:
        """All windows and scopes in memory, of the standing scope kinds or of one track."""
        return {
            place.window: np.unique(np.concatenate([held.scopes[: held.size] for held in parts.values()]))
            for place, parts in self._parts.items()
            if place.selection == selection
        }

    def scopes_in(self, window: Window, selection: str = "") -> Ids:
        """The scopes that have anything in a window, of whatever it is made of."""
        parts = (self._parts[Place(selection, part)] for part in self._made_of(window, selection))
        found = [held.scopes[: held.size] for part in parts for held in part.values()]
        return np.unique(np.concatenate(found)) if found else np.zeros(0, np.int64)

    def totals(self, window: Window, ids: Ids, selection: str = "") -> Values:
        """Sums over source partitions and segments, of all the window is made of; one row of WIDTH columns a scope."""
        result = np.zeros((len(ids), WIDTH), np.int64)
        for part in self._made_of(window, selection):
            for held in self._parts[Place(selection, part)].values():
                rows = held.known_rows(ids)
                known = rows >= 0
                result[known] += held.values[rows[known]]
        int128.carry(result[:, HIGH], result[:, LOW])
        return result

    def _made_of(self, window: Window, selection: str) -> list[Window]:
        if is_base(window):
            return [window] if Place(selection, window) in self._parts else []
        return parts_of(window, (place.window for place in self._parts if place.selection == selection))

    def take_changed(self) -> Iterator[pa.RecordBatch]:
        """Entries changed since the last call, as `WINDOW_ENTRIES`, each as of its partition's watermark."""
        dirty, self._dirty = self._dirty, {}
        changed = [
            Excerpt(held, np.unique(np.concatenate(ids)), self._position(place, part))
            for (place, part), ids in dirty.items()
            if (held := self._parts.get(place, {}).get(part)) is not None
        ]
        entries = entry_batch(changed, self.index)
        for start in range(0, entries.num_rows, MESSAGE_ENTRIES):
            yield entries.slice(start, MESSAGE_ENTRIES)

    def _position(self, place: Place, part: Part) -> Progress:
        """A sealed segment must not claim a position at which a later segment has begun."""
        mark = self.watermarks[part[0]]
        later = [segment for partition, segment in self._parts[place] if partition == part[0] and segment > part[1]]
        if not later:
            return mark
        return Progress(part[0], min(mark.block_offset, min(later) - 1), mark.src_epoch, mark.src_offset, mark.clock)


def _groups(entries: pa.RecordBatch, index: ScopeIndex) -> Iterator[tuple[Place, int, Ids, Values]]:
    """Runs of entries of one window, selection and segment."""
    if not entries.num_rows:
        return
    columns = {name: entries.column(name) for name in entries.schema.names}
    kinds = columns["window_kind"].indices.to_numpy()
    starts = columns["window_start"].cast(pa.int64()).to_numpy()
    ends = columns["window_end"].cast(pa.int64()).to_numpy()
    segments = columns["segment"].to_numpy()
    scope_kinds = columns["scope_kind"]
    kind_of_code = np.array([index.kind_of(name) for name in scope_kinds.dictionary.to_pylist()], np.int64)
    scope_kind = kind_of_code[scope_kinds.indices.to_numpy()]
    tracks = np.where(scope_kind < len(SCOPE_KINDS), -1, scope_kind)
    names = zip(
        scope_kind.tolist(),
        columns["organization"].to_numpy(zero_copy_only=False),
        columns["scope"].to_numpy(zero_copy_only=False),  # to_pylist takes five times as long
        strict=True,
    )
    ids = np.fromiter((index.id_of(kind, org, scope) for kind, org, scope in names), np.int64, len(kinds))
    values = np.empty((len(kinds), WIDTH), np.int64)
    for column, name in enumerate(MEASURES):
        values[:, column] = columns[name].to_numpy()
    values[:, HIGH], values[:, LOW] = int128.from_decimal(columns["cost_pico"])
    change = (np.diff(kinds) != 0) | (np.diff(starts) != 0) | (np.diff(segments) != 0) | (np.diff(tracks) != 0)
    edges = [0, *(np.flatnonzero(change) + 1).tolist(), len(kinds)]
    kind_names = columns["window_kind"].dictionary.to_pylist()
    for start, end in pairwise(edges):
        window = Window(kind_names[kinds[start]], int(starts[start]), int(ends[start]))
        selection = index.kind_names[tracks[start]] if tracks[start] >= 0 else ""
        yield Place(selection, window), int(segments[start]), ids[start:end], values[start:end]
