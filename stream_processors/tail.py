"""Records of any topic of the ledger as plain JSON: Avro through the registry, Arrow row by row."""

import json
import time
from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from functools import cache
from itertools import islice
from typing import Any

import fastavro
import orjson
import pyarrow as pa
from confluent_kafka import Message

from schemas.arrow import USAGE_ROWS
from schemas.block import HEADER, BlockHeader, decode_block, from_ipc
from schemas.codec import decode, split_frame
from schemas.registry import Registry
from schemas.settings import Settings
from schemas.topics import BLOCKS, BY_NAME, PARTIALS, TOTALS, WINDOWS, Topic
from stream_processors.logs import LogReader

PAUSE_S = 0.25

Line = dict[str, Any]


def tail(settings: Settings, topic: Topic, most: int | None, from_beginning: bool, follow: bool) -> Iterator[Line]:
    """The newest `most` records in the order of time, or the oldest, partition by partition (None: all of them).

    With `follow` it goes on with what comes, for ever. A record of Arrow rows is several lines. Raises KafkaException
    or RegistryAwayError.
    """
    registry = Registry(settings.registry)
    with LogReader(settings.kafka) as reader:
        ends = [reader.bounds(topic.name, number) for number in range(topic.partitions or settings.partitions)]
        found = _oldest(reader, topic, ends) if from_beginning else _newest(reader, topic, ends, most or 0)
        for message in islice(found, most):
            yield from lines(message, topic, registry)
        positions = [high for _, high in ends]
        while follow:
            for number, start in enumerate(positions):
                for message in reader.read(topic.name, number, start):
                    positions[number] = (message.offset() or 0) + 1
                    yield from lines(message, topic, registry)
            time.sleep(PAUSE_S)


def _oldest(reader: LogReader, topic: Topic, ends: Sequence[tuple[int, int]]) -> Iterator[Message]:
    for number, (low, _) in enumerate(ends):
        yield from reader.read(topic.name, number, low)


def _newest(reader: LogReader, topic: Topic, ends: Sequence[tuple[int, int]], most: int) -> list[Message]:
    starts = [max(low, high - most) for low, high in ends]
    held = [message for number, start in enumerate(starts) for message in reader.read(topic.name, number, start)]
    held.sort(key=lambda message: (message.timestamp()[1], message.partition() or 0, message.offset() or 0))
    return held[max(0, len(held) - most) :]


def lines(message: Message, topic: Topic, registry: Registry) -> Iterator[Line]:
    """One record as lines of plain values. What cannot be decoded is shown as bytes, with the reason."""
    headers: Any = message.headers() or []
    about: Line = {
        "partition": message.partition(),
        "offset": message.offset(),
        "timestamp_ms": message.timestamp()[1],
        "key": _text(message.key()),
        "headers": {name: _text(value) for name, value in headers},
    }
    value = message.value()
    if value is None:
        yield about | {"value": None}
        return
    try:
        decoded = list(_decoded(value, headers, topic, registry))
    except (ValueError, pa.ArrowInvalid) as error:
        yield about | {"error": str(error), "value": _text(value)}
        return
    for row in decoded:
        yield about | row


def _decoded(value: bytes, headers: Any, topic: Topic, registry: Registry) -> Iterator[Line]:
    if topic.avro is not None:
        yield {"value": plain(_read_avro(value, registry))}
    elif topic.name == BLOCKS:
        header = BlockHeader.from_headers(headers)
        rows, rejects = decode_block(value, header)
        yield {"headers": {HEADER: plain(orjson.loads(header.to_bytes()))}, "value": None}
        yield from ({"headers": {}, "row": plain(row)} for row in rows_of(rows))
        yield from ({"headers": {}, "reject": plain(row)} for row in rows_of(rejects))
    elif topic.name in (PARTIALS, WINDOWS):
        entries = rows_of(from_ipc(value))
        yield from ({"entry": plain(row)} for row in entries) if entries else iter([{"entry": None}])
    elif topic.name == TOTALS:
        yield {"value": b64encode(value).decode()}  # the rollup's own state; its key says of what
    else:
        yield {"value": orjson.loads(value)}


def _read_avro(value: bytes, registry: Registry) -> Any:
    schema_id, _ = split_frame(value)
    text = registry.schema_text(schema_id)
    if text is None:
        raise ValueError(f"schema id {schema_id}: unknown to the registry")
    return decode(value, parsed_schema(text))


@cache
def parsed_schema(text: str) -> Any:
    return fastavro.parse_schema(json.loads(text))


def rows_of(batch: pa.RecordBatch) -> list[Line]:
    """The rows of a batch, maps as dictionaries."""
    maps = {field.name for field in USAGE_ROWS if pa.types.is_map(field.type)}
    return [{name: dict(value) if name in maps else value for name, value in row.items()} for row in batch.to_pylist()]


def plain(value: Any) -> Any:
    """Only what JSON has: bytes as text or base64, whole decimals as integers."""
    if isinstance(value, Mapping):
        return {name: plain(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [plain(part) for part in value]
    if isinstance(value, bytes):
        return _text(value)
    if isinstance(value, Decimal):
        # JSON integers end at 64 bits in most readers, orjson's among them.
        return int(value) if value == value.to_integral_value() and abs(value) < 2**63 else str(value)
    return value


def _text(value: str | bytes | None) -> str | None:
    if not isinstance(value, bytes):
        return value
    try:
        text = value.decode()
    except UnicodeDecodeError:
        return b64encode(value).decode()
    return text if text.isprintable() else b64encode(value).decode()


def topic_named(name: str) -> Topic:
    """Raises ValueError for a topic that is not the ledger's."""
    if name not in BY_NAME:
        raise ValueError(f"topic = {name!r}: one of {', '.join(BY_NAME)}")
    return BY_NAME[name]
