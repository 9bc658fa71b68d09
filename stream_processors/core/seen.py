"""Which events of one source partition were booked already: 24 bytes an id, kept for a horizon of append time.

Ids lie in sorted runs, grouped by hour of append time; one filter (1 to 2 bytes an id) spares most ids the search in
the groups before the newest. A group is forgotten whole: when it is `horizon_hours` older
than the newest append time, or when there are more than `capacity` ids (a busy hour is cut into groups of an eighth
of that). What is forgotten follows from the ids and append times alone, never from a clock or from where batches end.
"""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import xxhash

NEW, DUPLICATE, CONFLICT = 0, 1, 2

Hashes = npt.NDArray[np.uint64]
_HOUR_MS = 3_600_000
_BIT = np.array([1 << bit for bit in range(8)], np.uint8)


def identities(rows: pa.RecordBatch) -> Hashes:
    """128-bit hash of (source, event_id, revision) of each row as two columns of 64 bits."""
    source = rows.column("source")
    # The source's length goes before it, so that no two identities are written alike.
    prefixes = pa.array([f"{len(name)}:{name}" for name in source.dictionary.to_pylist()], pa.string())
    revision = rows.column("revision").cast(pa.string())
    texts = pc.binary_join_element_wise(prefixes.take(source.indices), revision, rows.column("event_id"), ":")
    digest = xxhash.xxh3_128_digest
    joined = b"".join([digest(text) for text in texts.cast(pa.binary()).to_pylist()])
    return np.frombuffer(joined, ">u8").reshape(-1, 2).astype(np.uint64)


@dataclass(slots=True)
class _Group:
    """Ids of (a part of) an hour. A run is an array of 3 rows: both halves of the id and the content, sorted."""

    hour: int
    size: int = 0
    runs: list[Hashes] = field(default_factory=list)

    def add(self, run: Hashes) -> None:
        self.size += run.shape[1]
        self.runs.append(run)
        # Each run is at least twice as long as the next: few runs to search, and each id is merged few times.
        while len(self.runs) > 1 and self.runs[-2].shape[1] < 2 * self.runs[-1].shape[1]:
            self._merge(2)

    def close(self) -> None:
        """No id comes any more: one run is left."""
        if len(self.runs) > 1:
            self._merge(len(self.runs))

    def _merge(self, count: int) -> None:
        together = np.concatenate(self.runs[-count:], axis=1)
        self.runs[-count:] = [together[:, np.argsort(together[0], kind="stable")]]


class _Filter:
    """Tells that an id is in none of some runs, wrong for one id in ten: a bit for each prefix of the upper half."""

    def __init__(self, runs: list[Hashes]) -> None:
        count = sum(run.shape[1] for run in runs)
        width = max(3, (8 * count).bit_length())  # 8 to 16 bits an id
        self._shift = np.uint64(64 - width)
        self._bits = np.zeros(1 << (width - 3), np.uint8)
        for run in runs:
            place, bit = self._place(run[0])
            np.bitwise_or.at(self._bits, place, bit)

    def may_hold(self, high: Hashes) -> npt.NDArray[np.intp]:
        place, bit = self._place(high)
        return np.flatnonzero(self._bits[place] & bit)

    def _place(self, high: Hashes) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.uint8]]:
        prefix = high >> self._shift
        return (prefix >> np.uint64(3)).astype(np.intp), _BIT[(prefix & np.uint64(7)).astype(np.intp)]


class Seen:
    """Ids of one source partition, checked in offset order."""

    def __init__(self, horizon_hours: int = 24, capacity: int = 25_000_000) -> None:
        self._horizon_hours = horizon_hours
        self._capacity = capacity
        self._group_size = max(1, capacity // 8)
        self._groups: list[_Group] = []  # all but the last are closed
        self._closed = _Filter([])

    def __len__(self) -> int:
        return sum(group.size for group in self._groups)

    def check(self, ids: Hashes, content: Hashes, booked_ms: npt.NDArray[np.int64]) -> npt.NDArray[np.int8]:
        """NEW, DUPLICATE (same content) or CONFLICT (other content) for each id; the new ones are remembered.

        `ids` as `identities` gives them, in offset order; of repeats within a call the first is the one that counts.
        """
        verdict = np.empty(len(ids), np.int8)
        hours = np.maximum.accumulate(booked_ms // _HOUR_MS) if len(ids) else booked_ms
        start = 0
        while start < len(ids):
            group = self._group_of(int(hours[start]))
            same_hour = int(np.searchsorted(hours, group.hour, side="right"))
            end = min(same_hour, start + self._group_size - group.size)
            part = slice(start, end)
            verdict[part] = self._check(group, ids[part], content[part])
            start = end
        return verdict

    def remember(self, rows: pa.RecordBatch) -> None:
        """Takes in the usage rows of an accepted block, oldest block first: how memory is rebuilt at start."""
        booked_ms = rows.column("booked_at").view(pa.int64()).to_numpy(zero_copy_only=False) // 1000
        content = rows.column("content_hash").to_numpy(zero_copy_only=False)
        self.check(identities(rows), content, booked_ms)

    def _group_of(self, hour: int) -> _Group:
        """The group that takes ids booked in `hour` (an append time that steps back counts as the newest hour)."""
        newest = self._groups[-1] if self._groups else None
        if newest is not None and newest.size < self._group_size and hour <= newest.hour:
            return newest
        if newest is not None:
            newest.close()
        opened = _Group(hour if newest is None else max(hour, newest.hour))
        self._groups.append(opened)
        oldest_kept = opened.hour - self._horizon_hours
        while self._groups[0].hour < oldest_kept or len(self) + self._group_size > self._capacity:
            if self._groups[0] is opened:
                break
            del self._groups[0]
        self._closed = _Filter([run for group in self._groups[:-1] for run in group.runs])
        return opened

    def _check(self, group: _Group, ids: Hashes, content: Hashes) -> npt.NDArray[np.int8]:
        order = np.lexsort((ids[:, 1], ids[:, 0]))  # stable: the first of equal ids comes first
        high, low, hashes = ids[order, 0], ids[order, 1], content[order]
        first = np.ones(len(order), bool)
        first[1:] = (high[1:] != high[:-1]) | (low[1:] != low[:-1])
        found, booked = self._find(high[first], low[first])
        of_first = np.cumsum(first) - 1
        reference = np.where(found, booked, hashes[first])[of_first]
        fresh = first & ~found[of_first]
        if fresh.any():
            group.add(np.stack((high[fresh], low[fresh], hashes[fresh])))
        verdict = np.empty(len(order), np.int8)
        verdict[order] = np.where(fresh, NEW, np.where(hashes == reference, DUPLICATE, CONFLICT))
        return verdict

    def _find(self, high: Hashes, low: Hashes) -> tuple[npt.NDArray[np.bool_], Hashes]:
        """Which of the ids (sorted) are remembered, and the content they were booked with."""
        found = np.zeros(len(high), bool)
        booked = np.zeros(len(high), np.uint64)
        *closed, newest = self._groups
        everywhere = np.arange(len(high))
        for run in newest.runs:
            _search(run, high, low, everywhere, found, booked)
        doubtful = self._closed.may_hold(high)
        for run in (run for group in closed for run in group.runs):
            _search(run, high, low, doubtful, found, booked)
        return found, booked


def _search(
    run: Hashes,
    high: Hashes,
    low: Hashes,
    wanted: npt.NDArray[np.intp],
    found: npt.NDArray[np.bool_],
    booked: Hashes,
) -> None:
    """Marks those of the `wanted` ids that are in the run as `found`, and takes over their content as `booked`."""
    at = np.searchsorted(run[0], high[wanted], side="left")
    while len(wanted):
        inside = at < run.shape[1]
        at, wanted = at[inside], wanted[inside]
        same = run[0][at] == high[wanted]
        at, wanted = at[same], wanted[same]
        hit = run[1][at] == low[wanted]
        found[wanted[hit]] = True
        booked[wanted[hit]] = run[2][at[hit]]
        at, wanted = at[~hit] + 1, wanted[~hit]  # another id with the same upper half
