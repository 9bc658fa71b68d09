"""`tollbook budgets apply`: a file's budgets in force, now or when the next window begins."""

import getpass
import time
from collections.abc import Mapping
from pathlib import Path

import click

from schemas.settings import Settings
from stream_processors.budget_actions import apply_budgets
from stream_processors.budget_json import applied_json
from stream_processors.commands.output import print_json, reports_failure, require_kafka
from stream_processors.core.alert_subjects import instant
from stream_processors.core.budget_changes import Changes, describe, describe_change
from stream_processors.core.budget_forms import parse_budgets
from stream_processors.core.budget_history import Dated, History
from stream_processors.core.budgets import Budget


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--prune", is_flag=True, help="Remove the budgets that FILE does not name, now.")
@click.option("--next-window", is_flag=True, help="Each change takes effect when the budget's next window begins.")
@click.option("--author", default="", help="Who answers for it; default: who runs it.")
@click.option("--json", "as_json", is_flag=True, help="Print the changes as one JSON object.")
@reports_failure
def apply(file: Path, prune: bool, next_window: bool, author: str, as_json: bool) -> None:
    """Put the budgets of FILE in force, now, and show what changed.

    Nothing is written when FILE has a mistake; all mistakes are told at once. A change that waits for the next window
    is shown by `budgets list` and `show` until then; applying the file without --next-window does not wait for it. Who
    changed what and when is kept with each budget: `tollbook budgets show`.

    Example: tollbook budgets apply budgets.toml --prune
    """
    wanted = parse_budgets(file.read_text(encoding="utf-8"), str(file))
    settings = Settings()
    require_kafka(settings.kafka)
    now, who = time.time_ns() // 1000, author or getpass.getuser()
    done = apply_budgets(settings, wanted, who, now, prune=prune, next_window=next_window)
    if as_json:
        print_json(applied_json(done, prune))
    else:
        plans = {name: history for name, history in done.grown.items() if next_window and history}
        _print_changes(done.changes, prune, plans)


def _print_changes(changes: Changes, prune: bool, plans: Mapping[str, History]) -> None:
    """`plans`: histories that end with a change that is still to take effect."""
    for budget in changes.added:
        start = f", from {_minute(plans[budget.id][-1].effective_at)} on" if budget.id in plans else ""
        click.echo(f"added      {budget.id}: {describe(budget)}{start}")
    for old, new in changes.changed:
        if new.id in plans:
            click.echo(f"planned    {new.id}: {plan_text(old, plans[new.id][-1])}")
        else:
            click.echo(f"changed    {new.id}: {_difference(old, new)} (version {new.version})")
    for budget in changes.unchanged:
        click.echo(f"unchanged  {budget.id}: {describe(budget)}")
    for budget in changes.missing:
        click.echo(
            f"removed    {budget.id}" if prune else f"kept       {budget.id}: not in the file (--prune removes it)"
        )


def _difference(old: Budget, new: Budget) -> str:
    return describe_change(old, new) or "as it is; what was planned is dropped"


def plan_text(old: Budget, dated: Dated) -> str:
    """What is planned, of which version, and for when."""
    change = f"{_difference(old, dated.budget)} (version {dated.budget.version})" if old != dated.budget else "begins"
    return f"{change}, from {_minute(dated.effective_at)} on"


def _minute(at: int) -> str:
    return f"{instant(at):%Y-%m-%d %H:%M} UTC"
