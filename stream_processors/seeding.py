"""Totals of a source partition from the ledger: the one way to start in the middle.

Everything landed of the partition up to its newest landed block, summed by SQL as segment -1; blocks count from the
one behind it. Used when a table is lost, or the partition count has changed.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from schemas.arrow import MEASURES, WINDOW_KINDS
from schemas.calendar import SECOND_US, Calendar
from schemas.settings import Settings
from stream_processors import warehouse
from stream_processors.core import int128
from stream_processors.core.gcounter import HIGH, LOW, SEED, WIDTH, PartitionTotals, Progress
from stream_processors.core.scopes import ScopeIndex
from stream_processors.core.selection import STANDING, Selection, condition_sql
from stream_processors.core.windows import KEEP_US

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

_WINDOW = {
    "hour": "toStartOfHour(occurred_at, '{zone}')",
    "day": "toDate(occurred_at, '{zone}')",
    "month": "toStartOfMonth(occurred_at, '{zone}')",
}
_LENGTH = {"hour": "INTERVAL 1 HOUR", "day": "INTERVAL 25 HOUR", "month": "INTERVAL 31 DAY"}


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
) -> dict[str, pa.Table]:
    """By window kind, the sums of what has landed up to a position; WarehouseError when ClickHouse cannot be asked.

    A scope's kind is its selection's place in `selections`, which have the same conditions.
    """
    scopes = ", ".join(f"(toInt32({number}), toString({each.scope_kind}))" for number, each in enumerate(selections))
    sums = {}
    with warehouse.connect(settings) as client:
        for kind in kinds:
            query = _TOTALS.format(
                window=_WINDOW[kind].format(zone=calendar.zone),
                length=_LENGTH[kind],
                scopes=f"[{scopes}]",
                sums=", ".join(f"sum({name}) AS {name}" for name in MEASURES),
                condition=condition_sql(selections[0].conditions),
            )
            parameters: dict[str, Any] = {
                "partition": progress.src_partition,
                "block_offset": progress.block_offset,
                "kept": progress.clock - KEEP_US[kind],
            }
            sums[kind] = client.query_arrow(query, parameters=parameters, use_strings=True)
    return sums


def seed(
    progress: Progress,
    sums: dict[str, pa.Table],
    calendar: Calendar,
    index: ScopeIndex,
    selections: tuple[Selection, ...] = STANDING,
) -> PartitionTotals:
    """The totals at a landed position, of the `selections` and window kinds that `sums` are about."""
    totals = PartitionTotals(progress, selections, tuple(sums), unknown_before=progress.clock)
    for kind, found in sums.items():
        _put(totals, calendar, kind, index, found)
    return totals


def _put(totals: PartitionTotals, calendar: Calendar, kind: str, index: ScopeIndex, found: pa.Table) -> None:
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
        held = totals.open(calendar.window(kind, instant * SECOND_US), SEED, totals.progress.clock)
        held.whole = True
        rows = np.flatnonzero(window_of_row == number)
        held.put(ids[rows], values[rows])
