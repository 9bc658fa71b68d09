"""Avro in Confluent framing: a zero byte, the schema id as 4 bytes big-endian, then the Avro body."""

import io
import json
import re
import struct
from functools import cache
from pathlib import Path
from typing import Any

import fastavro

FRAME = struct.Struct(">bI")
MAGIC = 0
AVRO_DIR = Path(__file__).parent / "avro"


@cache
def avro_text(name: str) -> str:
    """The schema `name` (as `usage_event.v1`) as JSON text."""
    return (AVRO_DIR / f"{name}.avsc").read_text()


@cache
def avro_schema(name: str) -> Any:
    """The schema `name`, parsed for fastavro."""
    return fastavro.parse_schema(json.loads(avro_text(name)))


def frame(schema_id: int) -> bytes:
    """The five bytes before the body."""
    return FRAME.pack(MAGIC, schema_id)


def encode(record: dict[str, Any], name: str, schema_id: int) -> bytes:
    """One framed record; for topics of low volume (events are encoded in batches, see producers)."""
    out = io.BytesIO()
    out.write(frame(schema_id))
    fastavro.schemaless_writer(out, avro_schema(name), record, strict_allow_default=True)
    return out.getvalue()


def split_frame(value: bytes) -> tuple[int, bytes]:
    """Schema id and body; raises ValueError when the frame is not ours."""
    if len(value) < FRAME.size:
        raise ValueError(f"value: {len(value)} bytes, a framed record has at least {FRAME.size}")
    magic, schema_id = FRAME.unpack_from(value)
    if magic != MAGIC:
        raise ValueError(f"value: first byte is {magic}, Confluent framing starts with {MAGIC}")
    return schema_id, value[FRAME.size :]


def decode(value: bytes, writer: Any, reader: Any = None) -> dict[str, Any]:
    """One framed record read with `writer`, projected on `reader`; ValueError also for trailing bytes."""
    body = io.BytesIO(split_frame(value)[1])
    try:
        record = fastavro.schemaless_reader(body, writer, reader)
    except (EOFError, IndexError, KeyError, UnicodeDecodeError, OverflowError, struct.error) as error:
        # Without the reader's address: the same bytes are refused in the same words whenever they are read.
        reason = re.sub(r" from <.*?>", "", f"{type(error).__name__} {error}").strip()
        raise ValueError(f"value: not a record of its schema ({reason})") from error
    rest = len(body.read())
    if rest:
        raise ValueError(f"value: {rest} bytes after the end of the record")
    return record  # type: ignore[return-value]
