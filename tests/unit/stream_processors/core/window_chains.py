"""Chains of small blocks for the tests of windowed totals, and what they add up to, in plain dicts."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from hypothesis import strategies as st

from schemas.arrow import MEASURES, SCOPE_KINDS, TOKEN_CLASSES, USAGE_ROWS, WINDOW_KINDS
from schemas.block import BlockHeader
from schemas.calendar import Calendar

MINUTE, HOUR, DAY = 60_000_000, 3_600_000_000, 86_400_000_000
START = 1_795_824_000_000_000  # 2026-11-28 00:00 UTC: near the end of a month
ZONES = ("UTC", "Europe/Berlin", "Asia/Kathmandu", "America/New_York")
INT64 = 1 << 63

Row = dict[str, Any]
Where = tuple[str, int, str, str, str]  # window kind and start, organization, scope kind, scope
Sums = tuple[int, ...]  # MEASURES, then cost
ZERO: Sums = (0,) * (len(MEASURES) + 1)


class Block(NamedTuple):
    """An accepted block of a chain: where it lies in the log, and what it says."""

    offset: int
    header: BlockHeader
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class Chain:
    """The accepted blocks of one source partition."""

    calendar: Calendar
    blocks: tuple[Block, ...]

    def after(self, position: int) -> list[Block]:
        return [block for block in self.blocks if block.offset > position]

    def until(self, position: int) -> list[Block]:
        return [block for block in self.blocks if block.offset <= position]


def plus(left: Sums, right: Iterable[int]) -> Sums:
    return tuple(a + b for a, b in zip(left, right, strict=True))


def sums_of(row: Row) -> Sums:
    return (*(row[name] for name in MEASURES), row["cost_pico"] or 0)


def places(row: Row, calendar: Calendar) -> Iterator[Where]:
    for kind in WINDOW_KINDS:
        start = calendar.window(kind, row["occurred_at"]).start
        for scope_kind in SCOPE_KINDS:
            yield kind, start, row["organization"], scope_kind, row[scope_kind]


def model(blocks: Iterable[Block], calendar: Calendar) -> dict[Where, Sums]:
    """What every window of every scope adds up to."""
    totals: dict[Where, Sums] = defaultdict(lambda: ZERO)
    for block in blocks:
        for row in block.rows:
            for place in places(row, calendar):
                totals[place] = plus(totals[place], sums_of(row))
    return dict(totals)


def without_zeros(totals: Mapping[Where, Sums]) -> dict[Where, Sums]:
    return {place: sums for place, sums in totals.items() if any(sums)}


# ---- record batches


def batch(rows: Iterable[Row]) -> pa.RecordBatch:
    """As a block holds them: dictionaries with values that no row uses, and not at the start of their buffers."""
    rows = list(rows)
    stuffing = row_of(START, "unused", ["unused", "", "ann", "é"], 7, 7)
    columns = {name: pa.array([row[name] for row in [stuffing, *rows]], _plain(name)) for name in stuffing}
    arrays = [
        _encoded(columns[field.name], field.type) if field.name in columns else pa.nulls(len(rows) + 1, field.type)
        for field in USAGE_ROWS
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=USAGE_ROWS).slice(1)


def _plain(name: str) -> pa.DataType:
    kind = USAGE_ROWS.field(name).type
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def _encoded(column: pa.Array, kind: pa.DataType) -> pa.Array:
    return column.dictionary_encode() if pa.types.is_dictionary(kind) else column


def row_of(occurred_at: int, organization: str, names: list[str], tokens: int, cost: int | None) -> Row:
    department, user, project, model_name = names
    return {
        "event_id": "e",
        "occurred_at": occurred_at,
        "organization": organization,
        "department": department,
        "user": user,
        "project": project,
        "model": model_name,
        **{name: tokens * (place + 1) for place, name in enumerate(TOKEN_CLASSES)},
        "requests": np.sign(tokens).item(),
        "unpriced_requests": int(cost is None),
        "cost_pico": cost,
    }


# ---- strategies

COSTS = st.one_of(
    st.none(),
    st.sampled_from([0, 1, -1, INT64 - 1, INT64 - 2, -INT64, -(1 << 32), (1 << 32) - 1]),
    st.integers(-(10**12), 10**12),
)
NAMES = st.tuples(
    st.sampled_from(["", "sales"]),
    st.sampled_from(["ann", "bob", "zoë", ""]),
    st.sampled_from(["", "p1"]),
    st.sampled_from(["m1", "m2"]),
).map(list)
#: Long pauses make the chain let go of hours (48 h), of days (72 days) or of months (400 days).
PAUSES = st.sampled_from([0, 0, 1, MINUTE, HOUR, 20 * HOUR, 49 * HOUR, 73 * HOUR, 41 * DAY, 74 * DAY, 432 * DAY])


@st.composite
def rows_at(draw: st.DrawFn, calendar: Calendar, clock: int) -> Row:
    """A row about now, or late; most of them at the very edge of a window."""
    near = draw(st.sampled_from([START, START, START + 3 * DAY, clock, clock - DAY]))
    window = calendar.window(draw(st.sampled_from(WINDOW_KINDS)), min(near, clock))
    occurred_at = draw(st.sampled_from([window.start - 1, window.start, window.end - 1, window.end, near]))
    organization = draw(st.sampled_from(["acme", "beta"]))
    return row_of(occurred_at, organization, draw(NAMES), draw(st.integers(-3, 9)), draw(COSTS))


@st.composite
def chains(draw: st.DrawFn, partition: int = 0, calendar: Calendar | None = None, pauses: Any = PAUSES) -> Chain:
    """Up to nine blocks, some empty, with records between them that lost."""
    calendar = calendar or Calendar(draw(st.sampled_from(ZONES)))
    blocks: list[Block] = []
    clock, offset, following = START, -1, draw(st.sampled_from([0, 17]))
    for _ in range(draw(st.integers(0, 9))):
        clock += draw(pauses)
        extends, offset = offset, offset + draw(st.integers(1, 3))
        rows = tuple(draw(st.lists(rows_at(calendar, clock), max_size=4)))
        last = following + len(rows)  # one offset more than rows: a marker
        header = BlockHeader("e1", partition, following, last, extends, len(rows), 0, 1, 0, "p1", clock, clock)
        blocks.append(Block(offset, header, rows))
        following = last + 1
    return Chain(calendar, tuple(blocks))
