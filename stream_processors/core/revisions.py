"""Usage that is stated in revisions: a stream that runs, a batch job that settles later.

Each revision says what was used in all so far, and under which scopes. Its row books the difference to what is booked
for the event, so that the sum over the rows is always what the highest revision says, in whatever order they arrive:

- a higher revision books the difference of tokens and the price of the whole minus what is booked, also downwards;
- when it counts under something else (`schemas.arrow.ROW_KEYS`: a scope, the model, the time), it books all of itself,
  and a second row (`src_entry` 1) takes back all that was booked before;
- an entry that re-rates it changes what is booked, of which the next revision books the difference; one that moves it
  to another department changes where it is booked;
- a lower one, arriving late, books nothing: its row is there, its measures are 0;
- the same one again is a duplicate, or a conflict when it says something else.

What is booked is remembered for LIFETIME_US after an event's first revision. One that comes later is taken for a new
event.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from schemas.arrow import ROW_KEYS, TOKEN_CLASSES, USAGE_ROWS
from stream_processors.core.directory import FILLED
from stream_processors.core.seen import CONFLICT, DUPLICATE
from stream_processors.core.statements import MOVED_IN, MOVED_TAG, MOVED_USE, PRICE_TYPES
from stream_processors.core.validate import of_kind

HOUR_US = 3_600_000_000
LIFETIME_US = 48 * HOUR_US
#: Append times may step back by seconds; what is over stays in memory a little longer, so that it is over for all.
_SLACK_US = HOUR_US
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MAPS = ("units", "input_parts", "output_parts")
#: What describes a statement and is no part of taking it back.
_BLANK: Mapping[str, Any] = {
    **dict.fromkeys(("task_title", "session_title", "step", "finish_reason", "error_type"), ""),
    **dict.fromkeys(("latency_ms", "time_to_first_token_ms", "max_output_tokens"), None),
    "quality": [],
    "attachments": [],
    "tags": [],
}

Row = dict[str, Any]
Mask = npt.NDArray[np.bool_]


class Booked(NamedTuple):
    """Rows after revisions: some replaced by differences, some by pairs.

    `refused` are the others: their row before, and the verdict as `Seen.check` gives it.
    """

    rows: pa.RecordBatch
    refused: list[tuple[int, int]]


@dataclass(slots=True)
class _Stated:
    """What is booked for an event: all that its highest revision said."""

    since_us: int
    revision: int
    content: int
    keys: tuple[Any, ...]
    tokens: tuple[int, ...]
    maps: tuple[dict[str, int], ...]
    cost_pico: int
    unpriced_requests: int


def revised(events: pa.RecordBatch) -> Mask:
    """Which events are stated in revisions: provisional and final ones, and usage that is not the first."""
    mask = of_kind(events, "provisional", "final")
    revision = events.column("revision").to_numpy()
    return mask | (revision > 0) if revision.any() else mask


def amended(rows: pa.RecordBatch) -> Mask:
    """Which rows are entries that change what usage costs and nothing else, or may have moved it."""
    types = rows.column("adjustment_type")
    known = np.array([name in (*PRICE_TYPES, MOVED_USE) for name in types.dictionary.to_pylist()], bool)
    return np.asarray(known[types.indices.to_numpy()]) if known.any() else np.zeros(len(types), bool)


class Revisions:
    """The events of one source partition that may still be revised; about 2 KB each."""

    def __init__(self) -> None:
        self._stated: dict[tuple[str, str], _Stated] = {}
        self._newest_us = 0

    def __len__(self) -> int:
        return len(self._stated)

    @property
    def since_us(self) -> int:
        """Append time of the oldest first revision that is remembered, 0 when there is none: where to rebuild from."""
        return next(iter(self._stated.values())).since_us if self._stated else 0

    def concerned(self, rows: pa.RecordBatch) -> Mask:
        """Which rows are revisions, or re-rate or move what may still be revised."""
        mask, amends = revised(rows), amended(rows)
        if not amends.any() or not (mask.any() or self._stated):
            return mask
        stated = [event_id for _, event_id in self._stated]
        ids = pa.concat_arrays([pa.array(stated, pa.string()), rows.column("event_id").filter(pa.array(mask))])
        known: Mask = pc.is_in(rows.column("corrects"), ids).to_numpy(zero_copy_only=False)
        return mask | (amends & known)

    def book(self, rows: pa.RecordBatch, mask: Mask) -> Booked:
        """What `rows` (as if each were new) book, given what is booked; those of `mask` are `concerned`."""
        places = np.flatnonzero(mask)
        made: list[Row] = []
        refused: list[tuple[int, int]] = []
        for place, row in zip(places.tolist(), rows.take(pa.array(places)).to_pylist(), strict=True):
            booked = self._book(row)
            if isinstance(booked, int):
                refused.append((place, booked))
            else:
                made.extend(booked)
        self._forget()
        return Booked(_merged(rows.filter(pa.array(~mask)), made), refused)

    def remember(self, rows: pa.RecordBatch) -> None:
        """Takes in the rows of an accepted block, oldest block first: how memory is rebuilt at start."""
        places = np.flatnonzero(self.concerned(rows))
        if not len(places):
            return
        mine = rows.take(pa.array(places)).to_pylist()
        pairs = {row["src_offset"] for row in mine if row["src_entry"]}
        for row in (row for row in mine if not row["src_entry"]):
            self._recall(row, row["src_offset"] in pairs)
        self._forget()

    def _open(self, row: Row, event_id: str) -> _Stated | None:
        stated = self._stated.get((row["source"], event_id))
        return None if stated is None or _micros(row) - stated.since_us > LIFETIME_US else stated

    def _amend(self, row: Row) -> None:
        stated = self._open(row, row["corrects"])
        if stated is None:
            return
        keys = tuple(row[name] for name in ROW_KEYS)
        if row["adjustment_type"] == MOVED_USE:
            if dict(row["tags"]).get(MOVED_TAG) == MOVED_IN and _elsewhere(keys) == _elsewhere(stated.keys):
                stated.keys = keys
        elif stated.keys == keys:
            stated.cost_pico += row["cost_pico"]
            stated.unpriced_requests += row["unpriced_requests"]

    def _begin(self, row: Row) -> None:
        key = (row["source"], row["event_id"])
        self._stated.pop(key, None)  # the newest is the last: the oldest is found at once
        self._stated[key] = _statement(row, _micros(row))

    def _book(self, row: Row) -> list[Row] | int:
        self._newest_us = max(self._newest_us, _micros(row))
        if row["kind"] == "adjustment":
            self._amend(row)
            return [row]
        stated = self._open(row, row["event_id"])
        if stated is None:
            self._begin(row)
            return [row]
        if row["revision"] < stated.revision:
            return [_difference(row, stated, stated)]
        if row["revision"] == stated.revision:
            return DUPLICATE if row["content_hash"] == stated.content else CONFLICT
        new = _statement(row, stated.since_us)
        self._stated[row["source"], row["event_id"]] = new
        return [_difference(row, new, stated)] if new.keys == stated.keys else [row, _reversal(row, stated)]

    def _recall(self, row: Row, is_pair: bool) -> None:
        self._newest_us = max(self._newest_us, _micros(row))
        if row["kind"] == "adjustment":
            self._amend(row)
            return
        stated = self._open(row, row["event_id"])
        if stated is None:
            if row["requests"] and not is_pair:  # else of an event that was over before the first block read
                self._begin(row)
        elif row["revision"] > stated.revision:
            new = _statement(row, stated.since_us)
            self._stated[row["source"], row["event_id"]] = new if is_pair else _sum(stated, new)

    def _forget(self) -> None:
        over = self._newest_us - LIFETIME_US - _SLACK_US
        while self._stated:
            key, oldest = next(iter(self._stated.items()))
            if oldest.since_us >= over:
                return
            del self._stated[key]


def _elsewhere(keys: tuple[Any, ...]) -> list[Any]:
    """The keys that no directory fills in."""
    return [value for name, value in zip(ROW_KEYS, keys, strict=True) if name not in FILLED]


def _micros(row: Row) -> int:
    return int((row["booked_at"] - _EPOCH) // timedelta(microseconds=1))


def _statement(row: Row, since_us: int) -> _Stated:
    return _Stated(
        since_us,
        row["revision"],
        row["content_hash"],
        tuple(row[name] for name in ROW_KEYS),
        tuple(row[name] for name in TOKEN_CLASSES),
        tuple({name: count for name, count in row[column] if count} for column in _MAPS),
        row["cost_pico"] or 0,
        row["unpriced_requests"],
    )


def _sum(stated: _Stated, difference: _Stated) -> _Stated:
    """What was stated, from what was booked before and the difference that a row books."""
    difference.tokens = tuple(a + b for a, b in zip(stated.tokens, difference.tokens, strict=True))
    difference.maps = tuple(_added(a, b, 1) for a, b in zip(stated.maps, difference.maps, strict=True))
    difference.cost_pico += stated.cost_pico
    difference.unpriced_requests += stated.unpriced_requests
    return difference


def _added(one: dict[str, int], other: dict[str, int], sign: int) -> dict[str, int]:
    total = {name: one.get(name, 0) + sign * other.get(name, 0) for name in one | other}
    return {name: count for name, count in total.items() if count}


def _difference(row: Row, new: _Stated, old: _Stated) -> Row:
    """The row of a revision that counts under what is booked already."""
    cost_pico = new.cost_pico - old.cost_pico
    return {
        **row,
        **{n: a - b for n, a, b in zip(TOKEN_CLASSES, new.tokens, old.tokens, strict=True)},
        **{n: list(_added(a, b, -1).items()) for n, a, b in zip(_MAPS, new.maps, old.maps, strict=True)},
        "cost_pico": cost_pico if cost_pico or not new.unpriced_requests else None,
        "requests": 0,
        "unpriced_requests": new.unpriced_requests - old.unpriced_requests,
    }


def _reversal(row: Row, old: _Stated) -> Row:
    """The second row of a pair: all that was booked before, taken back under what it was booked under."""
    return {
        **row,
        **_BLANK,
        **dict(zip(ROW_KEYS, old.keys, strict=True)),
        **{n: -count for n, count in zip(TOKEN_CLASSES, old.tokens, strict=True)},
        **{n: [(name, -count) for name, count in part.items()] for n, part in zip(_MAPS, old.maps, strict=True)},
        "cost_pico": -old.cost_pico if old.cost_pico or not old.unpriced_requests else None,
        "requests": -1,
        "unpriced_requests": -old.unpriced_requests,
        "src_entry": 1,
    }


def _merged(plain: pa.RecordBatch, made: list[Row]) -> pa.RecordBatch:
    """All rows in the order of their offsets and entries."""
    batches = [plain, pa.RecordBatch.from_pylist(made, schema=USAGE_ROWS)]
    table = pa.Table.from_batches(batches).unify_dictionaries().combine_chunks()
    order = np.lexsort([table.column(name).to_numpy() for name in ("src_entry", "src_offset")])
    (whole,) = table.take(pa.array(order)).combine_chunks().to_batches() or [plain]
    return whole
