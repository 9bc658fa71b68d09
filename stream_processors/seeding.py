"""Totals of a source partition from the ledger: the one way to start in the middle.

Everything landed of the partition up to its newest landed block, summed by SQL as segment -1; blocks count from the
one behind it. Used when a table is lost, or the partition count has changed.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np

from schemas.arrow import MEASURES, SCOPE_KINDS, WINDOW_KINDS
from schemas.calendar import SECOND_US, Calendar
from schemas.settings import Settings
from stream_processors import warehouse
from stream_processors.core.gcounter import SEED, WIDTH, PartitionTotals, Progress, Values
from stream_processors.core.scopes import ScopeIndex
from stream_processors.core.windows import KEEP_US

_NEWEST = """
SELECT block_offset, src_epoch, last_offset, toUnixTimestamp64Micro(booked_until) AS clock
FROM blocks FINAL
WHERE src_partition = {partition:Int32}
ORDER BY block_offset DESC
LIMIT 1
"""

# Windows that are still kept at the block: not long over, or touched by a late entry not long ago.
_TOTALS = """
SELECT
    toUnixTimestamp(min(occurred_at)) AS instant,
    organization,
    {scope} AS scope,
    {sums},
    sum(cost_pico) AS cost_pico
FROM (SELECT *, toInt128(ifNull(cost_usd, 0) * 1000000000000) AS cost_pico, {window} AS window FROM usage)
WHERE src_partition = {{partition:Int32}} AND block_offset <= {{block_offset:Int64}}
  AND window IN
  (
      SELECT {window}
      FROM usage
      WHERE src_partition = {{partition:Int32}} AND block_offset <= {{block_offset:Int64}}
      GROUP BY 1
      HAVING greatest(max(booked_at), max(occurred_at) + {length}) > fromUnixTimestamp64Micro({{kept:Int64}})
  )
GROUP BY window, organization, scope
"""

_WINDOW = {
    "hour": "toStartOfHour(occurred_at)",
    "day": "toDate(occurred_at, '{zone}')",
    "month": "toStartOfMonth(occurred_at, '{zone}')",
}
_LENGTH = {"hour": "INTERVAL 1 HOUR", "day": "INTERVAL 1 DAY", "month": "INTERVAL 31 DAY"}


def seed(settings: Settings, calendar: Calendar, partition: int, index: ScopeIndex) -> PartitionTotals | None:
    """None when nothing of the partition has landed; WarehouseError when ClickHouse cannot be asked."""
    newest = warehouse.ask(settings, _NEWEST, {"partition": partition})
    if not newest:
        return None
    [row] = newest
    progress = Progress(partition, row["block_offset"], row["src_epoch"], row["last_offset"], row["clock"])
    totals = PartitionTotals(progress, unknown_before=progress.clock)
    for kind in WINDOW_KINDS:
        for number, scope in enumerate(SCOPE_KINDS):
            query = _TOTALS.format(
                scope=scope,
                sums=", ".join(f"sum({name}) AS {name}" for name in MEASURES),
                window=_WINDOW[kind].format(zone=calendar.zone),
                length=_LENGTH[kind],
            )
            found = warehouse.ask(
                settings,
                query,
                {
                    "partition": partition,
                    "block_offset": progress.block_offset,
                    "kept": progress.clock - KEEP_US[kind],
                },
            )
            _put(totals, calendar, kind, number, index, found)
    return totals


def _put(
    totals: PartitionTotals,
    calendar: Calendar,
    kind: str,
    scope_kind: int,
    index: ScopeIndex,
    found: Iterable[dict[str, Any]],
) -> None:
    for row in found:
        window = calendar.window(kind, row["instant"] * SECOND_US)
        held = totals.open(window, SEED, totals.progress.clock)
        held.whole = True
        scope = index.id_of(scope_kind, row["organization"], row["scope"])
        held.put(np.array([scope]), _values(row))


def _values(row: dict[str, Any]) -> Values:
    cost = row["cost_pico"]
    values = [*(row[name] for name in MEASURES), cost >> 32, cost & 0xFFFF_FFFF]
    return np.array(values, np.int64).reshape(1, WIDTH)
