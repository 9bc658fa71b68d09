"""Rejected events: with their bytes, what else was booked in their place, and which of them may be sent again."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from schemas.codec import avro_schema, decode, split_frame
from schemas.event import event_key
from schemas.registry import Registry
from schemas.settings import Settings
from schemas.topics import EVENTS
from stream_processors.core.decode import decode_batch
from stream_processors.core.validate import breaches
from stream_processors.entries import Record
from stream_processors.logs import LogReader, topic_id
from stream_processors.tail import parsed_schema
from stream_processors.warehouse import ask

Event = dict[str, Any]
Identity = tuple[str, str, int]  # source, event_id, revision

NEWEST = """
SELECT
    booked_at, reason, detail, source, event_id, organization, src_epoch, src_partition, src_offset,
    base64Encode(key) AS key_base64, base64Encode(value) AS value_base64
FROM rejected
WHERE {reason:String} IN ('', reason)
ORDER BY booked_at DESC, src_partition, src_offset DESC
LIMIT {most:UInt32}
"""
PLACE = """
SELECT src_epoch, src_partition, src_offset, price_version
FROM usage
WHERE source = {source:String} AND event_id = {event_id:String} AND revision = {revision:Int32} AND src_entry = 0
ORDER BY booked_at
LIMIT 1
"""
BOOKED = """
SELECT DISTINCT source, event_id, revision FROM usage WHERE event_id IN {event_ids:Array(String)}
"""


class Candidate(NamedTuple):
    """An event to be sent again; `name` is how messages call it, `key` that of its first emission."""

    name: str
    key: bytes | None
    value: bytes


@dataclass(slots=True)
class Replay:
    """What becomes of candidates: sent, or left because they are booked, repeated, or still wrong."""

    records: list[Record] = field(default_factory=list)
    booked: int = 0
    repeated: int = 0
    wrong: list[tuple[str, str, str]] = field(default_factory=list)  # name, reason, detail


def read_event(value: bytes, registry: Registry) -> Event | None:
    """The event in a framed record, as ours; None when it cannot be read. RegistryAwayError."""
    try:
        text = registry.schema_text(split_frame(value)[0])
        return None if text is None else decode(value, parsed_schema(text), avro_schema("usage_event.v1"))
    except ValueError:
        return None


class Conflicts:
    """What is booked where another content was refused; use as a context manager."""

    def __init__(self, settings: Settings, registry: Registry) -> None:
        self._settings = settings
        self._registry = registry
        self._epoch = topic_id(settings.kafka, EVENTS)
        self._reader = LogReader(settings.kafka)

    def __enter__(self) -> "Conflicts":
        return self

    def __exit__(self, *_: object) -> None:
        self._reader.__exit__()

    def booked(self, event: Event) -> Mapping[str, Any] | None:
        """Position and content of the entry of the same identity; content None when the log no longer has it."""
        named = {name: event[name] for name in ("source", "event_id", "revision")}
        places = ask(self._settings, PLACE, named)
        return places[0] | {"event": self._content(places[0])} if places else None

    def _content(self, place: Mapping[str, Any]) -> Event | None:
        partition, offset = place["src_partition"], place["src_offset"]
        low, _ = self._reader.bounds(EVENTS, partition)
        if place["src_epoch"] != self._epoch or offset < low:
            return None
        message = next(self._reader.read(EVENTS, partition, offset))
        return read_event(message.value() or b"", self._registry)


def differences(booked: Event, refused: Event) -> list[tuple[str, Any, Any]]:
    """(field, booked, refused) of each field in which two contents differ."""
    return [(name, booked[name], value) for name, value in refused.items() if booked[name] != value]


def plan_replay(
    candidates: Sequence[Candidate],
    booked_ms: int,
    schema_of: Callable[[int], str | None],
    booked: Callable[[Sequence[str]], set[Identity]],
) -> Replay:
    """Which candidates to send: those that rating would take now, each identity once and none that is booked.

    Judged by rating's own rules as if appended at `booked_ms`; `booked(event_ids)` tells what is booked under these.
    """
    replay = Replay()
    decoded = decode_batch([candidate.value for candidate in candidates], schema_of)
    faults = {failure.position: (failure.reason, failure.detail) for failure in decoded.failures}
    row_of = {position: row for row, position in enumerate(decoded.positions.tolist())}
    broken = breaches(decoded.events, np.full(len(row_of), booked_ms * 1000, np.int64))
    faults |= {position: broken[row] for position, row in row_of.items() if row in broken}
    there = booked(decoded.events.column("event_id").to_pylist())
    sent: set[Identity] = set()
    for position, candidate in enumerate(candidates):
        if position in faults:
            replay.wrong.append((candidate.name, *faults[position]))
            continue
        identity = _identity(decoded.events, row_of[position])
        if identity in there:
            replay.booked += 1
        elif identity in sent:
            replay.repeated += 1
        else:
            sent.add(identity)
            replay.records.append(Record(candidate.key or _key(decoded.events, row_of[position]), candidate.value))
    return replay


def _key(events: pa.RecordBatch, row: int) -> bytes:
    organization, user, corrects, event_id = (
        events.column(name)[row].as_py() for name in ("organization", "user", "corrects", "event_id")
    )
    return event_key(organization, user, corrects or event_id)


def _identity(events: pa.RecordBatch, row: int) -> Identity:
    source, event_id, revision = (events.column(name)[row].as_py() for name in ("source", "event_id", "revision"))
    return source, event_id, revision


def booked_identities(settings: Settings, event_ids: Sequence[str], chunk: int = 5_000) -> set[Identity]:
    """Identities that ClickHouse has booked under these names. WarehouseError."""
    return set(_booked(settings, event_ids, chunk))


def _booked(settings: Settings, event_ids: Sequence[str], chunk: int) -> Iterator[Identity]:
    for start in range(0, len(event_ids), chunk):
        for row in ask(settings, BOOKED, {"event_ids": list(event_ids[start : start + chunk])}):
            yield row["source"], row["event_id"], row["revision"]
