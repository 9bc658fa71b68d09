"""Where an event is, at each stage: in the log, in the books, in windows and alerts."""

from collections.abc import Iterator
from typing import Any

from schemas.arrow import TOKEN_CLASSES
from schemas.registry import Registry
from schemas.settings import Settings
from schemas.topics import BY_NAME, EVENTS
from stream_processors.core.price_explain import explain_cost
from stream_processors.core.price_history import Histories
from stream_processors.logs import LogReader, topic_id
from stream_processors.price_log import book_of, read_histories
from stream_processors.tail import lines
from stream_processors.warehouse import ask

Facts = dict[str, Any]

ROWS = """
SELECT
    event_id, source, revision, kind, occurred_at, toUnixTimestamp64Micro(occurred_at) AS at_us, booked_at,
    organization, department, team, user, project, tool, provider,
    model, service_tier, {counts}, units, latency_ms, toString(cost_usd) AS cost_usd, requests, unpriced_requests,
    price_version, src_epoch, src_partition, src_offset, src_entry, block_offset
FROM usage
WHERE event_id = {event_id:String}
ORDER BY src_partition, src_offset, src_entry
"""
REJECTS = """
SELECT reason, detail, source, organization, booked_at, src_epoch, src_partition, src_offset, block_offset
FROM rejected
WHERE event_id = {event_id:String}
ORDER BY src_partition, src_offset
"""
BLOCK = """
SELECT first_offset, last_offset, row_count, reject_count, rated_at, landed_at
FROM blocks FINAL
WHERE src_partition = {src_partition:Int32} AND block_offset = {block_offset:Int64}
"""
# The windows of one row. `counted` says whether the entries of its partition are beyond its block.
WINDOWS = """
SELECT
    window_kind, window_start, window_end, organization, scope_kind, scope, windows.requests AS requests,
    toString(windows.cost_usd) AS cost_usd, counted_until >= {block_offset:Int64} AS counted
FROM windows
LEFT JOIN
(
    SELECT window_kind, window_start, organization, scope_kind, scope, max(block_offset) AS counted_until
    FROM window_entries
    WHERE src_partition = {src_partition:Int32}
    GROUP BY window_kind, window_start, organization, scope_kind, scope
) AS entries USING (window_kind, window_start, organization, scope_kind, scope)
WHERE organization = {organization:String}
    AND window_start <= fromUnixTimestamp64Micro({at_us:Int64}, 'UTC')
    AND window_end > fromUnixTimestamp64Micro({at_us:Int64}, 'UTC')
    AND scope = multiIf(
        scope_kind = 'department', {department:String}, scope_kind = 'user', {user:String},
        scope_kind = 'project', {project:String}, scope_kind = 'model', {model:String}, {organization:String})
ORDER BY window_end - window_start, scope_kind
"""
CAUSED = """
SELECT alert_id, state, budget_id, scope_kind, scope, window_kind, window_start, threshold, used, limit, unit, raised_at
FROM alerts
WHERE cause_event = {event_id:String}
ORDER BY raised_at
"""
LANDED = "SELECT src_partition, max(last_offset) AS last_offset FROM blocks WHERE src_epoch = {e:String} GROUP BY 1"


def explain(settings: Settings, event_id: str) -> Facts:
    """Everything that is known of an event. Raises WarehouseError, KafkaException or RegistryAwayError."""
    named = {"event_id": event_id}
    booked = ask(settings, ROWS.replace("{counts}", ", ".join(TOKEN_CLASSES)), named)
    histories = read_histories(settings.kafka) if booked else {}
    rows = [_with_stages(settings, row) | {"price": _price(histories, row)} for row in booked]
    rejects = ask(settings, REJECTS, named)
    return {
        "event_id": event_id,
        "rows": rows,
        "rejects": rejects,
        "not_landed": list(_not_landed(settings, event_id)),
        "alerts_caused": ask(settings, CAUSED, named),
    }


def _with_stages(settings: Settings, row: Facts) -> Facts:
    names = ("organization", "department", "user", "project", "model", "src_partition", "block_offset", "at_us")
    parameters = {name: row[name] for name in names}
    blocks = ask(settings, BLOCK, parameters)
    return row | {"block": blocks[0] if blocks else None, "windows": ask(settings, WINDOWS, parameters)}


def _price(histories: Histories, row: Facts) -> list[Facts] | None:
    """The sum that makes the cost; None when this row is not the price of its counts, or by another list."""
    if row["cost_usd"] is None or row["kind"] != "usage":
        return None
    _, _, number = row["price_version"].partition(" + overrides ")
    book = book_of(histories, int(number or 0))
    return explain_cost(book, row) if book.version == row["price_version"] else None


def _not_landed(settings: Settings, event_id: str) -> Iterator[Facts]:
    """The event in that part of the log which has not landed yet."""
    epoch = topic_id(settings.kafka, EVENTS)
    landed = {row["src_partition"]: row["last_offset"] for row in ask(settings, LANDED, {"e": epoch})}
    registry = Registry(settings.registry)
    with LogReader(settings.kafka) as reader:
        for number in range(settings.partitions):
            low, _ = reader.bounds(EVENTS, number)
            for message in reader.read(EVENTS, number, max(low, landed.get(number, -1) + 1)):
                for line in lines(message, BY_NAME[EVENTS], registry):
                    if isinstance(line["value"], dict) and line["value"]["event_id"] == event_id:
                        yield {"src_epoch": epoch, "src_partition": number, "src_offset": message.offset()}
