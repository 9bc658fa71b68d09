"""Usage events as JSON lines: the fields of `schemas.event.UsageEvent`, `occurred_at` in ISO 8601.

`event_id`, `source`, `organization`, `provider` and `model` may be missing; the replay fills them.
"""

from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
from pydantic import ValidationError

from producers.adapters.trace import TraceError, lines
from schemas.arrow import EVENT_COLUMNS
from schemas.event import UsageEvent, explain

DATED = True
FILLED = ("event_id", "source", "organization", "provider", "model")


def matches(first_line: str) -> bool:
    return first_line.startswith("{") and '"occurred_at"' in first_line


def read(path: Path) -> pa.Table:
    """The events in the order of the file, '' where the replay is to fill. Raises TraceError."""
    rows = lines(path, lambda number, line: _event(path, number, line))
    plain = pa.schema([(f.name, _plain(f.type)) for f in EVENT_COLUMNS])
    return pa.Table.from_pylist(rows, schema=plain)


def _event(path: Path, number: int, line: bytes) -> dict[str, Any]:
    try:
        values = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise TraceError(path, number, "line", line, f"a JSON object ({error})") from error
    if not isinstance(values, dict):
        raise TraceError(path, number, "line", line, "a JSON object")
    missing = [name for name in FILLED if name not in values]
    try:
        event = UsageEvent.model_validate_json(orjson.dumps(values | dict.fromkeys(missing, "?")))
    except ValidationError as error:
        raise TraceError(path, number, "event", values.get("event_id", ""), explain(error)) from error
    return event.model_dump() | dict.fromkeys(missing, "")


def _plain(kind: pa.DataType) -> pa.DataType:
    return kind.value_type if pa.types.is_dictionary(kind) else kind
