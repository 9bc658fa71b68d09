"""`tollbook adjust`: entries that correct the books without changing a fact."""

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import click
import orjson
from pydantic import ValidationError

from schemas.arrow import ROW_KEYS, TOKEN_CLASSES
from schemas.event import ADJUSTMENT_RULES, UsageEvent, explain
from schemas.instant import parse_instant
from schemas.money import to_pico, usd_text
from schemas.registry import Registry
from schemas.settings import Settings
from stream_processors.booked import entries_of
from stream_processors.commands.adjusted import list_entries, months
from stream_processors.commands.allocate import allocate
from stream_processors.commands.output import print_json, reports_failure, require_kafka
from stream_processors.core.undo import undo
from stream_processors.entries import records_of, send

SOURCE = "tollbook adjust"


@click.group()
def adjust() -> None:
    """Correct the books by new entries; nothing that was booked is changed.

    Example: tollbook adjust reverse 3f1c0a52 --reason "sent twice" --author mia
    """


who_and_why = (
    click.option("--reason", required=True, help="Why."),
    click.option("--author", required=True, help="Who answers for it."),
    click.option("--dry-run", is_flag=True, help="Show the entry, send nothing."),
    click.option("--json", "as_json", is_flag=True, help="Print one JSON object."),
)


def _said(command: Any) -> Any:
    for option in reversed(who_and_why):
        command = option(command)
    return command


@adjust.command()
@click.argument("event_id")
@click.option("--source", default="", help="Whose event; needed when several sources have one of that name.")
@_said
@reports_failure
def reverse(event_id: str, source: str, reason: str, author: str, dry_run: bool, as_json: bool) -> None:
    """Take back all that is booked for an event, earlier corrections included, as of its own time.

    Done twice it is done once: what is booked already is taken into account, and until it has landed the second is a
    duplicate of the first.

    Example: tollbook adjust reverse 3f1c0a52 --reason "sent twice" --author mia
    """
    settings = Settings()
    rows = entries_of(settings, event_id, source)
    of = rows[0]["source"]
    entries = undo(
        rows, of, event_id, reason, author, lambda number: _id("reversal", of, event_id, str(len(rows)), str(number))
    )
    if not entries:
        raise ValueError(f"event_id = {event_id!r}: what is booked for it adds up to nothing already")
    _enter(settings, entries, dry_run, as_json)


@adjust.command()
@click.argument("adjustment_type", metavar="TYPE", type=click.Choice(list(ADJUSTMENT_RULES)))
@click.option("--amount", help="Signed dollars, up to 12 decimals; a credit is negative.")
@click.option("--corrects", default="", help="The event that it corrects: its time and scopes are taken over.")
@click.option("--source", default="", help="Whose event --corrects names.")
@click.option("--organization", default="", help="For an entry that corrects no single event.")
@click.option("--at", help="Event time (ISO 8601 with a zone) that it is dated to; default now, or that of --corrects.")
@click.option("--field", "fields", multiple=True, metavar="NAME=VALUE", help="A scope or signed tokens; repeatable.")
@click.option("--id", "event_id", default="", help="Its id; by default a hash of what it says.")
@_said
@reports_failure
def enter(
    adjustment_type: str,
    amount: str | None,
    corrects: str,
    source: str,
    organization: str,
    at: str | None,
    fields: Sequence[str],
    event_id: str,
    reason: str,
    author: str,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Enter an adjustment of TYPE, dated to the event time that it corrects.

    The same words again are the same entry, counted once; for a second one like it, give it an --id.

    Example: tollbook adjust enter credit --organization acme --amount -25 --at 2026-10-31T12:00:00Z
    --field department=engineering --reason "outage of 30 October" --author mia
    """
    settings = Settings()
    values: dict[str, Any] = {"source": SOURCE, "provider": "", "model": ""}
    values |= _taken_over(settings, corrects, source) if corrects else {}
    values |= {"organization": organization} if organization else {}
    values |= (
        {"occurred_at": datetime.now(UTC) if at is None else parse_instant("--at", at)} if at or not corrects else {}
    )
    values |= dict(_field(text) for text in fields)
    values |= {"kind": "adjustment", "adjustment_type": adjustment_type, "corrects": corrects}
    values |= {"reason": reason, "author": author, "amount_pico": None if amount is None else _amount(amount)}
    said = orjson.dumps(
        {name: values[name] for name in values if at or name != "occurred_at"}, option=orjson.OPT_SORT_KEYS
    )
    values["event_id"] = event_id or _id("adjustment", said.decode())
    try:
        entry = UsageEvent(**values)
    except ValidationError as error:
        raise ValueError(explain(error)) from error
    if adjustment_type == "credit" and (entry.amount_pico or 0) > 0:
        raise ValueError(f"--amount = {amount}: a credit is not positive")
    _enter(settings, [entry], dry_run, as_json)


def _taken_over(settings: Settings, corrects: str, source: str) -> dict[str, Any]:
    """Time and scopes under which the event counts now."""
    rows = [row for row in entries_of(settings, corrects, source) if row["event_id"] == corrects]
    return {name: rows[-1][name] for name in (*ROW_KEYS, "source")}


def _amount(text: str) -> int:
    try:
        return to_pico(text)
    except ValueError as error:
        raise ValueError(f"--amount = {error}") from error


def _field(text: str) -> tuple[str, Any]:
    name, _, value = text.partition("=")
    if name in TOKEN_CLASSES:
        try:
            return name, int(value)
        except ValueError as error:
            raise ValueError(f"--field {name} = {value!r}: a whole number") from error
    if name == "occurred_at" or name not in ROW_KEYS:
        allowed = ", ".join(name for name in (*ROW_KEYS, *TOKEN_CLASSES) if name != "occurred_at")
        raise ValueError(f"--field {name}: one of {allowed}")
    return name, value


def _id(*parts: str) -> str:
    return hashlib.sha256(orjson.dumps(parts)).hexdigest()[:32]


def _enter(settings: Settings, entries: Sequence[UsageEvent], dry_run: bool, as_json: bool) -> None:
    places: list[tuple[int, int]] = []
    if not dry_run:
        require_kafka(settings.kafka)
        places = send(settings, records_of(entries, Registry(settings.registry)))
    shown = [
        entry.model_dump(exclude_defaults=True)
        | ({"src_partition": places[number][0], "src_offset": places[number][1]} if places else {})
        for number, entry in enumerate(entries)
    ]
    if as_json:
        print_json({"sent": len(places), "entries": shown})
        return
    for number, entry in enumerate(entries):
        amount = "no amount" if entry.amount_pico is None else f"{usd_text(entry.amount_pico)} USD"
        where = f"at usage.events[{places[number][0]}] {places[number][1]}" if places else "not sent"
        tokens = f"{entry.input_tokens:+,} input and {entry.output_tokens:+,} output tokens"
        click.echo(f"{entry.adjustment_type} {entry.event_id}: {amount}, {tokens}, {entry.occurred_at}, {where}")


for command in (allocate, list_entries, months):
    adjust.add_command(command)
commands: list[click.Command] = [adjust]
