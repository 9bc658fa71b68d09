"""Events, frames and batches for the tests of rating."""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from schemas.arrow import EVENT_COLUMNS
from schemas.codec import avro_text, encode
from stream_processors.core.rating import RawBatch

SCHEMA_ID = 1
OCCURRED_US = 1_790_000_000_000_000  # 2026-09-21 14:13:20 UTC
BOOKED_MS = OCCURRED_US // 1000 + 2_000
HOUR_MS = 3_600_000


def event(**fields: Any) -> dict[str, Any]:
    """A valid event; Claude Sonnet 4.5 has flat and well-known prices."""
    return {
        "event_id": "e1",
        "source": "svc/chat",
        "occurred_at": OCCURRED_US,
        "organization": "acme",
        "provider": "anthropic",
        "model": "claude-sonnet-4-5",
        "input_tokens": 1000,
        "output_tokens": 300,
        **fields,
    }


def framed(**fields: Any) -> bytes:
    return encode(event(**fields), "usage_event.v1", SCHEMA_ID)


def schema_of(schema_id: int) -> str | None:
    return avro_text("usage_event.v1") if schema_id == SCHEMA_ID else None


def changed_schema(**changes: Any) -> str:
    """usage_event.v1 with fields replaced (name = Avro field), removed (name = None) or added."""
    schema = json.loads(avro_text("usage_event.v1"))
    fields = {field["name"]: field for field in schema["fields"]}
    for name, change in changes.items():
        fields.pop(name) if change is None else fields.update({name: {"name": name, **change}})
    return json.dumps({**schema, "fields": list(fields.values())})


def batch(values: Sequence[bytes], first_offset: int = 0, booked_ms: int | Sequence[int] = BOOKED_MS) -> RawBatch:
    count = len(values)
    keys: list[bytes | None] = [f"key-{first_offset + place}".encode() for place in range(count)]
    offsets = np.arange(first_offset, first_offset + count, dtype=np.int64)
    return RawBatch(list(values), keys, offsets, np.broadcast_to(np.array(booked_ms, np.int64), count).copy())


def columns(events: Sequence[dict[str, Any]]) -> pa.RecordBatch:
    """Events as decoded, without a detour over bytes: for validation and prices alone."""
    empty = {"revision": 0, "kind": "usage", "service_tier": "default", "status": "ok"}
    filled = []
    for given in events:
        row = {field.name: _blank(field.type) for field in EVENT_COLUMNS} | empty | event() | given
        filled.append(row)
    return pa.RecordBatch.from_pylist(filled, schema=EVENT_COLUMNS)


def _blank(kind: pa.DataType) -> Any:
    if pa.types.is_map(kind) or pa.types.is_list(kind):
        return []
    if pa.types.is_integer(kind):
        return 0
    return None if pa.types.is_timestamp(kind) else ""
