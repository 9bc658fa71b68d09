"""Alerts for the notifier's tests, as the topic gives them and as the outbox keeps them."""

from datetime import UTC, datetime, timedelta
from typing import Any

from notifiers.notifier import as_text

NOON = datetime(2026, 3, 10, 12, tzinfo=UTC)
NOON_US = int(NOON.timestamp()) * 1_000_000


def decoded_alert(**fields: Any) -> dict[str, Any]:
    """engineering has used 135 of 150 dollars this month."""
    return {
        "alert_id": "a1",
        "type": "threshold",
        "state": "raised",
        "revision": 0,
        "budget_id": "department-month",
        "organization": "acme",
        "scope_kind": "department",
        "scope": "engineering",
        "window_kind": "month",
        "window_start": datetime(2026, 3, 1, tzinfo=UTC),
        "window_end": datetime(2026, 4, 1, tzinfo=UTC),
        "conditions": "",
        "threshold": 90,
        "used": "135.000000000001",
        "limit": "150.00",
        "unit": "cost",
        "severity": "caution",
        "recipients": [],
        "detail": "department engineering of acme reached 90 %",
        "cause_event": "e-3",
        "positions": [],
        "late": False,
        "deliver": True,
        "raised_at": NOON - timedelta(minutes=1),
    } | fields


def stored_alert(**fields: Any) -> dict[str, Any]:
    return as_text(decoded_alert(**fields))
