"""Where an alert goes and when: pure, without a clock."""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple
from urllib.parse import unquote
from zoneinfo import ZoneInfo

from notifiers.config import SEVERITIES, Config, Email, Quiet, Route
from schemas.responses import Snooze

ROUTED = "routed"
NO_ROUTE = "no route"
CLOSED_WINDOW = "window closed"
ENVIRONMENT = "environment"
HISTORY = "history"
SNOOZED = "snoozed"

CRITICAL = "critical"  # told whatever is snoozed
DAY_US = 86_400_000_000
MINUTE_US = 60_000_000
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

Alert = dict[str, Any]  # alert.v1 as decoded


class Target(NamedTuple):
    """Somebody to be told: a channel and, for mail, one address of it."""

    channel: str
    address: str


class Due(NamedTuple):
    """When to tell (microseconds UTC), and whether together with others."""

    at: int
    digest: bool


class Decision(NamedTuple):
    """What becomes of an alert; without targets it is recorded only, and `outcome` says why."""

    outcome: str
    targets: dict[Target, Due]


def decide(
    alert: Alert, config: Config, zone: ZoneInfo, now: int, first_start: int, snoozes: Iterable[Snooze]
) -> Decision:
    """Applies the rules in this order: windows long closed, other environments, history, snoozes, routes and
    the recipients that the budget names.

    `now` and `first_start` (when this outbox began) are microseconds UTC. What was raised more than a day before
    `first_start` is history: a notifier that is put beside an old ledger does not tell all of it again.
    """
    if not alert["deliver"]:
        return Decision(CLOSED_WINDOW, {})
    if environments_of(alert).isdisjoint(("", *config.environments)):
        return Decision(ENVIRONMENT, {})
    if micros(alert["raised_at"]) < first_start - DAY_US:
        return Decision(HISTORY, {})
    if alert["severity"] != CRITICAL and any(now < micros(one.until) and one.covers(alert) for one in snoozes):
        return Decision(SNOOZED, {})
    targets: dict[Target, Due] = {}
    for route in config.route:
        if _matches(route, alert):
            due = _due(route, zone, now)
            for target in (target for name in route.channels for target in _targets(name, config)):
                targets[target] = min(due, targets.get(target, due))
    for name in set(alert["recipients"]).intersection(config.channel):
        for target in _targets(name, config):  # named by the budget itself: at once
            targets[target] = Due(now, digest=False)
    return Decision(ROUTED if targets else NO_ROUTE, targets)


def environments_of(alert: Alert) -> set[str]:
    """The environments whose usage it is about, by its scope or its budget's conditions; '' when neither says."""
    if alert["scope_kind"] == "environment":
        return {alert["scope"]}
    conditions = dict(pair.split("=") for pair in alert["conditions"].split("&") if pair)
    return {unquote(value) for value in conditions.get("environment", "").split("|")}


def _matches(route: Route, alert: Alert) -> bool:
    severity = alert["severity"]  # one that is not known is taken for the most serious
    rank = SEVERITIES.index(severity) if severity in SEVERITIES else len(SEVERITIES)
    kind = alert["scope_kind"]
    return (
        rank >= SEVERITIES.index(route.min_severity)
        and (not route.types or alert["type"] in route.types)
        and (not route.organizations or alert["organization"] in route.organizations)
        and (not route.scopes or bool({f"{kind}:*", f"{kind}:{alert['scope']}"} & set(route.scopes)))
    )


def _targets(name: str, config: Config) -> Iterator[Target]:
    channel = config.channel[name]
    for address in channel.to if isinstance(channel, Email) else ("",):
        yield Target(name, address)


def _due(route: Route, zone: ZoneInfo, now: int) -> Due:
    at = now
    if route.digest_minutes:
        step = route.digest_minutes * MINUTE_US
        at = -(-now // step) * step
    if route.quiet is not None:
        at = after_quiet(route.quiet, zone, at)
    return Due(at, route.digest_minutes > 0)


def after_quiet(quiet: Quiet, zone: ZoneInfo, at: int) -> int:
    """`at` itself, or the end of the quiet hours that hold it (start inclusive, end exclusive; microseconds UTC)."""
    local = (EPOCH + timedelta(microseconds=at)).astimezone(zone)
    clock = local.time()
    over_midnight = quiet.end < quiet.start
    inside = clock >= quiet.start or clock < quiet.end if over_midnight else quiet.start <= clock < quiet.end
    if not inside:
        return at
    day = local.date() + timedelta(days=over_midnight and clock >= quiet.start)
    return micros(datetime.combine(day, quiet.end, zone))


def micros(at: datetime) -> int:
    """Microseconds UTC of an instant."""
    return (at - EPOCH) // timedelta(microseconds=1)
