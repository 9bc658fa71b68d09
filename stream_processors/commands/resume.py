"""`tollbook budgets resume`: what a budget has paused goes on."""

import time

import click

from schemas.settings import Settings
from stream_processors import budget_actions
from stream_processors.budget_json import resumed_json
from stream_processors.commands.output import print_json, reports_failure, reports_refusal, require_kafka
from stream_processors.core.alert_subjects import instant
from stream_processors.core.budgets import scope_name


@click.command()
@click.argument("budget_id", metavar="BUDGET")
@click.option("--scope", help="The member that goes on, '*' for each; needed for a budget of KIND:*.")
@click.option("--organization", help="The organization; left out: the budget's, or each.")
@click.option("--author", required=True, help="Who answers for it.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@reports_failure
@reports_refusal
def resume(budget_id: str, scope: str | None, organization: str | None, author: str, as_json: bool) -> None:
    """Let go on what BUDGET has paused, within a second. Exit 1 when it has paused nothing of the kind.

    The window that is running then goes on to its end, whatever is used; the next one is paused anew at its limit. Who
    resumed and when is kept with the budget: `tollbook budgets show`.

    Example: tollbook budgets resume user-day --scope ada --organization acme --author mia
    """
    settings = Settings()
    require_kafka(settings.kafka)
    done = budget_actions.resume(settings, budget_id, (organization, scope), author, time.time_ns() // 1000)
    if as_json:
        print_json(resumed_json(done, budget_id))
        return
    for member, at in done.paused.items():
        name = scope_name(member.scope_kind, member.scope, member.organization)
        click.echo(f"{budget_id}: {name} goes on, paused since {instant(at):%Y-%m-%d %H:%M:%S} UTC")
