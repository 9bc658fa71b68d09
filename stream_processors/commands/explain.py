"""`tollbook explain`: the way of one event."""

from collections.abc import Mapping
from typing import Any

import click

from schemas.settings import Settings
from stream_processors.commands.output import print_json, print_table, reports_failure, require_kafka
from stream_processors.explain import Facts
from stream_processors.explain import explain as explain_event
from stream_processors.tail import plain


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


commands: list[click.Command] = [explain]
