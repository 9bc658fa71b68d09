"""Lands blocks in ClickHouse: inserts, and after doubt reads back before it repeats.

Insert tokens alone can lose rows (a crash between ClickHouse's record of the token and the part's rename) or double
them (another composition is another token), so they are only the second guard, against an insert that still waits
inside ClickHouse. What decides is which positions are there.
"""

import hashlib
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa

from stream_processors import faults
from stream_processors.sink.plan import Block, Position, missing
from stream_processors.sink.rollups import ROLLUPS, mending_sql
from stream_processors.sink.rows import block_rows, reject_rows, usage_rows
from stream_processors.sink.warehouse import AwayError, RefusedError, Warehouse

ATTEMPTS = 3
# A batch of old events may touch more months than the default of 100 allows.
_INSERT: dict[str, str | int] = {
    "max_partitions_per_insert_block": 0,
    "deduplicate_blocks_in_dependent_materialized_views": 1,
}


@dataclass(frozen=True, slots=True)
class Batch:
    """Blocks that are inserted together, by partition and offset: the same blocks always make the same insert."""

    blocks: tuple[Block, ...]

    @property
    def partitions(self) -> tuple[int, ...]:
        return tuple(dict.fromkeys(block.header.src_partition for block in self.blocks))

    @property
    def token(self) -> str:
        """Says what the insert contains: partitions, blocks and source offsets."""
        names = [f"{one.header.src_epoch}:{one.header.src_partition}:{one.offset}" for one in self.blocks]
        return hashlib.sha256(" ".join(names).encode()).hexdigest()[:32]

    def of(self, partition: int) -> "Batch":
        return Batch(tuple(block for block in self.blocks if block.header.src_partition == partition))


def batch_of(blocks: Sequence[Block]) -> Batch:
    return Batch(tuple(sorted(blocks, key=lambda block: (block.header.src_partition, block.offset))))


@dataclass(frozen=True, slots=True)
class Landing:
    """Where blocks land. `zone` is the calendar's."""

    warehouse: Warehouse
    zone: str

    def land(self, batch: Batch, doubtful: bool) -> None:
        """Rows, rejects, then the blocks themselves, which say that the former are there.

        `doubtful`: perhaps some of it has been inserted before. Raises AwayError (call again, doubtful) and
        RefusedError (for good, also when ClickHouse holds rows that the blocks do not explain).
        """
        if doubtful:
            self._complete(batch)
        else:
            settings = self._insert_settings(batch)
            self.warehouse.insert("usage", usage_rows(batch.blocks), settings)
            faults.crash("sink.after_usage")
            self.warehouse.insert("rejected", reject_rows(batch.blocks), settings)
        faults.crash("sink.before_blocks")
        self.warehouse.insert("blocks", block_rows(batch.blocks, time.time_ns() // 1000))

    def _complete(self, batch: Batch) -> None:
        self._await_quiet(batch)
        self._insert_missing("usage", batch, usage_rows(batch.blocks))
        faults.crash("sink.before_repair")
        for partition in batch.partitions:
            self._mend_rollups(batch.of(partition))
        self._insert_missing("rejected", batch, reject_rows(batch.blocks))

    def _await_quiet(self, batch: Batch) -> None:
        """An insert whose client is gone may still run; what it will have inserted cannot be counted yet."""
        marks = ", ".join(f"'{_mark(partition)}'" for partition in batch.partitions)
        running = self.warehouse.select(
            "SELECT count() AS n FROM system.processes WHERE query_kind = 'Insert' "  # noqa: S608 -- our own text
            f"AND multiSearchAny(Settings['log_comment'], [{marks}])"
        )
        if running.column("n")[0].as_py():
            raise AwayError("an earlier insert of these partitions still runs")

    def _insert_missing(self, table: str, batch: Batch, rows: pa.RecordBatch) -> None:
        settings, expected = self._insert_settings(batch), positions(rows)
        for attempt in range(ATTEMPTS):
            try:
                indexes = missing(expected, self._found(table, batch))
            except ValueError as error:
                raise RefusedError(0, f"table {table}: {error}") from error
            if not indexes:
                return
            if attempt or len(indexes) < len(expected):  # its own token, or ClickHouse would drop it as a repeat
                settings = settings | {"insert_deduplication_token": f"{batch.token}/{uuid.uuid4().hex}"}
            self.warehouse.insert(table, rows.take(pa.array(indexes)), settings)
        raise RefusedError(0, f"table {table}: rows were inserted {ATTEMPTS} times and are not there")

    def _found(self, table: str, batch: Batch) -> list[Position]:
        if not batch.blocks:
            return []
        entry = "src_entry" if table == "usage" else "toInt8(0) AS src_entry"
        epochs = ",".join(sorted({block.header.src_epoch for block in batch.blocks}))
        rows = self.warehouse.select(
            f"SELECT src_partition, block_offset, src_offset, {entry} FROM {table} "  # noqa: S608 -- our own text
            f"WHERE has(splitByChar(',', {{epochs:String}}), src_epoch) AND ({_ranges(batch)})",
            epochs=epochs,
        )
        return positions(rows)

    def _mend_rollups(self, batch: Batch) -> None:
        first, last = batch.blocks[0], batch.blocks[-1]
        parameters: dict[str, str | int] = {
            "param_partition": first.header.src_partition,
            "param_first_block": first.offset,
            "param_last_block": last.offset,
            "insert_deduplicate": 0,  # the same difference twice is two differences
            "log_comment": self._insert_settings(batch)["log_comment"],
        }
        for rollup in ROLLUPS:
            self.warehouse.run(mending_sql(rollup, self.zone), parameters)

    def _insert_settings(self, batch: Batch) -> dict[str, str | int]:
        comment = "tollbook sink " + "".join(_mark(partition) for partition in batch.partitions)
        return _INSERT | {"insert_deduplication_token": batch.token, "log_comment": comment}


def positions(rows: pa.RecordBatch | pa.Table) -> list[Position]:
    """Where each row comes from; a reject is the only entry of its event."""
    names = ("src_partition", "block_offset", "src_offset", "src_entry")
    columns = [rows.column(name).to_pylist() if name in rows.schema.names else [0] * rows.num_rows for name in names]
    return list(zip(*columns, strict=True))


def _mark(partition: int) -> str:
    return f"<{partition}>"


def _ranges(batch: Batch) -> str:
    """SQL for the rows of the batch's blocks and of any that lie between them."""
    ranges = []
    for partition in batch.partitions:
        blocks = batch.of(partition).blocks
        ranges.append(
            f"src_partition = {partition} AND block_offset BETWEEN {blocks[0].offset} AND {blocks[-1].offset}"
        )
    return " OR ".join(ranges)
