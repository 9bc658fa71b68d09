"""Alerts about what has landed: spikes, surges, silence, suspicious use, a day's summary, plans that are exceeded.

They are functions of what has landed, and stand beside the chains of `usage.alerts` as alerts about the pipeline do.
An id is a hash of the type, the scope and the hour or day, so that saying the same again, after a crash or by another
process, is one alert.
"""

import hashlib
from collections.abc import Iterable, Set
from typing import Any

import orjson

from schemas.calendar import Window
from stream_processors.core.alert_subjects import instant

HOUR_US = 3_600_000_000
DAY_US = 24 * HOUR_US
TYPES = ("spike", "error_surge", "silent_source", "suspicious", "summary", "plan")
SPIKE, SURGE, SILENT, SUSPICIOUS, SUMMARY, PLAN = TYPES

Said = tuple[str, str]  # alert id and state


def hour_of(at: int) -> int:
    """The start of the hour (UTC) that holds an instant."""
    return at - at % HOUR_US


def hour_window(start: int) -> Window:
    return Window("hour", start, start + HOUR_US)


def history_alert(
    alert_type: str,
    organization: str,
    scope_kind: str,
    scope: str,
    window: Window,
    detail: str,
    now: int,
    rule: str = "",
    **more: Any,
) -> dict[str, Any]:
    """A record of `alert.v1` that no budget has asked for; times in microseconds UTC, `more` replaces fields.

    `rule` tells apart what a type says of the same scope and window.
    """
    place = [alert_type, organization, scope_kind, scope, window.start, *([rule] if rule else [])]
    return {
        "alert_id": hashlib.sha256(orjson.dumps(place)).hexdigest()[:32],
        "type": alert_type,
        "state": "raised",
        "revision": 0,
        "budget_id": "",
        "organization": organization,
        "scope_kind": scope_kind,
        "scope": scope,
        "window_kind": window.kind,
        "conditions": "",
        "window_start": instant(window.start),
        "window_end": instant(window.end),
        "threshold": 0,
        "used": "0",
        "limit": "0",
        "unit": "",
        "severity": "caution",
        "detail": detail,
        "cause_event": "",
        "positions": [],
        "late": False,
        "deliver": True,
        "raised_at": instant(now),
        **more,
    }


def due(found: Iterable[dict[str, Any]], said: Set[Said]) -> list[dict[str, Any]]:
    """Of what is found, what has not been said; what was never raised is not taken back."""
    return [
        record
        for record in found
        if (record["alert_id"], record["state"]) not in said
        and (record["state"] == "raised" or (record["alert_id"], "raised") in said)
    ]
