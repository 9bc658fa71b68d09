"""Writes valid chains of blocks as rating would, from seeded rows, and knows what must land."""

import time
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pyarrow as pa
from confluent_kafka import Producer

from schemas.arrow import MICROS, REJECT_ROWS, USAGE_ROWS
from schemas.block import HEADER, BlockHeader, encode_block
from schemas.topics import BLOCKS

HOUR_US = 3_600_000_000
NAMES = {
    "organization": ("acme", "globex"),
    "department": ("", "legal", "eng", "ops"),
    "user": tuple(f"user{number}" for number in range(20)),
    "project": ("", "apollo", "zeus"),
    "provider": ("openai",),
    "model": ("gpt-4o", "o3", "gpt-4o-mini"),
    "feature": ("", "chat"),
    "status": ("ok", "error"),
    "kind": ("usage",),
}


def usage_batch(first_offset: int, count: int, seed: int, start: int, span_us: int) -> pa.RecordBatch:
    """Rows at consecutive offsets, at random instants in [start, start + span_us); one in ten is unpriced."""
    random = np.random.default_rng([seed, first_offset])
    columns: dict[str, pa.Array] = {
        "event_id": pa.array([f"{seed}-{offset}" for offset in range(first_offset, first_offset + count)]),
        "occurred_at": pa.array(start + random.integers(0, span_us, count), MICROS),
        "booked_at": pa.array(np.full(count, start + span_us), MICROS),
        "src_offset": pa.array(np.arange(first_offset, first_offset + count)),
        "src_entry": pa.array(np.zeros(count, np.int8)),
        "requests": pa.array(np.ones(count, np.int8)),
        "content_hash": pa.array(random.integers(0, 2**63, count).astype(np.uint64)),
        "quality": pa.array([[{"gate": "tests", "passed": True, "score": None, "detail": ""}]] * count),
        "tags": pa.array([[("region", "eu")]] * count, pa.map_(pa.string(), pa.string())),
    }
    for name, values in NAMES.items():
        codes = pa.array(random.integers(0, len(values), count).astype(np.int32))
        columns[name] = pa.DictionaryArray.from_arrays(codes, pa.array(values))
    for name in ("input_tokens", "output_tokens", "cache_read_tokens"):
        columns[name] = pa.array(random.integers(0, 5000, count))
    unpriced = random.random(count) < 0.1
    columns["cost_pico"] = pa.array(random.integers(0, 10**12, count), mask=unpriced)
    columns["unpriced_requests"] = pa.array(unpriced.astype(np.int8))
    arrays = [columns[one.name].cast(one.type) if one.name in columns else _filler(one, count) for one in USAGE_ROWS]
    return pa.RecordBatch.from_arrays(arrays, schema=USAGE_ROWS)


def _filler(column: pa.Field, count: int) -> pa.Array:
    """Empty text, zero counts, null for the rest."""
    if pa.types.is_dictionary(column.type):
        return pa.DictionaryArray.from_arrays(pa.array(np.zeros(count, np.int32)), pa.array([""]))
    if pa.types.is_string(column.type):
        return pa.array([""] * count)
    if column.name.endswith("_tokens") or column.name == "revision":
        return pa.array(np.zeros(count, np.int64)).cast(column.type)
    return pa.nulls(count, column.type)


def reject_batch(offsets: list[int], at: int) -> pa.RecordBatch:
    rows = [
        {
            "src_offset": offset,
            "booked_at": at,
            "reason": "decode",
            "detail": "EOFError()",
            "source": "",
            "event_id": "",
            "organization": "",
            "key": b"k",
            "value": b"\x00\xff",
        }
        for offset in offsets
    ]
    return pa.RecordBatch.from_pylist(rows, schema=REJECT_ROWS)


@dataclass
class Chain:
    """One partition's chain, appended to with acknowledged writes; `written` holds what a reader must accept."""

    kafka: str
    partition: int
    epoch: str = "epoch-1"
    head: int = -1
    following: int = 0
    written: list[pa.RecordBatch] = field(default_factory=list)
    rejected: int = 0
    start: int = 1_760_000_000_000_000
    span_us: int = 3 * HOUR_US

    def __post_init__(self) -> None:
        self._producer = Producer({"bootstrap.servers": self.kafka, "linger.ms": 0, "message.max.bytes": 16 << 20})

    def append(self, count: int, rejects: int = 0, seed: int = 1) -> int:
        """A block that extends the head; its offset."""
        rows = usage_batch(self.following, count, seed, self.start, self.span_us)
        header = self._header(count, rejects)
        last = self.following + count
        self.head = self._send(header, rows, reject_batch(list(range(last, last + rejects)), self.start))
        self.following = header.last_offset + 1
        self.written.append(rows)
        self.rejected += rejects
        return self.head

    def append_zombie(self, count: int) -> int:
        """A whole block of a writer that lost: it extends something that is not the head."""
        rows = usage_batch(self.following, count, 99, self.start, self.span_us)
        header = replace(self._header(count, 0), extends=self.head - 1 if self.head >= 0 else 7)
        return self._send(header, rows, reject_batch([], 0))

    def append_hole(self, count: int) -> int:
        """A block that leaves out one offset."""
        rows = usage_batch(self.following + 1, count, 1, self.start, self.span_us)
        header = self._header(count, 0)
        header = replace(header, first_offset=header.first_offset + 1, last_offset=header.last_offset + 1)
        return self._send(header, rows, reject_batch([], 0))

    def totals(self) -> dict[str, Any]:
        """What the ledger must say of this partition."""
        table = pa.Table.from_batches(self.written, USAGE_ROWS)
        return {
            "rows": table.num_rows,
            "input_tokens": sum(table.column("input_tokens").to_pylist()),
            "output_tokens": sum(table.column("output_tokens").to_pylist()),
            "requests": sum(table.column("requests").to_pylist()),
            "unpriced_requests": sum(table.column("unpriced_requests").to_pylist()),
            "cost_pico": sum(cost for cost in table.column("cost_pico").to_pylist() if cost is not None),
            "rejected": self.rejected,
            "blocks": len(self.written),
        }

    def _header(self, count: int, rejects: int) -> BlockHeader:
        return BlockHeader(
            src_epoch=self.epoch,
            src_partition=self.partition,
            first_offset=self.following,
            last_offset=self.following + count + rejects - 1,
            extends=self.head,
            row_count=count,
            reject_count=rejects,
            marker_count=0,
            gap_count=0,
            price_version="prices-1",
            booked_until=self.start,
            rated_at=time.time_ns() // 1000,
        )

    def _send(self, header: BlockHeader, rows: pa.RecordBatch, rejects: pa.RecordBatch) -> int:
        return produce(self._producer, BLOCKS, self.partition, encode_block(rows, rejects), {HEADER: header.to_bytes()})


def produce(
    producer: Any, topic: str, partition: int, value: bytes | None, headers: dict[str, bytes], key: str = ""
) -> int:
    """One record, acknowledged; its offset."""
    offsets: list[int] = []

    def delivered(error: Any, message: Any) -> None:
        assert error is None, error
        offsets.append(message.offset())

    producer.produce(topic, value, key or None, partition=partition, headers=headers, on_delivery=delivered)
    assert producer.flush(20) == 0
    return offsets[0]
