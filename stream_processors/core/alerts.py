"""Which alerts stand, and which are due: a fold of `usage.alerts` itself, so that no second table can disagree.

Each partition of the topic is a chain: see `schemas.alert_chain`.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import orjson

from schemas.alert_chain import extends_head
from schemas.calendar import LIFETIME, Window
from schemas.money import grouped
from stream_processors.core.alert_subjects import (
    Member,
    Position,
    Subject,
    instant,
    micros,
    scope_fields,
    subject_of,
    unit_name,
)
from stream_processors.core.budgets import (
    ALERT,
    FULL,
    PAUSE,
    Budget,
    alert_id,
    amount_text,
    decision,
    reached,
    scope_name,
    threshold_amount,
)
from stream_processors.core.forecasts import FORECAST, ForecastBook
from stream_processors.core.selection import conditions_text

DAY_US = 86_400_000_000
#: Beyond any amount: totals are kept in 128 bits.
NEVER = (1 << 127) - 1


class Change(NamedTuple):
    """An alert to be raised or retracted; a retraction has the revision (and so the id) of what it takes back."""

    state: str
    subject: Subject
    window_end: int
    threshold: int
    revision: int
    used: int
    estimated: int = 0  # of it, for requests without a price


@dataclass(slots=True)
class _Standing:
    """What has been alerted about one subject."""

    revisions: dict[int, int] = field(default_factory=dict)  # newest revision by threshold
    raised: set[int] = field(default_factory=set)  # thresholds
    pauses: bool = False  # whether pausing was the action when the limit was last reached
    settled_at: int = 0  # the later of the window's end and the last change


_NOTHING = _Standing()
_CONSEQUENCES = {
    "": "",
    "throttle": "; calls are delayed",
    "block_new": "; nothing new may begin",
    PAUSE: "; all calls are refused until it is resumed (tollbook budgets resume {})",
}


class AlertBook:
    """The alerts of one partition of `usage.alerts`, as far as they have been folded."""

    def __init__(self, start: int = 0) -> None:
        """`start` is the first offset that the partition still keeps: what extends an older one comes first."""
        self.head = -1  # offset of the last accepted record
        self.counted: dict[int, int] = {}  # by source partition, the newest block that an alert has counted
        #: By start of the window that paused it (never one that was over), when. Outlasts the window, unlike the rest.
        self.pauses: dict[Member, dict[int, int]] = {}
        self.forecasts = ForecastBook()
        self._start = start
        self._standings: dict[Subject, _Standing] = {}

    def __len__(self) -> int:
        """How many subjects are remembered."""
        return len(self._standings)

    def fold(self, offset: int, extends: int | None, record: Mapping[str, Any]) -> bool:
        """Count a decoded record of the topic; False when it is not part of the chain.

        `extends` is the header's value, None when there is none: such records (alerts about the pipeline, by
        other writers) stand beside the chain.
        """
        if extends is None or not extends_head(extends, self.head, self._start):
            return False
        self.head = offset
        for position in record["positions"]:
            partition = position["src_partition"]
            self.counted[partition] = max(self.counted.get(partition, -1), position["block_offset"])
        if record["type"] == "threshold":
            self._count(record)
        elif record["type"] == FORECAST:
            self.forecasts.count(record)
        return True

    def _count(self, record: Mapping[str, Any]) -> None:
        standing = self._standings.setdefault(subject_of(record), _Standing())
        threshold = record["threshold"]
        standing.revisions[threshold] = record["revision"]
        if record["state"] == "raised":
            standing.raised.add(threshold)
        else:
            standing.raised.discard(threshold)
        standing.settled_at = max(micros(record["window_end"]), micros(record["raised_at"]))
        if threshold == FULL:
            standing.pauses = record["action"] == PAUSE
            self._count_pause(subject_of(record), record)

    def _count_pause(self, subject: Subject, record: Mapping[str, Any]) -> None:
        pauses = self.pauses.setdefault(Member(*subject[:4]), {})
        if record["state"] == "raised" and record["action"] == PAUSE and not record["late"]:
            pauses[subject.window_start] = micros(record["raised_at"])
        else:
            pauses.pop(subject.window_start, None)
        if not pauses:
            del self.pauses[Member(*subject[:4])]

    def paused(self, budget: Budget, organization: str, scope: str) -> bool:
        """Whether a window, be it over or not, has paused the scope, and nobody has resumed it since."""
        if budget.action != PAUSE:
            return False
        raised = self.pauses.get(Member(budget.id, organization, budget.scope_kind, scope), {})
        return max(raised.values(), default=-1) > budget.resumed_at(organization, scope)

    def due(
        self, budget: Budget, organization: str, scope_kind: str, scope: str, window: Window, used: int
    ) -> list[Change]:
        """What must be appended so that exactly the reached thresholds stand raised; nothing when that is so.

        Retractions first, from the highest; then what is newly reached, from the lowest. Changes nothing here:
        the records count when they are folded.
        """
        subject = Subject(budget.id, organization, scope_kind, scope, window.kind, window.start)
        standing = self._standings.get(subject, _NOTHING)
        budget = budget.granted(organization, scope, window.start, window.end)
        now = reached(used, budget.limit, budget.thresholds)

        def change(state: str, threshold: int, revision: int) -> Change:
            return Change(state, subject, window.end, threshold, revision, used)

        kept = standing.raised.intersection(now).difference(_outdated(budget, standing))
        lost = sorted(standing.raised - kept, reverse=True)
        won = [threshold for threshold in now if threshold not in kept]
        return [
            *(change("retracted", threshold, standing.revisions[threshold]) for threshold in lost),
            *(change("raised", threshold, standing.revisions.get(threshold, -1) + 1) for threshold in won),
        ]

    def quiet_range(
        self, budget: Budget, organization: str, scope_kind: str, scope: str, window: Window
    ) -> tuple[int, int]:
        """(low, high): nothing is due exactly while low <= used < high. Empty when the budget has changed under it."""
        subject = Subject(budget.id, organization, scope_kind, scope, window.kind, window.start)
        standing = self._standings.get(subject, _NOTHING)
        count = len(standing.raised)
        if standing.raised != set(budget.thresholds[:count]) or _outdated(budget, standing):
            return NEVER, NEVER
        budget = budget.granted(organization, scope, window.start, window.end)
        bounds = [-NEVER, *(threshold_amount(budget.limit, each) for each in budget.thresholds), NEVER]
        return bounds[count], bounds[count + 1]

    def forget(self, before: Mapping[str, int]) -> None:
        """Drop what ended and was last changed before an instant (microseconds UTC, by kind of window).

        Both, so that an import of old months keeps its state while it runs. Usage that arrives for a forgotten
        window would raise the first revisions again, under the same ids.
        """
        self.forecasts.forget(before)
        self._standings = {
            subject: standing
            for subject, standing in self._standings.items()
            if standing.settled_at >= before[subject.window_kind]
        }


def alert_record(
    change: Change,
    budget: Budget,
    positions: Iterable[Position],
    cause_event: str,
    now_us: int,
    predates: bool = False,
) -> dict[str, Any]:
    """A record of `alert.v1`; `used` is as counted up to `positions`, `now_us` is microseconds UTC.

    `predates`: the window was over before there was such a budget, so that the alert is only recorded.
    """
    subject = change.subject
    budget = budget.granted(subject.organization, subject.scope, subject.window_start, change.window_end)
    notice = budget.notice(change.threshold)
    late = now_us >= change.window_end
    return {
        "alert_id": alert_id(*subject, change.threshold, change.revision),
        "type": "threshold",
        "state": change.state,
        "revision": change.revision,
        **scope_fields(subject, change.window_end),
        "conditions": conditions_text(budget.conditions),
        "threshold": change.threshold,
        "used": amount_text(budget.unit, change.used),
        "estimated": amount_text(budget.unit, change.estimated),
        "limit": amount_text(budget.unit, budget.limit),
        "unit": budget.unit,
        "severity": notice.severity,
        "recipients": list(notice.to),
        "action": _action(change, budget),
        "detail": _sentence(change, budget, late),
        "cause_event": cause_event,
        "positions": [dict(position) for position in positions],
        "late": late,
        "deliver": now_us < change.window_end + DAY_US and not predates,
        "raised_at": instant(now_us),
    }


def limit_record(
    budget: Budget,
    organization: str,
    scope_kind: str,
    scope: str,
    window: Window,
    used: int,
    paused: bool,
    positions: Iterable[Position],
    now_us: int,
    estimated: int = 0,
) -> dict[str, Any]:
    """A record of `limit.v1`; `used` is as counted up to `positions`, `now_us` is microseconds UTC.

    `estimated`: of what is used, for requests without a price.
    """
    subject = Subject(budget.id, organization, scope_kind, scope, window.kind, window.start)
    budget = budget.granted(organization, scope, window.start, window.end)
    return {
        **scope_fields(subject, window.end),
        "conditions": conditions_text(budget.conditions),
        "unit": budget.unit,
        "used": amount_text(budget.unit, used),
        "estimated": amount_text(budget.unit, estimated),
        "limit": amount_text(budget.unit, budget.limit),
        "remaining": amount_text(budget.unit, budget.limit - used),
        "decision": decision(budget, used, paused),
        "positions": [dict(position) for position in positions],
        "as_of": instant(now_us),
    }


def limit_key(budget_id: str, organization: str, scope_kind: str, scope: str) -> bytes:
    """The key of `usage.limits`: one record stands for each budget and scope."""
    return orjson.dumps([budget_id, organization, scope_kind, scope])


def _outdated(budget: Budget, standing: _Standing) -> set[int]:
    """The alert at a limit that was reached before the budget was made to pause: it says nothing of a pause."""
    return {FULL} if budget.action == PAUSE and FULL in standing.raised and not standing.pauses else set()


def _action(change: Change, budget: Budget) -> str:
    return budget.action if change.threshold == FULL and budget.action != ALERT else ""


def _sentence(change: Change, budget: Budget, late: bool) -> str:
    subject = change.subject
    used, limit = (grouped(amount_text(budget.unit, amount)) for amount in (change.used, budget.limit))
    unit = unit_name(budget.unit)
    verb = "reached" if change.state == "raised" else "is back under"
    only = f" where {conditions_text(budget.conditions)}" if budget.conditions else ""
    part = f", {grouped(amount_text(budget.unit, change.estimated))} of it estimated" if change.estimated else ""
    who = scope_name(subject.scope_kind, subject.scope, subject.organization)
    when = f"the {subject.window_kind.replace('_', ' ')} from {instant(subject.window_start):%Y-%m-%d %H:%M} UTC"
    if subject.window_kind == LIFETIME:
        when = "its lifetime"
    return f"{who}{only} {verb} {change.threshold} % of {limit} {unit} for {when}: {used} used{part}" + (
        "" if late or change.state != "raised" else _CONSEQUENCES[_action(change, budget)].format(subject.budget_id)
    )
