"""Alerts about the pipeline itself: a stage that stands still, offsets that are lost, a reader that is far behind.

They stand beside the chains of `usage.alerts`, each of which has one writer, the budgets agent: a record without the
header `extends` is passed by whoever follows a chain, and lands like any alert. An id is a hash of the place, so that
saying the same again, after a crash or by another process, is one alert.
"""

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

REJECTED_EVENTS = "rejected events"  # the unit of an alert that says rating has halted


def pipeline_id(*place: str | int) -> str:
    """The id of what is said about a place, as `sink`, topic, partition and offset."""
    return hashlib.sha256(":".join(map(str, ("pipeline", *place))).encode()).hexdigest()[:32]


def pipeline_alert(alert_id: str, topic: str, partition: int, detail: str, at: int, **more: Any) -> dict[str, Any]:
    """A record of `alert.v1`; `at` in microseconds UTC. It concerns no window and no budget; `more` replaces fields."""
    return {
        "alert_id": alert_id,
        "type": "pipeline",
        "state": "raised",
        "revision": 0,
        "budget_id": "",
        "organization": "",
        "scope_kind": "partition",
        "scope": f"{topic}[{partition}]",
        "window_kind": "",
        "conditions": "",
        "window_start": at,
        "window_end": at,
        "threshold": 0,
        "used": "0",
        "limit": "0",
        "unit": "",
        "severity": "critical",
        "detail": detail,
        "cause_event": "",
        "positions": [],
        "late": False,
        "deliver": True,
        "raised_at": at,
        **more,
    }


def newest_halts(records: Iterable[Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """By alert id, the newest record of each alert that says rating has halted; `records` in the order of the log."""
    return {
        record["alert_id"]: record
        for record in records
        if record["type"] == "pipeline" and record["unit"] == REJECTED_EVENTS
    }
