"""`tollbook periods`: closing months, and what is booked for them afterwards."""

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any, Literal

import click

from schemas.calendar import load_calendar
from schemas.money import to_pico, usd_text
from schemas.settings import Settings
from schemas.topics import PERIODS
from stream_processors.commands.output import print_json, print_table, reports_failure, require_kafka
from stream_processors.core.dated import instant_us
from stream_processors.core.periods import Event, Period, after
from stream_processors.landed import event_ends
from stream_processors.logs import append_records
from stream_processors.settle import settle
from stream_processors.versioned_log import read_histories
from stream_processors.warehouse import ask

State = Literal["closed", "open"]
SETTLE_S = 120.0  # for what is on its way
CLOSED = """
SELECT month, organization, closed_at, closed_by, closed_cost_usd, prior_period_cost_usd, net_cost_usd,
    prior_period_entries
FROM closed_months
ORDER BY month DESC, organization
"""
ENTRIES = """
SELECT booked_at, occurred_at, organization, department, kind, adjustment_type, source, event_id, corrects, requests,
    input_tokens, output_tokens, cost_usd, reason, author
FROM prior_period_entries
WHERE month = {month:Date} AND {organization:String} IN ('', organization)
ORDER BY booked_at DESC, src_partition, src_offset DESC
LIMIT {most:UInt32}
"""
_WHO = (
    click.argument("month"),
    click.option("--reason", required=True, help="Why."),
    click.option("--author", required=True, help="Who answers for it."),
)


def _said(command: Any) -> Any:
    for option in reversed(_WHO):
        command = option(command)
    return command


@click.group()
def periods() -> None:
    """Close months. Entries for a closed month are still booked, and listed as prior-period, with who and why.

    Example: tollbook periods close 2026-10 --reason "invoiced" --author mia
    """


@periods.command()
@_said
@reports_failure
def close(month: str, reason: str, author: str) -> None:
    """Close a MONTH of the calendar that is over, for all organizations: what came before this moment is its closing.

    First it is settled, as by `tollbook settle`: discounts, overages and credits are booked for what has come.

    Example: tollbook periods close 2026-10 --reason "invoiced" --author mia
    """
    settings = Settings()
    require_kafka(settings.kafka)
    _next(settings, _month(month), "closed", reason, author)  # refused before anything is booked
    booked = settle(settings, author, SETTLE_S)
    if booked:
        click.echo(f"settled: {len(booked):,} entries")
    _append(settings, _month(month), "closed", reason, author)


@periods.command()
@_said
@reports_failure
def reopen(month: str, reason: str, author: str) -> None:
    """Open a closed MONTH again: nothing is prior-period for it until it is closed anew.

    Example: tollbook periods reopen 2026-10 --reason "closed too early" --author mia
    """
    settings = Settings()
    require_kafka(settings.kafka)
    _append(settings, _month(month), "open", reason, author)


def _append(settings: Settings, month: date, state: State, reason: str, author: str) -> None:
    period, ends = _next(settings, month, state, reason, author)
    key = f"{month:%Y-%m}"
    append_records(settings.kafka, PERIODS, {key: period.model_dump_json().encode()})
    click.echo(f"{key} is {state}, at usage.events {', '.join(f'[{part}] {end}' for part, end in enumerate(ends))}")


def _next(settings: Settings, month: date, state: State, reason: str, author: str) -> tuple[Period, list[int]]:
    """The month in this state from now on, and where the events end. ValueError when it cannot be."""
    held = read_histories(settings.kafka, PERIODS, Period)
    epoch, ends = event_ends(settings)
    event = Event(state=state, at=datetime.now(UTC), author=author, reason=reason, src_epoch=epoch, ends=tuple(ends))
    return after(held.get(f"{month:%Y-%m}"), month, event, _end_of(settings, month)), ends


def _end_of(settings: Settings, month: date) -> datetime:
    calendar = load_calendar(settings.calendar)
    # The middle of the month is in it, whatever the zone.
    middle = datetime(month.year, month.month, 15, tzinfo=UTC)
    return datetime.fromtimestamp(calendar.window("month", instant_us(middle)).end // 1_000_000, UTC)


@periods.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON array.")
@reports_failure
def list_periods(as_json: bool) -> None:
    """Show each closed month: what it was closed with, what was booked for it afterwards, and the net.

    Example: tollbook periods list
    """
    rows = ask(Settings(), CLOSED)
    if as_json:
        print_json([_plain(row) for row in rows])
        return
    print_table(
        ("month", "organization", "closed (UTC)", "by", "closed with USD", "prior-period", "entries", "net USD"),
        [
            (
                f"{row['month']:%Y-%m}",
                row["organization"],
                f"{row['closed_at']:%Y-%m-%d %H:%M}",
                row["closed_by"],
                *(usd_text(to_pico(row[name])) for name in ("closed_cost_usd", "prior_period_cost_usd")),
                f"{row['prior_period_entries']:,}",
                usd_text(to_pico(row["net_cost_usd"])),
            )
            for row in rows
        ],
        numbers=("closed with USD", "prior-period", "entries", "net USD"),
    )


@periods.command()
@click.argument("month")
@click.option("--organization", default="", help="Only of this organization.")
@click.option("--max", "most", default=50, show_default=True, type=click.IntRange(min=1), help="How many, the newest.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON array.")
@reports_failure
def entries(month: str, organization: str, most: int, as_json: bool) -> None:
    """List what was booked for a closed MONTH afterwards, with who and why: adjustments, and usage that came late.

    Example: tollbook periods entries 2026-10 --organization acme
    """
    rows = ask(Settings(), ENTRIES, {"month": _month(month), "organization": organization, "most": most})
    if as_json:
        print_json([_plain(row) for row in rows])
        return
    print_table(
        ("booked (UTC)", "organization", "department", "kind", "event", "USD", "reason", "who"),
        [
            (
                f"{row['booked_at']:%Y-%m-%d %H:%M}",
                row["organization"],
                row["department"] or "(unassigned)",
                row["adjustment_type"] or row["kind"],
                row["corrects"] or row["event_id"],
                "" if row["cost_usd"] is None else usd_text(to_pico(row["cost_usd"])),
                row["reason"],
                row["author"],
            )
            for row in rows
        ],
        numbers=("USD",),
    )


def _month(text: str) -> date:
    try:
        return date.fromisoformat(f"{text}-01")
    except ValueError as error:
        raise ValueError(f"month = {text!r}: a month like 2026-10") from error


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    return {name: str(value) if isinstance(value, Decimal) else value for name, value in row.items()}


commands: list[click.Command] = [periods]
