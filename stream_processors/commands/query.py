"""`tollbook sql`, `wait`, `tail` and `explain`: asking the ledger."""

import sys
from collections.abc import Mapping
from typing import Any

import click

from schemas.settings import Settings
from schemas.topics import BY_NAME
from stream_processors.commands.output import (
    json_text,
    print_json,
    print_table,
    reports_failure,
    require_kafka,
)
from stream_processors.explain import Facts
from stream_processors.explain import explain as explain_event
from stream_processors.landed import wait_landed
from stream_processors.sink.warehouse import AwayError, RefusedError, Warehouse
from stream_processors.tail import plain, topic_named
from stream_processors.tail import tail as tail_topic
from stream_processors.warehouse import WarehouseError, ask


@click.command()
@click.argument("query")
@click.option("--format", "output_format", help="Any format of ClickHouse, as JSON, CSVWithNames, Arrow, Markdown.")
@reports_failure
def sql(query: str, output_format: str | None) -> None:
    """Ask the ledger's ClickHouse; a FORMAT clause in QUERY goes before --format.

    Printed as a table on a terminal and tab-separated in a pipe. It writes as the ledger's owner: take care.

    Example: tollbook sql "SELECT department, sum(cost_usd) FROM usage GROUP BY department" --format JSON
    """
    chosen = output_format or ("PrettyCompact" if sys.stdout.isatty() else "TabSeparated")
    settings = Settings()
    try:
        answer = Warehouse(settings).run(query, {"default_format": chosen})
    except RefusedError as error:
        raise click.ClickException(str(error)) from error
    except AwayError as error:
        raise WarehouseError(f"ClickHouse at {settings.clickhouse}: {error}") from error
    click.get_binary_stream("stdout").write(answer)


@click.command()
@click.option("--timeout", default=60.0, show_default=True, type=click.FloatRange(min=0), help="Seconds.")
@reports_failure
def wait(timeout: float) -> None:
    """Return when every event that usage.events holds now is in ClickHouse and counted in windows and limits.

    Exit status: 0 landed, 1 not within the time-out, 3 a service is away.

    Example: tollbook wait --timeout 120 && tollbook audit
    """
    settings = Settings()
    require_kafka(settings.kafka)
    ask(settings, "SELECT 1")
    try:
        landed = wait_landed(settings, timeout)
    except RefusedError as error:
        raise WarehouseError(f"ClickHouse at {settings.clickhouse}: {error}") from error
    if not landed:
        raise click.ClickException(f"not landed within {timeout:g} s; `tollbook status` shows which stage lags")


@click.command()
@click.argument("topic", type=click.Choice(list(BY_NAME)))
@click.option("--from-beginning", is_flag=True, help="The oldest records first, instead of the newest.")
@click.option(
    "--max",
    "most",
    type=click.IntRange(min=1),
    help="How many; default: the newest 10, or all.",
)
@click.option("--follow", "-f", is_flag=True, help="Go on with what comes, until Ctrl-C.")
@reports_failure
def tail(topic: str, from_beginning: bool, most: int | None, follow: bool) -> None:
    """Print records of TOPIC, decoded, as JSON lines; a record of Arrow rows is one line a row.

    Example: tollbook tail usage.alerts --follow
    """
    settings = Settings()
    require_kafka(settings.kafka)
    count = most if most is not None or from_beginning else 10
    try:
        for line in tail_topic(settings, topic_named(topic), count, from_beginning, follow):
            click.echo(json_text(line))
    except KeyboardInterrupt:
        pass  # the way to end it


@click.command()
@click.argument("event_id")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@reports_failure
def explain(event_id: str, as_json: bool) -> None:
    """Tell where an event is: booked or rejected, at which position, in which windows, which alerts it caused.

    Exit status: 0 found, 1 there is no such event, 3 a service is away.

    Example: tollbook explain 3f1c0a52-7d0e-5b43-9d7e-0d6d7a3c1b11
    """
    settings = Settings()
    require_kafka(settings.kafka)
    facts = explain_event(settings, event_id)
    if as_json:
        print_json(plain(facts))
    else:
        _print_facts(facts)
    if not (facts["rows"] or facts["rejects"] or facts["not_landed"]):
        raise click.ClickException(f"no event has the id {event_id!r}")


def _print_facts(facts: Facts) -> None:
    for row in facts["rows"]:
        cost = "unpriced" if row["cost_usd"] is None else f"{row['cost_usd']} USD"
        click.echo(f"booked: {_place(row)}, in block {row['block_offset']} of usage.blocks")
        click.echo(f"  {row['organization']}, {row['provider']} {row['model']} at {row['occurred_at']} UTC")
        click.echo(f"  {row['input_tokens']:,} input and {row['output_tokens']:,} output tokens, {cost}")
        click.echo(f"  priced by {row['price_version']}")
        for part in row["price"] or ():
            quantity = f"{part['quantity']:,} {part['count']}"
            click.echo(f"  {quantity} at ${part['usd']} per {part['per']} = ${part['amount_usd']}: {part['because']}")
        print_table(
            ("window", "from (UTC)", "scope", "requests", "cost", "counted"),
            [_window_cells(window) for window in row["windows"]],
            numbers=("requests", "cost"),
        )
    for reject in facts["rejects"]:
        click.echo(f"rejected: {_place(reject)}: {reject['reason']}: {reject['detail']}")
    for place in facts["not_landed"]:
        click.echo(f"not landed yet: {_place(place)}")
    for alert in facts["alerts_caused"]:
        click.echo(f"{alert['state']}: {alert['threshold']} % of {alert['budget_id']}, alert {alert['alert_id']}")


def _place(place: Mapping[str, Any]) -> str:
    return f"usage.events[{place['src_partition']}] at {place['src_offset']}"


def _window_cells(window: Mapping[str, Any]) -> tuple[str, ...]:
    return (
        window["window_kind"],
        str(window["window_start"]),
        f"{window['scope_kind']}:{window['scope']}",
        f"{window['requests']:,}",
        window["cost_usd"],
        "yes" if window["counted"] else "not yet",
    )


commands: list[click.Command] = [sql, wait, tail, explain]
