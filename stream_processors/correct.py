"""Correcting what is booked: reads the books, a stretch of event time at a time, and sends the entries they need.

What is corrected is one of several (`rerate.py`: other prices, `reassign.py`: another directory); the rest is the same.
Rows that are still on their way are not missed: what is read is what `usage.events` held at one moment, all of it
landed. When the version wanted is the newest, that moment comes after every rating worker has it (`FRESH_S`), so that
what is rated later has it already. A second look then finds what was booked for the same events meanwhile (a
revision, a reversal, entries of another run), and so on until nothing differs.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import pyarrow as pa

from schemas.arrow import ROW_KEYS, TOKEN_CLASSES
from schemas.settings import Settings
from stream_processors.core.corrections import PRICE_TAG, Corrections, Tally
from stream_processors.core.statements import MOVED_TAG
from stream_processors.entries import BatchSender
from stream_processors.landed import wait_booked
from stream_processors.sink.warehouse import Warehouse
from stream_processors.versioned_log import FRESH_S

CHUNK_ROWS = 200_000
MOST_LOOKS = 10
#: By what a use may be chosen: all rows of a statement are equal in each.
FIELDS = ("source", *(name for name in ROW_KEYS if name != "occurred_at"))

_EVENT = "if(usage.kind = 'adjustment', usage.corrects, usage.event_id)"
_KEYS = ", ".join(f"usage.{name}" for name in ROW_KEYS)
_NAMES = ("revision", "kind", "adjustment_type", "source", *ROW_KEYS, *TOKEN_CLASSES, "units", "latency_ms", "cost_usd")
_POSITION = ("requests", "unpriced_requests", "booked_at", "src_partition", "src_offset", "src_entry")
#: The columns of BOOKED_ROWS.
SELECT = f"""
SELECT
    cityHash64(usage.source, {_EVENT}, {_KEYS}) AS group_a,
    sipHash64(usage.source, {_EVENT}, {_KEYS}) AS group_b,
    {_EVENT} AS event_id,
    {", ".join((*_NAMES, *_POSITION))},
    toLowCardinality(if(usage.kind = 'adjustment' AND tags['{PRICE_TAG}'] != '', tags['{PRICE_TAG}'],
        usage.price_version)) AS price_version,
    toLowCardinality(if(usage.kind = 'adjustment', tags['{MOVED_TAG}'], '')) AS moved"""
_STRETCHES = """
SELECT toInt64(toUnixTimestamp(toStartOfFiveMinutes(usage.occurred_at))) AS start, toInt64(count()) AS rows
FROM usage
WHERE {where}
GROUP BY start
ORDER BY start
"""
_RANGE = """usage.occurred_at >= fromUnixTimestamp64Micro({start:Int64}, 'UTC')
    AND usage.occurred_at < fromUnixTimestamp64Micro({end:Int64}, 'UTC')
    AND NOT (usage.kind = 'adjustment' AND usage.corrects = '')"""
_LANDED = "(usage.src_epoch != {epoch:String} OR usage.src_offset < {ends:Array(Int64)}[usage.src_partition + 1])"
_MEANWHILE = f"""(usage.source, {_EVENT}) IN (
    SELECT usage.source, {_EVENT} FROM usage
    WHERE {_RANGE} AND usage.src_epoch = {{epoch:String}}
        AND usage.src_offset >= {{before:Array(Int64)}}[usage.src_partition + 1]
        AND NOT {{ours}}
)"""  # noqa: S608 -- our own names; values are parameters


class NotLandedError(Exception):
    """What is in `usage.events` did not come into ClickHouse in time: nothing that is read would be the whole."""


@dataclass(frozen=True, slots=True)
class Correction:
    """What is corrected: `find` makes entries of rows (`rows` is their schema), which `select` reads."""

    select: str
    rows: pa.Schema
    ours: str  # as SQL: what its entries to this {version:String} are told by
    version: str
    is_newest: bool  # whether rating has this version from now on
    find: Callable[[pa.RecordBatch], Corrections]


@dataclass(frozen=True, slots=True)
class Chosen:
    """Which usage."""

    start_us: int
    end_us: int  # exclusive
    where: Mapping[str, tuple[str, ...]]  # names of FIELDS, each with the values that it may have


@dataclass(slots=True)
class Outcome:
    """What was found in all, and what the last look found: nothing, when the books are as wanted."""

    tally: Tally = field(default_factory=Tally)
    looks: int = 0
    left: int = 0


def correct(
    settings: Settings,
    correction: Correction,
    chosen: Chosen,
    dry_run: bool,
    timeout: float,
    tell: Callable[[str, int], None],
) -> Outcome:
    """Books the differences; `tell` learns what is being done, and of how many rows it has been.

    Raises NotLandedError, KafkaException, RegistryAwayError, LookupError, AwayError or RefusedError. After any of them
    what was sent stands, and running it again does the rest.
    """
    outcome = Outcome()
    sender = None if dry_run else BatchSender(settings)
    if correction.is_newest:
        tell("waiting until every worker has this version", 0)
        time.sleep(FRESH_S)
    before: list[int] | None = None
    while outcome.looks < MOST_LOOKS:
        tell("waiting for what is on its way", 0)
        booked = wait_booked(settings, timeout)
        if booked is None:
            raise NotLandedError(f"not landed within {timeout:g} s; `tollbook status` shows which stage lags")
        found = _look(Warehouse(settings), correction, chosen, booked, before, sender, tell)
        outcome.looks += 1
        outcome.left = found.entries
        if before is not None:
            found.statements = found.repeated = found.unsound = 0  # counted by the first look
        outcome.tally.add(found)
        if dry_run or not found.entries:
            break
        before = booked[1]
    return outcome


def _look(
    warehouse: Warehouse,
    correction: Correction,
    chosen: Chosen,
    booked: tuple[str, list[int]],
    before: list[int] | None,
    sender: BatchSender | None,
    tell: Callable[[str, int], None],
) -> Tally:
    found = Tally()
    named: dict[str, str | int] = {"epoch": booked[0], "ends": str(booked[1]), "version": correction.version}
    clauses = [_RANGE, _LANDED]
    if before is not None:
        clauses.append(_MEANWHILE.replace("{ours}", correction.ours))
        named["before"] = str(before)
    for place, (name, values) in enumerate(chosen.where.items()):
        places = [f"{{value_{place}_{each}:String}}" for each in range(len(values))]
        clauses.append(f"usage.{name} IN ({', '.join(places)})")
        named |= {f"value_{place}_{each}": _escaped(value) for each, value in enumerate(values)}
    where = "\n    AND ".join(clauses)
    select = f"{correction.select}\nWHERE {where}"
    for start, end in _stretches(warehouse, chosen, where, named):
        rows = _typed(warehouse.select(select, True, **named | {"start": start, "end": end}), correction.rows)
        corrections = correction.find(rows)
        if sender is not None:
            sender.send(corrections.entries, corrections.partitions)
        found.add(corrections.tally)
        tell("correcting", rows.num_rows)
    return found


def _stretches(
    warehouse: Warehouse, chosen: Chosen, where: str, named: Mapping[str, str | int]
) -> Iterator[tuple[int, int]]:
    """Cuts the range where some CHUNK_ROWS are full: rows of one instant, and so of one statement, stay together."""
    bounds = {"start": chosen.start_us, "end": chosen.end_us}
    counted = warehouse.select(_STRETCHES.replace("{where}", where), False, **{**named, **bounds})
    starts = counted.column("start").to_numpy() * 1_000_000
    full = np.flatnonzero(np.diff(np.cumsum(counted.column("rows").to_numpy()) // CHUNK_ROWS)) + 1
    if len(starts):
        yield from pairwise([chosen.start_us, *starts[full].tolist(), chosen.end_us])


def _typed(found: pa.Table, schema: pa.Schema) -> pa.RecordBatch:
    table = found.unify_dictionaries().combine_chunks()
    columns = []
    for field_ in schema:
        name = "cost_usd" if field_.name == "cost_pico" else field_.name
        chunks = table.column(name).chunks
        column = chunks[0] if chunks else pa.array([], table.schema.field(name).type)
        columns.append(_pico(column) if name == "cost_usd" else _cast(column, field_.type))
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def _cast(column: pa.Array, kind: pa.DataType) -> pa.Array:
    if pa.types.is_dictionary(kind) and not pa.types.is_dictionary(column.type):
        column = column.dictionary_encode()
    return column.cast(kind)


def _pico(usd: pa.Array) -> pa.Array:
    """Dollars with twelve decimals as the integer that they are stored as."""
    buffers = usd.buffers()
    return pa.Array.from_buffers(pa.decimal128(38, 0), len(usd), buffers, offset=usd.offset).cast(pa.int64())


def _escaped(value: str) -> str:
    """As ClickHouse reads the value of a parameter."""
    return value.replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n")
