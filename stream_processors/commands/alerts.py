"""`tollbook alerts`: what was said about budgets and the pipeline, and what people answer."""

import getpass
import time
from collections.abc import Mapping
from typing import Any

import click

from schemas.settings import Settings
from stream_processors import responses
from stream_processors.alert_log import read_alerts
from stream_processors.commands.output import json_text, print_json, reports_failure, reports_refusal, require_kafka


@click.group(invoke_without_command=True)
@click.option("--follow", is_flag=True, help="Stay and print alerts as they come, until Ctrl-C.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line.")
@click.pass_context
@reports_failure
def alerts(context: click.Context, follow: bool, as_json: bool) -> None:
    """Show the alerts that were raised or retracted, from the topic itself; or answer them.

    Example: tollbook alerts --follow
    """
    if context.invoked_subcommand is not None:
        return
    settings = Settings()
    require_kafka(settings.kafka)
    records = read_alerts(settings, follow)
    for record in records if follow else sorted(records, key=lambda record: record["raised_at"]):
        click.echo(json_text(record) if as_json else _alert_line(record))


@alerts.command()
@click.argument("alert_id")
@click.option("--note", default="", help="What is to be remembered with it.")
@click.option("--author", default="", help="Who has seen it; default: who runs this.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@reports_failure
@reports_refusal
def acknowledge(alert_id: str, note: str, author: str, as_json: bool) -> None:
    """Say that ALERT_ID was seen: others see by whom, when and why. What it holds up is not let go by it.

    Example: tollbook alerts acknowledge 3f1c0a527d0e5b439d7e0d6d7a3c1b11 --note "asked the team" --author mia
    """
    settings = Settings()
    require_kafka(settings.kafka)
    said = responses.acknowledge(settings, alert_id, note, author or getpass.getuser(), _now())
    if as_json:
        print_json(said.model_dump())
    else:
        click.echo(f"acknowledged by {said.author}")


@alerts.command()
@click.argument("budget_id", metavar="BUDGET")
@click.option("--scope", help="Whose alerts; '*' for each. Needed when the budget is for each of several.")
@click.option("--organization", help="Of which organization; default: that of the budget.")
@click.option("--hours", type=float, default=8.0, show_default=True, help="For how long from now; 0 ends a snooze.")
@click.option("--author", default="", help="Who wants it; default: who runs this.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@reports_failure
@reports_refusal
def snooze(
    budget_id: str, scope: str | None, organization: str | None, hours: float, author: str, as_json: bool
) -> None:
    """Tell nobody about BUDGET for a while, unless it is critical. Alerts are raised and kept all the same.

    Example: tollbook alerts snooze user-month --scope ada --organization acme --hours 24 --author mia
    """
    settings = Settings()
    require_kafka(settings.kafka)
    said = responses.snooze(settings, budget_id, (organization, scope), hours, author or getpass.getuser(), _now())
    if as_json:
        print_json(said.model_dump())
        return
    whose = f"{budget_id}, {said.scope} of {said.organization}"
    if hours:
        click.echo(
            f"{budget_id} of {said.scope} of {said.organization} is snoozed until {said.until:%Y-%m-%d %H:%M} UTC"
        )
    else:
        click.echo(f"{whose}: told about again")


def _now() -> int:
    return time.time_ns() // 1000


def _alert_line(record: Mapping[str, Any]) -> str:
    return (
        f"{record['raised_at']:%Y-%m-%d %H:%M:%S}  {record['severity']:8}  {record['state']:9}  "
        f"{record['budget_id'] or record['type']}: {record['detail']}"
    )


commands: list[click.Command] = [alerts]
