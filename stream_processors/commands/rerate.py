"""`tollbook rerate`: booked usage at other prices, by entries that book the difference."""

import getpass
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import click
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from schemas.money import usd_text
from schemas.settings import Settings
from stream_processors.commands.output import print_json, print_table, reports_failure, require_kafka
from stream_processors.core.overrides import instant_us
from stream_processors.core.price_history import latest_version
from stream_processors.price_log import book_of, read_histories
from stream_processors.rerate import FIELDS, NotLandedError, Outcome, Wanted, rerate_range
from stream_processors.sink.warehouse import AwayError, RefusedError
from stream_processors.warehouse import WarehouseError

SHOWN = 20
LAST = datetime(2100, 1, 1, tzinfo=UTC)


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
    start_us, end_us = _instant_us("--from", start), _instant_us("--to", end or LAST.isoformat())
    if end_us <= start_us:
        raise ValueError(f"--to = {end}: must be after --from = {start}")
    where = _where(conditions)
    settings = Settings()
    require_kafka(settings.kafka)
    histories = read_histories(settings.kafka)
    newest = latest_version(histories)
    version = newest if price_version is None else price_version
    if version > newest:
        raise ValueError(f"--price-version = {version}: there are versions 0 to {newest}")
    why = reason or f"re-rated by version {version} of the prices"
    book = book_of(histories, version)
    wanted = Wanted(start_us, end_us, where, book, version == newest, why, author or getpass.getuser())
    outcome = _run(settings, wanted, dry_run, timeout)
    told = _told(outcome, wanted.book.version, dry_run)
    if as_json:
        print_json(told)
    else:
        _print(told)
    if outcome.left and not dry_run:
        raise ValueError("the same usage is being changed by others all the time: run it again")


def _run(settings: Settings, wanted: Wanted, dry_run: bool, timeout: float) -> Outcome:
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=None)
        done = 0

        def tell(what: str, rows: int) -> None:
            nonlocal done
            done += rows
            bar.update(task, description=f"{what}: {done:,} rows" if done else what)

        try:
            return rerate_range(settings, wanted, dry_run, timeout, tell)
        except (AwayError, RefusedError, NotLandedError) as error:
            raise WarehouseError(f"ClickHouse at {settings.clickhouse}: {error}") from error


def _instant_us(option: str, text: str) -> int:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise ValueError(f"{option} = {text!r}: not a time like 2026-03-01T00:00:00Z") from error
    if moment.tzinfo is None:
        raise ValueError(f"{option} = {text!r}: a time has a zone, as 2026-03-01T00:00:00Z or …+01:00")
    if not timedelta(0) <= LAST - moment <= timedelta(days=85 * 366):
        raise ValueError(f"{option} = {text!r}: the ledger's dates are 2015-01-01 to before 2100-01-01")
    return instant_us(moment)


def _where(conditions: Sequence[str]) -> dict[str, tuple[str, ...]]:
    chosen: dict[str, tuple[str, ...]] = {}
    for condition in conditions:
        name, is_said, value = condition.partition("=")
        if not is_said or name not in FIELDS:
            raise ValueError(f"--where = {condition!r}: NAME=VALUE, with NAME one of {', '.join(FIELDS)}")
        chosen[name] = (*chosen.get(name, ()), value)
    return chosen


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
    for name, why in (
        ("booked_more_than_once", "a copy was booked too; left as they are"),
        ("not_as_a_use", "what corrections made of them is not what one use can be; left as they are"),
    ):
        if told[name]:
            click.echo(f"{told[name]:,} uses: {why}", err=True)
    kinds = f"{told['re-rating']:,} re-rated, {told['pricing']:,} priced, {told['unpricing']:,} without a price now"
    click.echo(
        f"{'would book' if told['dry_run'] else 'booked'} {told['entries']:,} entries for {told['uses']:,} uses, "
        f"{told['difference_usd']} US dollars: {kinds}"
    )
    click.echo(f"by {told['price_version']}")


commands: list[click.Command] = [rerate]
