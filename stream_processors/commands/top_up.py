"""`tollbook budgets top-up`: more of a budget, for the window that is running."""

import time

import click

from schemas.calendar import load_calendar
from schemas.settings import Settings
from stream_processors.budget_log import read_histories, write_histories
from stream_processors.commands.output import print_json, reports_failure, require_kafka
from stream_processors.core.alerts import instant
from stream_processors.core.budget_changes import topped_up
from stream_processors.core.budget_forms import parse_amount, scope_text
from stream_processors.core.budgets import EACH, Grant, amount_text


@click.command("top-up")
@click.argument("budget_id", metavar="BUDGET")
@click.argument("amount")
@click.option("--scope", help="The member that gets it, '*' for each; needed for a budget of KIND:*.")
@click.option("--organization", help="The organization; left out: the budget's, or each.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@reports_failure
def top_up(budget_id: str, amount: str, scope: str | None, organization: str | None, as_json: bool) -> None:
    """Add AMOUNT to what may be used of BUDGET in the window that is running.

    It acts within a second: alerts that it undoes are retracted, and are raised again when they are reached again. It
    ends with the window.

    Example: tollbook budgets top-up user-month 10.00 --scope ada --organization acme
    """
    settings = Settings()
    require_kafka(settings.kafka)
    history = read_histories(settings.kafka).get(budget_id)
    if not history:
        raise click.BadParameter(f"{budget_id!r}: no budget in force has this id", param_hint="BUDGET")
    budget = history[-1].budget
    try:
        granted = parse_amount(budget.unit, amount)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="AMOUNT") from error
    if scope is None and budget.scope == EACH:
        raise click.BadParameter(f"{budget_id} is for {scope_text(budget)}: say whose", param_hint="--scope")
    now = time.time_ns() // 1000
    grant = Grant(organization or budget.organization, scope or budget.scope, granted, now)
    window = load_calendar(settings.calendar).window(budget.period, now)
    write_histories(settings.kafka, {budget_id: topped_up(history, grant)})
    until = instant(window.end)
    if as_json:
        stated = {"amount": amount_text(budget.unit, granted), "unit": budget.unit, "until": until}
        print_json({"budget_id": budget_id, "organization": grant.organization, "scope": grant.scope, **stated})
    else:
        whose = f"{budget.scope_kind} {grant.scope} of {grant.organization}"
        more = f"{amount_text(budget.unit, granted)} {budget.unit} more"
        click.echo(f"{budget_id}: {more} for {whose} until {until:%Y-%m-%d %H:%M} UTC")
