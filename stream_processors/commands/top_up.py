"""`tollbook budgets top-up`: more of a budget, for the window that is running."""

import getpass
import time

import click

from schemas.instant import parse_instant
from schemas.money import grouped
from schemas.settings import Settings
from stream_processors import budget_actions
from stream_processors.budget_json import topped_up_json
from stream_processors.commands.output import print_json, reports_failure, reports_refusal, require_kafka
from stream_processors.core.alert_subjects import instant
from stream_processors.core.budgets import amount_text, scope_name
from stream_processors.core.dated import instant_us


@click.command("top-up")
@click.argument("budget_id", metavar="BUDGET")
@click.argument("amount")
@click.option("--scope", help="The member that gets it, '*' for each; needed for a budget of KIND:*.")
@click.option("--organization", help="The organization; left out: the budget's, or each.")
@click.option("--until", metavar="INSTANT", help="Not only in this window, but in each that begins before then.")
@click.option("--id", "grant_id", default="", help="By which it is given once, however often this is called.")
@click.option("--author", default="", help="Who answers for it; default: who runs it.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@reports_failure
@reports_refusal
def top_up(
    budget_id: str,
    amount: str,
    scope: str | None,
    organization: str | None,
    until: str | None,
    grant_id: str,
    author: str,
    as_json: bool,
) -> None:
    """Add AMOUNT to what may be used of BUDGET in the window that is running.

    It acts within a second: alerts that it undoes are retracted, and are raised again when they are reached again. It
    ends with the window, unless --until says otherwise. Who gave it and when is kept: `tollbook budgets show`.

    Example: tollbook budgets top-up user-month 10.00 --scope ada --organization acme
    """
    settings = Settings()
    require_kafka(settings.kafka)
    now, who = time.time_ns() // 1000, author or getpass.getuser()
    last = None if until is None else instant_us(parse_instant("--until", until))
    done = budget_actions.top_up(settings, budget_id, amount, (organization, scope), who, now, grant_id, last)
    if as_json:
        print_json(topped_up_json(done))
        return
    budget, grant = done.budget, done.grant
    whose = scope_name(budget.scope_kind, grant.scope, grant.organization)
    more = f"{grouped(amount_text(budget.unit, grant.amount))} {budget.unit} more"
    already = "given before: " if done.again else ""
    click.echo(f"{budget_id}: {already}{more} for {whose} until {instant(done.until):%Y-%m-%d %H:%M} UTC")
