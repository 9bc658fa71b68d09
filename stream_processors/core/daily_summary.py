"""One message a day for each organization: what it used, and who and which models used most of it."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from datetime import date, timedelta
from typing import Any, NamedTuple

from schemas.calendar import Window
from schemas.money import grouped, usd_text
from stream_processors.core.budgets import scope_name
from stream_processors.core.history_alerts import SUMMARY, history_alert

NAMED = 3  # users, and models


class DayRow(NamedTuple):
    """What a user of an organization used of a model on a day of the calendar."""

    organization: str
    day: date
    user: str
    model: str
    requests: int
    unpriced_requests: int
    tokens: int
    cost_pico: int


def daily_summaries(rows: Iterable[DayRow], day: date, window: Window, now: int) -> list[dict[str, Any]]:
    """An alert of severity info for each organization with usage on `day`, which is `window`.

    `rows`, in any order, are those of the day and of the same day of the week before.
    """
    found: dict[str, list[DayRow]] = defaultdict(list)
    before: dict[str, int] = defaultdict(int)
    for row in rows:
        if row.day == day:
            found[row.organization].append(row)
        elif row.day == day - timedelta(days=7):
            before[row.organization] += row.cost_pico
    return [
        history_alert(
            SUMMARY,
            organization,
            "organization",
            organization,
            window,
            _sentence(organization, day, of_day, before.get(organization)),
            now,
            severity="info",
            used=usd_text(sum(row.cost_pico for row in of_day)),
            unit="cost",
        )
        for organization, of_day in sorted(found.items())
    ]


def _sentence(organization: str, day: date, rows: Sequence[DayRow], before: int | None) -> str:
    requests, unpriced, tokens, cost = (
        sum(column) for column in zip(*((*row[4:6], row.tokens, row.cost_pico) for row in rows), strict=True)
    )
    compared = "" if before is None else f" ({grouped(usd_text(before))} on the same day of the week before)"
    parts = [
        f"{grouped(usd_text(cost))} US dollars{compared}",
        f"{requests:,} requests",
        f"{tokens:,} tokens",
        *([f"{unpriced:,} requests without a price"] if unpriced else []),
    ]
    whose = scope_name("organization", organization, organization)
    return (
        f"{whose} on {day:%Y-%m-%d}: {', '.join(parts)}; "
        f"most by {_most(rows, lambda row: row.user)}; most of {_most(rows, lambda row: row.model)}"
    )


def _most(rows: Sequence[DayRow], name_of: Callable[[DayRow], str]) -> str:
    """The first names by cost, then by tokens, each with its part of the cost."""
    amounts: dict[str, tuple[int, int]] = {}
    for row in rows:
        cost, tokens = amounts.get(name_of(row), (0, 0))
        amounts[name_of(row)] = (cost + row.cost_pico, tokens + row.tokens)
    total = sum(cost for cost, _ in amounts.values())
    ordered = sorted(amounts.items(), key=lambda each: (-each[1][0], -each[1][1], each[0]))[:NAMED]
    return ", ".join(
        f"{name or '(unassigned)'} ({cost * 100 // total} %)" if total > 0 else name or "(unassigned)"
        for name, (cost, _) in ordered
    )
