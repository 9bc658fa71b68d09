"""Re-rating: the entries that bring what is booked to what a version of the prices says.

A statement (`statements.py`) of one request is to cost what its counts cost; the entry books the difference. One that
was taken back is to cost nothing: there a price entry is left only when it crossed the reversal on the way, and is
taken back. The id of an entry is made of the statement and of the number of entries booked for it, an optimistic lock:
entered twice it counts once, and what is read again after it landed shows no difference any more. So it may be run
twice, ended at any point and run again, or go from version 1 to 2 and back.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from schemas.arrow import ROW_KEYS
from schemas.batches import event_batch
from stream_processors.core.int128 import split
from stream_processors.core.price_book import PriceBook
from stream_processors.core.statements import Ints, Mask, Statements, statements

#: The tag of an entry that names the prices it brings its event to.
PRICE_TAG = "price_version"
_MOST = 2**62  # of a cost: a difference of two still fits 64 bits
_TYPES = ("pricing", "re-rating", "unpricing")  # by the change of `unpriced_requests`: -1, 0, 1
_ID_DIGITS = 40


@dataclass(slots=True)
class Tally:
    """What re-rating found. `rows`, `cost_pico` and the like are by (model, price version before)."""

    statements: int = 0
    repeated: int = 0  # booked more than once, as a copy that came too late to be seen: left
    unsound: int = 0  # what is booked is not a use's: left
    types: Counter[str] = field(default_factory=Counter)
    rows: Counter[tuple[str, str]] = field(default_factory=Counter)
    cost_pico: Counter[tuple[str, str]] = field(default_factory=Counter)

    @property
    def entries(self) -> int:
        """How many entries it takes."""
        return self.types.total()

    def add(self, other: "Tally") -> None:
        """Takes in what was found elsewhere."""
        self.statements += other.statements
        self.repeated += other.repeated
        self.unsound += other.unsound
        for name in ("types", "rows", "cost_pico"):
            getattr(self, name).update(getattr(other, name))


@dataclass(frozen=True, slots=True)
class Rerated:
    """`entries` as EVENT_COLUMNS, and the partition of `usage.events` that each belongs to: that of its event."""

    entries: pa.RecordBatch
    partitions: npt.NDArray[np.int32]
    tally: Tally


def rerate(rows: pa.RecordBatch, book: PriceBook, reason: str, author: str) -> Rerated:
    """The entries for rows of BOOKED_ROWS; all rows of a statement are among them."""
    booked = statements(rows)
    cost, priced = book.price(booked.events)
    one = booked.requests == 1
    unpriced = np.where(one, (~priced).astype(np.int64) - booked.unpriced_requests, -booked.last_unpriced_requests)
    amount = np.where(one, np.where(priced, cost, 0) - booked.cost_pico, -booked.last_cost_pico)
    sound = booked.sound & (cost >= 0) & (cost < _MOST) & (np.abs(unpriced) <= 1)
    stray = (booked.requests == 0) & (booked.entries_after > 0)
    still_unpriced = one & ~priced & (unpriced == 0)
    differs = sound & (one | stray) & ((unpriced != 0) | (amount != 0)) & ~still_unpriced
    places = np.flatnonzero(differs)
    tally = _tally(booked, one, sound, places, unpriced, amount)
    return Rerated(
        _entries(booked, places, unpriced[places], amount[places], {PRICE_TAG: book.version}, reason, author),
        booked.events.column("src_partition").to_numpy()[places],
        tally,
    )


def _tally(
    booked: Statements, one: Mask, sound: Mask, places: npt.NDArray[np.intp], unpriced: Ints, amount: Ints
) -> Tally:
    taken_back = booked.requests == 0
    tally = Tally(
        statements=len(one),
        repeated=int((~one & ~taken_back).sum()),
        unsound=int((one & ~sound).sum()),
        types=Counter({name: int((unpriced[places] == sign).sum()) for sign, name in enumerate(_TYPES, -1)}),
    )
    events = booked.events.take(pa.array(places))
    columns = [events.column(name) for name in ("model", "price_version")]
    names = [column.dictionary.to_pylist() for column in columns]
    codes = columns[0].indices.to_numpy().astype(np.int64) * len(names[1]) + columns[1].indices.to_numpy()
    distinct, of = np.unique(codes, return_inverse=True)
    rows = np.bincount(of, minlength=len(distinct))
    high, low = (np.zeros(len(distinct), np.int64) for _ in range(2))
    for total, part in zip((high, low), split(amount[places]), strict=True):
        np.add.at(total, of, part)
    for place, code in enumerate(distinct.tolist()):
        key = names[0][code // len(names[1])], names[1][code % len(names[1])]
        tally.rows[key] += int(rows[place])
        tally.cost_pico[key] += (int(high[place]) << 32) + int(low[place])
    return tally


def _entries(
    booked: Statements,
    places: npt.NDArray[np.intp],
    unpriced: Ints,
    amount: Ints,
    tags: Mapping[str, str],
    reason: str,
    author: str,
) -> pa.RecordBatch:
    events, count = booked.events.take(pa.array(places)), len(places)
    columns: dict[str, pa.Array] = {name: events.column(name) for name in ("source", *ROW_KEYS)}
    ids = _ids(events, booked.entries[places])
    types = pa.DictionaryArray.from_arrays(pa.array((unpriced + 1).astype(np.int32)), pa.array(_TYPES))
    said = {"kind": "adjustment", "author": author}
    columns |= {name: _constant(value, count) for name, value in said.items()}
    columns |= {"event_id": ids, "corrects": events.column("event_id"), "adjustment_type": types}
    columns |= {"amount_pico": pa.array(amount), "reason": pa.repeat(reason, count), "tags": _tags(tags, count)}
    return event_batch(columns)


def _ids(events: pa.RecordBatch, entries: Ints) -> pa.Array:
    """The statement's hash and the number of entries booked for it, as hexadecimal digits."""
    parts = np.empty(len(entries), np.dtype([("a", ">u8"), ("b", ">u8"), ("entries", ">u4")]))
    for name, values in (("a", _hash(events, "group_a")), ("b", _hash(events, "group_b")), ("entries", entries)):
        parts[name] = values
    digits = pa.py_buffer(parts.tobytes().hex().encode())
    offsets = pa.py_buffer(np.arange(0, _ID_DIGITS * len(entries) + 1, _ID_DIGITS, dtype=np.int32))
    return pa.StringArray.from_buffers(len(entries), offsets, digits)


def _hash(events: pa.RecordBatch, name: str) -> npt.NDArray[np.uint64]:
    return events.column(name).to_numpy()  # type: ignore[no-any-return]


def _constant(name: str, count: int) -> pa.Array:
    return pa.DictionaryArray.from_arrays(pa.array(np.zeros(count, np.int32)), pa.array([name]))


def _tags(tags: Mapping[str, str], count: int) -> pa.Array:
    """The same tags in every row."""
    offsets = np.arange(0, len(tags) * count + 1, len(tags), dtype=np.int32)
    names, values = (pa.array(list(part) * count, pa.string()) for part in (tags.keys(), tags.values()))
    return pa.MapArray.from_arrays(pa.array(offsets), names, values)
