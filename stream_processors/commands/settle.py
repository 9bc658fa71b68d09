"""`tollbook settle`: what depends on running totals, booked as entries: volume discounts and overages, then credits."""

import getpass
import time
from collections.abc import Mapping, Sequence
from typing import Any

import click

from schemas.calendar import load_calendar
from schemas.event import UsageEvent
from schemas.money import to_pico, usd_text
from schemas.registry import Registry
from schemas.settings import Settings
from stream_processors import warehouse
from stream_processors.commands.output import print_json, reports_failure, require_kafka
from stream_processors.core.overages import Overage, overages_due
from stream_processors.core.price_file import Entry, only
from stream_processors.core.price_history import entries_at, latest_version
from stream_processors.core.running_totals import Cell, Credit, Place, Volume, bounds_of, credits_due, volumes_due
from stream_processors.core.settlement import RULE_TAG, Booked, Type, entries_for
from stream_processors.entries import records_of, send
from stream_processors.landed import wait_booked
from stream_processors.price_log import read_histories
from stream_processors.warehouse import WarehouseError

MONTH = "toUnixTimestamp64Micro(toDateTime64(toStartOfMonth(toDate(occurred_at, {zone:String})), 6, {zone:String}))"
# By stretches of months in which no credit begins or lapses. What credits have used up does not count as used; volume
# discounts and overages count when credits are settled, and not among themselves.
CELLS = f"""
SELECT
    organization, provider, {MONTH} AS month_us,
    arrayCount(bound -> bound <= toUnixTimestamp64Micro(occurred_at), {{bounds:Array(Int64)}}) AS part,
    sum(ifNull(cost_usd, toDecimal128(0, 12))) AS cost_usd, sum(input_tokens + output_tokens) AS tokens
FROM usage
WHERE NOT (kind = 'adjustment' AND tags['{RULE_TAG}'] != '' AND adjustment_type IN {{without:Array(String)}})
GROUP BY organization, provider, month_us, part
"""  # noqa: S608 -- our own names
BOOKED = f"""
SELECT tags['{RULE_TAG}'] AS rule, organization, provider, {MONTH} AS month_us,
    sum(ifNull(cost_usd, toDecimal128(0, 12))) AS cost_usd, count() AS entries
FROM usage
WHERE kind = 'adjustment' AND adjustment_type = {{type:String}} AND tags['{RULE_TAG}'] != ''
GROUP BY rule, organization, provider, month_us
"""  # noqa: S608 -- likewise


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
    histories = read_histories(settings.kafka)
    rules = entries_at(histories, latest_version(histories))
    kinds: tuple[Type, ...] = ("settlement", "credit")
    entries = []
    for kind in kinds:
        found = _due(settings, rules, kind, author or getpass.getuser(), timeout)
        if found and not dry_run:
            send(settings, records_of(found, Registry(settings.registry)))
        entries += found
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


def _due(settings: Settings, rules: Sequence[Entry], kind: Type, author: str, timeout: float) -> list[UsageEvent]:
    """Once all that was sent before is in the books. Raises WarehouseError."""
    if wait_booked(settings, timeout) is None:
        raise WarehouseError(f"not landed within {timeout:g} s; `tollbook status` shows which stage lags")
    calendar = load_calendar(settings.calendar)
    bounds = bounds_of(only(Credit, rules))
    without = ["settlement", "credit"] if kind == "settlement" else ["credit"]
    named = {"zone": calendar.zone, "bounds": bounds, "without": without, "type": kind}
    cells = [_cell(row, bounds) for row in warehouse.ask(settings, CELLS, named)]
    due = _settlements(cells, rules) if kind == "settlement" else credits_due(cells, only(Credit, rules))
    booked = {_place(row): _booked(row) for row in warehouse.ask(settings, BOOKED, named)}

    def last_of_month(month_us: int) -> int:
        return calendar.window("month", month_us).end - 1

    return entries_for(kind, due, booked, _reasons(rules), last_of_month, time.time_ns() // 1000, author)


def _settlements(cells: Sequence[Cell], rules: Sequence[Entry]) -> dict[Place, int]:
    return volumes_due(cells, only(Volume, rules)) | overages_due(cells, only(Overage, rules))


def _reasons(rules: Sequence[Entry]) -> dict[str, str]:
    return {
        **{rule.id: f"volume discount {rule.id}" for rule in only(Volume, rules)},
        **{rule.id: f"overage {rule.id}" for rule in only(Overage, rules)},
        **{rule.id: f"credit {rule.id} used up" for rule in only(Credit, rules)},
    }


def _cell(row: Mapping[str, Any], bounds: Sequence[int]) -> Cell:
    part, month_us = row["part"], row["month_us"]
    start_us = max(month_us, bounds[part - 1]) if part else month_us
    cost_pico, tokens = to_pico(row["cost_usd"]), row["tokens"]
    return Cell(start_us, month_us, row["organization"], row["provider"], cost_pico, tokens)


def _place(row: Mapping[str, Any]) -> Place:
    return Place(row["rule"], row["organization"], row["provider"], row["month_us"])


def _booked(row: Mapping[str, Any]) -> Booked:
    return Booked(to_pico(row["cost_usd"]), row["entries"])


def _told(entry: UsageEvent) -> dict[str, Any]:
    amount = {"amount_usd": usd_text(entry.amount_pico or 0), "rule": entry.tags[RULE_TAG]}
    names = ("event_id", "adjustment_type", "occurred_at", "organization", "provider", "reason", "author")
    return amount | {name: getattr(entry, name) for name in names}


commands: list[click.Command] = [settle]
