"""Forecast to exceed: who will reach a limit before the window ends, at the pace of the window so far.

Raised by the agent of budgets, every five seconds by its clock, for budgets that ask for it; once a window, until it is
taken back. It stands in the chain of `usage.alerts`, and what has been said is the fold of it. Amounts are as in a
budget's limit.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from schemas.calendar import Window
from schemas.money import grouped
from stream_processors.core.alert_subjects import (
    Position,
    Subject,
    instant,
    micros,
    scope_fields,
    subject_of,
    unit_name,
)
from stream_processors.core.budgets import Budget, amount_text, scope_name
from stream_processors.core.selection import conditions_text

FORECAST = "forecast"
#: Before a tenth of it has passed, a window says little of its pace.
EARLIEST = 10
#: Taken back below this percent of the limit, so that a pace right at the limit is not told again and again.
BACK_BELOW = 90


@dataclass(frozen=True, slots=True)
class Forecast:
    """A forecast to be raised or retracted; a retraction has the revision of what it takes back."""

    state: str
    subject: Subject
    window_end: int
    revision: int
    used: int
    projected: int
    estimated: int = 0  # of what is used, for requests without a price


class ForecastBook:
    """What has been forecast, as far as the chain has been folded."""

    def __init__(self) -> None:
        self._newest: dict[Subject, tuple[int, bool, int]] = {}  # revision, whether it stands, end of the window

    def count(self, record: Mapping[str, Any]) -> None:
        """The next record of the chain that is a forecast."""
        stands = record["state"] == "raised"
        self._newest[subject_of(record)] = (record["revision"], stands, micros(record["window_end"]))

    def standing(self, budget: Budget, window: Window) -> list[tuple[str, str]]:
        """Organization and scope of each forecast that stands."""
        return [
            (subject.organization, subject.scope)
            for subject, (_, stands, _) in self._newest.items()
            if stands and _is_about(subject, budget, window)
        ]

    def due(
        self, budget: Budget, organization: str, scope: str, window: Window, used: int, now: int
    ) -> Forecast | None:
        """What must be said of a scope in the window that is running, if anything."""
        subject = Subject(budget.id, organization, budget.scope_kind, scope, window.kind, window.start)
        revision, stands, _ = self._newest.get(subject, (-1, False, 0))
        limit = budget.granted(organization, scope, window.start, window.end).limit
        projected = projection(used, window, now)
        if stands and projected * 100 < limit * BACK_BELOW:
            return Forecast("retracted", subject, window.end, revision, used, projected)
        if not stands and used < limit <= projected:
            return Forecast("raised", subject, window.end, revision + 1, used, projected)
        return None

    def forget(self, before: Mapping[str, int]) -> None:
        """Drop windows that ended before an instant (microseconds UTC, by kind of window)."""
        self._newest = {
            subject: newest for subject, newest in self._newest.items() if newest[2] >= before[subject.window_kind]
        }


def projection(used: int, window: Window, now: int) -> int:
    """What `used` comes to at the window's end at its pace up to `now`, which is within the window."""
    return used * (window.end - window.start) // max(1, now - window.start)


def reaching(limit: int, window: Window, now: int) -> int:
    """The smallest amount that is projected to reach `limit`."""
    return -(-limit * max(1, now - window.start) // (window.end - window.start))


def is_early(window: Window, now: int) -> bool:
    """Whether it is too early to speak of a pace."""
    return (now - window.start) * EARLIEST < window.end - window.start


def forecast_record(found: Forecast, budget: Budget, positions: Iterable[Position], now_us: int) -> dict[str, Any]:
    """A record of `alert.v1`; `threshold` is the percent of the limit that is projected."""
    subject = found.subject
    budget = budget.granted(subject.organization, subject.scope, subject.window_start, found.window_end)
    return {
        "alert_id": forecast_id(subject, found.revision),
        "type": FORECAST,
        "state": found.state,
        "revision": found.revision,
        **scope_fields(subject, found.window_end),
        "conditions": conditions_text(budget.conditions),
        "threshold": min(found.projected * 100 // budget.limit, 2**31 - 1),
        "used": amount_text(budget.unit, found.used),
        "estimated": amount_text(budget.unit, found.estimated),
        "limit": amount_text(budget.unit, budget.limit),
        "unit": budget.unit,
        "severity": "warning",
        "recipients": [],
        "action": "",
        "detail": _sentence(found, budget),
        "cause_event": "",
        "positions": [dict(position) for position in positions],
        "late": False,
        "deliver": True,
        "raised_at": instant(now_us),
    }


def forecast_id(subject: Subject, revision: int) -> str:
    """The same after any crash: 32 hexadecimal digits."""
    return hashlib.sha256(orjson.dumps([FORECAST, *subject, revision])).hexdigest()[:32]


def _is_about(subject: Subject, budget: Budget, window: Window) -> bool:
    return (subject.budget_id, subject.scope_kind, subject.window_kind, subject.window_start) == (
        budget.id,
        budget.scope_kind,
        window.kind,
        window.start,
    )


def _sentence(found: Forecast, budget: Budget) -> str:
    subject = found.subject
    used, projected, limit = (
        grouped(amount_text(budget.unit, amount)) for amount in (found.used, found.projected, budget.limit)
    )
    only = f" where {conditions_text(budget.conditions)}" if budget.conditions else ""
    verb = "will exceed" if found.state == "raised" else "is not expected to exceed any more"
    return (
        f"{scope_name(subject.scope_kind, subject.scope, subject.organization)}{only} {verb} {limit} "
        f"{unit_name(budget.unit)} for the {subject.window_kind.replace('_', ' ')} from "
        f"{instant(subject.window_start):%Y-%m-%d %H:%M} UTC at its pace so far: {used} used, {projected} at its end"
    )
