"""Framed Avro to Arrow, a fetched batch at a time; what cannot be read is handed back with its reason."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyruhvro

from schemas.arrow import EVENT_COLUMNS, NAME
from schemas.codec import FRAME, MAGIC, decode, frame
from stream_processors.core.avro_types import encoded_sizes
from stream_processors.core.projection import PLAIN_COLUMNS, Writer, project, writer_of

#: The largest record that is looked into; the limit guards the decoder, so it comes before it.
MAX_RECORD_BYTES = 1_000_000
#: When a batch does not decode, pieces of this many records are tried, and a bad piece is read record by record.
_PIECE = 64
#: Up to this many records are read a second time one by one: cheaper than to compute with columns.
_FEW = 24


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


def decode_batch(values: list[bytes], schema_of: Callable[[int], str | None]) -> Decoded:
    """Reads framed records; `schema_of(id)` is the writer schema's text or None, and what it raises goes through."""
    ids, failures = _schema_ids(values)
    texts = {schema_id: schema_of(schema_id) for schema_id in sorted(set(ids[ids >= 0].tolist()))}
    parts: list[tuple[pa.RecordBatch, npt.NDArray[np.int64]]] = []
    for schema_id, text in texts.items():
        positions = np.flatnonzero(ids == schema_id)
        try:
            writer = _writer(schema_id, text)
        except ValueError as error:
            failures += [Failure(position, "schema", str(error)) for position in positions.tolist()]
            continue
        rows, kept, bad = _events([values[position][FRAME.size :] for position in positions.tolist()], writer)
        failures += [Failure(int(positions[place]), reason, detail) for place, reason, detail in bad]
        parts.append((rows, positions[kept]))
    events, positions = _in_order(parts)
    return Decoded(_encode_names(events), positions, failures)


def _writer(schema_id: int, text: str | None) -> Writer:
    if text is None:
        raise ValueError(f"schema id = {schema_id}: the registry does not know it")
    return writer_of(text)


def _events(bodies: list[bytes], writer: Writer) -> tuple[pa.RecordBatch, npt.NDArray[np.int64], list[Failure]]:
    """The events of one writer schema as our columns, their places, and the others."""
    batch, kept, bad = _read(bodies, writer)
    rows, nulls = project(batch, writer)
    failures = [Failure(place, "decode", detail) for place, detail in bad]
    failures += [Failure(int(kept[row]), "schema", detail) for row, detail in nulls]
    if nulls:
        keep = np.ones(len(kept), bool)
        keep[[row for row, _ in nulls]] = False
        rows, kept = rows.filter(pa.array(keep)), kept[keep]
    return rows, kept, failures


def _schema_ids(values: list[bytes]) -> tuple[npt.NDArray[np.int64], list[Failure]]:
    """The schema id of each record, -1 where there is none."""
    failures = []
    size = FRAME.size
    heads = np.frombuffer(b"".join([value[:size].ljust(size, b"\xff") for value in values]), np.uint8).reshape(
        len(values), size
    )
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


def _read(bodies: list[bytes], writer: Writer) -> tuple[pa.RecordBatch, npt.NDArray[np.int64], list[tuple[int, str]]]:
    """The readable records as the writer's columns, their places, and (place, detail) of the others."""
    bad: dict[int, str] = {}
    try:
        batch = _columns(bodies, writer)
    except ValueError:
        bad = _sieve(bodies, writer)
        batch = _columns([body for place, body in enumerate(bodies) if place not in bad], writer)
    kept = np.delete(np.arange(len(bodies)), list(bad))
    fine = np.ones(len(kept), bool)
    for row in _doubtful(batch, [bodies[place] for place in kept.tolist()], writer).tolist():
        detail = _difference(batch, row, bodies[kept[row]], writer)
        if detail:
            fine[row] = False
            bad[int(kept[row])] = detail
    if not fine.all():
        batch, kept = batch.filter(pa.array(fine)), kept[fine]
    return batch, kept, sorted(bad.items())


def _columns(bodies: list[bytes], writer: Writer) -> pa.RecordBatch:
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


def _sieve(bodies: list[bytes], writer: Writer) -> dict[int, str]:
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


def _readable(bodies: list[bytes], writer: Writer) -> bool:
    try:
        _columns(bodies, writer)
    except ValueError:
        return False
    return True


def _fault(body: bytes, writer: Writer) -> str:
    """What fastavro has against the record, '' when nothing."""
    try:
        decode(frame(0) + body, writer.plain)
    except ValueError as error:
        return str(error)
    return ""


def _doubtful(batch: pa.RecordBatch, bodies: list[bytes], writer: Writer) -> npt.NDArray[np.intp]:
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


def _difference(batch: pa.RecordBatch, row: int, body: bytes, writer: Writer) -> str:
    try:
        record = decode(frame(0) + body, writer.plain)
    except ValueError as error:
        return str(error)
    for name, kind in zip(writer.avro.names, writer.avro.parts, strict=True):
        if kind.kind == "int" and record[name] != batch.column(name)[row].as_py():
            return f"{name} = {record[name]}: does not fit 32 bits"
    return ""


def _in_order(
    parts: list[tuple[pa.RecordBatch, npt.NDArray[np.int64]]],
) -> tuple[pa.RecordBatch, npt.NDArray[np.int64]]:
    if len(parts) == 1:
        return parts[0]
    if not parts:
        return pa.RecordBatch.from_pylist([], schema=PLAIN_COLUMNS), np.empty(0, np.int64)
    positions = np.concatenate([part for _, part in parts])
    order = np.argsort(positions)
    return pa.concat_batches([rows for rows, _ in parts]).take(pa.array(order)), positions[order]


def _encode_names(events: pa.RecordBatch) -> pa.RecordBatch:
    columns = [
        column.dictionary_encode() if target.type == NAME else column
        for column, target in zip(events.columns, EVENT_COLUMNS, strict=True)
    ]
    return pa.RecordBatch.from_arrays(columns, schema=EVENT_COLUMNS)
