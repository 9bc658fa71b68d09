"""Re-rating: the entries that bring what is booked to what a version of the prices says.

A statement (`statements.py`) of one request is to cost what its counts cost; the entry books the difference. One that
was taken back is to cost nothing: there a price entry is left only when it crossed the reversal on the way, and is
taken back. The id of an entry is made of the statement and of the number of entries booked for it, an optimistic lock:
entered twice it counts once, and what is read again after it landed shows no difference any more. So it may be run
twice, ended at any point and run again, or go from version 1 to 2 and back.
"""

from collections import Counter

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from schemas.arrow import ROW_KEYS
from schemas.batches import event_batch
from stream_processors.core.corrections import PRICE_TAG, Corrections, Tally, constant, hex_ids, tags
from stream_processors.core.int128 import split
from stream_processors.core.price_book import PriceBook
from stream_processors.core.statements import Ints, Mask, Statements, statements

_MOST = 2**62  # of a cost: a difference of two still fits 64 bits
_TYPES = ("pricing", "re-rating", "unpricing")  # by the change of `unpriced_requests`: -1, 0, 1


def rerate(rows: pa.RecordBatch, book: PriceBook, reason: str, author: str) -> Corrections:
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
    return Corrections(
        _entries(booked, places, unpriced[places], amount[places], book.version, reason, author),
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
    version: str,
    reason: str,
    author: str,
) -> pa.RecordBatch:
    events, count = booked.events.take(pa.array(places)), len(places)
    columns: dict[str, pa.Array] = {name: events.column(name) for name in ("source", *ROW_KEYS)}
    ids = hex_ids(events, booked.entries[places])
    types = pa.DictionaryArray.from_arrays(pa.array((unpriced + 1).astype(np.int32)), pa.array(_TYPES))
    said = {"kind": "adjustment", "author": author}
    columns |= {name: constant(value, count) for name, value in said.items()}
    columns |= {"event_id": ids, "corrects": events.column("event_id"), "adjustment_type": types}
    columns |= {
        "amount_pico": pa.array(amount),
        "reason": pa.repeat(reason, count),
        "tags": tags({PRICE_TAG: pa.repeat(version, count)}, count),
    }
    return event_batch(columns)
