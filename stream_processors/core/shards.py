"""How the rollup's table holds a partition's totals: some values per segment of a window, one for progress.

A segment's scopes lie in SHARDS values. What changes is written into one more, RECENT, again and again with all that
has changed since its shard was written; when that is much of the segment, the shards are written anew. So what few
scopes do is not paid for by the many that rest. A scope stands as its value with the highest block offset has it.

The segment is part of the key, so that a window that is let go and comes back never overwrites what it was, and
the tombstone of one life, however late, never takes away another. Every value begins with the block offset it was
written at (8 bytes, big-endian), so that rebuilding the table from its changelog can keep the higher one, whoever
wrote it and in whatever order.
"""

import struct
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import orjson
import pyarrow as pa

from schemas.calendar import Window
from stream_processors.core.gcounter import SEED, WIDTH, PartitionTotals, Progress, WindowTotals
from stream_processors.core.scopes import Ids, ScopeIndex

SHARDS = 16
RECENT = SHARDS
#: The shards are written anew when more than one in so many scopes has changed since they were.
RESTING = 4
_NOWHERE = -(1 << 62)  # before any block
_HEAD = struct.Struct(">qI")  # block offset, length of the rest, which is compressed:
_TEXT = struct.Struct(">I")  # length of the JSON that follows; then the values, little-endian int64


class UnsoundTableError(Exception):
    """The table does not hold one state: rebuild it from the ledger."""


def progress_key(partition: int) -> bytes:
    return f"{partition}|progress".encode()


def keys_of_segment(partition: int, held: WindowTotals) -> list[bytes]:
    """All keys that a window's segment may have."""
    return [shard_key(partition, held.window, held.segment, shard) for shard in (*range(SHARDS), RECENT)]


def shard_key(partition: int, window: Window, segment: int, shard: int) -> bytes:
    return f"{partition}|{window.kind}|{window.start}|{segment}|{shard}".encode()


def keys_of(partition: int, table: Iterable[bytes]) -> list[bytes]:
    """The keys of a partition, of its progress first: without that the others mean nothing."""
    prefix = f"{partition}|".encode()
    return sorted((key for key in table if key.startswith(prefix)), key=lambda key: key != progress_key(partition))


def shard_of(index: ScopeIndex, ids: Ids) -> Ids:
    return index.hashes[ids] % SHARDS


def position_of(value: bytes) -> int:
    """The block offset a value was written at."""
    return int(_HEAD.unpack_from(value)[0])


def standing(table: Mapping[bytes, bytes], writes: Iterable[tuple[bytes, bytes | None]]) -> list[bool]:
    """Which writes of a changelog count on top of a table: not those of an older block than what stands there."""
    positions: dict[bytes, int] = {}
    counts = []
    for key, value in writes:
        held = table.get(key)
        known = positions.get(key, position_of(held) if held else _NOWHERE)
        position = position_of(value) if value is not None else _NOWHERE  # a tombstone clears the place for any
        counts.append(value is None or position >= known)
        if counts[-1]:
            positions[key] = position
    return counts


def _pack(block_offset: int, header: object, body: bytes = b"") -> bytes:
    text = orjson.dumps(header)
    rest = _TEXT.pack(len(text)) + text + body
    compressed: bytes = pa.compress(rest, codec="zstd", asbytes=True)
    return _HEAD.pack(block_offset, len(rest)) + compressed


def _unpack(value: bytes) -> tuple[int, dict[str, Any], bytes]:
    block_offset, length = _HEAD.unpack_from(value)
    try:
        rest: bytes = pa.decompress(value[_HEAD.size :], decompressed_size=length, codec="zstd", asbytes=True)
    except OSError as error:
        raise UnsoundTableError(f"a value of block {block_offset} cannot be read: {error}") from error
    end = _TEXT.size + _TEXT.unpack_from(rest)[0]
    return block_offset, orjson.loads(rest[_TEXT.size : end]), rest[end:]


def encode_progress(totals: PartitionTotals) -> bytes:
    """Up to where the table is complete; written after the shards."""
    p = totals.progress
    return _pack(
        p.block_offset,
        {
            "src_epoch": p.src_epoch,
            "src_offset": p.src_offset,
            "clock": p.clock,
            "sealed": sorted(totals.sealed),
            "unknown_before": totals.unknown_before,
        },
    )


def encode_changes(
    progress: Progress, held: WindowTotals, ids: Ids, index: ScopeIndex
) -> Iterator[tuple[bytes, bytes]]:
    """Keys and values to be written, in this order, when these scopes of a window's segment have changed."""
    recent = np.union1d(held.recent, ids)
    if len(recent) * RESTING <= held.size:
        held.recent = recent
        yield _encoded(progress, held, RECENT, recent, index)
        return
    held.recent = recent[:0]  # its value stays as it is: it is older than those of the shards from now on
    scopes = held.scopes[: held.size]
    shard_of_row = shard_of(index, scopes)
    for shard in np.unique(shard_of(index, recent)).tolist():
        yield _encoded(progress, held, shard, scopes[shard_of_row == shard], index)


def _encoded(progress: Progress, held: WindowTotals, shard: int, ids: Ids, index: ScopeIndex) -> tuple[bytes, bytes]:
    header = {
        "opened_at": held.opened_at,
        "whole": held.whole,
        "end": held.window.end,
        "scopes": [(index.kinds[i], index.organizations[i], index.names[i]) for i in ids.tolist()],
    }
    value = _pack(progress.block_offset, header, held.values[held.rows_of(ids)].tobytes())
    return shard_key(progress.src_partition, held.window, held.segment, shard), value


def load(partition: int, table: dict[bytes, bytes], index: ScopeIndex) -> tuple[PartitionTotals, "Ahead"] | None:
    """A partition's totals from the table, None when there are none; and the shards that ran ahead of them.

    A crash in the middle of a flush leaves some shards written at a later block than the progress record. They are
    right as they are, so the blocks up to there must not be added to them again: `Ahead` says which. A segment that
    such a block opened is left out: it is counted again whole. What has ended but is still there comes back too, and
    ends again with the next block: its last entries may never have arrived.
    """
    marker = table.get(progress_key(partition))
    if marker is None:
        return None
    block_offset, fields, _ = _unpack(marker)
    totals = PartitionTotals(
        Progress(partition, block_offset, str(fields["src_epoch"]), fields["src_offset"], fields["clock"])
    )
    totals.sealed = {(kind, start) for kind, start in fields["sealed"]}
    totals.unknown_before = fields["unknown_before"]
    shards = (_Shard.parse(key, table[key]) for key in keys_of(partition, table)[1:])
    positions: Ahead = {}
    for shard in sorted((s for s in shards if s.segment <= block_offset), key=lambda s: (s.segment, s.block_offset)):
        _put_back(shard, totals, positions, index)
    return totals, {place: position for place, position in positions.items() if position > block_offset}


Ahead = dict[tuple[Window, int, int], int]  # (window, segment, shard): the block offset that is already in it


class _Shard(NamedTuple):
    window: Window
    segment: int
    shard: int
    block_offset: int
    fields: dict[str, Any]
    body: bytes

    @classmethod
    def parse(cls, key: bytes, value: bytes) -> "_Shard":
        _, kind, start, segment, shard = key.decode().split("|")
        block_offset, fields, body = _unpack(value)
        return cls(Window(kind, int(start), fields["end"]), int(segment), int(shard), block_offset, fields, body)


def _put_back(shard: _Shard, totals: PartitionTotals, positions: Ahead, index: ScopeIndex) -> None:
    """Into the totals; called in the order of segments, of which the newest is the window's, then of positions."""
    window, fields = shard.window, shard.fields
    held = totals.windows.get(window)
    if held is not None and held.segment < shard.segment:
        if held.segment == SEED and any(w == window and at >= shard.segment for (w, *_), at in positions.items()):
            raise UnsoundTableError(f"{window}: segment {shard.segment} is older than its seed")
        totals.end(window)
        held = None
    if held is None:
        held = totals.windows[window] = WindowTotals(window, shard.segment, fields["opened_at"], fields["whole"])
    ids = np.array([index.id_of(*scope) for scope in fields["scopes"]], np.int64)
    held.put(ids, np.frombuffer(shard.body, np.int64).reshape(-1, WIDTH))
    if shard.shard == RECENT:  # what is not in it has not changed up to there
        held.recent = ids
    for number in range(SHARDS) if shard.shard == RECENT else (shard.shard,):
        positions[window, shard.segment, number] = shard.block_offset
