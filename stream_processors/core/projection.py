"""Events written with another version of the schema, read as ours: a projection of Arrow columns.

Fields the writer lacks take their defaults, fields we do not know are dropped, numbers are widened.
"""

import json
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import fastavro
import numpy as np
import pyarrow as pa

from schemas.arrow import EVENT_COLUMNS, NAME
from schemas.codec import avro_text
from stream_processors.core.avro_types import NO_DEFAULT, AvroType, parse, plain

_WIDENING = {
    ("int", "long"),
    ("int", "double"),
    ("long", "double"),
    ("float", "double"),
    ("string", "enum"),
    ("enum", "string"),
}
#: Our columns before names are dictionary-encoded.
PLAIN_COLUMNS = pa.schema(
    [pa.field(column.name, pa.string() if column.type == NAME else column.type) for column in EVENT_COLUMNS]
)


@dataclass(frozen=True, slots=True)
class Writer:
    """A schema that events were written with. `places` says where it has each of our fields, None when it lacks it."""

    text: str
    avro: AvroType
    plain: Any
    places: tuple[int | None, ...]


@lru_cache(maxsize=256)
def writer_of(text: str) -> Writer:
    """Raises ValueError when events of this schema cannot be read as ours."""
    try:
        avro = parse(text)
        _check_record(avro, _reader(), "")
        places = {name: place for place, name in enumerate(avro.names)}
        return Writer(
            text,
            avro,
            fastavro.parse_schema(plain(json.loads(text))),
            tuple(places.get(name) for name in PLAIN_COLUMNS.names),
        )
    except (KeyError, TypeError, AttributeError, fastavro.schema.SchemaParseException) as error:
        raise ValueError(f"writer schema: not an Avro schema ({error!r})") from error


@lru_cache(maxsize=1)
def _reader() -> AvroType:
    return parse(avro_text("usage_event.v1"))


def _check_record(writer: AvroType, reader: AvroType, path: str) -> None:
    for name, wanted, default in zip(reader.names, reader.parts, reader.defaults, strict=True):
        if name in writer.names:
            _check(writer.parts[writer.names.index(name)], wanted, f"{path}{name}")
        elif default is NO_DEFAULT:
            raise ValueError(f"writer schema: field {path}{name} is missing, and it has no default")


def _check(writer: AvroType, reader: AvroType, path: str) -> None:
    if writer.kind != reader.kind and (writer.kind, reader.kind) not in _WIDENING:
        raise ValueError(f"writer schema: field {path} is {writer.kind}, it must be {reader.kind}")
    if writer.logical not in (None, reader.logical):
        raise ValueError(f"writer schema: field {path} is {writer.logical}, it must be {reader.logical or reader.kind}")
    if "." in path and writer.nullable and not reader.nullable:
        raise ValueError(f"writer schema: field {path} may be null, it must not")
    if reader.kind == "record":
        _check_record(writer, reader, f"{path}.")
    for part, wanted in zip(writer.parts, reader.parts, strict=False):
        if reader.kind in ("array", "map"):
            _check(part, wanted, f"{path}.items")


def project(batch: pa.RecordBatch, writer: Writer) -> tuple[pa.RecordBatch, list[tuple[int, str]]]:
    """The writer's columns as ours (names still plain text), and (row, detail) where a required field is null."""
    reader = _reader()
    columns = []
    nulls: dict[int, str] = {}
    for index, (place, target) in enumerate(zip(writer.places, PLAIN_COLUMNS, strict=True)):
        if place is None:
            column = _default(reader, index, target, batch.num_rows)
        else:
            column = _convert(batch.column(place), writer.avro.parts[place], reader.parts[index], target.type)
        columns.append(column)
        if column.null_count and not reader.parts[index].nullable:
            missing = np.flatnonzero(column.is_null().to_numpy(zero_copy_only=False))
            nulls = dict.fromkeys(missing.tolist(), f"{target.name} = null: it must have a value") | nulls
    return pa.RecordBatch.from_arrays(columns, schema=PLAIN_COLUMNS), sorted(nulls.items())


def _default(reader: AvroType, index: int, target: pa.Field, count: int) -> pa.Array:
    return pa.repeat(pa.scalar(reader.defaults[index], target.type), count)


def _convert(values: pa.Array, writer: AvroType, reader: AvroType, target: pa.DataType) -> pa.Array:
    if values.type == target:
        return values
    if reader.kind == "array":
        return pa.ListArray.from_arrays(
            values.offsets, _convert(values.values, writer.parts[0], reader.parts[0], target.value_type), type=target
        )
    if reader.kind == "record":
        fields = [
            _convert(
                values.field(writer.names.index(field.name)),
                writer.parts[writer.names.index(field.name)],
                part,
                field.type,
            )
            if field.name in writer.names
            else _default(reader, index, field, len(values))
            for index, (part, field) in enumerate(zip(reader.parts, target, strict=True))
        ]
        return pa.StructArray.from_arrays(fields, fields=list(target))
    return values.cast(target, safe=False)
