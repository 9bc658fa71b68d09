"""Mends the rollups after a doubtful insert: adds what `usage` has and the touched buckets have not.

A materialized view writes its rows after the table's; a crash between leaves the table ahead of the rollup, and
nothing would ever make up for it. `src_partition` is in the key of each rollup, so the comparison sees only rows of
the one partition that the caller owns and is not inserting into.
"""

from dataclasses import dataclass

from schemas.arrow import MEASURES


@dataclass(frozen=True, slots=True)
class Rollup:
    """A summing table and how its bucket is computed from `occurred_at`; `{zone}` is the calendar's zone."""

    table: str
    bucket: str
    bucket_of: str
    keys: tuple[str, ...]


ROLLUPS = (
    Rollup(
        "usage_hourly",
        "hour",
        "toStartOfHour(occurred_at)",
        ("organization", "department", "provider", "model", "feature", "status"),
    ),
    Rollup(
        "usage_daily",
        "day",
        "toDate(occurred_at, '{zone}')",
        ("organization", "department", "user", "project", "model"),
    ),
)


def mending_sql(rollup: Rollup, zone: str) -> str:
    """An INSERT of the difference, in the buckets touched by blocks `first_block` to `last_block` of `partition`."""
    bucket_of = rollup.bucket_of.replace("{zone}", zone)
    keys = ", ".join((rollup.bucket, *rollup.keys))
    names = (*MEASURES, "cost_usd")
    measures = ", ".join(names)
    zero_cost = "toDecimal128(0, 12)"
    booked = ", ".join(
        (*(f"toInt64({name}) AS {name}" for name in MEASURES), f"ifNull(cost_usd, {zero_cost}) AS cost_usd")
    )
    rolled_up = ", ".join(f"-{name} AS {name}" for name in names)
    differs = " OR ".join(f"sum({name}) != 0" for name in names)
    # All names come from this file, the numbers as parameters.
    return f"""
INSERT INTO {rollup.table} ({keys}, src_partition, {measures})
WITH touched AS
(
    SELECT DISTINCT {bucket_of} FROM usage
    WHERE src_partition = {{partition:Int32}} AND block_offset BETWEEN {{first_block:Int64}} AND {{last_block:Int64}}
)
SELECT {keys}, src_partition, {", ".join(f"sum({name})" for name in names)}
FROM
(
    SELECT {bucket_of} AS {rollup.bucket}, {", ".join(rollup.keys)}, src_partition, {booked}
    FROM usage WHERE src_partition = {{partition:Int32}} AND {bucket_of} IN touched
    UNION ALL
    SELECT {keys}, src_partition, {rolled_up}
    FROM {rollup.table} WHERE src_partition = {{partition:Int32}} AND {rollup.bucket} IN touched
)
GROUP BY {keys}, src_partition
HAVING {differs}
"""  # noqa: S608
