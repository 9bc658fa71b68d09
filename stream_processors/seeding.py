"""Totals of a source partition from the ledger: the one way to start in the middle.

Everything landed of the partition up to its newest landed block, summed by SQL as segment -1; blocks count from the
one behind it. Used when a table is lost, or the partition count has changed.
"""

from collections.abc import Sequence
from itertools import groupby
from operator import itemgetter
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from schemas.arrow import MEASURES, WINDOW_KINDS
from schemas.calendar import SECOND_US, Calendar, Window
from schemas.settings import Settings
from stream_processors import warehouse
from stream_processors.core import int128
from stream_processors.core.gcounter import HIGH, LOW, WIDTH, PartitionTotals, Progress
from stream_processors.core.scopes import ScopeIndex
from stream_processors.core.selection import STANDING, Selection, condition_sql
from stream_processors.core.windows import KEEP_US, opened_at

_NEWEST = """
SELECT block_offset, src_epoch, last_offset, toUnixTimestamp64Micro(booked_until) AS clock
FROM blocks FINAL
WHERE src_partition = {partition:Int32}
ORDER BY block_offset DESC
LIMIT 1
"""

# Windows that are still kept at the block: not long over, or touched by a late entry not long ago.
# The length of a month is rounded up: a window too many does no harm.
_TOTALS = """
WITH kept AS
(
    SELECT {window} AS start
    FROM usage
    WHERE src_partition = {{partition:Int32}} AND block_offset <= {{block_offset:Int64}} AND {condition}
    GROUP BY start
    HAVING greatest(max(booked_at), max(occurred_at) + {length}) > fromUnixTimestamp64Micro({{kept:Int64}})
)
SELECT
    {window} AS start,
    toUnixTimestamp(min(occurred_at)) AS instant,
    organization,
    scope_entry.1 AS scope_kind,
    scope_entry.2 AS scope,
    {sums},
    sum(ifNull(cost_usd, toDecimal128(0, 12))) AS cost_usd
FROM usage
ARRAY JOIN {scopes} AS scope_entry
WHERE src_partition = {{partition:Int32}} AND block_offset <= {{block_offset:Int64}} AND {condition} AND start IN kept
GROUP BY start, organization, scope_kind, scope
"""

# When rows came to a window: in its first block, and in those after its end. The chain's clock before and with each.
_TOUCHES = """
WITH
    clocks AS
    (
        SELECT
            block_offset,
            toUnixTimestamp64Micro(booked_until) AS clock,
            lagInFrame(clock, 1, 0) OVER (ORDER BY block_offset) AS before
        FROM blocks FINAL
        WHERE src_partition = {{partition:Int32}} AND block_offset <= {{block_offset:Int64}}
    ),
    touched AS
    (
        SELECT {window} AS start, block_offset, toUnixTimestamp(min(occurred_at)) AS instant
        FROM usage
        WHERE src_partition = {{partition:Int32}} AND block_offset <= {{block_offset:Int64}} AND {condition}
        GROUP BY start, block_offset
    )
SELECT instant, before, clock
FROM touched INNER JOIN clocks USING block_offset
QUALIFY
    block_offset = min(block_offset) OVER (PARTITION BY start)
    OR clock >= toUnixTimestamp64Micro(toDateTime64(start, 6, '{zone}') + {shortest})
ORDER BY start, block_offset
"""

_WINDOW = {
    "hour": "toStartOfHour(occurred_at, '{zone}')",
    "day": "toDate(occurred_at, '{zone}')",
    "month": "toStartOfMonth(occurred_at, '{zone}')",
}
_SHORTEST = {"hour": "INTERVAL 1 HOUR", "day": "INTERVAL 23 HOUR", "month": "INTERVAL 28 DAY"}
_LENGTH = {"hour": "INTERVAL 1 HOUR", "day": "INTERVAL 25 HOUR", "month": "INTERVAL 31 DAY"}


class LedgerWindows(NamedTuple):
    """What the ledger says of one kind of window: sums by start and scope, and when each began in memory (clock)."""

    sums: pa.Table
    opened_at: dict[Window, int]


def newest_landed(settings: Settings, partition: int) -> Progress | None:
    """Up to where a partition has landed; None for nothing, WarehouseError when ClickHouse cannot be asked."""
    rows = warehouse.ask(settings, _NEWEST, {"partition": partition})
    if not rows:
        return None
    [row] = rows
    return Progress(partition, row["block_offset"], row["src_epoch"], row["last_offset"], row["clock"])


def ledger_sums(
    settings: Settings,
    calendar: Calendar,
    progress: Progress,
    selections: Sequence[Selection] = STANDING,
    kinds: Sequence[str] = WINDOW_KINDS,
) -> dict[str, LedgerWindows]:
    """By window kind, what has landed up to a position; WarehouseError when ClickHouse cannot be asked.

    A scope's kind is its selection's place in `selections`, which have the same conditions.
    """
    scopes = ", ".join(f"(toInt32({number}), toString({each.scope_kind}))" for number, each in enumerate(selections))
    found = {}
    with warehouse.connect(settings) as client:
        for kind in kinds:
            parts = {
                "window": _WINDOW[kind].format(zone=calendar.zone),
                "condition": condition_sql(selections[0].conditions),
                "length": _LENGTH[kind],
                "shortest": _SHORTEST[kind],
                "zone": calendar.zone,
                "scopes": f"[{scopes}]",
                "sums": ", ".join(f"sum({name}) AS {name}" for name in MEASURES),
            }
            parameters: dict[str, Any] = {
                "partition": progress.src_partition,
                "block_offset": progress.block_offset,
                "kept": progress.clock - KEEP_US[kind],
            }
            sums = client.query_arrow(_TOTALS.format(**parts), parameters=parameters, use_strings=True)
            touches = client.query(_TOUCHES.format(**parts), parameters=parameters).result_rows
            found[kind] = LedgerWindows(sums, _beginnings(touches, calendar, kind))
    return found


def _beginnings(touches: Sequence[Sequence[int]], calendar: Calendar, kind: str) -> dict[Window, int]:
    of_windows = ((calendar.window(kind, instant * SECOND_US), (before, clock)) for instant, before, clock in touches)
    return {
        window: opened_at(window, (touch for _, touch in group)) for window, group in groupby(of_windows, itemgetter(0))
    }


def seed(
    progress: Progress,
    found: dict[str, LedgerWindows],
    calendar: Calendar,
    index: ScopeIndex,
    selections: tuple[Selection, ...] = STANDING,
) -> PartitionTotals:
    """The totals at a landed position, of the `selections` and window kinds that were `found`.

    Windows begin and end when they would have if nothing had been lost: segments of what comes later are then the
    same ones that have perhaps landed already.
    """
    totals = PartitionTotals(progress, selections, tuple(found), unknown_before=progress.clock)
    for kind, windows in found.items():
        _put(totals, calendar, kind, index, windows)
    return totals


def _put(totals: PartitionTotals, calendar: Calendar, kind: str, index: ScopeIndex, windows: LedgerWindows) -> None:
    found = windows.sums
    if not found.num_rows:
        return
    columns = {name: found.column(name).combine_chunks() for name in found.column_names}
    starts, first_rows, window_of_row = np.unique(
        columns["start"].cast(pa.int64() if kind == "hour" else pa.int32()).to_numpy(),
        return_index=True,
        return_inverse=True,
    )
    values = np.empty((found.num_rows, WIDTH), np.int64)
    for number, name in enumerate(MEASURES):
        values[:, number] = columns[name].to_numpy()
    cost = columns["cost_usd"]  # its unscaled integer is the number of pico-dollars
    pico = pa.Array.from_buffers(pa.decimal128(38, 0), len(cost), cost.buffers(), offset=cost.offset)
    values[:, HIGH], values[:, LOW] = int128.from_decimal(pico)
    names = zip(*(columns[name].to_pylist() for name in ("scope_kind", "organization", "scope")), strict=True)
    kinds = [index.kind_of(each.text) for each in totals.selections]
    ids = np.fromiter((index.id_of(kinds[place], *scope) for place, *scope in names), np.int64, found.num_rows)
    for number in range(len(starts)):
        instant = columns["instant"][int(first_rows[number])].as_py()
        window = calendar.window(kind, instant * SECOND_US)
        rows = np.flatnonzero(window_of_row == number)
        totals.seed(window, windows.opened_at[window], ids[rows], values[rows])
