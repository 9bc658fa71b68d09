"""Records that must be rejected, of each kind, and the reason that each must get."""

import io
import random
from collections.abc import Callable, Sequence
from typing import Any

import fastavro

from schemas.codec import avro_schema, encode, frame

from .load import HOUR_US, NOBODY, Record

UNKNOWN_ID = 4_000_000
DAY_US = 24 * HOUR_US


def _changed(value: bytes, **changes: Any) -> bytes:
    """The event with fields replaced, written without the producer's checks."""
    schema_id = int.from_bytes(value[1:5], "big")
    event = event_of(value)
    return encode({**event, **changes}, "usage_event.v1", schema_id)


def event_of(value: bytes) -> dict[str, Any]:
    """The event in a record's bytes, by the names of its schema."""
    record: Any = fastavro.schemaless_reader(io.BytesIO(value[5:]), avro_schema("usage_event.v1"), None)
    return dict(record)


#: By kind: the reason, and what is done to a valid record's bytes; `at` is the present, microseconds UTC.
KINDS: dict[str, tuple[str, Callable[[bytes, int], bytes]]] = {
    "wrong magic": ("decode", lambda value, at: b"\1" + value[1:]),
    "unknown schema": ("schema", lambda value, at: frame(UNKNOWN_ID) + value[5:]),
    "truncated": ("decode", lambda value, at: value[:-3]),
    "trailing bytes": ("decode", lambda value, at: value + b"\0\0"),
    "negative": ("invalid", lambda value, at: _changed(value, output_tokens=-1)),
    "huge": ("too_large", lambda value, at: _changed(value, input_tokens=10**9 + 1)),
    "parts": ("parts_exceed_whole", lambda value, at: _changed(value, cache_read_tokens=10**8, cache_write_tokens=1)),
    "future": ("future", lambda value, at: _changed(value, occurred_at=at + DAY_US)),
    "empty ids": ("invalid", lambda value, at: _changed(value, event_id="", source="")),
    "5 MB": ("too_large", lambda value, at: value + bytes(5_000_000)),
}


def spoilt(record: Record, kind: str, at: int) -> Record:
    """A record of a kind of poison made of a valid one, which must not be sent itself."""
    reason, change = KINDS[kind]
    return Record(record.key, change(record.value, at), "", NOBODY, "", 0, (), None, reason)


def salted(records: Sequence[Record], seed: int, at: int, kinds: Sequence[str], share: float) -> list[Record]:
    """The records, in a random `share` of which each has become poison of one of these kinds in turn."""
    chance = random.Random(seed)
    mixed, count = [], 0
    for record in records:
        if chance.random() < share:
            record = spoilt(record, kinds[count % len(kinds)], at)
            count += 1
        mixed.append(record)
    return mixed
