"""Reassignment: pairs of entries that bring what is booked to where a version of the directory has it.

A pair says what is booked under a statement (`statements.py`), first under what it is to count under, then taken away
where it was: together nothing. What an event itself said stands; what the directory had when its row was rated is
taken for the directory's, and what was left empty too. A credit, or whatever else moves money alone, stays where it was
entered. Users whom the directory does not know (any more) stay as they are.

The id of an entry is made of the statement and of how often it was moved away, an optimistic lock: entered twice it
counts once. When only the first of a pair was entered, that count has not grown, and the next look sends the second
alone. So it may be run twice, ended at any point and run again, or go from one version to another and back.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from schemas.arrow import ROW_KEYS, TOKEN_CLASSES
from schemas.batches import event_batch
from schemas.event import MAX_COUNT
from stream_processors.core.corrections import PRICE_TAG, Corrections, Tally, constant, hex_ids, tags
from stream_processors.core.directory import FILLED, Directory
from stream_processors.core.statements import (
    BOOKED_ROWS,
    MOVED_IN,
    MOVED_OUT,
    MOVED_TAG,
    MOVED_USE,
    Ints,
    Mask,
    Statements,
    statements,
)

#: BOOKED_ROWS, the entry's own id where `moved`, and by which version of the directory the row was filled in.
MOVABLE_ROWS = pa.schema([*BOOKED_ROWS, ("entry_id", pa.string()), ("directory_version", pa.int64())])
DIRECTORY_TAG = "directory_version"
_TYPES = ("reversal", "correction", MOVED_USE)  # by the change of `requests`: -1, 0, 1

Places = npt.NDArray[np.int64]
Names = dict[str, npt.NDArray[np.object_]]


@dataclass(frozen=True, slots=True)
class _Moves:
    """What is to be moved, one element a pair: what is booked, and from where to where."""

    events: pa.RecordBatch
    tokens: dict[str, Ints]
    units: pa.MapArray
    requests: Ints
    unpriced_requests: Ints
    cost_pico: Ints
    source: Names
    target: Names
    entry_ids: tuple[pa.Array, pa.Array]
    is_half: Mask  # the first of its entries is booked already


def reassign(
    rows: pa.RecordBatch, directory_at: Callable[[int], Directory], version: int, reason: str, author: str
) -> Corrections:
    """The pairs for rows of MOVABLE_ROWS; all rows of a statement, and of those it was moved to, are among them."""
    booked = statements(rows)
    source = _names(booked.events)
    known, target = _wanted(booked.events, source, directory_at, version)
    misplaced = known & np.logical_or.reduce([source[name] != target[name] for name in FILLED])
    one = np.abs(booked.requests) == 1
    rest = (booked.requests == 0) & _has_counts(booked.events)
    unpriced = booked.unpriced_requests
    sound = booked.known & _in_bounds(booked.events)
    sound &= (unpriced == 0) | (one & (unpriced == booked.requests) & (booked.cost_pico == 0))
    whole = sound & (one | rest)
    half = _booked_first(rows, booked)
    places = np.flatnonzero((misplaced & whole) | (half >= 0))
    moves = _moves(booked, places, half, source, target)
    moves = _as_said(moves, rows, half[places], whole[places]) if moves.is_half.any() else moves
    tally = Tally(
        statements=int((booked.requests == 1).sum()),
        repeated=int((misplaced & (np.abs(booked.requests) > 1) & (half < 0)).sum()),
        unsound=int((misplaced & ~sound & (one | rest) & (half < 0)).sum()),
    )
    _count(tally, moves)
    pair, side = _sides(moves)
    tally.types = Counter(np.array(_TYPES, object)[moves.requests[pair] * side + 1].tolist())
    entries = _entries(moves, pair, side, version, reason, author)
    return Corrections(entries, moves.events.column("src_partition").to_numpy()[pair], tally)


def belonging(names: tuple[str, ...]) -> str:
    """Unit, centre, department and team in one line, for people."""
    return " / ".join(name for name in names if name) or "(unassigned)"


def _names(events: pa.RecordBatch) -> Names:
    columns = {name: events.column(name) for name in FILLED}
    return {
        name: np.array(column.dictionary.to_pylist(), object)[column.indices.to_numpy()]
        for name, column in columns.items()
    }


def _wanted(
    events: pa.RecordBatch, source: Names, directory_at: Callable[[int], Directory], version: int
) -> tuple[Mask, Names]:
    """Whether the directory knows the person of each statement, and where it has them."""
    known, target = directory_at(version).says(events)
    filled_by = events.column("directory_version").to_numpy()
    own = {name: np.zeros(events.num_rows, bool) for name in FILLED}
    for before in np.unique(filled_by).tolist():
        places = np.flatnonzero(filled_by == before)
        _, said = directory_at(before).says(events.take(pa.array(places)))
        for name in FILLED:
            own[name][places] = (source[name][places] != said[name]) & (source[name][places] != "")
    return known, {name: np.where(own[name], source[name], target[name]) for name in FILLED}


def _in_bounds(events: pa.RecordBatch) -> Mask:
    """Which counts an entry may state."""
    fits = _all_units(events.column("units"), lambda amounts: np.abs(amounts) <= MAX_COUNT)
    for name in TOKEN_CLASSES:
        fits &= np.abs(events.column(name).to_numpy()) <= MAX_COUNT
    return fits


def _has_counts(events: pa.RecordBatch) -> Mask:
    some = ~_all_units(events.column("units"), lambda amounts: amounts == 0)
    for name in TOKEN_CLASSES:
        some |= events.column(name).to_numpy() != 0
    return some


def _all_units(units: pa.MapArray, holds: Callable[[Ints], Mask]) -> Mask:
    bounds = units.offsets.to_numpy()
    broken = np.concatenate(([0], np.cumsum(~holds(units.items.to_numpy()))))
    return broken[bounds[1:]] == broken[bounds[:-1]]  # type: ignore[no-any-return]


def _ids(events: pa.RecordBatch, moves: Ints, side: int) -> pa.Array:
    return hex_ids(events, moves, np.full(len(moves), side))


def _booked_first(rows: pa.RecordBatch, booked: Statements) -> Places:
    """For each statement the row of the first entry of a pair whose second one is not booked; -1: there is none."""
    entered = rows.column("entry_id")
    places = np.flatnonzero(np.asarray(pc.not_equal(entered, "")))
    if not len(places):
        return np.full(booked.events.num_rows, -1)
    place_of = dict(zip(entered.take(pa.array(places)).to_pylist(), places.tolist(), strict=True))
    first = _ids(booked.events, booked.moves, 0).to_pylist()
    return np.array([place_of.get(entry_id, -1) for entry_id in first], np.int64)


def _moves(booked: Statements, places: Places, half: Places, source: Names, target: Names) -> _Moves:
    events = booked.events.take(pa.array(places))
    return _Moves(
        events,
        {name: events.column(name).to_numpy().copy() for name in TOKEN_CLASSES},
        events.column("units"),
        booked.requests[places],
        booked.unpriced_requests[places],
        booked.cost_pico[places],
        {name: values[places] for name, values in source.items()},
        {name: values[places] for name, values in target.items()},
        (_ids(events, booked.moves[places], 0), _ids(events, booked.moves[places], 1)),
        half[places] >= 0,
    )


def _as_said(moves: _Moves, rows: pa.RecordBatch, half: Places, is_whole: Mask) -> _Moves:
    """Of half a pair the second entry takes away what the first one said, and the next look finds what came since.

    Unless only the price was changed since: that was done in both places.
    """
    pending = np.flatnonzero(moves.is_half).tolist()
    since = [place for place in pending if not is_whole[place] or _differs(moves, place, rows, int(half[place]))]
    said = rows.take(pa.array(half[since], pa.int64()))
    order = np.arange(len(half))
    order[since] = len(half) + np.arange(len(since))
    for name, values in moves.tokens.items():
        values[since] = said.column(name).to_numpy()
    for name in ("requests", "unpriced_requests", "cost_pico"):
        getattr(moves, name)[since] = said.column(name).fill_null(0).to_numpy()
    units = pa.concat_arrays([moves.units.cast(said.column("units").type), said.column("units")])
    return replace(moves, units=units.take(pa.array(order)))


def _differs(moves: _Moves, place: int, rows: pa.RecordBatch, said: int) -> bool:
    """In anything but the price."""
    counts = {name: int(values[place]) for name, values in moves.tokens.items()} | _units(moves.units, place)
    entered = {name: rows.column(name)[said].as_py() for name in TOKEN_CLASSES} | _units(rows.column("units"), said)
    return bool(counts != entered or moves.requests[place] != rows.column("requests")[said].as_py())


def _units(units: pa.MapArray, place: int) -> dict[str, int]:
    return {name: count for name, count in units[place].as_py() if count}


def _sides(moves: _Moves) -> tuple[Places, Places]:
    """The pair of each entry, and 1 for what counts anew, -1 for what is taken away; the two stand side by side."""
    pair = np.repeat(np.arange(len(moves.is_half)), 2)
    side = np.tile(np.array([1, -1]), len(moves.is_half))
    kept = (side == -1) | ~moves.is_half[pair]
    return pair[kept], side[kept]


def _count(tally: Tally, moves: _Moves) -> None:
    """By where it was and where it comes."""
    whence, whither = (zip(*(names[name] for name in FILLED), strict=True) for names in (moves.source, moves.target))
    sums = (moves.is_half.tolist(), moves.requests.tolist(), moves.cost_pico.tolist())
    for before, after, is_half, requests, cost in zip(whence, whither, *sums, strict=True):
        if not is_half:  # else an earlier run moved it
            key = belonging(before), belonging(after)
            tally.rows[key] += requests
            tally.cost_pico[key] += cost


def _entries(moves: _Moves, pair: Places, side: Places, version: int, reason: str, author: str) -> pa.RecordBatch:
    events, count, new = moves.events.take(pa.array(pair)), len(pair), side > 0
    requests, unpriced = moves.requests[pair], moves.unpriced_requests[pair] != 0
    columns: dict[str, pa.Array] = {name: events.column(name) for name in ("source", *ROW_KEYS)}
    columns |= {
        name: pa.array(np.where(new, moves.target[name][pair], moves.source[name][pair]), pa.string())
        for name in FILLED
    }
    columns |= {name: pa.array(values[pair] * side) for name, values in moves.tokens.items()}
    columns["units"] = _signed(moves.units.take(pa.array(pair)), side)
    columns["latency_ms"] = pc.if_else(pa.array(new & (requests == 1)), events.column("latency_ms"), None)
    columns["event_id"] = pc.if_else(pa.array(new), *(ids.take(pa.array(pair)) for ids in moves.entry_ids))
    columns["corrects"] = events.column("event_id")
    columns["kind"], columns["author"] = constant("adjustment", count), constant(author, count)
    types = (requests * side + 1).astype(np.int32)
    columns["adjustment_type"] = pa.DictionaryArray.from_arrays(pa.array(types), pa.array(_TYPES))
    columns["amount_pico"] = pa.array(moves.cost_pico[pair] * side, mask=unpriced)
    columns["reason"] = pa.repeat(reason, count)
    said = {
        MOVED_TAG: pa.array(np.where(new, MOVED_IN, MOVED_OUT), pa.string()),
        DIRECTORY_TAG: pa.repeat(str(version), count),
        PRICE_TAG: events.column("price_version").cast(pa.string()),
    }
    return event_batch(columns | {"tags": tags(said, count)})


def _signed(units: pa.MapArray, side: Places) -> pa.MapArray:
    amounts = units.items.to_numpy() * np.repeat(side, np.diff(units.offsets.to_numpy()))
    return pa.MapArray.from_arrays(units.offsets, units.keys, pa.array(amounts))
