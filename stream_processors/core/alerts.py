"""Which alerts stand, and which are due: a fold of `usage.alerts` itself, so that no second table can disagree.

Each partition of the topic is a chain: see `schemas.alert_chain`.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import orjson

from schemas.alert_chain import extends_head
from schemas.calendar import Window
from stream_processors.core.budgets import (
    Budget,
    alert_id,
    amount_text,
    decision,
    reached,
    threshold_amount,
)
from stream_processors.core.selection import conditions_text

DAY_US = 86_400_000_000
#: Beyond any amount: totals are kept in 128 bits.
NEVER = (1 << 127) - 1
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

Position = Mapping[str, Any]  # src_epoch, src_partition, src_offset, block_offset


class Subject(NamedTuple):
    """What alerts are about: one budget, scope and window."""

    budget_id: str
    organization: str
    scope_kind: str
    scope: str
    window_kind: str
    window_start: int


class Change(NamedTuple):
    """An alert to be raised or retracted; a retraction has the revision (and so the id) of what it takes back."""

    state: str
    subject: Subject
    window_end: int
    threshold: int
    revision: int
    used: int


@dataclass(slots=True)
class _Standing:
    """What has been alerted about one subject."""

    revisions: dict[int, int] = field(default_factory=dict)  # newest revision by threshold
    raised: set[int] = field(default_factory=set)  # thresholds
    settled_at: int = 0  # the later of the window's end and the last change


_NOTHING = _Standing()


class AlertBook:
    """The alerts of one partition of `usage.alerts`, as far as they have been folded."""

    def __init__(self, start: int = 0) -> None:
        """`start` is the first offset that the partition still keeps: what extends an older one comes first."""
        self.head = -1  # offset of the last accepted record
        self.counted: dict[int, int] = {}  # by source partition, the newest block that an alert has counted
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
        return True

    def _count(self, record: Mapping[str, Any]) -> None:
        standing = self._standings.setdefault(_subject(record), _Standing())
        threshold = record["threshold"]
        standing.revisions[threshold] = record["revision"]
        if record["state"] == "raised":
            standing.raised.add(threshold)
        else:
            standing.raised.discard(threshold)
        standing.settled_at = max(micros(record["window_end"]), micros(record["raised_at"]))

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

        lost = sorted(standing.raised.difference(now), reverse=True)
        won = [threshold for threshold in now if threshold not in standing.raised]
        return [
            *(change("retracted", threshold, standing.revisions[threshold]) for threshold in lost),
            *(change("raised", threshold, standing.revisions.get(threshold, -1) + 1) for threshold in won),
        ]

    def quiet_range(
        self, budget: Budget, organization: str, scope_kind: str, scope: str, window: Window
    ) -> tuple[int, int]:
        """(low, high): nothing is due exactly while low <= used < high. Empty when the budget has changed under it."""
        subject = Subject(budget.id, organization, scope_kind, scope, window.kind, window.start)
        raised = self._standings.get(subject, _NOTHING).raised
        count = len(raised)
        if raised != set(budget.thresholds[:count]):
            return NEVER, NEVER
        budget = budget.granted(organization, scope, window.start, window.end)
        bounds = [-NEVER, *(threshold_amount(budget.limit, each) for each in budget.thresholds), NEVER]
        return bounds[count], bounds[count + 1]

    def forget(self, before: Mapping[str, int]) -> None:
        """Drop what ended and was last changed before an instant (microseconds UTC, by kind of window).

        Both, so that an import of old months keeps its state while it runs. Usage that arrives for a forgotten
        window would raise the first revisions again, under the same ids.
        """
        self._standings = {
            subject: standing
            for subject, standing in self._standings.items()
            if standing.settled_at >= before[subject.window_kind]
        }


def alert_record(
    change: Change, budget: Budget, positions: Iterable[Position], cause_event: str, now_us: int
) -> dict[str, Any]:
    """A record of `alert.v1`; `used` is as counted up to `positions`, `now_us` is microseconds UTC."""
    subject = change.subject
    budget = budget.granted(subject.organization, subject.scope, subject.window_start, change.window_end)
    notice = budget.notice(change.threshold)
    return {
        "alert_id": alert_id(*subject, change.threshold, change.revision),
        "type": "threshold",
        "state": change.state,
        "revision": change.revision,
        **_scope_fields(subject, change.window_end),
        "conditions": conditions_text(budget.conditions),
        "threshold": change.threshold,
        "used": amount_text(budget.unit, change.used),
        "limit": amount_text(budget.unit, budget.limit),
        "unit": budget.unit,
        "severity": notice.severity,
        "recipients": list(notice.to),
        "detail": _sentence(change, budget),
        "cause_event": cause_event,
        "positions": [dict(position) for position in positions],
        "late": now_us >= change.window_end,
        "deliver": now_us < change.window_end + DAY_US,
        "raised_at": instant(now_us),
    }


def limit_record(
    budget: Budget,
    organization: str,
    scope_kind: str,
    scope: str,
    window: Window,
    used: int,
    positions: Iterable[Position],
    now_us: int,
) -> dict[str, Any]:
    """A record of `limit.v1`; `used` is as counted up to `positions`, `now_us` is microseconds UTC."""
    subject = Subject(budget.id, organization, scope_kind, scope, window.kind, window.start)
    budget = budget.granted(organization, scope, window.start, window.end)
    return {
        **_scope_fields(subject, window.end),
        "conditions": conditions_text(budget.conditions),
        "unit": budget.unit,
        "used": amount_text(budget.unit, used),
        "limit": amount_text(budget.unit, budget.limit),
        "remaining": amount_text(budget.unit, budget.limit - used),
        "decision": decision(budget, used),
        "positions": [dict(position) for position in positions],
        "as_of": instant(now_us),
    }


def limit_key(budget_id: str, organization: str, scope_kind: str, scope: str) -> bytes:
    """The key of `usage.limits`: one record stands for each budget and scope."""
    return orjson.dumps([budget_id, organization, scope_kind, scope])


def instant(micros_utc: int) -> datetime:
    """As Avro's timestamp-micros is decoded."""
    return EPOCH + timedelta(microseconds=micros_utc)


def micros(at: datetime) -> int:
    """Microseconds UTC of a decoded timestamp."""
    return (at - EPOCH) // timedelta(microseconds=1)


def _subject(record: Mapping[str, Any]) -> Subject:
    return Subject(
        record["budget_id"],
        record["organization"],
        record["scope_kind"],
        record["scope"],
        record["window_kind"],
        micros(record["window_start"]),
    )


def _scope_fields(subject: Subject, window_end: int) -> dict[str, Any]:
    return {
        **subject._asdict(),
        "window_start": instant(subject.window_start),
        "window_end": instant(window_end),
    }


def _sentence(change: Change, budget: Budget) -> str:
    subject = change.subject
    used, limit = amount_text(budget.unit, change.used), amount_text(budget.unit, budget.limit)
    unit = "US dollars" if budget.unit == "cost" else budget.unit.replace("_", " ")
    verb = "reached" if change.state == "raised" else "is back under"
    only = f" where {conditions_text(budget.conditions)}" if budget.conditions else ""
    who = f"{subject.scope_kind} {subject.scope or '(unassigned)'} of {subject.organization}{only}"
    return (
        f"{who} {verb} {change.threshold} % of {limit} {unit} for the {subject.window_kind.replace('_', ' ')} "
        f"from {instant(subject.window_start):%Y-%m-%d %H:%M} UTC: {used} used"
    )
