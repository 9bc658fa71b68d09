"""How the rollup's table holds a partition's totals: one value per window and shard of scopes, one for progress.

Every value begins with the block offset it was written at (8 bytes, big-endian), so that rebuilding the table from
its changelog can keep the higher one, whoever wrote it and in whatever order.
"""

import struct
from collections.abc import Iterator

import numpy as np
import orjson

from schemas.calendar import Window
from stream_processors.core.gcounter import WIDTH, PartitionTotals, Progress, WindowTotals
from stream_processors.core.scopes import Ids, ScopeIndex

SHARDS = 16
_HEAD = struct.Struct(">qI")  # block offset, length of the JSON that follows; then the values, little-endian int64


def progress_key(partition: int) -> bytes:
    return f"{partition}|progress".encode()


def shard_key(partition: int, window: Window, shard: int) -> bytes:
    return f"{partition}|{window.kind}|{window.start}|{shard}".encode()


def shard_of(index: ScopeIndex, ids: Ids) -> Ids:
    return index.hashes[ids] % SHARDS


def position_of(value: bytes) -> int:
    """The block offset a value was written at."""
    return int(_HEAD.unpack_from(value)[0])


def _pack(block_offset: int, header: object, body: bytes = b"") -> bytes:
    text = orjson.dumps(header)
    return _HEAD.pack(block_offset, len(text)) + text + body


def _unpack(value: bytes) -> tuple[int, dict[str, object], bytes]:
    block_offset, length = _HEAD.unpack_from(value)
    end = _HEAD.size + length
    return block_offset, orjson.loads(value[_HEAD.size : end]), value[end:]


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


def encode_shards(
    totals: PartitionTotals, window: Window, shards: Ids, index: ScopeIndex
) -> Iterator[tuple[bytes, bytes]]:
    """Keys and values of some shards of a window."""
    held = totals.windows[window]
    scopes = held.scopes[: held.size]
    shard_of_row = shard_of(index, scopes)
    for shard in shards.tolist():
        rows = np.flatnonzero(shard_of_row == shard)
        ids = scopes[rows].tolist()
        header = {
            "segment": held.segment,
            "opened_at": held.opened_at,
            "whole": held.whole,
            "end": window.end,
            "scopes": [(index.kinds[i], index.organizations[i], index.names[i]) for i in ids],
        }
        value = _pack(totals.progress.block_offset, header, held.values[rows].tobytes())
        yield shard_key(totals.progress.src_partition, window, shard), value


class UnsoundTableError(Exception):
    """The table does not hold one state: rebuild it from the ledger."""


def load(partition: int, table: dict[bytes, bytes], index: ScopeIndex) -> tuple[PartitionTotals, "Ahead"] | None:
    """A partition's totals from the table, None when there are none; and the shards that ran ahead of them.

    A crash in the middle of a flush leaves some shards written at a later block than the progress record. They are
    right as they are, so the blocks up to there must not be added to them again: `Ahead` says which.
    """
    marker = table.get(progress_key(partition))
    if marker is None:
        return None
    block_offset, fields, _ = _unpack(marker)
    totals = PartitionTotals(
        Progress(partition, block_offset, str(fields["src_epoch"]), fields["src_offset"], fields["clock"])  # type: ignore[arg-type]
    )
    totals.sealed = {(kind, start) for kind, start in fields["sealed"]}  # type: ignore[attr-defined]
    totals.unknown_before = fields["unknown_before"]  # type: ignore[assignment]
    ahead: Ahead = {}
    prefix = f"{partition}|".encode()
    for key, value in table.items():
        if key.startswith(prefix) and value is not marker:
            _load_shard(key, value, totals, ahead, index)
    totals.forget(totals.progress.clock)  # their tombstones may not have been written
    return totals, ahead


Ahead = dict[tuple[Window, int], int]  # (window, shard): the block offset that is already in it


def _load_shard(key: bytes, value: bytes, totals: PartitionTotals, ahead: Ahead, index: ScopeIndex) -> None:
    _, kind, start, shard = key.decode().split("|")
    block_offset, fields, body = _unpack(value)
    window = Window(kind, int(start), fields["end"])  # type: ignore[arg-type]
    held = totals.windows.get(window)
    if held is None:
        held = totals.windows[window] = WindowTotals(
            window,
            fields["segment"],  # type: ignore[arg-type]
            fields["opened_at"],  # type: ignore[arg-type]
            fields["whole"],  # type: ignore[arg-type]
        )
    elif held.segment != fields["segment"]:
        raise UnsoundTableError(f"{key.decode()}: segments {held.segment} and {fields['segment']}")
    ids = np.array([index.id_of(*scope) for scope in fields["scopes"]], np.int64)  # type: ignore[attr-defined]
    held.put(ids, np.frombuffer(body, np.int64).reshape(-1, WIDTH))
    if block_offset > totals.progress.block_offset:
        ahead[window, int(shard)] = block_offset
