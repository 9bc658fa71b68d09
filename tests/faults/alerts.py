"""I4: the alerts that must have been said, once in the topic and once in ClickHouse, and no others."""

import re
from collections import Counter
from dataclasses import dataclass
from datetime import datetime

from schemas.settings import Settings
from stream_processors import warehouse
from stream_processors.alert_log import read_alerts
from stream_processors.core.budgets import alert_id
from stream_processors.core.history_alerts import TYPES

from .invariants import DAY_US, events_of
from .load import Record
from .sent import Book

THRESHOLDS = tuple(range(1, 101))  # so many that each part of a load crosses one


@dataclass(frozen=True, slots=True)
class Watched:
    """A budget over the tokens that each organization uses a day."""

    id: str
    limit: int

    def toml(self) -> str:
        return (
            f'[[budget]]\nid = "{self.id}"\nscope = "organization:*"\nperiod = "day"\nunit = "tokens"\n'
            f"limit = {self.limit}\nthresholds = {list(THRESHOLDS)}\n"
        )


def expected_alerts(watched: Watched, book: Book, revision: int = 0) -> set[str]:
    """The ids of the alerts that must stand: each threshold that an organization of the book reached in a day."""
    used: Counter[tuple[str, int]] = Counter()
    for one in events_of(book):
        used[one.scopes[0], one.hour // DAY_US * DAY_US] += one.tokens[0] + one.tokens[1]
    return {
        alert_id(watched.id, organization, "organization", organization, "day", day, threshold, revision)
        for (organization, day), tokens in used.items()
        for threshold in THRESHOLDS
        if tokens * 100 >= watched.limit * threshold
    }


def assert_alerts(watched: Watched, book: Book, run: str, settings: Settings) -> None:
    """I4: each expected alert once in the topic and once in ClickHouse, and no other."""
    expected = expected_alerts(watched, book)
    of_run = (
        alert["alert_id"]
        for alert in read_alerts(settings, follow=False)
        if alert["budget_id"] == watched.id and alert["organization"].endswith(f"-{run}")
    )
    in_topic = Counter(of_run)
    rows = warehouse.ask(
        settings,
        "SELECT alert_id FROM alerts WHERE budget_id = {budget:String} AND endsWith(organization, {run:String})",
        {"budget": watched.id, "run": f"-{run}"},
    )
    assert in_topic.keys() == expected
    assert in_topic == Counter(row["alert_id"] for row in rows)
    assert set(in_topic.values()) <= {1}


def assert_standing(watched: Watched, book: Book, run: str, settings: Settings) -> None:
    """I4 where usage also shrinks: each alert said once and once taken back at most, and what stands is what must."""
    alerts = [
        alert
        for alert in read_alerts(settings, follow=False)
        if alert["budget_id"] == watched.id and alert["organization"].endswith(f"-{run}")
    ]
    said = Counter((alert["alert_id"], alert["state"]) for alert in alerts)
    rows = warehouse.ask(
        settings,
        "SELECT alert_id, state, count() AS times FROM alert_entries FINAL "
        "WHERE budget_id = {budget:String} AND endsWith(organization, {run:String}) GROUP BY ALL",
        {"budget": watched.id, "run": f"-{run}"},
    )
    assert said == {(row["alert_id"], row["state"]): row["times"] for row in rows}
    assert set(said.values()) <= {1}
    newest = {
        (alert["organization"], alert["window_start"], alert["threshold"]): alert["alert_id"]
        for alert in sorted(alerts, key=lambda alert: alert["revision"])
    }
    standing = {one for one in newest.values() if (one, "retracted") not in said}
    last = {alert["alert_id"]: alert["revision"] for alert in alerts}
    assert len(standing) == len(expected_alerts(watched, book))
    assert standing <= {one for revision in set(last.values()) for one in expected_alerts(watched, book, revision)}


def other_alerts(settings: Settings, since: datetime, provoked: str) -> list[str]:
    """What has been said since that is no threshold, not held against the ledger's history, and was not provoked.

    Thresholds of other budgets are left out: one that was removed is in force for a moment longer.
    """
    return [
        f"{alert['type']}, {alert['state']}: {alert['detail']}"
        for alert in read_alerts(settings, follow=False)
        if alert["raised_at"] >= since
        and alert["type"] not in ("threshold", *TYPES)
        and not (provoked and re.search(provoked, alert["detail"]))
    ]


def most_used(load: list[Record]) -> int:
    """Tokens of the organization that uses most: each part of the load then crosses thresholds."""
    used: dict[str, int] = {}
    for record in load:
        used[record.scopes[0]] = used.get(record.scopes[0], 0) + record.tokens[0] + record.tokens[1]
    return max(used.values())
