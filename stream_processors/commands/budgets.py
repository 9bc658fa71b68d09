"""`tollbook budgets`, `limits` and `alerts`: what may be used, what is used, and what was said about it."""

import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from schemas.arrow import SCOPES
from schemas.settings import Settings
from stream_processors import warehouse
from stream_processors.alert_log import read_alerts
from stream_processors.budget_log import read_histories, write_histories
from stream_processors.commands.output import json_text, print_json, print_table, reports_failure, require_kafka
from stream_processors.commands.show import show
from stream_processors.commands.standings import COLUMNS, NUMBERS, percent, standing_cells
from stream_processors.commands.suggest import suggest
from stream_processors.commands.top_up import top_up
from stream_processors.core.budget_changes import (
    Changes,
    compare,
    describe,
    describe_change,
    histories_after,
)
from stream_processors.core.budget_forms import parse_budgets, scope_text
from stream_processors.core.budgets import Budget, amount_text
from stream_processors.core.selection import conditions_text

# The fullest scope of each budget whose window is running; the ratio is for order only.
FULLEST = """
SELECT budget_id, organization, scope, used, limit, window_start, window_end,
    count() OVER (PARTITION BY budget_id) AS scopes
FROM limits
WHERE window_end > now64(6)
ORDER BY budget_id, toDecimal256(used, 12) / toDecimal256(limit, 12) DESC, organization, scope
LIMIT 1 BY budget_id
"""
LIMITS_OF = """
SELECT budget_id, organization, scope_kind, scope, window_kind, window_start, window_end, unit, used, limit, remaining,
    decision, as_of, current, conditions, seconds_left, projected
FROM budget_status
WHERE scope_kind = {scope_kind:String} AND scope = {scope:String}
ORDER BY organization, budget_id
"""


@click.group()
def budgets() -> None:
    """Apply and list budgets.

    Example: tollbook budgets apply budgets.toml
    """


@budgets.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--prune", is_flag=True, help="Remove the budgets that FILE does not name.")
@click.option("--json", "as_json", is_flag=True, help="Print the changes as one JSON object.")
@reports_failure
def apply(file: Path, prune: bool, as_json: bool) -> None:
    """Put the budgets of FILE in force, now, and show what changed.

    Nothing is written when FILE has a mistake; all mistakes are told at once.

    Example: tollbook budgets apply budgets.toml --prune
    """
    wanted = parse_budgets(file.read_text(encoding="utf-8"), str(file))
    kafka = Settings().kafka
    require_kafka(kafka)
    histories = read_histories(kafka)
    changes = compare(histories, wanted)
    effective_at = time.time_ns() // 1000
    write_histories(kafka, histories_after(histories, changes, prune, effective_at))
    if as_json:
        print_json(_changes_json(changes, prune))
    else:
        _print_changes(changes, prune)


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
    in_force = [history[-1] for _, history in sorted(read_histories(settings.kafka).items())]
    try:
        fullest = {row["budget_id"]: row for row in warehouse.ask(settings, FULLEST)}
    except warehouse.WarehouseError as error:
        click.echo(f"{error}; usage is left out", err=True)
        fullest = {}
    if as_json:
        print_json(
            [
                _budget_json(dated.budget)
                | {"effective_at": _instant(dated.effective_at), "fullest": _withpercent(fullest.get(dated.budget.id))}
                for dated in in_force
            ]
        )
        return
    print_table(
        ("budget", "scope", "per", "limit", "thresholds", "fullest", "used", "%"),
        [(*_budget_cells(dated.budget), *_fullest_cells(fullest.get(dated.budget.id))) for dated in in_force],
        numbers=("limit", "used", "%"),
    )


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
        print_json([{**row, "current": bool(row["current"]), "percent": percent(row)} for row in rows])
        return
    if not rows:
        click.echo(f"No budget has counted usage of {scope} yet.", err=True)
        return
    print_table(
        ("organization", "budget", "window", *COLUMNS),
        [(row["organization"], row["budget_id"], _window_cell(row), *standing_cells(row)) for row in rows],
        numbers=NUMBERS,
    )


@click.command()
@click.option("--follow", is_flag=True, help="Stay and print alerts as they come, until Ctrl-C.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line.")
@reports_failure
def alerts(follow: bool, as_json: bool) -> None:
    """Show the alerts that were raised or retracted, from the topic itself.

    Example: tollbook alerts --follow
    """
    settings = Settings()
    require_kafka(settings.kafka)
    records = read_alerts(settings, follow)
    for record in records if follow else sorted(records, key=lambda record: record["raised_at"]):
        click.echo(json_text(record) if as_json else _alert_line(record))


for command in (show, top_up, suggest):
    budgets.add_command(command)
commands: list[click.Command] = [budgets, limits, alerts]


def _print_changes(changes: Changes, prune: bool) -> None:
    for budget in changes.added:
        click.echo(f"added      {budget.id}: {describe(budget)}")
    for old, new in changes.changed:
        click.echo(f"changed    {new.id}: {describe_change(old, new)} (version {new.version})")
    for budget in changes.unchanged:
        click.echo(f"unchanged  {budget.id}: {describe(budget)}")
    for budget in changes.missing:
        click.echo(
            f"removed    {budget.id}" if prune else f"kept       {budget.id}: not in the file (--prune removes it)"
        )


def _changes_json(changes: Changes, prune: bool) -> dict[str, Any]:
    missing = [budget.id for budget in changes.missing]
    return {
        "added": [_budget_json(budget) for budget in changes.added],
        "changed": [{"old": _budget_json(old), "new": _budget_json(new)} for old, new in changes.changed],
        "unchanged": [budget.id for budget in changes.unchanged],
        "removed": missing if prune else [],
        "kept": [] if prune else missing,
    }


def _budget_json(budget: Budget) -> dict[str, Any]:
    return {
        "id": budget.id,
        "organization": budget.organization,
        "scope": scope_text(budget),
        "period": budget.period,
        "unit": budget.unit,
        "limit": amount_text(budget.unit, budget.limit),
        "thresholds": budget.thresholds,
        "conditions": {name: list(values) for name, values in budget.conditions},
        "action": budget.action,
        "notify": {str(notice.threshold): {"severity": notice.severity, "to": notice.to} for notice in budget.notify},
        "version": budget.version,
    }


def _budget_cells(budget: Budget) -> tuple[str, ...]:
    whose = "" if budget.organization == "*" else f" of {budget.organization}"
    only = f" where {conditions_text(budget.conditions)}" if budget.conditions else ""
    return (
        budget.id,
        scope_text(budget) + whose + only,
        budget.period,
        f"{amount_text(budget.unit, budget.limit)} {budget.unit}",
        " ".join(map(str, budget.thresholds)),
    )


def _fullest_cells(row: Mapping[str, Any] | None) -> tuple[str, ...]:
    if row is None:
        return ("", "", "")
    return (f"{row['organization']}/{row['scope']}", row["used"], percent(row))


def _withpercent(row: Mapping[str, Any] | None) -> dict[str, Any] | None:
    return None if row is None else {**row, "percent": percent(row)}


def _window_cell(row: Mapping[str, Any]) -> str:
    over = "" if row["current"] else " (over)"
    return f"{row['window_kind']} from {row['window_start']:%Y-%m-%d %H:%M}{over}"


def _alert_line(record: Mapping[str, Any]) -> str:
    return (
        f"{record['raised_at']:%Y-%m-%d %H:%M:%S}  {record['severity']:8}  {record['state']:9}  "
        f"{record['budget_id'] or record['type']}: {record['detail']}"
    )


def _instant(micros_utc: int) -> datetime:
    return datetime.fromtimestamp(micros_utc // 1_000_000, UTC).replace(microsecond=micros_utc % 1_000_000)
