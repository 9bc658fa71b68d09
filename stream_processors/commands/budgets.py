"""`tollbook budgets` and `limits`: what may be used, and what is used."""

import time
from collections.abc import Mapping
from typing import Any

import click

from schemas.arrow import SCOPES
from schemas.money import grouped
from schemas.settings import Settings
from stream_processors import warehouse
from stream_processors.budget_json import listed_json, standing_json
from stream_processors.budget_log import read_histories
from stream_processors.budget_standings import fullest, members
from stream_processors.commands.apply import apply, plan_text
from stream_processors.commands.output import print_json, print_table, reports_failure, require_kafka
from stream_processors.commands.resume import resume
from stream_processors.commands.show import show
from stream_processors.commands.standings import COLUMNS, NUMBERS, percent, standing_cells
from stream_processors.commands.suggest import suggest
from stream_processors.commands.token import token
from stream_processors.commands.top_up import top_up
from stream_processors.core.budget_changes import validity_text
from stream_processors.core.budget_forms import scope_text
from stream_processors.core.budget_history import current, planned
from stream_processors.core.budgets import Budget, amount_text
from stream_processors.core.selection import conditions_text

LIMITS_OF = """
SELECT budget_id, organization, scope_kind, scope, window_kind, window_start, window_end, unit, used, estimated, limit,
    remaining, decision, as_of, current, conditions, seconds_left, projected
FROM budget_status
WHERE scope_kind = {scope_kind:String} AND scope = {scope:String}
ORDER BY organization, budget_id
"""


@click.group(invoke_without_command=True)
@click.option("--most", type=click.IntRange(1), default=20, show_default=True, help="Show this many scopes.")
@click.pass_context
@reports_failure
def budgets(context: click.Context, most: int) -> None:
    """Show how budgets stand, the fullest first; or apply, list and change them.

    As of what has landed in ClickHouse, in the windows that are running.

    Example: tollbook budgets --most 50
    """
    if context.invoked_subcommand is not None:
        return
    rows = members(Settings(), "", most)
    if not rows:
        click.echo("Nothing has been used of any budget in the windows that are running.", err=True)
        return
    print_table(
        ("budget", "organization", "scope", *COLUMNS),
        [(row["budget_id"], row["organization"], _scope_cell(row), *standing_cells(row)) for row in rows],
        numbers=NUMBERS,
    )


@budgets.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON array.")
@reports_failure
def list_budgets(as_json: bool) -> None:
    """List the budgets in force, each with the scope that has used most of it.

    Usage is as of what has landed in ClickHouse; without ClickHouse it is left out.

    Example: tollbook budgets list --json
    """
    settings = Settings()
    require_kafka(settings.kafka)
    histories = [history for _, history in sorted(read_histories(settings.kafka).items())]
    now = time.time_ns() // 1000
    try:
        found = fullest(settings)
    except warehouse.WarehouseError as error:
        click.echo(f"{error}; usage is left out", err=True)
        found = {}
    if as_json:
        print_json([listed_json(history, now, found.get(history[0].budget.id)) for history in histories])
        return
    in_force = [current(history, now) for history in histories]
    print_table(
        ("budget", "scope", "per", "limit", "thresholds", "fullest", "used", "%"),
        [(*_budget_cells(budget), *_fullest_cells(found.get(budget.id))) for budget in in_force],
        numbers=("limit", "used", "%"),
    )
    for history in histories:
        for dated in planned(history, now):
            click.echo(f"planned    {dated.budget.id}: {plan_text(current(history, now), dated)}")


@click.command()
@click.argument("scope")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON array.")
@reports_failure
def limits(scope: str, as_json: bool) -> None:
    """Show what SCOPE (KIND:NAME) has used of each of its budgets, in every organization.

    As of what has landed in ClickHouse. A record whose window is over stands for nothing used since. What it comes to
    at its end is what it would be at the pace of the window so far.

    Example: tollbook limits department:engineering
    """
    kind, colon, name = scope.partition(":")
    if not (kind and colon and name):
        raise click.BadParameter(f"{scope!r}: KIND:NAME, as department:engineering", param_hint="SCOPE")
    if kind not in SCOPES:
        raise click.BadParameter(f"{kind!r} is no kind of scope: {', '.join(SCOPES)}", param_hint="SCOPE")
    rows = warehouse.ask(Settings(), LIMITS_OF, {"scope_kind": kind, "scope": name})
    if as_json:
        print_json([standing_json(row) for row in rows])
        return
    if not rows:
        click.echo(f"No budget has counted usage of {scope} yet.", err=True)
        return
    print_table(
        ("organization", "budget", "window", *COLUMNS),
        [(row["organization"], row["budget_id"], _window_cell(row), *standing_cells(row)) for row in rows],
        numbers=NUMBERS,
    )


for command in (apply, show, top_up, resume, suggest, token):
    budgets.add_command(command)
commands: list[click.Command] = [budgets, limits]


def _budget_cells(budget: Budget) -> tuple[str, ...]:
    whose = "" if budget.organization == "*" else f" of {budget.organization}"
    only = f" where {conditions_text(budget.conditions)}" if budget.conditions else ""
    return (
        budget.id,
        scope_text(budget) + whose + only,
        budget.period + validity_text(budget),
        f"{grouped(amount_text(budget.unit, budget.limit))} {budget.unit}",
        " ".join(map(str, budget.thresholds)),
    )


def _fullest_cells(row: Mapping[str, Any] | None) -> tuple[str, ...]:
    if row is None:
        return ("", "", "")
    return (f"{row['organization']}/{row['scope']}", grouped(row["used"]), percent(row))


def _scope_cell(row: Mapping[str, Any]) -> str:
    return f"{row['scope_kind']}:{row['scope'] or '(unassigned)'}"


def _window_cell(row: Mapping[str, Any]) -> str:
    over = "" if row["current"] else " (over)"
    return f"{row['window_kind']} from {row['window_start']:%Y-%m-%d %H:%M}{over}"
