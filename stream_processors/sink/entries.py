"""Records of the topics that say what the stream says (windows, alerts, limits, budgets) as rows of ClickHouse.

Their tables keep the newest row of each key (ReplacingMergeTree with a version), so a record may be inserted again
without harm: no plan is needed, only that the commit follows the insert.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from typing import Any

import fastavro
import orjson
import pyarrow as pa

from schemas.arrow import MICROS, WINDOW_ENTRIES
from schemas.block import from_ipc
from schemas.codec import avro_schema, decode, split_frame
from schemas.registry import Registry
from schemas.responses import parse_response
from schemas.topics import ALERTS, BUDGETS, DIRECTORY, LIMITS, PERIODS, RESPONSES, WINDOWS
from stream_processors.core import directory_forms
from stream_processors.core.budget_forms import conditions_of
from stream_processors.core.directory import FILLED
from stream_processors.core.periods import Period
from stream_processors.core.selection import conditions_text
from stream_processors.sink.rows import joined, with_usd

POSITION = pa.struct(
    [
        ("src_epoch", pa.string()),
        ("src_partition", pa.int32()),
        ("src_offset", pa.int64()),
        ("block_offset", pa.int64()),
    ]
)
WATERMARKS = pa.schema(
    [
        ("stage", pa.string()),
        ("shard", pa.int32()),
        ("src_partition", pa.int32()),
        ("src_epoch", pa.string()),
        ("src_offset", pa.int64()),
        ("block_offset", pa.int64()),
    ]
)
ALERT_ENTRIES = pa.schema(
    [
        *((name, pa.string()) for name in ("alert_id", "type", "state")),
        ("revision", pa.int32()),
        *((name, pa.string()) for name in ("budget_id", "organization", "scope_kind", "scope", "window_kind")),
        ("window_start", MICROS),
        ("window_end", MICROS),
        ("conditions", pa.string()),
        ("threshold", pa.int32()),
        *((name, pa.string()) for name in ("used", "estimated", "limit", "unit", "severity", "detail", "cause_event")),
        ("positions", pa.list_(POSITION)),
        ("late", pa.bool_()),
        ("deliver", pa.bool_()),
        ("raised_at", MICROS),
        ("alert_partition", pa.int32()),
        ("alert_offset", pa.int64()),
    ]
)
LIMIT_ENTRIES = pa.schema(
    [
        *((name, pa.string()) for name in ("budget_id", "organization", "scope_kind", "scope", "window_kind")),
        ("window_start", MICROS),
        ("window_end", MICROS),
        *(
            (name, pa.string())
            for name in ("conditions", "unit", "used", "estimated", "limit", "remaining", "decision")
        ),
        ("positions", pa.list_(POSITION)),
        ("as_of", MICROS),
        ("limit_offset", pa.int64()),
    ]
)
BUDGET_ROWS = pa.schema(
    [
        *((name, pa.string()) for name in ("id", "scope_kind", "scope", "organization", "period", "unit", "limit")),
        ("conditions", pa.string()),
        ("thresholds", pa.list_(pa.int32())),
        ("version", pa.int64()),
        ("removed", pa.bool_()),
        ("budget_offset", pa.int64()),
    ]
)
PERIOD_ROWS = pa.schema(
    [
        ("month", pa.date32()),
        ("closed", pa.bool_()),
        ("at", MICROS),
        *((name, pa.string()) for name in ("author", "reason", "src_epoch")),
        ("ends", pa.list_(pa.int64())),
        ("period_offset", pa.int64()),
    ]
)
RESPONSE_ROWS = pa.schema(
    [
        *((name, pa.string()) for name in ("key", "kind", "alert_id", "note", "budget_id", "organization", "scope")),
        ("until", MICROS),
        ("author", pa.string()),
        ("at", MICROS),
        ("response_offset", pa.int64()),
    ]
)

PERSON = (*FILLED, "display_name")
PEOPLE_ROWS = pa.schema(
    [
        ("organization", pa.string()),
        ("user", pa.string()),
        ("entries", pa.list_(pa.struct([("valid_from", MICROS), *((name, pa.string()) for name in PERSON)]))),
        ("version", pa.int64()),
        ("directory_offset", pa.int64()),
    ]
)

Insert = tuple[str, pa.RecordBatch]  # table and rows


class Record:
    """What the sink keeps of a record until it is inserted."""

    __slots__ = ("extends", "key", "offset", "partition", "topic", "value", "watermarks")

    def __init__(self, message: Any) -> None:
        headers = dict(message.headers() or ())
        self.topic: str = message.topic()
        self.partition: int = message.partition()
        self.offset: int = message.offset()
        self.key: bytes = message.key() or b""
        self.value: bytes | None = message.value()
        self.watermarks: bytes = headers.get("watermarks", b"[]")
        self.extends: int | None = int(headers["extends"]) if "extends" in headers else None


def window_inserts(records: Sequence[Record], _: Registry) -> list[Insert]:
    """Entries first, then the watermarks that say they are there."""
    entries = joined([from_ipc(record.value) for record in records], WINDOW_ENTRIES)
    newest: dict[tuple[int, int], dict[str, Any]] = {}
    for record in records:
        for mark in orjson.loads(record.watermarks):
            key = (record.partition, mark["src_partition"])
            if key not in newest or newest[key]["block_offset"] < mark["block_offset"]:
                newest[key] = mark | {"stage": "windows", "shard": record.partition}
    return [("window_entries", with_usd(entries)), ("watermarks", _batch(newest.values(), WATERMARKS))]


def alert_inserts(records: Sequence[Record], registry: Registry) -> list[Insert]:
    rows = (
        _avro(record, "alert.v1", registry) | {"alert_partition": record.partition, "alert_offset": record.offset}
        for record in records
    )
    return [("alert_entries", _batch(rows, ALERT_ENTRIES))]


def limit_inserts(records: Sequence[Record], registry: Registry) -> list[Insert]:
    rows = (_avro(record, "limit.v1", registry) | {"limit_offset": record.offset} for record in records if record.value)
    return [("limit_entries", _batch(rows, LIMIT_ENTRIES))]


def budget_inserts(records: Sequence[Record], _: Registry) -> list[Insert]:
    return [("budgets", _batch(map(_budget_row, records), BUDGET_ROWS))]


def period_inserts(records: Sequence[Record], _: Registry) -> list[Insert]:
    return [("periods", _batch((_period_row(record) for record in records if record.value), PERIOD_ROWS))]


def people_inserts(records: Sequence[Record], _: Registry) -> list[Insert]:
    return [("people", _batch((_people_row(record) for record in records if record.value), PEOPLE_ROWS))]


def response_inserts(records: Sequence[Record], _: Registry) -> list[Insert]:
    return [("responses", _batch((_response_row(record) for record in records if record.value), RESPONSE_ROWS))]


INSERTS: Mapping[str, Callable[[Sequence[Record], Registry], list[Insert]]] = {
    BUDGETS: budget_inserts,
    PERIODS: period_inserts,
    RESPONSES: response_inserts,
    DIRECTORY: people_inserts,
    WINDOWS: window_inserts,
    LIMITS: limit_inserts,
    ALERTS: alert_inserts,
}


def _budget_row(record: Record) -> dict[str, Any]:
    """The budget as it is now, or that it was removed."""
    empty = dict.fromkeys(("scope_kind", "scope", "organization", "period", "unit", "limit", "conditions"), "")
    row = empty | {"id": record.key.decode(), "thresholds": [], "version": 0, "budget_offset": record.offset}
    if not record.value:
        return row | {"removed": True}
    budget: dict[str, Any] = orjson.loads(record.value)["history"][-1]
    kind, _, scope = budget["scope"].partition(":")
    conditions = conditions_text(conditions_of(budget.get("conditions", {})))
    return row | budget | {"scope_kind": kind, "scope": scope, "conditions": conditions, "removed": False}


def _period_row(record: Record) -> dict[str, Any]:
    """The month as it is now."""
    period = Period.model_validate_json(record.value or b"")
    newest = period.history[-1]
    return newest.model_dump() | {"month": period.month, "closed": period.closed, "period_offset": record.offset}


def _response_row(record: Record) -> dict[str, Any]:
    """What was answered; of an acknowledgement nothing of a snooze, and the other way round."""
    said = parse_response(record.value or b"").model_dump()
    empty = dict.fromkeys(("alert_id", "note", "budget_id", "organization", "scope"), "")
    return empty | said | {"key": record.key.decode(), "response_offset": record.offset}


def _people_row(record: Record) -> dict[str, Any]:
    """The person as the newest directory has them; without entries when they were removed."""
    newest = directory_forms.History.model_validate_json(record.value or b"").revisions[-1]
    entries = [
        {"valid_from": entry.start, **{name: getattr(entry, name) for name in PERSON}}
        for entry in newest.person.entries
    ]
    named = {"organization": newest.person.organization, "user": newest.person.user, "entries": entries}
    return named | {"version": newest.version, "directory_offset": record.offset}


def _batch(rows: Iterable[Mapping[str, Any]], schema: pa.Schema) -> pa.RecordBatch:
    return pa.RecordBatch.from_pylist(list(rows), schema=schema)


def _avro(record: Record, name: str, registry: Registry) -> dict[str, Any]:
    value = record.value or b""
    schema_id, _ = split_frame(value)
    text = registry.schema_text(schema_id)
    if text is None:
        raise ValueError(f"schema id {schema_id}: unknown to the registry")
    fields: dict[str, Any] = decode(value, _parsed(text), avro_schema(name))
    return fields


@cache
def _parsed(text: str) -> Any:
    return fastavro.parse_schema(json.loads(text))
