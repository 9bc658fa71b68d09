"""Avro schemas as far as events use them: parsed, and the length of a record's encoding computed by columns."""

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Sizes = npt.NDArray[np.int64]
_FIXED_SIZE = {"null": 0, "boolean": 1, "float": 4, "double": 8, "enum": 1}
_PRIMITIVES = {"null", "boolean", "int", "long", "float", "double", "bytes", "string"}
_LOGICAL = {None, "timestamp-micros", "timestamp-millis"}
#: zigzag(n) takes one byte more from each of these on.
_VARINT_STEPS = np.array([1 << 7 * i for i in range(1, 10)], np.uint64)


@dataclass(frozen=True, slots=True)
class AvroType:
    """A type of a schema. `parts` are the fields of a record, the items of an array or the values of a map."""

    kind: str
    logical: str | None = None
    nullable: bool = False
    names: tuple[str, ...] = ()
    parts: tuple["AvroType", ...] = ()
    defaults: tuple[Any, ...] = ()  # per field of a record; NO_DEFAULT where it has none


class _NoDefault:
    """Marks a field that must be present."""


NO_DEFAULT = _NoDefault()


def parse(text: str) -> AvroType:
    """The record schema in `text`; ValueError names what events cannot be decoded with (fixed, wide unions ...)."""
    root = _parse(json.loads(text), "", {})
    if root.kind != "record" or root.nullable:
        raise ValueError(f"schema is a {root.kind}, an event is a record")
    return root


def plain(schema: Any) -> Any:
    """The schema without logical types: its values are then what is on the wire, whatever their range."""
    if isinstance(schema, list):
        return [plain(item) for item in schema]
    if isinstance(schema, dict):
        return {
            key: value if key == "default" else plain(value) for key, value in schema.items() if key != "logicalType"
        }
    return schema


def _parse(schema: Any, path: str, named: dict[str, AvroType]) -> AvroType:
    if isinstance(schema, list):
        return _parse_union(schema, path, named)
    if isinstance(schema, str):
        schema = {"type": schema}
    kind = schema["type"]
    if isinstance(kind, dict | list):
        return _parse(kind, path, named)
    if schema.get("logicalType") not in _LOGICAL:
        raise ValueError(f"{path or 'schema'}: logical type {schema['logicalType']} is not one of an event")
    if kind in named:
        return named[kind]
    if kind in _PRIMITIVES:
        return AvroType(kind, schema.get("logicalType"))
    if kind == "array":
        return AvroType(kind, parts=(_parse(schema["items"], f"{path}[]", named),))
    if kind == "map":
        return AvroType(kind, parts=(_parse(schema["values"], f"{path}{{}}", named),))
    if kind == "enum" and len(schema["symbols"]) <= 64:
        parsed = AvroType(kind)
    elif kind == "record":
        parsed = _parse_record(schema, path, named)
    else:
        raise ValueError(f"{path or 'schema'}: type {kind} is not one of an event")
    named[schema["name"]] = parsed
    if schema.get("namespace"):
        named[f"{schema['namespace']}.{schema['name']}"] = parsed
    return parsed


def _parse_record(schema: dict[str, Any], path: str, named: dict[str, AvroType]) -> AvroType:
    fields = schema["fields"]
    return AvroType(
        "record",
        names=tuple(field["name"] for field in fields),
        parts=tuple(_parse(field["type"], f"{path}.{field['name']}".lstrip("."), named) for field in fields),
        defaults=tuple(field.get("default", NO_DEFAULT) for field in fields),
    )


def _parse_union(branches: list[Any], path: str, named: dict[str, AvroType]) -> AvroType:
    others = [branch for branch in branches if branch != "null"]
    if len(branches) != 2 or len(others) != 1:
        raise ValueError(f"{path or 'schema'}: a union other than of null and one type is not one of an event")
    other = _parse(others[0], path, named)
    return AvroType(other.kind, other.logical, True, other.names, other.parts, other.defaults)


def encoded_sizes(avro: AvroType, values: pa.Array) -> Sizes | int:
    """Bytes of the canonical encoding of each value (shortest integers, collections in one block)."""
    if avro.nullable and values.null_count == len(values):  # most fields of most batches
        return 1
    sizes = _payload_sizes(avro, values)
    if not avro.nullable:
        return sizes
    if values.null_count == 0:
        return sizes + 1
    return np.where(values.is_valid().to_numpy(zero_copy_only=False), sizes, 0) + 1


def _payload_sizes(avro: AvroType, values: pa.Array) -> Sizes | int:
    if avro.kind in _FIXED_SIZE:
        return _FIXED_SIZE[avro.kind]
    if avro.kind in ("string", "bytes"):
        offsets = _offsets(values)
        if offsets[0] == offsets[-1]:
            return 1
        lengths: Sizes = np.diff(offsets).astype(np.int64)
        return lengths + _varint_sizes(lengths)
    if avro.kind in ("int", "long"):
        numbers = values if values.null_count == 0 else values.fill_null(0)
        wire = pa.int32() if numbers.type.bit_width == 32 else pa.int64()
        return _varint_sizes(numbers.view(wire).to_numpy())
    if avro.kind == "record":
        total: Sizes | int = 0
        for index, part in enumerate(avro.parts):
            total = total + encoded_sizes(part, values.field(index))
        return total
    return _collection_sizes(avro, values)


def _collection_sizes(avro: AvroType, values: pa.Array) -> Sizes | int:
    offsets = _offsets(values)
    if offsets[0] == offsets[-1]:
        return 1
    if avro.kind == "map":
        items = encoded_sizes(AvroType("string"), values.keys) + encoded_sizes(avro.parts[0], values.items)
    else:
        items = encoded_sizes(avro.parts[0], values.values)
    before = np.zeros(offsets[-1] + 1, np.int64)
    np.cumsum(np.broadcast_to(items, offsets[-1]), out=before[1:])
    lengths = np.diff(offsets)
    block = np.diff(before[offsets]) + _varint_sizes(lengths)
    return np.where(lengths > 0, block, 0) + 1


def _offsets(values: pa.Array) -> npt.NDArray[np.int32]:
    """Offsets of a string, list or map array that starts at its buffer's beginning (as a decoder makes them)."""
    return np.frombuffer(values.buffers()[1], np.int32, len(values) + 1)


def _varint_sizes(numbers: npt.NDArray[Any]) -> Sizes | int:
    if len(numbers) == 0 or (numbers.max() < 64 and numbers.min() >= -64):
        return 1
    wide = numbers.astype(np.int64)
    zigzag = ((wide << 1) ^ (wide >> 63)).view(np.uint64)
    return np.searchsorted(_VARINT_STEPS, zigzag, side="right") + 1
