"""What ClickHouse has booked for single events, as plain rows."""

from datetime import UTC, datetime, timedelta
from typing import Any

from schemas.arrow import ROW_KEYS, TOKEN_CLASSES
from schemas.money import to_pico
from schemas.settings import Settings
from stream_processors.warehouse import ask

Row = dict[str, Any]

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
COLUMNS = ", ".join(
    (
        *(name for name in ROW_KEYS if name != "occurred_at"),
        *("event_id", "source", "revision", "kind", "corrects", "adjustment_type"),
        *TOKEN_CLASSES,
        *("units", "tags", "cost_usd", "requests", "unpriced_requests", "price_version"),
        *("src_epoch", "src_partition", "src_offset", "src_entry", "block_offset"),
        "toUnixTimestamp64Micro(occurred_at) AS occurred_us",
        "toUnixTimestamp64Micro(booked_at) AS booked_us",
    )
)
ORDER = "ORDER BY usage.booked_at, src_partition, src_offset, src_entry"


def entries_of(settings: Settings, event_id: str, source: str) -> list[Row]:
    """Everything booked for an event, what corrects it included, oldest first; `source` '' is any.

    Raises ValueError when there is none, or when several sources have an event of that name; WarehouseError.
    """
    found = ask(
        settings,
        f"SELECT {COLUMNS} FROM usage WHERE {{event_id:String}} IN (event_id, corrects) "  # noqa: S608 -- our own names
        f"AND {{source:String}} IN ('', source) {ORDER}",
        {"event_id": event_id, "source": source},
    )
    sources = sorted({row["source"] for row in found})
    if not any(row["event_id"] == event_id for row in found):
        raise ValueError(f"event_id = {event_id!r}: nothing is booked under it")
    if len(sources) > 1:
        raise ValueError(f"event_id = {event_id!r}: of {', '.join(sources)}; say which with --source")
    return [as_row(row) for row in found]


def as_row(found: Row) -> Row:
    """A row of `COLUMNS` with money in pico-dollars and an aware `occurred_at`."""
    cost = found.pop("cost_usd")
    return found | {
        "occurred_at": EPOCH + timedelta(microseconds=found.pop("occurred_us")),
        "cost_pico": None if cost is None else to_pico(cost),
    }
