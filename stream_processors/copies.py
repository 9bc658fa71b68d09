"""Looks for events that were booked more than once, and takes the copies back; the sink does so all the time.

A look compares what has landed since the last one with all rows of the same hours of event time: a copy has the time
of the event. How far it came is in table `copy_looks`, written after the entries are sent, so a look that ended
half-way is taken again, and finds the same entries.
"""

import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import pyarrow as pa
from confluent_kafka import KafkaException
from pydantic import ValidationError

from schemas.event import UsageEvent, explain
from schemas.registry import Registry, RegistryAwayError
from schemas.settings import Settings
from stream_processors.booked import COLUMNS, ORDER, as_row
from stream_processors.core.copies import entry_reversals, reversals
from stream_processors.entries import records_of, send
from stream_processors.sink.warehouse import AwayError, RefusedError, Warehouse
from stream_processors.warehouse import WarehouseError, ask

LOOK_S = 15.0
ROWS_A_LOOK = 500_000  # of each partition, or one block
EVENTS_A_LOOK = 10_000
LOOKS = pa.schema([("src_partition", pa.int32()), ("looked_until", pa.int64())])
log = logging.getLogger("tollbook.copies")

#: Per partition: the stretch of blocks to look at, from `since` to before `until`.
LANDED = """
SELECT src_partition, any(looked) AS since, max(block_offset) + 1 AS until
FROM
(
    SELECT
        src_partition,
        block_offset,
        looked_until AS looked,
        sum(row_count) OVER (PARTITION BY src_partition ORDER BY block_offset) - row_count AS rows_before
    FROM blocks
    LEFT JOIN (SELECT src_partition, max(looked_until) AS looked_until FROM copy_looks GROUP BY src_partition) AS looks
        USING (src_partition)
    WHERE block_offset >= looked_until
)
WHERE rows_before < {most:UInt64}
GROUP BY src_partition
"""
#: `{new}`: which rows have landed since.
REPEATED = """
SELECT source, event_id
FROM usage
WHERE kind != 'adjustment' AND toStartOfHour(occurred_at) IN (SELECT toStartOfHour(occurred_at) FROM usage WHERE {new})
    AND (source, event_id) IN (SELECT source, event_id FROM usage WHERE kind != 'adjustment' AND ({new}))
GROUP BY source, event_id
HAVING sum(requests) > 1
LIMIT {most:UInt32}
"""
#: Of entries that correct; they count by their places in the log, for not each books a request.
REPEATED_ENTRIES = """
SELECT source, event_id, any(corrects) AS corrects
FROM usage
WHERE kind = 'adjustment' AND toStartOfHour(occurred_at) IN (SELECT toStartOfHour(occurred_at) FROM usage WHERE {new})
    AND (source, event_id) IN (SELECT source, event_id FROM usage WHERE kind = 'adjustment' AND ({new}))
GROUP BY source, event_id
HAVING uniqExact(src_epoch, src_partition, src_offset) > 1
LIMIT {most:UInt32}
"""
BOOKED = (
    f"SELECT {COLUMNS} FROM usage WHERE event_id IN {{ids:Array(String)}} OR corrects IN {{ids:Array(String)}} {ORDER}"  # noqa: S608 -- our own names
)


def take_back_new(settings: Settings) -> None:
    """Looks at all that has landed since the last time. What cannot be asked now is asked the next time."""
    try:
        while _look(settings):
            pass
    except (AwayError, RefusedError, WarehouseError, KafkaException, RegistryAwayError, LookupError) as error:
        log.warning("cannot look for copies: %s", error)


def take_back_all(settings: Settings) -> int:
    """A look at all the books. Raises WarehouseError, KafkaException, RegistryAwayError or LookupError."""
    return _take_back(settings, "true")


def _look(settings: Settings) -> bool:
    """False when nothing has landed."""
    stretches = ask(settings, LANDED, {"most": ROWS_A_LOOK})
    if not stretches:
        return False
    clauses = [
        f"src_partition = {row['src_partition']} AND block_offset >= {row['since']} AND block_offset < {row['until']}"
        for row in stretches
    ]
    _take_back(settings, " OR ".join(clauses))
    done = [{"src_partition": row["src_partition"], "looked_until": row["until"]} for row in stretches]
    Warehouse(settings).insert("copy_looks", pa.RecordBatch.from_pylist(done, schema=LOOKS))
    return True


def _take_back(settings: Settings, new: str) -> int:
    entries = _found(settings, REPEATED.replace("{new}", new), reversals)
    entries += _found(settings, REPEATED_ENTRIES.replace("{new}", new), entry_reversals)
    if entries:
        send(settings, records_of(entries, Registry(settings.registry)))
        log.warning("took back %s copies, as of event %s", len(entries), entries[0].corrects)
    return len(entries)


def _found(
    settings: Settings, repeated: str, reversals_of: Callable[[list[dict[str, Any]]], list[UsageEvent]]
) -> list[UsageEvent]:
    """What takes back the copies that a query finds; one that cannot be taken back is logged."""
    found = ask(settings, repeated, {"most": EVENTS_A_LOOK})
    if not found:
        return []
    ids = {row["event_id"] for row in found} | {row["corrects"] for row in found if row.get("corrects")}
    entries = []
    for (source, event_id), booked in _by_event(ask(settings, BOOKED, {"ids": sorted(ids)})).items():
        try:
            entries += reversals_of(booked)
        except ValidationError as error:
            log.error("event %s of %s is booked more than once: %s", event_id, source, explain(error))
    return entries


def _by_event(rows: Iterable[Mapping[str, Any]]) -> dict[tuple[str, str], list[dict[str, Any]]]:
    events: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in rows:
        event_id = row["corrects"] or row["event_id"]
        events.setdefault((row["source"], event_id), []).append(as_row(dict(row)))
    return events
