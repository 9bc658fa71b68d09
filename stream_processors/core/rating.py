"""Rating: one fetched batch of events becomes usage rows and rejects, each offset in exactly one of them."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import xxhash

from schemas.arrow import EVENT_COLUMNS, MICROS, REJECT_ROWS, USAGE_ROWS
from schemas.codec import FRAME
from stream_processors.core.adjustments import Measures, uses, with_adjustments
from stream_processors.core.decode import decode_batch
from stream_processors.core.directory import NOBODY, Directory
from stream_processors.core.price_book import PriceBook
from stream_processors.core.revisions import Revisions
from stream_processors.core.seen import CONFLICT, DUPLICATE, Seen, identities
from stream_processors.core.validate import breaches, of_kind

_IDENTITY = ("source", "event_id", "organization")
_NO_REJECTS = pa.RecordBatch.from_pylist([], schema=REJECT_ROWS)


@dataclass(frozen=True, slots=True)
class RawBatch:
    """One fetched batch of one source partition, in offset order."""

    values: list[bytes]  # framed records; b"" for a tombstone
    keys: list[bytes | None]
    offsets: npt.NDArray[np.int64]
    booked_ms: npt.NDArray[np.int64]  # the broker's append time, ms UTC


@dataclass(frozen=True, slots=True)
class Rated:
    """`rows` of USAGE_ROWS and `rejects` of REJECT_ROWS, both in offset order."""

    rows: pa.RecordBatch
    rejects: pa.RecordBatch


@dataclass(frozen=True, slots=True)
class _Reject:
    position: int
    reason: str
    detail: str
    identity: tuple[str, str, str] = ("", "", "")


def rate(
    batch: RawBatch,
    schema_of: Callable[[int], str | None],
    book: PriceBook,
    seen: Seen,
    revisions: Revisions,
    directory: Directory = NOBODY,
) -> Rated:
    """Decodes, validates, completes, prices and deduplicates a batch.

    `seen` and `revisions` take in what became a row.

    What `schema_of` raises goes through; neither has changed then. An event is priced before it is looked up among
    those seen, so that a rejected one never stands in the way of its repair.
    """
    decoded = decode_batch(batch.values, schema_of)
    rejects = [_Reject(*failure) for failure in decoded.failures]
    booked_us = batch.booked_ms[decoded.positions] * 1000
    broken = breaches(decoded.events, booked_us)
    rejects += [
        _Reject(int(decoded.positions[row]), reason, detail, _identity(decoded.events, row))
        for row, (reason, detail) in broken.items()
    ]
    events, positions = _without(decoded.events, decoded.positions, list(broken))
    events = directory.fill(events)

    adjusts = of_kind(events, "adjustment")
    cost, priced = book.price(events)
    too_large = np.flatnonzero(priced & (cost < 0) & ~adjusts).tolist()
    rejects += [
        _Reject(int(positions[row]), "too_large", "cost_pico: beyond 64 bits", _identity(events, row))
        for row in too_large
    ]
    events, positions = _without(events, positions, too_large)
    measures = uses(np.delete(cost, too_large), np.delete(priced, too_large))
    if adjusts.any():
        measures = with_adjustments(measures, events, np.delete(adjusts, too_large))

    content = _content_hashes(batch.values, positions)
    verdict = seen.check(identities(events), content, batch.booked_ms[positions])
    repeated = np.flatnonzero(verdict).tolist()
    rejects += [_repeat(events, positions, row, int(verdict[row])) for row in repeated]
    rows, positions = _without(_rows(events, measures, content, batch, positions), positions, repeated)
    mask = revisions.concerned(rows)
    if mask.any():
        booked = revisions.book(rows, mask)
        rejects += [_repeat(rows, positions, row, verdict) for row, verdict in booked.refused]
        rows = booked.rows
    return Rated(rows, _reject_rows(rejects, batch))


def _without(
    rows: pa.RecordBatch, positions: npt.NDArray[np.int64], gone: list[int]
) -> tuple[pa.RecordBatch, npt.NDArray[np.int64]]:
    if not gone:
        return rows, positions
    keep = np.ones(rows.num_rows, bool)
    keep[gone] = False
    return rows.filter(pa.array(keep)), positions[keep]


def _content_hashes(values: list[bytes], positions: npt.NDArray[np.int64]) -> npt.NDArray[np.uint64]:
    """64-bit hash of each event's Avro body."""
    digest, start = xxhash.xxh3_64_digest, FRAME.size
    joined = b"".join([digest(values[position][start:]) for position in positions.tolist()])
    return np.frombuffer(joined, ">u8").astype(np.uint64)


def _repeat(events: pa.RecordBatch, positions: npt.NDArray[np.int64], row: int, verdict: int) -> _Reject:
    source, event_id, organization = _identity(events, row)
    which = f"event_id = {event_id!r} of source = {source!r}, revision = {events.column('revision')[row].as_py()}"
    reason, rule = {
        DUPLICATE: ("duplicate", "booked already, with the same content"),
        CONFLICT: ("conflict", "booked already, with other content"),
    }[verdict]
    return _Reject(int(positions[row]), reason, f"{which}: {rule}", (source, event_id, organization))


def _identity(events: pa.RecordBatch, row: int) -> tuple[str, str, str]:
    source, event_id, organization = (events.column(name)[row].as_py() for name in _IDENTITY)
    return source, event_id, organization


def _rows(
    events: pa.RecordBatch,
    measures: Measures,
    content: npt.NDArray[np.uint64],
    batch: RawBatch,
    positions: npt.NDArray[np.int64],
) -> pa.RecordBatch:
    count = len(positions)
    rated = {
        "cost_pico": pa.array(measures.cost_pico, mask=~measures.priced),
        "requests": pa.array(measures.requests),
        "unpriced_requests": pa.array(measures.unpriced_requests),
        "booked_at": pa.array(batch.booked_ms[positions] * 1000).view(MICROS),
        "src_offset": pa.array(batch.offsets[positions]),
        "src_entry": pa.array(np.zeros(count, np.int8)),
        "content_hash": pa.array(content),
    }
    columns = [*events.columns, *(rated[name] for name in USAGE_ROWS.names[len(EVENT_COLUMNS) :])]
    return pa.RecordBatch.from_arrays(columns, schema=USAGE_ROWS)


def _reject_rows(rejects: list[_Reject], batch: RawBatch) -> pa.RecordBatch:
    if not rejects:
        return _NO_REJECTS
    ordered = sorted(rejects, key=lambda reject: reject.position)
    positions = np.array([reject.position for reject in ordered], np.int64)
    identities = zip(*(reject.identity for reject in ordered), strict=True)
    columns = [
        pa.array(batch.offsets[positions]),
        pa.array(batch.booked_ms[positions] * 1000).view(MICROS),
        pa.array([reject.reason for reject in ordered], pa.string()).dictionary_encode(),
        pa.array([reject.detail for reject in ordered], pa.string()),
        *(pa.array(list(names), pa.string()) for names in identities),
        pa.array([batch.keys[position] for position in positions.tolist()], pa.binary()),
        pa.array([batch.values[position] for position in positions.tolist()], pa.binary()),
    ]
    return pa.RecordBatch.from_arrays(columns, schema=REJECT_ROWS)
