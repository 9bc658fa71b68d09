"""Blocks as rows of ClickHouse's tables `usage`, `rejected` and `blocks`: whole columns, one record batch each."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from schemas.arrow import MICROS, NAME, REJECT_ROWS, USAGE_ROWS
from schemas.block import BlockHeader
from stream_processors.sink.plan import Block

USD = pa.decimal128(38, 12)


def usage_rows(blocks: Sequence[Block]) -> pa.RecordBatch:
    """Rows of table `usage`, in the order of the blocks."""
    batch = joined([block.rows for block in blocks], USAGE_ROWS).drop_columns(["content_hash"])
    counts = [block.rows.num_rows for block in blocks]
    batch = with_usd(_with_position(batch, blocks, counts))
    return batch.append_column("price_version", _names(blocks, counts, lambda header: header.price_version))


def reject_rows(blocks: Sequence[Block]) -> pa.RecordBatch:
    """Rows of table `rejected`."""
    batch = joined([block.rejects for block in blocks], REJECT_ROWS)
    return _with_position(batch, blocks, [block.rejects.num_rows for block in blocks])


def block_rows(blocks: Sequence[Block], landed_at: int) -> pa.RecordBatch:
    """Rows of table `blocks`; `landed_at` in microseconds UTC."""
    headers = [block.header for block in blocks]
    counts = ("row_count", "pair_count", "reject_count", "marker_count", "gap_count")
    plain = ("first_offset", "last_offset", "extends", *counts)
    columns: dict[str, pa.Array] = {
        "src_epoch": pa.array([header.src_epoch for header in headers], pa.string()),
        "src_partition": pa.array([header.src_partition for header in headers], pa.int32()),
        "block_offset": pa.array([block.offset for block in blocks], pa.int64()),
        **{name: pa.array([getattr(header, name) for header in headers], pa.int64()) for name in plain},
        "price_version": pa.array([header.price_version for header in headers], pa.string()),
        "directory_version": pa.array([header.directory_version for header in headers], pa.int64()),
        "booked_until": pa.array([header.booked_until for header in headers], MICROS),
        "rated_at": pa.array([header.rated_at for header in headers], MICROS),
        "landed_at": pa.array([landed_at] * len(blocks), MICROS),
    }
    return pa.RecordBatch.from_pydict(columns)


def joined(batches: Sequence[pa.RecordBatch], schema: pa.Schema) -> pa.RecordBatch:
    """One record batch of all; dictionaries are unified, so that it is one stream and one insert block."""
    table = pa.Table.from_batches([batch for batch in batches if batch.num_rows], schema)
    if not table.num_rows:
        return pa.RecordBatch.from_pylist([], schema=schema)
    table = table.unify_dictionaries().combine_chunks()
    return pa.RecordBatch.from_arrays([column.chunk(0) for column in table.columns], schema=table.schema)


def with_usd(batch: pa.RecordBatch) -> pa.RecordBatch:
    """`cost_pico` as `cost_usd`: the same integer, read with twelve decimals; null stays null."""
    pico = batch.column("cost_pico").cast(pa.decimal128(38, 0))
    usd = pa.Array.from_buffers(USD, len(pico), pico.buffers(), offset=pico.offset)
    index = batch.schema.get_field_index("cost_pico")
    return batch.set_column(index, pa.field("cost_usd", USD), usd)


def _with_position(batch: pa.RecordBatch, blocks: Sequence[Block], counts: Sequence[int]) -> pa.RecordBatch:
    partitions = np.array([block.header.src_partition for block in blocks], np.int32)
    offsets = np.array([block.offset for block in blocks], np.int64)
    batch = batch.append_column("src_epoch", _names(blocks, counts, lambda header: header.src_epoch))
    batch = batch.append_column("src_partition", pa.array(np.repeat(partitions, counts)))
    return batch.append_column("block_offset", pa.array(np.repeat(offsets, counts)))


def _names(blocks: Sequence[Block], counts: Sequence[int], of: Callable[[BlockHeader], str]) -> pa.Array:
    """One value a block, repeated for each of its rows, as a dictionary."""
    values = [of(block.header) for block in blocks]
    distinct = list(dict.fromkeys(values))
    codes = np.array([distinct.index(value) for value in values], np.int32)
    repeated: Any = np.repeat(codes, counts)
    return pa.DictionaryArray.from_arrays(pa.array(repeated), pa.array(distinct, pa.string())).cast(NAME)
