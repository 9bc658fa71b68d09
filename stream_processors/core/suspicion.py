"""Users who do what they never did: another model, region or source, much at an unusual hour, a burst of sessions.

Each rule needs a history of the user: who is new is not suspicious.
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

from schemas.calendar import Window
from stream_processors.core.alert_subjects import instant
from stream_processors.core.history_alerts import DAY_US, SUSPICIOUS, history_alert, hour_window

NAMED = 3  # users


class FirstRow(NamedTuple):
    """A user was first seen with a value of a kind (model, region, source) in an hour of arrival (start, microseconds).

    `known_since`: the hour in which the user was first seen with any value of the kind.
    """

    organization: str
    user: str
    kind: str
    value: str
    first: int
    known_since: int


class UserHour(NamedTuple):
    """What a user did in an hour, and in the 28 days before it."""

    organization: str
    user: str
    requests: int
    sessions: int
    most_requests: int  # in an hour
    most_sessions: int
    days_known: int  # with usage
    times_at_this_hour: int  # with usage


@dataclass(frozen=True, slots=True)
class SuspicionRule:
    """From when on something is suspicious; all are lower bounds."""

    known_days: int = 14  # since a user was first seen with a value of the kind
    days: int = 10  # with usage, of the 28 before
    requests: int = 100  # in an hour at which the user never works, and as many as in the busiest hour
    sessions: int = 20  # in an hour
    times_sessions: int = 3  # as many as in the hour with most sessions


def first_seen(rows: Iterable[FirstRow], now: int, rule: SuspicionRule) -> list[dict[str, Any]]:
    """One alert a value, organization and hour, however many users it is new to; `rows` in any order."""
    users: dict[tuple[str, str, str, int], set[str]] = defaultdict(set)
    for row in rows:
        if row.first - row.known_since >= rule.known_days * DAY_US:
            users[row.organization, row.kind, row.value, row.first].add(row.user)
    return [_first_seen(place, sorted(names), now) for place, names in sorted(users.items())]


def unusual_hours(rows: Iterable[UserHour], hour: int, now: int, rule: SuspicionRule) -> list[dict[str, Any]]:
    """Users with much usage at an hour at which they never work, or with a burst of sessions, in the hour given."""
    alerts = []
    for row in sorted(rows):
        if row.days_known < rule.days:
            continue
        if row.times_at_this_hour == 0 and row.requests >= max(rule.requests, row.most_requests):
            what = f"{row.requests:,} requests, at an hour of the day without usage in the 28 days before"
            alerts.append(_unusual(row, "off_hours", hour, what, now, used=str(row.requests), unit="requests"))
        if row.sessions >= max(rule.sessions, rule.times_sessions * row.most_sessions):
            what = f"{row.sessions:,} sessions; the most in an hour of the 28 days before was {row.most_sessions:,}"
            alerts.append(_unusual(row, "session_burst", hour, what, now))
    return alerts


def _first_seen(place: tuple[str, str, str, int], users: list[str], now: int) -> dict[str, Any]:
    organization, kind, value, hour = place
    more = f" and {len(users) - NAMED:,} more" if len(users) > NAMED else ""
    return history_alert(
        SUSPICIOUS,
        organization,
        kind,
        value,
        Window("", hour, hour_window(hour).end),
        f"{kind} {value} was used for the first time by {', '.join(users[:NAMED])}{more} of {organization}, as arrived "
        f"in the hour from {instant(hour):%Y-%m-%d %H:%M} UTC",
        now,
        rule="first_seen",
        severity="warning",
    )


def _unusual(row: UserHour, rule: str, hour: int, what: str, now: int, **more: Any) -> dict[str, Any]:
    return history_alert(
        SUSPICIOUS,
        row.organization,
        "user",
        row.user,
        hour_window(hour),
        f"user {row.user} of {row.organization} in the hour from {instant(hour):%Y-%m-%d %H:%M} UTC: {what}",
        now,
        rule=rule,
        **more,
    )
