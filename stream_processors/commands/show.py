"""`tollbook budgets show`: one budget, what became of it, and how its members stand."""

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import click

from schemas.calendar import load_calendar
from schemas.settings import Settings
from stream_processors.budget_actions import history_of
from stream_processors.budget_json import standing_json
from stream_processors.budget_standings import actives, members
from stream_processors.commands.output import print_json, print_table, reports_failure, reports_refusal, require_kafka
from stream_processors.commands.standings import COLUMNS, NUMBERS, standing_cells
from stream_processors.core.alert_subjects import instant
from stream_processors.core.budget_changes import describe, describe_versions
from stream_processors.core.budget_forms import to_record
from stream_processors.core.budget_history import Dated, current
from stream_processors.core.plans import covered, is_plan


@click.command()
@click.argument("budget_id", metavar="BUDGET")
@click.option("--most", type=click.IntRange(1), default=20, show_default=True, help="Show this many members.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@reports_failure
@reports_refusal
def show(budget_id: str, most: int, as_json: bool) -> None:
    """Show BUDGET, what was changed of it, when and by whom, and the members that have used most of it.

    Usage is as of what has landed in ClickHouse. What it comes to at its end is what it would be at the pace so far.

    Example: tollbook budgets show user-month
    """
    settings = Settings()
    require_kafka(settings.kafka)
    history = history_of(settings, budget_id)
    rows = members(settings, budget_id, most)
    if as_json:
        print_json({**to_record(history), "members": [standing_json(row) for row in rows]})
        return
    now = time.time_ns() // 1000
    for line in _told(history, now):
        click.echo(line)
    budget = current(history, now)
    if is_plan(budget):
        calendar = load_calendar(settings.calendar)
        for active in covered(budget, actives(settings, calendar, calendar.window(budget.period, now))):
            click.echo(f"{active.organization}: {active.projects:,} active projects, {active.members:,} active members")
    if rows:
        _print_members(rows)
    else:
        click.echo("Nothing has been used of it in the window that is running.")


def _told(history: Sequence[Dated], now: int) -> Iterator[str]:
    """The budget in one line, then a line for each version, also for those that are planned."""
    yield describe(current(history, now))
    for dated, what in zip(history, describe_versions(history), strict=True):
        since = "planned for " if dated.effective_at > now else ""
        who = f" by {dated.author}" if dated.author else ""
        yield (
            f"  version {dated.budget.version}, {since}{instant(dated.effective_at):%Y-%m-%d %H:%M:%S} UTC: {what}{who}"
        )


def _print_members(rows: Sequence[Mapping[str, Any]]) -> None:
    print_table(
        ("organization", "member", *COLUMNS),
        [(row["organization"], row["scope"] or "(unassigned)", *standing_cells(row)) for row in rows],
        numbers=NUMBERS,
    )
