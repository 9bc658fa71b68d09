"""What the console's page shows of the ledger: read anew for each page."""

import time
from typing import Any

from schemas.calendar import load_calendar
from schemas.settings import Settings
from stream_processors import budget_actions
from stream_processors.budget_json import versions_json
from stream_processors.budget_log import read_histories
from stream_processors.budget_standings import actives, members
from stream_processors.core.alert_subjects import instant
from stream_processors.core.budget_changes import describe, describe_change, included_text
from stream_processors.core.budget_history import current, planned
from stream_processors.core.budgets import EACH, Budget, amount_text
from stream_processors.core.plans import Active, covered, is_plan
from stream_processors.responses import snoozes_of
from stream_processors.warehouse import WarehouseError, ask

MOST_STANDINGS = 200
MOST_MEMBERS = 50
MOST_ALERTS = 20
ALERTS = """
SELECT alert_id, severity, detail, raised_at, acknowledged_by, acknowledged_at, note
FROM standing_alerts
WHERE budget_id = {budget_id:String}
ORDER BY raised_at DESC, threshold DESC
LIMIT {most:UInt32}
"""


def overview(settings: Settings) -> dict[str, Any]:
    """Every budget in a line, and the fullest scopes of all of them."""
    now = _now()
    histories = sorted(read_histories(settings.kafka).items())
    return {
        "budgets": [(name, describe(current(history, now))) for name, history in histories],
        **_standings(settings, "", MOST_STANDINGS),
    }


def show(settings: Settings, budget_id: str) -> dict[str, Any]:
    """One budget: how its members stand, whom it has paused, and who changed what of it. Raises RefusedError."""
    history, now = budget_actions.history_of(settings, budget_id), _now()
    budget = current(history, now)
    return {
        "budget": budget,
        "described": describe(budget),
        "limit": amount_text(budget.unit, budget.limit),
        "version": history[-1].budget.version,
        "planned": [
            (describe_change(budget, each.budget) or "begins", instant(each.effective_at))
            for each in planned(history, now)
        ],
        "paused": sorted(budget_actions.paused_by(settings, budget)),
        "organization": "" if budget.organization == EACH else budget.organization,
        "scope": "" if budget.scope == EACH else budget.scope,
        "included": included_text(budget).removeprefix(", "),
        "actives": _actives(settings, budget, now),
        "snoozes": snoozes_of(settings, budget_id, now),
        "alerts": _alerts(settings, budget_id),
        "versions": list(reversed(versions_json(history))),
        **_standings(settings, budget_id, MOST_MEMBERS),
    }


def _standings(settings: Settings, budget_id: str, most: int) -> dict[str, Any]:
    """The fullest scopes; where ClickHouse does not tell, why."""
    try:
        return {"standings": members(settings, budget_id, most), "away": ""}
    except WarehouseError as error:
        return {"standings": [], "away": str(error)}


def _actives(settings: Settings, budget: Budget, now: int) -> list[Active]:
    """Of a plan, who is active in its window; none where ClickHouse does not tell."""
    if not is_plan(budget):
        return []
    calendar = load_calendar(settings.calendar)
    try:
        return covered(budget, actives(settings, calendar, calendar.window(budget.period, now)))
    except WarehouseError:
        return []


def _alerts(settings: Settings, budget_id: str) -> list[dict[str, Any]]:
    """The newest that stand; none where ClickHouse does not tell, which `_standings` says."""
    try:
        return ask(settings, ALERTS, {"budget_id": budget_id, "most": MOST_ALERTS})
    except WarehouseError:
        return []


def _now() -> int:
    return time.time_ns() // 1000
