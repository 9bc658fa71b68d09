"""Plans: budgets of organizations that include so many active projects and members in a window.

A project, or a user, is active when its usage of the window comes to more than nothing; what is unassigned is neither.
"""

from collections.abc import Iterable
from typing import Any, NamedTuple

from schemas.calendar import Window
from stream_processors.core.budgets import EACH, Budget
from stream_processors.core.history_alerts import PLAN, history_alert


class Active(NamedTuple):
    """How many projects and users of an organization were active in a window."""

    organization: str
    projects: int
    members: int


def is_plan(budget: Budget) -> bool:
    """Whether it includes a number of projects or members."""
    return budget.projects is not None or budget.members is not None


def covered(budget: Budget, actives: Iterable[Active]) -> list[Active]:
    """Those of the organizations that have the plan."""
    names = {budget.organization, budget.scope} - {EACH}
    return [each for each in actives if names <= {each.organization}]


def plan_alerts(budget: Budget, window: Window, actives: Iterable[Active], now: int) -> list[dict[str, Any]]:
    """For each organization and count an alert, raised when more are active than the plan includes, else taken back.

    `window` is the budget's that is running; what was never raised is not taken back (`history_alerts.due`).
    """
    return [
        history_alert(
            PLAN,
            active.organization,
            "organization",
            active.organization,
            window,
            _sentence(active.organization, budget.id, name, count, included),
            now,
            rule=f"{budget.id}:{name}",
            state="raised" if count > included else "retracted",
            budget_id=budget.id,
            used=str(count),
            limit=str(included),
            unit=name,
            severity="warning",
        )
        for active in covered(budget, actives)
        for name, count, included in (
            ("projects", active.projects, budget.projects),
            ("members", active.members, budget.members),
        )
        if included is not None
    ]


def _sentence(organization: str, budget_id: str, name: str, count: int, included: int) -> str:
    verb = "has" if count > included else "is back at"
    return f"organization {organization} {verb} {count:,} active {name}, and plan {budget_id} includes {included:,}"
