"""What is booked for each event in all: its rows and all that corrects it, added up by columns.

An event counts under `schemas.arrow.ROW_KEYS`; when a revision changed them, it has a statement under each set of them,
of which all but one come to nothing.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from schemas.arrow import MICROS, NAME, ROW_KEYS, TOKEN_CLASSES, USAGE_ROWS
from schemas.event import MAX_COUNT, PARTS

Ints = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

#: Adjustments that change what usage costs and nothing else.
PRICE_TYPES = ("re-rating", "pricing", "unpricing")
#: The tag of an entry that moves an event to where the directory has it (`reassignment.py`): MOVED_IN or MOVED_OUT.
MOVED_TAG = "reassigned"
MOVED_IN, MOVED_OUT = "in", "out"
#: The type of the entry under which a use counts that was moved: it says all that the use said.
MOVED_USE = "reinstatement"
#: What is read of `usage`. `event_id` is that of the event, also in a row that corrects it; `group_a` and `group_b`
#: are 128 bits of hash over source, event and ROW_KEYS: the rows of a statement. `price_version` is that of its price:
#: an entry of PRICE_TYPES, or one that moves usage, names it. `moved` is what MOVED_TAG says, '' of others.
BOOKED_ROWS = pa.schema(
    [
        *((name, pa.uint64()) for name in ("group_a", "group_b")),
        *(USAGE_ROWS.field(name) for name in ("event_id", "source", "revision", "kind", "adjustment_type")),
        *(USAGE_ROWS.field(name) for name in (*ROW_KEYS, *TOKEN_CLASSES, "units", "latency_ms")),
        *(USAGE_ROWS.field(name) for name in ("cost_pico", "requests", "unpriced_requests", "booked_at")),
        ("src_partition", pa.int32()),
        *(USAGE_ROWS.field(name) for name in ("src_offset", "src_entry")),
        ("price_version", NAME),
        ("moved", NAME),
    ]
)
_FITS = 2.0**62  # far from where 64 bits wrap, for sums that were checked in floating point
_NO_ROW = -1


@dataclass(frozen=True, slots=True)
class Statements:
    """One element a statement. Sums are plain; an unpriced cost counts as nothing, and is not 0.

    `cost_pico` is what was charged for usage: entries that move money alone (a credit, a correction without tokens)
    stand for themselves. `last_prices`: what the price entries add that came after the last other entry; 0 of them:
    `entries_after` is 0.
    """

    events: pa.RecordBatch  # BOOKED_ROWS of the highest revision, its counts net, `price_version` the last one
    entries: Ints  # rows
    entries_after: Ints
    requests: Ints
    unpriced_requests: Ints
    cost_pico: Ints
    last_unpriced_requests: Ints
    last_cost_pico: Ints
    moves: Ints  # how often it was moved away
    known: Mask  # it has a use, and its sums fit 64 bits
    sound: Mask  # known, and its counts can be a use's


def statements(rows: pa.RecordBatch) -> Statements:
    """Adds up rows of BOOKED_ROWS; all rows of a group are among them, in any order."""
    order = _order(rows)
    group = np.stack([rows.column(name).to_numpy() for name in ("group_a", "group_b")])[:, order]
    begins = np.ones(rows.num_rows, bool)
    begins[1:] = (group[:, 1:] != group[:, :-1]).any(axis=0)
    starts, group_of = np.flatnonzero(begins), np.cumsum(begins) - 1

    def added(values: npt.NDArray[np.int64]) -> Ints:
        return np.add.reduceat(values, starts) if len(starts) else np.empty(0, np.int64)

    counts = {name: _numbers(rows, name)[order] for name in TOKEN_CLASSES}
    requests, unpriced, cost = (_numbers(rows, name)[order] for name in ("requests", "unpriced_requests", "cost_pico"))
    adjusts, prices, moved_in, moved_out = (mask[order] for mask in _kinds(rows))
    cost = np.where(_moves_money_alone(rows, order, counts, requests) & adjusts & ~prices, 0, cost)

    place = np.arange(rows.num_rows)
    last_other = _greatest(np.where(prices, _NO_ROW, place), starts)
    after = place > last_other[group_of]
    best = _greatest(_rank(rows, order, ~adjusts | moved_in), starts)  # the use that says what there is no sum of
    chosen = order[best % max(1, rows.num_rows)]
    net = {name: added(values) for name, values in counts.items()}
    events = rows.take(pa.array(chosen))
    priced_by = order[_greatest(np.where(prices | ~adjusts | moved_in, place, _NO_ROW), starts)]
    versions = rows.column("price_version").take(pa.array(priced_by))
    events = events.set_column(events.schema.get_field_index("price_version"), "price_version", versions)
    for name, values in net.items():
        events = events.set_column(events.schema.get_field_index(name), name, pa.array(values))
    units = _added_units(rows.column("units"), order, group_of, len(starts))
    events = events.set_column(events.schema.get_field_index("units"), "units", units)
    bulk = np.add.reduceat(np.abs(cost.astype(np.float64)), starts) if len(starts) else np.empty(0)
    known = (best != _NO_ROW) & (bulk < _FITS)
    return Statements(
        events,
        added(np.ones(rows.num_rows, np.int64)),
        added(after.astype(np.int64)),
        added(requests),
        added(unpriced),
        added(cost),
        added(np.where(after, unpriced, 0)),
        added(np.where(after, cost, 0)),
        added(moved_out.astype(np.int64)),
        known,
        known & _possible(net) & _possible_units(units),
    )


def _order(rows: pa.RecordBatch) -> npt.NDArray[np.intp]:
    """Groups together, each in the order in which its entries were booked."""
    names = ("src_entry", "src_offset", "src_partition", "booked_at", "group_b", "group_a")
    return np.lexsort([_numbers(rows, name) if name[:5] != "group" else rows.column(name).to_numpy() for name in names])


def _numbers(rows: pa.RecordBatch, name: str) -> Ints:
    column = rows.column(name)
    column = column.view(pa.int64()) if column.type == MICROS else column.cast(pa.int64())
    return column.fill_null(0).to_numpy(zero_copy_only=False)  # type: ignore[no-any-return]


def _kinds(rows: pa.RecordBatch) -> tuple[Mask, Mask, Mask, Mask]:
    """Which rows are adjustments, and which of them change the price alone, are a use moved here, or move it away."""
    adjusts, is_moved_use = _is(rows, "kind", "adjustment"), _is(rows, "adjustment_type", MOVED_USE)
    moved_in = is_moved_use & _is(rows, "moved", MOVED_IN)
    return adjusts, _is(rows, "adjustment_type", *PRICE_TYPES), moved_in, _is(rows, "moved", MOVED_OUT)


def _is(rows: pa.RecordBatch, name: str, *values: str) -> Mask:
    column = rows.column(name)
    wanted = np.array([value in values for value in column.dictionary.to_pylist()], bool)
    return np.asarray(wanted[column.indices.to_numpy()]) if wanted.any() else np.zeros(len(column), bool)


def _moves_money_alone(
    rows: pa.RecordBatch, order: npt.NDArray[np.intp], counts: dict[str, Ints], requests: Ints
) -> Mask:
    nothing: Mask = (requests == 0) & (np.diff(rows.column("units").offsets.to_numpy())[order] == 0)
    for values in counts.values():
        nothing &= values == 0
    return nothing


def _rank(rows: pa.RecordBatch, order: npt.NDArray[np.intp], uses: Mask) -> Ints:
    """Of the first row of each use, the highest revision and the latest row rank highest, modulo the place."""
    own = uses & (_numbers(rows, "src_entry")[order] == 0)
    return np.where(own, _numbers(rows, "revision")[order] * rows.num_rows + np.arange(rows.num_rows), _NO_ROW)


def _greatest(values: Ints, starts: Ints) -> Ints:
    return np.maximum.reduceat(values, starts) if len(starts) else np.empty(0, np.int64)


def _added_units(units: pa.MapArray, order: npt.NDArray[np.intp], group_of: Ints, groups: int) -> pa.Array:
    offsets = units.offsets.to_numpy()
    first, last = int(offsets[0]), int(offsets[-1])
    keys = pc.dictionary_encode(units.keys.slice(first, last - first))
    if first == last:
        return pa.MapArray.from_arrays(
            pa.array(np.zeros(groups + 1, np.int32)), pa.array([], pa.string()), pa.array([], pa.int64())
        )
    group_of_row = np.empty(len(units), np.int64)
    group_of_row[order] = group_of
    names = keys.dictionary.cast(pa.string())
    codes = np.repeat(group_of_row, np.diff(offsets)) * len(names) + keys.indices.to_numpy()
    distinct, of = np.unique(codes, return_inverse=True)
    sums = np.zeros(len(distinct), np.int64)
    np.add.at(sums, of, units.items.to_numpy()[first:last])
    bounds = np.searchsorted(distinct // len(names), np.arange(groups + 1)).astype(np.int32)
    return pa.MapArray.from_arrays(pa.array(bounds), names.take(pa.array(distinct % len(names))), pa.array(sums))


def _possible(counts: dict[str, Ints]) -> Mask:
    """Which counts one use may have."""
    possible = np.ones(len(counts["input_tokens"]), bool)
    for values in counts.values():
        possible &= (values >= 0) & (values <= MAX_COUNT)
    for parts, whole in PARTS:
        possible &= np.add.reduce([counts[part] for part in parts]) <= counts[whole]
    return possible


def _possible_units(units: pa.MapArray) -> Mask:
    amounts, bounds = units.items.to_numpy(), units.offsets.to_numpy()
    broken = np.concatenate(([0], np.cumsum((amounts < 0) | (amounts > MAX_COUNT))))
    return broken[bounds[1:]] == broken[bounds[:-1]]  # type: ignore[no-any-return]
