"""Framed Avro to Arrow, a fetched batch at a time; what cannot be read is handed back with its reason.

A record is read with the schema it was written with and projected on `usage_event.v1` by columns: fields it lacks
take their defaults, fields we do not know are dropped.
"""

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import fastavro
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyruhvro

from schemas.arrow import EVENT_COLUMNS, NAME
from schemas.codec import FRAME, MAGIC, avro_text, decode, frame
from stream_processors.core.avro_types import NO_DEFAULT, AvroType, encoded_sizes, parse, plain

#: The largest record that is looked into; the limit guards the decoder, so it comes before it.
MAX_RECORD_BYTES = 1_000_000
#: When a batch does not decode, pieces of this many records are tried, and a bad piece is read record by record.
_PIECE = 64
#: Up to this many records are read a second time one by one: cheaper than to compute with columns.
_FEW = 24
_WIDENING = {
    ("int", "long"),
    ("int", "double"),
    ("long", "double"),
    ("float", "double"),
    ("string", "enum"),
    ("enum", "string"),
}
_PLAIN_COLUMNS = pa.schema(
    [pa.field(column.name, pa.string() if column.type == NAME else column.type) for column in EVENT_COLUMNS]
)


class Failure(NamedTuple):
    """A record that is rejected before it is an event. `position` is its place in the batch."""

    position: int
    reason: str
    detail: str


@dataclass(frozen=True, slots=True)
class Decoded:
    """Events as `schemas.arrow.EVENT_COLUMNS`; `positions[i]` is the place of row i in the batch, ascending."""

    events: pa.RecordBatch
    positions: npt.NDArray[np.int64]
    failures: list[Failure]


@dataclass(frozen=True, slots=True)
class _Writer:
    """A writer schema: as text, parsed, and for fastavro; and where it has each of our fields, None when it lacks it."""

    text: str
    avro: AvroType
    plain: Any
    places: tuple[int | None, ...]


def decode_batch(values: list[bytes], schema_of: Callable[[int], str | None]) -> Decoded:
    """Reads framed records; `schema_of(id)` is the writer schema's text or None, and what it raises goes through."""
    ids, failures = _schema_ids(values)
    texts = {schema_id: schema_of(schema_id) for schema_id in sorted(set(ids[ids >= 0].tolist()))}
    parts: list[tuple[pa.RecordBatch, npt.NDArray[np.int64]]] = []
    for schema_id, text in texts.items():
        positions = np.flatnonzero(ids == schema_id)
        try:
            if text is None:
                raise ValueError(f"schema id = {schema_id}: the registry does not know it")
            writer = _writer(text)
        except ValueError as error:
            failures += [Failure(position, "schema", str(error)) for position in positions.tolist()]
            continue
        bodies = values if len(positions) == len(values) else [values[position] for position in positions.tolist()]
        batch, kept, bad = _read([body[FRAME.size :] for body in bodies], writer)
        rows, nulls = _project(batch, writer)
        failures += [Failure(int(positions[place]), "decode", detail) for place, detail in bad]
        failures += [Failure(int(positions[kept[row]]), "schema", detail) for row, detail in nulls]
        keep = np.ones(len(kept), bool)
        keep[[row for row, _ in nulls]] = False
        parts.append((rows if keep.all() else rows.filter(pa.array(keep)), positions[kept[keep]]))
    events, positions = _in_order(parts)
    return Decoded(_encode_names(events), positions, failures)


def _schema_ids(values: list[bytes]) -> tuple[npt.NDArray[np.int64], list[Failure]]:
    """The schema id of each record, -1 where there is none."""
    failures = []
    size = FRAME.size
    heads = np.frombuffer(b"".join([value[:size].ljust(size, b"\xff") for value in values]), np.uint8).reshape(-1, size)
    ids = heads[:, 1:].copy().view(">u4").ravel().astype(np.int64)
    lengths = np.fromiter(map(len, values), np.int64, len(values))
    bad = (heads[:, 0] != MAGIC) | (lengths < size) | (lengths > MAX_RECORD_BYTES)
    for position in np.flatnonzero(bad).tolist():
        failures.append(_frame_failure(position, values[position]))
    ids[bad] = -1
    return ids, failures


def _frame_failure(position: int, value: bytes) -> Failure:
    if len(value) > MAX_RECORD_BYTES:
        return Failure(position, "too_large", f"value: {len(value)} bytes, at most {MAX_RECORD_BYTES}")
    if len(value) < FRAME.size:
        return Failure(position, "decode", f"value: {len(value)} bytes, a framed record has at least {FRAME.size}")
    return Failure(position, "decode", f"value: first byte is {value[0]}, Confluent framing starts with {MAGIC}")


@lru_cache(maxsize=256)
def _writer(text: str) -> _Writer:
    """Raises ValueError when events of this schema cannot be read as ours."""
    try:
        avro = parse(text)
        _check_record(avro, _reader(), "")
        places = {name: place for place, name in enumerate(avro.names)}
        return _Writer(
            text,
            avro,
            fastavro.parse_schema(plain(json.loads(text))),
            tuple(places.get(name) for name in _PLAIN_COLUMNS.names),
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


def _read(bodies: list[bytes], writer: _Writer) -> tuple[pa.RecordBatch, npt.NDArray[np.int64], list[tuple[int, str]]]:
    """The readable records as the writer's columns, their places, and (place, detail) of the others."""
    bad: dict[int, str] = {}
    try:
        batch = _columns(bodies, writer)
    except ValueError:
        bad = _sieve(bodies, writer)
        batch = _columns([body for place, body in enumerate(bodies) if place not in bad], writer)
    kept = np.array(
        [place for place in range(len(bodies)) if place not in bad] if bad else range(len(bodies)), np.int64
    )
    doubtful = _doubtful(batch, [bodies[place] for place in kept.tolist()] if bad else bodies, writer)
    fine = np.ones(len(kept), bool)
    for row in doubtful.tolist():
        detail = _difference(batch, row, bodies[kept[row]], writer)
        if detail:
            fine[row] = False
            bad[int(kept[row])] = detail
    if not fine.all():
        batch, kept = batch.filter(pa.array(fine)), kept[fine]
    return batch, kept, sorted(bad.items())


def _columns(bodies: list[bytes], writer: _Writer) -> pa.RecordBatch:
    """Raises ValueError when any record is truncated or malformed, text that is not UTF-8 included."""
    try:
        batch = pyruhvro.deserialize_array(bodies, writer.text)
    except BaseException as error:
        # A panic in the decoder is no Exception; anything else of that rank (interrupts, cancellation) is not ours.
        if type(error).__name__ != "PanicException":
            raise
        raise ValueError(f"value: the decoder gave up ({error})") from error
    batch.validate(full=True)  # the decoder does not look into text
    return batch


def _sieve(bodies: list[bytes], writer: _Writer) -> dict[int, str]:
    """Places and details of the records that do not decode, given that some do not."""
    bad: dict[int, str] = {}
    for start in range(0, len(bodies), _PIECE):
        piece = bodies[start : start + _PIECE]
        if not _readable(piece, writer):
            found = {place: detail for place, body in enumerate(piece) if (detail := _fault(body, writer))}
            rest = [place for place in range(len(piece)) if place not in found]
            if not _readable([piece[place] for place in rest], writer):
                found |= {p: "value: not a record of its schema" for p in rest if not _readable([piece[p]], writer)}
            bad |= {start + place: detail for place, detail in found.items()}
    return bad


def _readable(bodies: list[bytes], writer: _Writer) -> bool:
    try:
        _columns(bodies, writer)
    except ValueError:
        return False
    return True


def _fault(body: bytes, writer: _Writer) -> str:
    """What fastavro has against the record, '' when nothing."""
    try:
        decode(frame(0) + body, writer.plain)
    except ValueError as error:
        return str(error)
    return ""


def _doubtful(batch: pa.RecordBatch, bodies: list[bytes], writer: _Writer) -> npt.NDArray[np.intp]:
    """Rows that may not be what was written: bytes left over, or an `int` that did not fit 32 bits.

    The decoder stops silently in both cases. A record may also be longer than its canonical encoding for a good
    reason (a map in several blocks), so these rows are doubtful, not bad.
    """
    if len(bodies) <= _FEW:
        return np.arange(len(bodies))
    lengths = np.fromiter(map(len, bodies), np.int64, len(bodies))
    doubtful = lengths != encoded_sizes(writer.avro, batch.to_struct_array())
    for column, kind in zip(batch.columns, writer.avro.parts, strict=True):
        if kind.kind == "int":
            # Only a number of five bytes or more can have lost its upper bits unnoticed.
            doubtful |= np.abs(column.fill_null(0).to_numpy().astype(np.int64)) >= 1 << 27
    return np.flatnonzero(doubtful)


def _difference(batch: pa.RecordBatch, row: int, body: bytes, writer: _Writer) -> str:
    try:
        record = decode(frame(0) + body, writer.plain)
    except ValueError as error:
        return str(error)
    for name, kind in zip(writer.avro.names, writer.avro.parts, strict=True):
        if kind.kind == "int" and record[name] != batch.column(name)[row].as_py():
            return f"{name} = {record[name]}: does not fit 32 bits"
    return ""


def _project(batch: pa.RecordBatch, writer: _Writer) -> tuple[pa.RecordBatch, list[tuple[int, str]]]:
    """The writer's columns as ours (names still plain text), and (row, detail) where a required field is null."""
    reader = _reader()
    columns = []
    nulls: dict[int, str] = {}
    for index, (place, target) in enumerate(zip(writer.places, _PLAIN_COLUMNS, strict=True)):
        if place is None:
            column = _default(reader, index, target, batch.num_rows)
        else:
            column = _convert(batch.column(place), writer.avro.parts[place], reader.parts[index], target.type)
        columns.append(column)
        if column.null_count and not reader.parts[index].nullable:
            missing = np.flatnonzero(column.is_null().to_numpy(zero_copy_only=False))
            nulls = {row: f"{target.name} = null: it must have a value" for row in missing.tolist()} | nulls
    return pa.RecordBatch.from_arrays(columns, schema=_PLAIN_COLUMNS), sorted(nulls.items())


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


def _in_order(
    parts: list[tuple[pa.RecordBatch, npt.NDArray[np.int64]]],
) -> tuple[pa.RecordBatch, npt.NDArray[np.int64]]:
    if len(parts) == 1:
        return parts[0]
    if not parts:
        return pa.RecordBatch.from_pylist([], schema=_PLAIN_COLUMNS), np.empty(0, np.int64)
    positions = np.concatenate([part for _, part in parts])
    order = np.argsort(positions)
    return pa.concat_batches([rows for rows, _ in parts]).take(pa.array(order)), positions[order]


def _encode_names(events: pa.RecordBatch) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays(list(_named(events)), schema=EVENT_COLUMNS)


def _named(events: pa.RecordBatch) -> Iterable[pa.Array]:
    for column, target in zip(events.columns, EVENT_COLUMNS, strict=True):
        yield column.dictionary_encode() if target.type == NAME else column
