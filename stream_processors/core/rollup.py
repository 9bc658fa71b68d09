"""A block into the totals of its partition, and the totals that changed into messages for budgets."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa

from schemas.block import BlockHeader
from schemas.calendar import Calendar
from stream_processors.core.gcounter import PartitionTotals, Progress, WindowTotals, sums_by_scope
from stream_processors.core.scopes import Ids, ScopeIndex
from stream_processors.core.selection import family_of
from stream_processors.core.shards import Ahead, shard_of
from stream_processors.core.window_entries import MESSAGE_ENTRIES, Excerpt, entry_batch

HEADER = "progress"

Touched = list[tuple[WindowTotals, Ids]]


def apply_block(
    totals: PartitionTotals,
    header: BlockHeader,
    block_offset: int,
    rows: pa.RecordBatch,
    calendar: Calendar,
    index: ScopeIndex,
    ahead: Ahead,
) -> Touched:
    """Count an accepted block; returns what it touched, without what `ahead` says was already counted.

    While `ahead` is not empty, the totals are not those of one position: they may be saved, but not sent.
    """
    totals.forget(totals.progress.clock)
    clock = max(totals.progress.clock, header.booked_until)
    touched: Touched = []
    for windows, ids, sums in sums_by_scope(rows, calendar, index, totals.selections):
        for window in windows:
            if window.kind not in totals.kinds:
                continue
            held = totals.open(window, block_offset, clock)
            counted = _already_counted(held, ids, block_offset, index, ahead)
            fresh, more = (ids, sums) if counted is None else (ids[~counted], sums[~counted])
            held.add(fresh, more)
            touched.append((held, fresh))
    totals.progress = Progress(header.src_partition, block_offset, header.src_epoch, header.last_offset, clock)
    for key in [key for key, position in ahead.items() if position <= block_offset]:
        del ahead[key]
    return touched


def _already_counted(
    held: WindowTotals, ids: Ids, block_offset: int, index: ScopeIndex, ahead: Ahead
) -> npt.NDArray[np.bool_] | None:
    if not ahead:
        return None
    shards = [
        shard
        for (window, segment, shard), position in ahead.items()
        if (window, segment) == (held.window, held.segment) and block_offset <= position
    ]
    return np.isin(shard_of(index, ids), shards) if shards else None


def everything(totals: PartitionTotals) -> Touched:
    """All there is in memory, for a snapshot; also what ended lately, which may never have arrived."""
    return [(held, held.scopes[: held.size]) for held in (*totals.windows.values(), *totals.ended)]


def merged(touched: Touched) -> Touched:
    """Each window once, each scope once."""
    ids_of: dict[int, tuple[WindowTotals, list[Ids]]] = {}
    for held, ids in touched:
        ids_of.setdefault(id(held), (held, []))[1].append(ids)
    return [
        (held, parts[0] if len(parts) == 1 else np.unique(np.concatenate(parts))) for held, parts in ids_of.values()
    ]


@dataclass(frozen=True, slots=True)
class PartialHeader:
    """What a message of `usage.partials` says of itself.

    Its entries are what changed after `since` (-1: everything in memory), absolute as of `block_offset`. A turn may
    take several messages, numbered by `part`: they count together, once the `last` one is there. They are of one
    `sender`, which is an assignment of the partition: the next one may send the same entries in another order.
    `partial` names windows (family and start) with an earlier, sealed segment that is not in memory: totals made of
    these entries are not the whole window. With everything in memory it also names those of which nothing is left
    there.
    """

    src_partition: int
    block_offset: int
    src_epoch: str
    src_offset: int
    clock: int
    since: int
    part: int
    last: bool
    partial: list[tuple[str, int]]
    cause_event: str
    #: By family, the chain clock of its seed: what had been let go of by then is not named in `partial`.
    unknown_before: dict[str, int] = field(default_factory=dict)
    tracks: list[str] = field(default_factory=list)  # families that are counted besides the standing ones
    sender: str = ""

    def to_bytes(self) -> bytes:
        return orjson.dumps(asdict(self))

    @classmethod
    def from_headers(cls, headers: Iterable[tuple[str, bytes]]) -> "PartialHeader":
        """Raises ValueError when the record carries no such header."""
        for name, value in headers:
            if name == HEADER:
                fields = orjson.loads(value)
                fields["partial"] = [(kind, start) for kind, start in fields["partial"]]
                return cls(**fields)
        raise ValueError("record of usage.partials without a `progress` header")

    @property
    def progress(self) -> Progress:
        return Progress(self.src_partition, self.block_offset, self.src_epoch, self.src_offset, self.clock)


def partial_messages(
    totals: PartitionTotals,
    touched: Touched,
    since: int,
    cause_event: str,
    partitions: int,
    index: ScopeIndex,
    tracks: Sequence[PartitionTotals] = (),
    sender: str = "",
) -> Iterator[tuple[int, pa.RecordBatch, PartialHeader]]:
    """For every partition of `usage.partials` (by scope) its entries, or none: it must know how far."""
    progress = totals.progress
    sealed = {
        (family_of(each.selections[0].key, kind), start)
        for each in (totals, *tracks)
        for kind, start in (each.sealed if since < 0 else ())
    }
    partial = sorted(sealed | {(held.family, held.window.start) for held, _ in touched if not held.whole})
    families = [family for each in tracks for family in each.families()]
    unknown_before = {
        family: each.unknown_before
        for each in (totals, *tracks)
        for family in each.families()
        if each.unknown_before >= 0
    }
    entries = entry_batch([Excerpt(held, ids, progress) for held, ids in touched], index)
    target = np.concatenate([np.zeros(0, np.int64), *(index.hashes[ids] for _, ids in touched)]) % partitions
    entries = entries.take(pa.array(np.argsort(target, kind="stable")))  # windows stay together
    bounds = np.concatenate(([0], np.cumsum(np.bincount(target, minlength=partitions)))).tolist()
    for partition, (first, end) in enumerate(pairwise(bounds)):
        whole = entries.slice(first, end - first)
        starts = range(0, max(whole.num_rows, 1), MESSAGE_ENTRIES)
        for part, start in enumerate(starts):
            yield (
                partition,
                whole.slice(start, MESSAGE_ENTRIES),
                PartialHeader(
                    progress.src_partition,
                    progress.block_offset,
                    progress.src_epoch,
                    progress.src_offset,
                    progress.clock,
                    since,
                    part,
                    start == starts[-1],
                    partial,
                    cause_event,
                    unknown_before,
                    families,
                    sender,
                ),
            )
