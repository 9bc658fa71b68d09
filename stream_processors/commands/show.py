"""`tollbook budgets show`: one budget, what became of it, and how its members stand."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import click

from schemas.settings import Settings
from stream_processors import warehouse
from stream_processors.budget_log import read_histories
from stream_processors.commands.output import print_json, print_table, reports_failure, require_kafka
from stream_processors.commands.standings import COLUMNS, NUMBERS, percent, standing_cells
from stream_processors.core.alerts import instant
from stream_processors.core.budget_changes import describe, describe_change
from stream_processors.core.budget_forms import Dated, to_record
from stream_processors.core.budgets import amount_text

# The ratio is for order only.
STANDINGS = """
SELECT organization, scope, window_kind, window_start, window_end, unit, used, limit, remaining, decision, as_of,
    current, seconds_left, projected
FROM budget_status
WHERE budget_id = {budget_id:String} AND current
ORDER BY toDecimal256(used, 12) / toDecimal256(limit, 12) DESC, organization, scope
LIMIT {most:UInt32}
"""


@click.command()
@click.argument("budget_id", metavar="BUDGET")
@click.option("--most", type=click.IntRange(1), default=20, show_default=True, help="Show this many members.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@reports_failure
def show(budget_id: str, most: int, as_json: bool) -> None:
    """Show BUDGET, what was changed of it and when, and the members that have used most of it.

    Usage is as of what has landed in ClickHouse. What it comes to at its end is what it would be at the pace so far.

    Example: tollbook budgets show user-month
    """
    settings = Settings()
    require_kafka(settings.kafka)
    history = read_histories(settings.kafka).get(budget_id)
    if not history:
        raise click.BadParameter(f"{budget_id!r}: no budget in force has this id", param_hint="BUDGET")
    rows = warehouse.ask(settings, STANDINGS, {"budget_id": budget_id, "most": most})
    if as_json:
        members = [{**row, "current": bool(row["current"]), "percent": percent(row)} for row in rows]
        print_json({**to_record(history), "members": members})
        return
    for line in _told(history):
        click.echo(line)
    if rows:
        _print_members(rows)
    else:
        click.echo("Nothing has been used of it in the window that is running.")


def _told(history: Sequence[Dated]) -> Iterator[str]:
    """The budget in one line, then a line for each version."""
    yield describe(history[-1].budget)
    for number, dated in enumerate(history):
        budget = dated.budget
        if number == 0:
            what = "applied"
        elif len(budget.grants) > len(history[number - 1].budget.grants):
            grant = budget.grants[-1]
            more = f"{amount_text(budget.unit, grant.amount)} {budget.unit}"
            what = f"topped up by {more} for {grant.scope} of {grant.organization}"
        else:
            what = describe_change(history[number - 1].budget, budget)
        yield f"  version {budget.version}, {instant(dated.effective_at):%Y-%m-%d %H:%M:%S} UTC: {what}"


def _print_members(rows: Sequence[Mapping[str, Any]]) -> None:
    print_table(
        ("organization", "member", *COLUMNS),
        [(row["organization"], row["scope"] or "(unassigned)", *standing_cells(row)) for row in rows],
        numbers=NUMBERS,
    )
