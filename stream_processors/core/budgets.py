"""What a budget is, and its arithmetic: integers only, no clock.

A budget limits one measure of one scope, or of each member of a scope kind, per window of one kind. Amounts are
pico-dollars for the unit `cost` and plain counts for every other unit.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import orjson

from schemas.arrow import TOKEN_CLASSES
from schemas.money import usd_text
from stream_processors.core.selection import Conditions, Selection, Track
from stream_processors.core.windows import BASE_KIND

EACH = "*"
ALLOW, ALERT, PAUSE = "allow", "alert", "pause"
#: What follows from a limit: nothing but the alerts; callers wait; begin nothing new; are refused until it is resumed.
ACTIONS = (ALERT, "throttle", "block_new", PAUSE)
#: The threshold at which the action is taken.
FULL = 100
UNITS = ("cost", "tokens", "requests", *TOKEN_CLASSES)
SEVERITIES = ("info", "warning", "caution", "critical")


@dataclass(frozen=True, slots=True)
class Grant:
    """A top-up: more of a budget for some of its scopes, in the window that it was given in.

    With `until` in each window that begins before then, too: the limit is so much higher for a while.
    """

    organization: str  # a name, or `*`
    scope: str  # a name, or `*`
    amount: int  # as the budget's limit
    at: int  # microseconds UTC
    author: str = ""  # '' where nobody wrote it down
    id: str = ""  # by which it is given once; '' where nobody named it
    until: int | None = None  # microseconds UTC; None: it ends with its window


@dataclass(frozen=True, slots=True)
class Resume:
    """Somebody let scopes of a budget go on that had been paused up to then."""

    organization: str  # a name, or `*`
    scope: str  # a name, or `*`
    author: str
    at: int  # microseconds UTC


@dataclass(frozen=True, slots=True)
class Notice:
    """How one threshold is told: how serious it is, and to whom besides those whom the notifier's routes name."""

    threshold: int
    severity: str  # one of SEVERITIES
    to: tuple[str, ...] = ()  # names of channels in notify.toml


@dataclass(frozen=True, slots=True)
class Budget:
    """A limit on what a scope may use per window."""

    id: str
    organization: str  # a name, or `*`: each organization by itself
    scope_kind: str
    scope: str  # a name, or `*`: each member by itself
    period: str  # the window kind, one of `schemas.calendar.PERIODS`
    unit: str
    limit: int  # pico-dollars for unit cost, else a count; positive
    thresholds: tuple[int, ...]  # percents of the limit, ascending
    version: int  # 1 when first applied; 0 as read from a file
    conditions: Conditions = ()  # count only usage that meets them all
    action: str = ALERT  # what callers should do once the limit is reached, one of ACTIONS
    grants: tuple[Grant, ...] = ()
    resumes: tuple[Resume, ...] = ()  # the newest of each organization and scope
    notify: tuple[Notice, ...] = ()  # ascending; of thresholds that are not told as usual
    forecast: bool = False  # whether to say who will reach the limit at the pace so far
    valid_from: int | None = None  # microseconds UTC; None: ever since
    valid_until: int | None = None  # exclusive; None: for good
    fallback_pico: int | None = None  # what a request without a price counts as, for unit cost; None: as nothing
    projects: int | None = None  # how many may be active in a window, as a plan includes; None: any number
    members: int | None = None  # users, likewise
    carry_over: bool = False  # whether what is left of a window is a part of the next one's limit

    @property
    def selection(self) -> Selection:
        """The usage that counts."""
        return Selection(self.scope_kind, self.conditions)

    @property
    def track(self) -> Track | None:
        """The windows that exist for this budget's sake; None where those of the stream do."""
        return None if self.selection.is_standing else Track(self.selection, BASE_KIND[self.period])

    def is_valid(self, at: int) -> bool:
        """Whether the budget holds at an instant (microseconds UTC)."""
        return (self.valid_from is None or self.valid_from <= at) and (
            self.valid_until is None or at < self.valid_until
        )

    def granted(self, organization: str, scope: str, start: int, end: int) -> "Budget":
        """The budget as it is for one scope and window: its limit and what was granted for the window."""
        more = sum(
            grant.amount
            for grant in self.grants
            if grant.at < end
            and start < (grant.at + 1 if grant.until is None else grant.until)
            and grant.organization in (EACH, organization)
            and grant.scope in (EACH, scope)
        )
        return replace(self, limit=self.limit + more) if more else self

    def resumed_at(self, organization: str, scope: str) -> int:
        """When a scope was last resumed (microseconds UTC), -1 when it never was."""
        return max(
            (
                resume.at
                for resume in self.resumes
                if resume.organization in (EACH, organization) and resume.scope in (EACH, scope)
            ),
            default=-1,
        )

    def estimated(self, unpriced_requests: int) -> int:
        """How much of what is used is an estimate: requests without a price at the fallback."""
        return 0 if self.fallback_pico is None else self.fallback_pico * unpriced_requests

    def notice(self, threshold: int) -> Notice:
        """How a threshold is told."""
        usual = Notice(threshold, severity(threshold))
        return next((notice for notice in self.notify if notice.threshold == threshold), usual)

    def covers(self, organization: str, selection: str, scope: str) -> bool:
        """Whether this scope of a selection (`Selection.text`) is watched by the budget."""
        return (
            self.selection.text == selection
            and self.organization in (EACH, organization)
            and self.scope in (EACH, scope)
        )


def used_of(unit: str, measures: Mapping[str, int]) -> int:
    """What counts against a budget in `unit`, of a window's measures (`schemas.arrow.MEASURES` and `cost_pico`)."""
    if unit == "cost":
        return measures["cost_pico"]
    if unit == "tokens":  # both are inclusive totals; the other classes are parts of them
        return measures["input_tokens"] + measures["output_tokens"]
    return measures[unit]


def reached(used: int, limit: int, thresholds: Iterable[int]) -> tuple[int, ...]:
    """The thresholds (percents of `limit`) that `used` has reached; exactly equal counts as reached."""
    return tuple(threshold for threshold in thresholds if used * 100 >= limit * threshold)


def threshold_amount(limit: int, threshold: int) -> int:
    """The smallest amount that reaches `threshold`."""
    return -(-limit * threshold // 100)


def decision(budget: Budget, used: int, paused: bool) -> str:
    """What a caller should do: `allow`, or the budget's action once the limit is reached.

    A pause lasts whatever is used, in later windows too; once it is resumed, its limit holds up nobody (`alert`).
    """
    if paused:
        return PAUSE
    if used < budget.limit:
        return ALLOW
    return ALERT if budget.action == PAUSE else budget.action


def severity(threshold: int) -> str:
    """How serious it is to have reached `threshold` percent."""
    if threshold >= 95:
        return "critical"
    if threshold >= 90:
        return "caution"
    return "warning" if threshold >= 75 else "info"


def scope_name(scope_kind: str, scope: str, organization: str) -> str:
    """Whose it is, as people read it: `user ada of acme`, `organization acme`."""
    name = f"{scope_kind} {scope or '(unassigned)'}"
    return name if scope_kind == "organization" and organization in (EACH, scope) else f"{name} of {organization}"


def amount_text(unit: str, amount: int) -> str:
    """An amount as records and people read it: dollars for cost (`12.50`), else the count."""
    return usd_text(amount) if unit == "cost" else str(amount)


def alert_id(
    budget_id: str,
    organization: str,
    scope_kind: str,
    scope: str,
    window_kind: str,
    window_start: int,
    threshold: int,
    revision: int,
) -> str:
    """The name of one crossing, the same after any crash: 32 hexadecimal digits.

    Neither the limit nor the budget's version is part of it: a changed limit re-evaluates the same thresholds.
    """
    parts = [budget_id, organization, scope_kind, scope, window_kind, window_start, threshold, revision]
    # JSON keeps the parts apart: ("a", "bc") and ("ab", "c") differ.
    return hashlib.sha256(orjson.dumps(parts)).hexdigest()[:32]
