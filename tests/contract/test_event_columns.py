"""One list of columns: in Avro, in the pydantic model, in Arrow and in ClickHouse's table `usage`."""

import json
import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from schemas.arrow import EVENT_COLUMNS, RATED_COLUMNS, TOKEN_CLASSES
from schemas.codec import avro_text
from schemas.event import UsageEvent

MIGRATIONS = Path(__file__).parents[2] / "clickhouse" / "migrations"
FIELDS: list[dict[str, Any]] = json.loads(avro_text("usage_event.v1"))["fields"]
AVRO_TO_ARROW = {
    "string": {"string", "dictionary<values=string, indices=int32, ordered=0>"},
    "enum": {"dictionary<values=string, indices=int32, ordered=0>"},
    "int": {"int32"},
    "long": {"int64"},
    "timestamp-micros": {"timestamp[us, tz=UTC]"},
    "map of long": {"map<string, int64>"},
    "map of string": {"map<string, string>"},
    "array of QualityGate": {
        "list<item: struct<gate: string, passed: bool, score: double, detail: string>>",
        "list<element: struct<gate: string, passed: bool, score: double, detail: string>>",
    },
    "array of Attachment": {
        "list<item: struct<file_id: string, name: string, bytes: int64, tokens: int64>>",
        "list<element: struct<file_id: string, name: string, bytes: int64, tokens: int64>>",
    },
}
ARROW_TO_CLICKHOUSE = {
    "string": "String",
    "dictionary<values=string, indices=int32, ordered=0>": "LowCardinality(String)",
    "int8": "Int8",
    "int32": "Int32",
    "int64": "Int64",
    "timestamp[us, tz=UTC]": "DateTime64(6, 'UTC')",
    "map<string, int64>": "Map(String, Int64)",
    "map<string, string>": "Map(String, String)",
    "list<item: struct<gate: string, passed: bool, score: double, detail: string>>": (
        "Array(Tuple(gate String, passed Bool, score Nullable(Float64), detail String))"
    ),
    "list<item: struct<file_id: string, name: string, bytes: int64, tokens: int64>>": (
        "Array(Tuple(file_id String, name String, bytes Int64, tokens Int64))"
    ),
}
SINK_COLUMNS = {
    "src_epoch": "LowCardinality(String)",
    "src_partition": "Int32",
    "block_offset": "Int64",
    "price_version": "LowCardinality(String)",
}


def usage_table() -> dict[str, str]:
    """Column names and types of the newest definition of `usage` in the migrations."""
    text = "\n".join(path.read_text() for path in sorted(MIGRATIONS.glob("*.sql")))
    body = re.search(r"CREATE TABLE (?:IF NOT EXISTS )?usage\n\((.*?)\n\)\nENGINE", text, re.DOTALL)
    assert body is not None, "no CREATE TABLE usage in the migrations"
    lines = (line.partition("--")[0].strip().rstrip(",").strip() for line in body[1].splitlines())
    columns = [line for line in lines if line and not line.startswith("INDEX ")]
    return dict(re.sub(r"\s+CODEC\(.*$", "", column).split(" ", 1) for column in columns)


def avro_kind(kind: Any) -> str:
    """One word or phrase for an Avro type, its null branch left out."""
    if isinstance(kind, list):
        (kind,) = [branch for branch in kind if branch != "null"]
    if isinstance(kind, str):
        return kind
    if kind["type"] == "map":
        return f"map of {kind['values']}"
    if kind["type"] == "array":
        return f"array of {kind['items']['name']}"
    return str(kind.get("logicalType", kind["type"]))


def test_avro_model_and_arrow_have_the_same_columns_in_the_same_order() -> None:
    names = [field["name"] for field in FIELDS]
    assert list(UsageEvent.model_fields) == names
    assert EVENT_COLUMNS.names == names


@pytest.mark.parametrize("field", FIELDS, ids=lambda field: field["name"])
def test_a_field_has_one_default_and_one_type(field: dict[str, Any]) -> None:
    model_field = UsageEvent.model_fields[field["name"]]
    assert model_field.is_required() == ("default" not in field)
    if "default" in field:
        default = model_field.get_default()
        assert (list(default) if isinstance(default, tuple) else default) == field["default"]
    assert str(EVENT_COLUMNS.field(field["name"]).type) in AVRO_TO_ARROW[avro_kind(field["type"])]


def test_arrow_and_clickhouse_have_the_same_columns() -> None:
    rated = [name for name in RATED_COLUMNS.names if name != "content_hash"]  # stays in the block
    booked = ["cost_usd" if name == "cost_pico" else name for name in [*EVENT_COLUMNS.names, *rated]]
    assert list(usage_table()) == [*booked, *SINK_COLUMNS]


@pytest.mark.parametrize("name", list(usage_table()))
def test_a_column_of_clickhouse_has_the_type_of_its_arrow_column(name: str) -> None:
    table = usage_table()
    if name in SINK_COLUMNS:
        assert table[name] == SINK_COLUMNS[name]
    elif name == "cost_usd":
        assert table[name] == "Nullable(Decimal(38, 12))"
        assert RATED_COLUMNS.field("cost_pico").type == pa.int64()
    else:
        kind = pa.schema([*EVENT_COLUMNS, *RATED_COLUMNS]).field(name).type
        optional = next((isinstance(field["type"], list) for field in FIELDS if field["name"] == name), False)
        expected = ARROW_TO_CLICKHOUSE[str(kind)]
        assert table[name] == (f"Nullable({expected})" if optional else expected)


def test_token_classes_are_the_counts_of_the_schema() -> None:
    counts = [f["name"] for f in FIELDS if f["name"].endswith("_tokens") and f["type"] == "long"]
    assert list(TOKEN_CLASSES) == counts
