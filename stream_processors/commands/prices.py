"""`tollbook prices`: what a use costs and why, prices of one's own over the list, and what changed between versions."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from schemas.instant import parse_instant
from schemas.settings import Settings
from schemas.topics import PRICES
from stream_processors import warehouse
from stream_processors.commands.outdated import booked_before, booked_text
from stream_processors.commands.output import print_json, print_table, reports_failure, require_kafka
from stream_processors.core.currencies import Currency
from stream_processors.core.dated import instant_us
from stream_processors.core.overrides import ANY, Override
from stream_processors.core.price_book import PriceBook
from stream_processors.core.price_explain import Use, explain_price
from stream_processors.core.price_file import conflicts, only, parse_prices, without_rate
from stream_processors.core.price_history import (
    Change,
    changes_between,
    differences,
    entries_at,
    histories_after,
    latest_version,
)
from stream_processors.core.taxes import Tax, tax_at
from stream_processors.price_log import book_of, read_histories
from stream_processors.versioned_log import Writer

USED_MODELS = "SELECT DISTINCT provider, model FROM usage"


@click.group()
def prices() -> None:
    """Show, apply and compare prices.

    Example: tollbook prices show gpt-4o
    """


@prices.command()
@click.argument("model")
@click.option("--at", "moment", metavar="INSTANT", help="With a zone, as 2026-06-01T00:00:00Z; default now.")
@click.option("--provider", help="Default: every provider that lists MODEL, or has a price of its own for it.")
@click.option("--service-tier", default="default", show_default=True)
@click.option("--organization", default="", help="As in the event.")
@click.option("--tool", default="", help="As in the event.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON array.")
@reports_failure
def show(
    model: str,
    moment: str | None,
    provider: str | None,
    service_tier: str,
    organization: str,
    tool: str,
    as_json: bool,
) -> None:
    """Show what MODEL costs, and which rule says so and why.

    Example: tollbook prices show gpt-4o --at 2026-06-01T00:00:00Z --organization acme
    """
    at = datetime.now(UTC) if moment is None else parse_instant("--at", moment)
    kafka = Settings().kafka
    require_kafka(kafka)
    histories = read_histories(kafka)
    book, taxes = book_of(histories), only(Tax, entries_at(histories, latest_version(histories)))
    sellers = [provider] if provider else _sellers(book, model)
    told = [explain_price(book, Use(seller, model, service_tier, organization, tool), at) for seller in sellers]
    for each in told:
        tax = tax_at(taxes, organization, each["provider"], instant_us(at))
        each["tax"] = tax and {"id": tax[0], "percent": str(tax[1])}
    if as_json:
        print_json(told)
    for each in told if not as_json else ():
        _print_price(each)
    if not any(each["prices"] for each in told):
        raise ValueError(f"model = {model!r}: no price is known; its usage is booked as unpriced")


def _sellers(book: PriceBook, model: str) -> list[str]:
    own = [
        price.provider for price in book.overrides if price.names(model) and ANY not in (price.provider, price.model)
    ]
    return list(dict.fromkeys([*book.sellers(model), *own])) or ["(any)"]


def _print_price(told: dict[str, Any]) -> None:
    click.echo(
        f"{told['provider']} {told['model']}, service tier {told['service_tier']}, at {told['at']:%Y-%m-%d %H:%M %Z}"
    )
    click.echo(
        f"by {told['price_version']}; " + (f"listed as {told['listed_as']}" if told["listed_as"] else "not listed")
    )
    if told["prices"]:
        print_table(
            ("count", "dollars", "per", "above input tokens", "because"),
            [
                (line["count"], line["usd"], line["per"], str(line["above_input_tokens"]), line["because"])
                for line in told["prices"]
            ],
            numbers=("dollars", "above input tokens"),
        )
    else:
        click.echo("no price: such usage is booked as unpriced")
    if told["tax"]:
        click.echo(f"tax {told['tax']['id']}: {told['tax']['percent']} % on top, not part of any cost")
    for override in told["overrides"]:
        click.echo(f"price {override['id']} {override['says']}")
    click.echo()


@prices.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--prune", is_flag=True, help="Remove the prices, currencies and taxes that FILE does not name.")
@click.option("--unused", is_flag=True, help="Accept prices for models that no list and no usage knows yet.")
@click.option("--json", "as_json", is_flag=True, help="Print the changes as one JSON object.")
@reports_failure
def apply(file: Path, prune: bool, unused: bool, as_json: bool) -> None:
    """Put the prices of FILE in force for all usage that is rated from now on, and show what changed.

    Rows that are booked keep their price; how many there are in the range of each change is told, with the command
    that re-rates them. Nothing is written when FILE has a mistake. Prices in another currency need its rates; when
    there is none, usage is unpriced, and that is told.

    Example: tollbook prices apply prices.toml
    """
    wanted = parse_prices(file.read_text(encoding="utf-8"), str(file))
    settings = Settings()
    require_kafka(settings.kafka)
    writer = Writer(settings.kafka, PRICES)
    histories = read_histories(settings.kafka)
    version = latest_version(histories)
    held = entries_at(histories, version)
    kept = [] if prune else [price for price in held if price.id not in {each.id for each in wanted}]
    entries = [*wanted, *kept]
    for conflict in conflicts(entries):
        raise ValueError(f"{file}: {conflict}")
    changes = changes_between(held, entries)
    if not unused:
        _require_known(settings, changes, str(file))
    overrides = only(Override, entries)
    # What is booked has nothing of taxes, credits and discounts on volume in it, so nothing of it is to be re-rated.
    priced = [change for change in changes if isinstance(change.new or change.old, Override | Currency)]
    booked = {change.id: booked_before(settings, change, overrides, version + 1) for change in priced}
    if changes:
        grown = histories_after(histories, changes, version + 1, datetime.now(UTC))
        writer.write({history.id: history for history in grown})
    told = {
        "version": version + 1 if changes else version,
        "changes": [
            {"id": change.id, "change": change.what, "lines": differences(change)}
            | ({"booked": booked[change.id]} if change.id in booked else {})
            for change in changes
        ],
        "kept": [price.id for price in kept],
        "without_rate": list(without_rate(entries)),
    }
    if as_json:
        print_json(told)
    else:
        _print_applied(told)


def _print_applied(told: dict[str, Any]) -> None:
    for change in told["changes"]:
        click.echo(f"{change['change']:8}  {change['id']}")
        for line in change["lines"]:
            click.echo(f"          {line}")
        for line in booked_text(change["booked"]) if "booked" in change else ():
            click.echo(f"          {line}")
    for price_id in told["kept"]:
        click.echo(f"kept      {price_id}: not in the file (--prune removes it)")
    for line in told["without_rate"]:
        click.echo(f"unpriced  {line}")
    click.echo(f"version {told['version']}" if told["changes"] else f"nothing changed: version {told['version']}")


def _require_known(settings: Settings, changes: Sequence[Change], file: str) -> None:
    """Raises ValueError for a price of what nobody lists and nobody uses; WarehouseError: cannot be told."""
    book = PriceBook.compiled()
    changed = (change.new for change in changes if isinstance(change.new, Override))
    new = [price for price in changed if (price.model, price.provider) != (ANY, ANY)]
    unlisted = [price for price in new if not book.lists(price)]
    used = [(row["provider"], row["model"]) for row in warehouse.ask(settings, USED_MODELS)] if unlisted else []
    for price in unlisted:
        if not any(price.sells(provider) and price.names(model) for provider, model in used):
            raise ValueError(
                f"{file}: price {price.id}: model = {price.model!r}, provider = {price.provider!r}: no list has it and "
                "no usage names it; is it misspelt? --unused applies it all the same"
            )


@prices.command()
@click.argument("old", type=int, required=False)
@click.argument("new", type=int, required=False)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON array.")
@reports_failure
def diff(old: int | None, new: int | None, as_json: bool) -> None:
    """Show what changed between versions OLD and NEW of the prices; without NEW the newest, without OLD the one before.

    Exit status 1 when they differ, as of `diff`.

    Example: tollbook prices diff 1 3
    """
    kafka = Settings().kafka
    require_kafka(kafka)
    histories = read_histories(kafka)
    latest = latest_version(histories)
    to = latest if new is None else new
    since = max(0, to - 1) if old is None else old
    for number in (since, to):
        if not 0 <= number <= latest:
            raise ValueError(f"version = {number}: there are versions 0 to {latest}")
    changes = changes_between(entries_at(histories, since), entries_at(histories, to))
    if as_json:
        print_json([{"id": each.id, "change": each.what, "lines": differences(each)} for each in changes])
    else:
        for change in changes:
            click.echo(f"{change.what:8}  {change.id}")
            for line in differences(change):
                click.echo(f"          {line}")
        click.echo(f"version {since} to {to}: {len(changes)} prices differ")
    if changes:
        raise SystemExit(1)


commands: list[click.Command] = [prices]
