"""`tollbook rerate`: booked usage at other prices, by entries that book the difference."""

import getpass
from collections.abc import Sequence
from typing import Any

import click

from schemas.money import usd_text
from schemas.settings import Settings
from stream_processors.commands.correcting import LEFT, chosen, left_alone, run
from stream_processors.commands.output import print_json, print_table, reports_failure, require_kafka
from stream_processors.core.price_history import latest_version
from stream_processors.correct import FIELDS, Outcome
from stream_processors.price_log import book_of, read_histories
from stream_processors.rerate import rerating

SHOWN = 20


@click.command()
@click.option(
    "--from", "start", required=True, metavar="INSTANT", help="Event time, with a zone: 2026-03-01T00:00:00Z."
)
@click.option("--to", "end", metavar="INSTANT", help="Event time, exclusive; default: no end.")
@click.option(
    "--where",
    "conditions",
    multiple=True,
    metavar="NAME=VALUE",
    help="Only usage with this provider, model, organization or the like; of one NAME given twice, either.",
)
@click.option("--price-version", type=click.IntRange(min=0), help="As in `prices diff`; default: the newest.")
@click.option("--reason", default="", help="Why; default: says which version.")
@click.option("--author", default="", help="Who answers for it; default: who runs it.")
@click.option("--dry-run", is_flag=True, help="Show what would be booked, send nothing.")
@click.option("--timeout", default=600.0, show_default=True, help="Seconds to wait for what is on its way.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@reports_failure
def rerate(
    start: str,
    end: str | None,
    conditions: Sequence[str],
    price_version: int | None,
    reason: str,
    author: str,
    dry_run: bool,
    timeout: float,
    as_json: bool,
) -> None:
    """Book the difference between what usage was charged and what a version of the prices says.

    Nothing that is booked is changed: each difference is an entry of its own, dated and scoped as its event. Usage
    without a price gets one, when the version has it, and the other way round. Ended at any point and run again, or run
    twice, it comes to the same.

    Exit status: 0 all is booked at that version, 1 a failure, 3 a service is away or lags: run it again.

    Example: tollbook rerate --from 2026-03-01T00:00:00Z --to 2026-04-01T00:00:00Z --where model=gpt-4o --dry-run
    """
    usage = chosen(start, end, conditions, FIELDS)
    settings = Settings()
    require_kafka(settings.kafka)
    histories = read_histories(settings.kafka)
    newest = latest_version(histories)
    version = newest if price_version is None else price_version
    if version > newest:
        raise ValueError(f"--price-version = {version}: there are versions 0 to {newest}")
    why = reason or f"re-rated by version {version} of the prices"
    book = book_of(histories, version)
    correction = rerating(book, version == newest, why, author or getpass.getuser())
    outcome = run(settings, correction, usage, dry_run, timeout)
    told = _told(outcome, book.version, dry_run)
    if as_json:
        print_json(told)
    else:
        _print(told)
        for line in left_alone(outcome.tally):
            click.echo(line, err=True)
    if outcome.left and not dry_run:
        raise ValueError(LEFT)


def _told(outcome: Outcome, version: str, dry_run: bool) -> dict[str, Any]:
    tally = outcome.tally
    return {
        "price_version": version,
        "dry_run": dry_run,
        "uses": tally.statements,
        "entries": tally.entries,
        **{name: tally.types[name] for name in ("re-rating", "pricing", "unpricing")},
        "difference_usd": usd_text(sum(tally.cost_pico.values())),
        "changes": [
            {
                "model": key[0],
                "price_version": key[1],
                "entries": count,
                "difference_usd": usd_text(tally.cost_pico[key]),
            }
            for key, count in tally.rows.most_common()
        ],
        "booked_more_than_once": tally.repeated,
        "not_as_a_use": tally.unsound,
        "looks": outcome.looks,
    }


def _print(told: dict[str, Any]) -> None:
    if told["changes"]:
        print_table(
            ("model", "priced by", "entries", "difference USD"),
            [
                (each["model"], each["price_version"], f"{each['entries']:,}", each["difference_usd"])
                for each in told["changes"][:SHOWN]
            ],
            numbers=("entries", "difference USD"),
        )
    kinds = f"{told['re-rating']:,} re-rated, {told['pricing']:,} priced, {told['unpricing']:,} without a price now"
    click.echo(
        f"{'would book' if told['dry_run'] else 'booked'} {told['entries']:,} entries for {told['uses']:,} uses, "
        f"{told['difference_usd']} US dollars: {kinds}"
    )
    click.echo(f"by {told['price_version']}")


commands: list[click.Command] = [rerate]
