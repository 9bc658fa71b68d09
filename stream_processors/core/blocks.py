"""Cutting what was rated into blocks that the broker accepts."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from schemas.block import encode_block
from stream_processors.core.rating import Rated

#: Well below the topic's limit of 16 MiB.
BLOCK_BYTES = 12 << 20


class Piece(NamedTuple):
    """A stretch of source offsets (both inclusive), what became of them, and the block's encoded value."""

    first_offset: int
    last_offset: int
    rated: Rated
    value: bytes


def pieces(rated: Rated, first_offset: int, last_offset: int, limit: int = BLOCK_BYTES) -> Iterator[Piece]:
    """`rated` as one block, or halved by offsets until each fits; a single offset is always accepted."""
    value = encode_block(rated.rows, rated.rejects)
    if len(value) <= limit or first_offset == last_offset:
        yield Piece(first_offset, last_offset, rated, value)
        return
    middle = (first_offset + last_offset) // 2
    yield from pieces(_stretch(rated, first_offset, middle), first_offset, middle, limit)
    yield from pieces(_stretch(rated, middle + 1, last_offset), middle + 1, last_offset, limit)


def _stretch(rated: Rated, first: int, last: int) -> Rated:
    return Rated(_between(rated.rows, first, last), _between(rated.rejects, first, last))


def _between(batch: pa.RecordBatch, first: int, last: int) -> pa.RecordBatch:
    offsets = batch.column("src_offset").to_numpy()
    start, end = np.searchsorted(offsets, [first, last + 1]).tolist()
    return batch.slice(start, end - start)
