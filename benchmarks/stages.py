"""Each stage alone, in one process and without a broker, beside the least that any program of its place has to do."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pyarrow as pa
import pyruhvro

from schemas.arrow import MEASURES, SCOPE_KINDS
from schemas.block import BlockHeader, decode_block, from_ipc, to_ipc
from schemas.calendar import Calendar
from schemas.codec import FRAME, avro_text
from stream_processors.core.blocks import pieces
from stream_processors.core.gcounter import PartitionTotals, Progress
from stream_processors.core.price_book import PriceBook
from stream_processors.core.rating import RawBatch, rate
from stream_processors.core.revisions import Revisions
from stream_processors.core.rollup import apply_block, partial_messages
from stream_processors.core.scopes import ScopeIndex
from stream_processors.core.seen import Seen
from stream_processors.sink.plan import Block
from stream_processors.sink.rows import usage_rows

Blocks = Sequence[tuple[BlockHeader, bytes]]
PARTITIONS = 4
INSERTED = 5  # blocks at a time, about as many events as the sink inserts
REPEATS = 3
NOWHERE = Path("/dev/null")


def us_per_event(work: Callable[[], object], events: int) -> float:
    """How long the work takes, in microseconds for each of so many events."""
    began = time.perf_counter()
    work()
    return round((time.perf_counter() - began) / events * 1e6, 3)


def stages(raw: Sequence[RawBatch]) -> dict[str, dict[str, float]]:
    """By stage: microseconds an event of ours (`us`) and of the floor (`floor_us`); of REPEATS the best.

    The first time costs more, for memory that nobody has used yet.
    """
    events, blocks = sum(len(batch.values) for batch in raw), _rated(raw)

    def us(work: Callable[[], object]) -> float:
        return min(us_per_event(work, events) for _ in range(REPEATS))

    return {
        "rating": {"us": us(lambda: _rated(raw)), "floor_us": us(lambda: _decoded(raw))},
        "windows": {"us": us(lambda: _counted(blocks)), "floor_us": us(lambda: _added_up(blocks))},
        "sink": {"us": us(lambda: _joined(blocks)), "floor_us": us(lambda: _copied(blocks))},
    }


def _rated(raw: Sequence[RawBatch]) -> list[tuple[BlockHeader, bytes]]:
    book, seen, revisions = PriceBook.compiled(), Seen(), Revisions()
    blocks: list[tuple[BlockHeader, bytes]] = []
    for batch in raw:
        rated = rate(batch, lambda _: avro_text("usage_event.v1"), book, seen, revisions)
        for piece in pieces(rated, int(batch.offsets[0]), int(batch.offsets[-1])):
            counts, clock = (piece.rated.rows.num_rows, 0, 0, 0), int(batch.booked_ms[-1]) * 1000
            offsets = piece.first_offset, piece.last_offset, len(blocks) - 1
            blocks.append((BlockHeader("benchmark", 0, *offsets, *counts, "", clock, 0), piece.value))
    return blocks


def _decoded(raw: Sequence[RawBatch]) -> None:
    text = avro_text("usage_event.v1")
    for batch in raw:
        pyruhvro.deserialize_array([value[FRAME.size :] for value in batch.values], text)


def _counted(blocks: Blocks) -> None:
    index, calendar, totals = ScopeIndex(), Calendar(), PartitionTotals(Progress(0))
    for offset, (header, value) in enumerate(blocks):
        rows, _ = decode_block(value, header)
        touched = apply_block(totals, header, offset, rows, calendar, index, {})
        for _, entries, progress in partial_messages(totals, touched, offset - 1, "", PARTITIONS, index):
            to_ipc(entries), progress.to_bytes()


def _added_up(blocks: Blocks) -> None:
    sums = [(name, "sum") for name in (*MEASURES, "cost_pico")]
    for _, value in blocks:
        rows = pa.Table.from_batches([from_ipc(value)])
        for scope in SCOPE_KINDS:
            rows.group_by(scope, use_threads=False).aggregate(sums)


def _joined(blocks: Blocks) -> None:
    for first in range(0, len(blocks), INSERTED):
        some = enumerate(blocks[first : first + INSERTED])
        _written(usage_rows([Block(offset, header, *decode_block(value, header)) for offset, (header, value) in some]))


def _copied(blocks: Blocks) -> None:
    for _, value in blocks:
        _written(from_ipc(value))


def _written(rows: pa.RecordBatch) -> None:
    with NOWHERE.open("wb") as out, pa.ipc.new_stream(out, rows.schema) as writer:
        writer.write_batch(rows)
