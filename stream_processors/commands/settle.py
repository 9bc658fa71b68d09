"""`tollbook settle`: what depends on running totals, booked as entries: volume discounts and overages, then credits."""

import getpass
from typing import Any

import click

from schemas.event import UsageEvent
from schemas.money import usd_text
from schemas.settings import Settings
from stream_processors.commands.output import print_json, reports_failure, require_kafka
from stream_processors.core.settlement import RULE_TAG
from stream_processors.settle import settle as settle_all


@click.command()
@click.option("--author", default="", help="Who answers for it; default: who runs it.")
@click.option("--dry-run", is_flag=True, help="Show what would be booked, send nothing.")
@click.option("--timeout", default=120.0, show_default=True, help="Seconds to wait for what is on its way.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@reports_failure
def settle(author: str, dry_run: bool, timeout: float, as_json: bool) -> None:
    """Book what the [[volume]], [[overage]] and [[credit]] rules of `prices apply` come to, as entries of each month.

    Only differences are booked, so it may be run at any time and as often as one likes, by a timer and when a month is
    closed: the order in which usage came makes no difference. Run twice, the second run books nothing.

    Exit status: 0 all is booked, 1 a failure, 3 a service is away or lags: run it again.

    Example: tollbook settle --dry-run
    """
    settings = Settings()
    require_kafka(settings.kafka)
    entries = settle_all(settings, author or getpass.getuser(), timeout, dry_run)
    if as_json:
        print_json({"dry_run": dry_run, "entries": [_told(entry) for entry in entries]})
        return
    for entry in entries:
        amount = usd_text(entry.amount_pico or 0)
        click.echo(
            f"{entry.reason}: {amount} US dollars, {entry.provider or 'all providers'} of {entry.organization}, "
            f"as of {entry.occurred_at:%Y-%m-%d %H:%M} UTC"
        )
    click.echo(f"{'would book' if dry_run else 'booked'} {len(entries):,} entries")


def _told(entry: UsageEvent) -> dict[str, Any]:
    amount = {"amount_usd": usd_text(entry.amount_pico or 0), "rule": entry.tags[RULE_TAG]}
    names = ("event_id", "adjustment_type", "occurred_at", "organization", "provider", "reason", "author")
    return amount | {name: getattr(entry, name) for name in names}


commands: list[click.Command] = [settle]
