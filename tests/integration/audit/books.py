"""A small ledger whose numbers agree, written by plain Python: what the stream would have landed.

Three partitions; times around a clock change; two organizations that share department names; rejects, a marker and a
gap; unpriced rows; a sealed segment, a seed; partition 2 is counted by the windows up to its last block but one.
"""

import random
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from clickhouse_connect.driver.client import Client

from schemas.arrow import MEASURES, SCOPE_KINDS, WINDOW_KINDS
from schemas.calendar import PERIODS, Calendar, Window
from stream_processors.core.selection import Conditions, conditions_text

EPOCH = "epoch-1"
CALENDAR = Calendar(zone="Europe/Berlin")
PARTITIONS = 3
BLOCKS = 6
BLOCK_OFFSETS = 20
START = datetime(2026, 3, 28, 18, tzinfo=UTC)  # the night after it, clocks go forward
SEED_UNTIL = 3  # block index; of partition 1

Row = dict[str, Any]
Key = tuple[Window, str, str, str, int, int]  # window, organization, scope kind, scope, partition, segment


@dataclass(frozen=True)
class Block:
    partition: int
    index: int
    rows: list[Row]
    rejects: list[int]
    marker_count: int
    gap_count: int

    @property
    def first(self) -> int:
        return self.index * BLOCK_OFFSETS

    @property
    def offset(self) -> int:
        """Its place in `usage.blocks`; every other record there was ignored."""
        return self.index * 2

    @property
    def extends(self) -> int:
        return self.offset - 2 if self.index else -1


def blocks(seed: int = 7) -> list[Block]:
    """Every block of the ledger."""
    rng = random.Random(seed)
    return [_block(rng, partition, index) for partition in range(PARTITIONS) for index in range(BLOCKS)]


def _block(rng: random.Random, partition: int, index: int) -> Block:
    offsets = list(range(index * BLOCK_OFFSETS, (index + 1) * BLOCK_OFFSETS))
    rejects = rng.sample(offsets, 2)
    rest = [offset for offset in offsets if offset not in rejects]
    marker_count, gap_count = (1, 2) if index == 1 else (0, 0)
    rest = rest[marker_count + gap_count :]
    block = Block(partition, index, [], rejects, marker_count, gap_count)
    block.rows.extend(_row(rng, block, offset) for offset in rest)
    return block


def _row(rng: random.Random, block: Block, offset: int) -> Row:
    priced = rng.random() < 0.9
    tokens = {name: rng.randrange(2000) for name in MEASURES if name.endswith("_tokens")}
    return tokens | {
        "event_id": f"{block.partition}-{offset}",
        "source": "test",
        "kind": "usage",
        "occurred_at": START + timedelta(seconds=rng.randrange(5 * 86_400)),
        "organization": rng.choice(("acme", "zeta")),
        "department": rng.choice(("engineering", "sales", "")),
        "user": rng.choice(("ann", "bob", "cid")),
        "project": rng.choice(("", "apollo")),
        "feature": "chat",
        "provider": "openai",
        "model": rng.choice(("gpt-4o", "gpt-4.1")),
        "service_tier": "default",
        "status": "ok",
        "cost_usd": Decimal(rng.randrange(1, 10**12)).scaleb(-12) if priced else None,
        "requests": 1,
        "unpriced_requests": 0 if priced else 1,
        "booked_at": datetime(2026, 4, 3, tzinfo=UTC),
        "src_offset": offset,
        "src_entry": 0,
        "src_epoch": EPOCH,
        "src_partition": block.partition,
        "block_offset": block.offset,
        "price_version": "test",
    }


def land(client: Client, landed: list[Block]) -> None:
    """Write the ledger into the migrated database of `client`."""
    insert(client, "usage", [row for block in landed for row in block.rows])
    insert(client, "rejected", [_reject(block, offset) for block in landed for offset in block.rejects])
    insert(client, "blocks", [_header(block) for block in landed])
    insert(client, "window_entries", list(window_entries(landed)))
    insert(client, "watermarks", list(_watermarks()))
    insert(client, "alert_entries", alerts(landed))
    insert(client, "limit_entries", limits(landed))


def insert(client: Client, table: str, rows: list[Row]) -> None:
    names = list(rows[0])
    client.insert(table, [[row[name] for name in names] for row in rows], column_names=names)


def _reject(block: Block, offset: int) -> Row:
    return {
        "src_epoch": EPOCH,
        "src_partition": block.partition,
        "src_offset": offset,
        "block_offset": block.offset,
        "booked_at": datetime(2026, 4, 3, tzinfo=UTC),
        "reason": "duplicate",
        "detail": "booked already",
    }


def _header(block: Block) -> Row:
    return {
        "src_epoch": EPOCH,
        "src_partition": block.partition,
        "first_offset": block.first,
        "last_offset": block.first + BLOCK_OFFSETS - 1,
        "block_offset": block.offset,
        "extends": block.extends,
        "row_count": len(block.rows),
        "reject_count": len(block.rejects),
        "marker_count": block.marker_count,
        "gap_count": block.gap_count,
        "price_version": "test",
        "rated_at": datetime(2026, 4, 3, tzinfo=UTC),
        "landed_at": datetime(2026, 4, 3, tzinfo=UTC),
    }


def counted_until(partition: int) -> int:
    """Index of the last block that the windows have counted."""
    return BLOCKS - 2 if partition == 2 else BLOCKS - 1


def window_entries(landed: list[Block]) -> Iterator[Row]:
    """What `usage.windows` would have said, newest entry of each key."""
    sums: dict[Key, dict[str, Any]] = defaultdict(lambda: dict.fromkeys((*MEASURES, "cost_usd"), 0) | {"block": None})
    for block in landed:
        if block.index <= counted_until(block.partition):
            for row in block.rows:
                for key in _keys(block, row):
                    _add(sums[key], row)
                    sums[key]["block"] = block
    for (window, organization, kind, scope, partition, segment), total in sums.items():
        last = total.pop("block")
        offset = SEED_UNTIL * 2 if segment == -1 else last.offset
        yield total | {
            "window_kind": window.kind,
            "window_start": instant(window.start),
            "window_end": instant(window.end),
            "organization": organization,
            "scope_kind": kind,
            "scope": scope,
            "src_partition": partition,
            "segment": segment,
            "block_offset": offset,
            "src_epoch": EPOCH,
            "src_offset": (offset // 2 + 1) * BLOCK_OFFSETS - 1,
        }


def _keys(block: Block, row: Row) -> Iterator[Key]:
    micros = int(row["occurred_at"].timestamp()) * 1_000_000
    # Months of partition 0 were sealed after the third block; partition 1 was seeded behind SEED_UNTIL, and one of its
    # segments from before is still there.
    for window_kind in WINDOW_KINDS:
        segments = [0]
        if block.partition == 0 and window_kind == "month":
            segments = [0 if block.index < 3 else 6]
        if block.partition == 1:
            segments = [-1, 0] if block.index <= SEED_UNTIL else [SEED_UNTIL * 2 + 2]
        for segment in segments:
            for kind in SCOPE_KINDS:
                window = CALENDAR.window(window_kind, micros)
                yield window, row["organization"], kind, row[kind], block.partition, segment


def _add(total: dict[str, Any], row: Row) -> None:
    for name in MEASURES:
        total[name] += row[name]
    total["cost_usd"] += row["cost_usd"] or 0


def _watermarks() -> Iterator[Row]:
    for shard in range(PARTITIONS):
        for partition in range(PARTITIONS):
            index = counted_until(partition)
            yield {
                "stage": "windows",
                "shard": shard,
                "src_partition": partition,
                "src_epoch": EPOCH,
                "src_offset": (index + 1) * BLOCK_OFFSETS - 1,
                "block_offset": index * 2,
            }


def alerts(landed: list[Block]) -> list[Row]:
    """Three thresholds of a budget, each at other positions; and one whose positions have not landed."""
    until = ({0: 1, 1: 0, 2: 2}, {0: 3, 1: 4, 2: 2}, {0: 5, 1: 5, 2: 5}, {0: 5, 1: 5, 2: 7})
    return [
        _subject("cost", position, landed)
        | {
            "alert_id": f"alert-{threshold}",
            "type": "threshold",
            "state": "raised",
            "threshold": threshold,
            "severity": "info",
            "raised_at": datetime(2026, 4, 3, tzinfo=UTC),
            "alert_offset": number,
        }
        for number, (threshold, position) in enumerate(zip((50, 75, 90, 95), until, strict=True))
    ]


def limits(landed: list[Block]) -> list[Row]:
    """One limit of each unit, one of each longer window, and one that counts only a user's usage."""
    records = []
    only = (("user", (landed[0].rows[0]["user"],)),)
    longer = [("tokens", period) for period in PERIODS if period not in WINDOW_KINDS]
    units = [(unit, "month", ()) for unit in ("cost", "tokens", "requests", "output_tokens")]
    for unit, period, conditions in [*units, *((*each, ()) for each in longer), ("requests", "week", only)]:
        record = _subject(unit, {0: 5, 1: 4, 2: 3}, landed, period, conditions)
        remaining = Decimal(record["limit"]) - Decimal(record["used"])
        records.append(
            record
            | {
                "budget_id": f"sales-{'only-' * len(conditions)}{unit if period == 'month' else period}",
                "remaining": f"{remaining:f}",
                "decision": "allow",
                "as_of": datetime(2026, 4, 3, tzinfo=UTC),
                "limit_offset": 0,
            }
        )
    return records


MONTH = CALENDAR.window("month", int(START.timestamp()) * 1_000_000)


def _subject(
    unit: str, until: Mapping[int, int], landed: list[Block], period: str = "month", conditions: Conditions = ()
) -> Row:
    """What is used by the sales department of acme in March (or its week ...), up to a block of each partition."""
    window = CALENDAR.window(period, int(START.timestamp()) * 1_000_000)
    counted = [
        row
        for block in landed
        if block.index <= until[block.partition]
        for row in block.rows
        if (row["organization"], row["department"]) == ("acme", "sales")
        and instant(window.start) <= row["occurred_at"] < instant(window.end)
        and all(row[name] in values for name, values in conditions)
    ]
    used: Any = {
        "cost": sum((row["cost_usd"] or Decimal(0) for row in counted), Decimal(0)),
        "tokens": sum(row["input_tokens"] + row["output_tokens"] for row in counted),
        "requests": len(counted),
        "output_tokens": sum(row["output_tokens"] for row in counted),
    }[unit]
    return {
        "budget_id": "sales",
        "organization": "acme",
        "scope_kind": "department",
        "scope": "sales",
        "window_kind": period,
        "conditions": conditions_text(conditions),
        "window_start": instant(window.start),
        "window_end": instant(window.end),
        "unit": unit,
        "used": f"{used:f}" if unit == "cost" else str(used),
        "limit": "1000000",
        "positions": [
            {
                "src_epoch": EPOCH,
                "src_partition": partition,
                "src_offset": (index + 1) * BLOCK_OFFSETS - 1,
                "block_offset": index * 2,
            }
            for partition, index in until.items()
        ],
    }


def instant(micros: int) -> datetime:
    return datetime.fromtimestamp(micros // 1_000_000, UTC)
