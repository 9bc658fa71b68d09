"""How budgets stand, as of what has landed in ClickHouse. WarehouseError when there is nothing to be had."""

from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from schemas.calendar import Calendar, Window
from schemas.settings import Settings
from stream_processors import warehouse
from stream_processors.core.plans import Active

ACTIVES = Path(__file__).resolve().parents[1] / "clickhouse" / "queries" / "watch" / "actives.sql"
# The fullest scope of each budget whose window is running; the ratio is for order only.
FULLEST = """
SELECT budget_id, organization, scope, used, limit, window_start, window_end,
    count() OVER (PARTITION BY budget_id) AS scopes
FROM limits
WHERE window_end > now64(6)
ORDER BY budget_id, toDecimal256(used, 12) / toDecimal256(limit, 12) DESC, organization, scope
LIMIT 1 BY budget_id
"""
# The ratio is for order only.
MEMBERS = """
SELECT budget_id, organization, scope_kind, scope, window_kind, window_start, window_end, unit, used, estimated, limit,
    remaining, decision, as_of, current, seconds_left, projected
FROM budget_status
WHERE {budget_id:String} IN ('', budget_id) AND current
ORDER BY toDecimal256(used, 12) / toDecimal256(limit, 12) DESC, budget_id, organization, scope
LIMIT {most:UInt32}
"""


def actives(settings: Settings, calendar: Calendar, window: Window) -> list[Active]:
    """How many projects and users each organization with usage in a window of whole days had active in it."""
    zone = ZoneInfo(calendar.zone)
    start, end = (datetime.fromtimestamp(at // 1_000_000, zone).date().isoformat() for at in (window.start, window.end))
    rows = warehouse.ask(settings, ACTIVES.read_text(encoding="utf-8"), {"start": start, "end": end})
    return [Active(row["organization"], row["project_count"], row["member_count"]) for row in rows]


def fullest(settings: Settings) -> dict[str, dict[str, Any]]:
    """By budget the scope that has used most of it in the window that is running."""
    return {row["budget_id"]: row for row in warehouse.ask(settings, FULLEST)}


def members(settings: Settings, budget_id: str, most: int) -> list[dict[str, Any]]:
    """The fullest scopes of a budget ('': of all of them), each in its running window: rows of `budget_status`."""
    return warehouse.ask(settings, MEMBERS, {"budget_id": budget_id, "most": most})
