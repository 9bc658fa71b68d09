"""`tollbook rejected`: what was not counted and why; exported, repaired, and sent again without counting twice."""

import json
import time
from base64 import b64decode
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import click
from pydantic import ValidationError

from schemas.codec import encode
from schemas.event import UsageEvent, explain
from schemas.registry import Registry
from schemas.settings import Settings
from schemas.topics import EVENTS
from stream_processors.alert_log import append_alert, read_alerts
from stream_processors.commands.output import json_text, print_json, print_table, reports_failure, require_kafka
from stream_processors.core.pipeline_alerts import newest_halts
from stream_processors.entries import send
from stream_processors.rejects import (
    NEWEST,
    Candidate,
    Conflicts,
    Event,
    booked_identities,
    differences,
    plan_replay,
    read_event,
)
from stream_processors.tail import plain
from stream_processors.warehouse import ask

REASONS = (
    "SELECT reason, count() AS events, max(booked_at) AS newest FROM rejected GROUP BY reason ORDER BY events DESC"
)
ALL = 2**32 - 1


@click.group()
def rejected() -> None:
    """What was not counted, and why; repair it and send it again.

    Example: tollbook rejected list --reason decode
    """


@rejected.command("list")
@click.option("--reason", default="", help="Only this reason, as duplicate or parts_exceed_whole.")
@click.option("--max", "most", default=20, show_default=True, type=click.IntRange(min=0), help="How many to name.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object, with the bytes of each event.")
@reports_failure
def list_rejected(reason: str, most: int, as_json: bool) -> None:
    """Count rejected events by reason, and name the newest; of a conflict, also what is booked in its place.

    Example: tollbook rejected list --reason conflict --json
    """
    settings = Settings()
    reasons = ask(settings, REASONS)
    newest = _with_booked(settings, ask(settings, NEWEST, {"reason": reason, "most": most}))
    if as_json:
        print_json({"by_reason": {row["reason"]: row["events"] for row in reasons}, "newest": newest})
        return
    print_table(
        ("reason", "events", "newest (UTC)"),
        [(row["reason"], f"{row['events']:,}", str(row["newest"])) for row in reasons],
        numbers=("events",),
    )
    click.echo()
    print_table(
        ("booked at (UTC)", "position", "reason", "event", "detail"),
        [(str(row["booked_at"]), _place(row), row["reason"], row["event_id"], _detail(row)) for row in newest],
        numbers=(),
    )


def _with_booked(settings: Settings, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows; each conflict with both contents and where they differ."""
    if not any(row["reason"] == "conflict" for row in rows):
        return rows
    require_kafka(settings.kafka)
    with closing(Registry(settings.registry)) as registry, Conflicts(settings, registry) as conflicts:
        return [_both(row, registry, conflicts) if row["reason"] == "conflict" else row for row in rows]


def _both(row: dict[str, Any], registry: Registry, conflicts: Conflicts) -> dict[str, Any]:
    refused = read_event(b64decode(row["value_base64"]), registry)
    booked = conflicts.booked(refused) if refused else None
    if refused is None or booked is None:
        return row
    unequal = differences(booked["event"], refused) if booked["event"] else []
    return row | {
        "event": plain(refused),
        "booked": plain(booked),
        "differs": [{"field": name, "booked": plain(have), "rejected": plain(got)} for name, have, got in unequal],
    }


def _detail(row: Mapping[str, Any]) -> str:
    if "booked" not in row:
        return str(row["detail"])
    differs = "; ".join(f"{one['field']} = {one['rejected']!r}, booked {one['booked']!r}" for one in row["differs"])
    return f"{row['detail']}, at {_place(row['booked'])}: {differs or 'the log no longer has what was booked'}"


def _place(place: Mapping[str, Any]) -> str:
    return f"usage.events[{place['src_partition']}] at {place['src_offset']}"


@rejected.command()
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--reason", default="", help="Only this reason.")
@reports_failure
def export(file: Path, reason: str) -> None:
    """Write rejected events to FILE as JSON lines, the newest first: position, reason, bytes, and the event as read.

    To repair an event, edit `event` in its line (write one where it is null); `rejected replay FILE` sends it.

    Example: tollbook rejected export rejected.jsonl --reason parts_exceed_whole
    """
    settings = Settings()
    rows = ask(settings, NEWEST, {"reason": reason, "most": ALL})
    with closing(Registry(settings.registry)) as registry, file.open("w", encoding="utf-8") as out:
        for row in rows:
            event = read_event(b64decode(row["value_base64"]), registry)
            out.write(json_text(row | {"event": None if event is None else _shown(event)}) + "\n")
    click.echo(f"{len(rows)} events in {file}")


def _shown(event: Event) -> dict[str, Any]:
    """The fields that say something, for people to edit."""
    defaults = {name: field.get_default() for name, field in UsageEvent.model_fields.items() if not field.is_required()}
    shown = {name: value for name, value in event.items() if name not in defaults or defaults[name] != value}
    return {name: value for name, value in plain(shown).items() if value not in ([], ())}


@rejected.command()
@click.argument("file", required=False, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--reason", default="", help="Instead of FILE: every event rejected for this reason, as it is.")
@click.option("--dry-run", is_flag=True, help="Say what would be sent, send nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@reports_failure
def replay(file: Path | None, reason: str, dry_run: bool, as_json: bool) -> None:
    """Send rejected events again: those of FILE as repaired, or those of a reason that is mended (a schema known now).

    Nothing counts twice: what is booked already is left out, an id is sent once, and rating drops what is sent again.
    An event that would be rejected again is named and not sent. Exit status: 0 all sent or booked, 1 some are still
    wrong, 3 a service is away.

    Example: tollbook rejected replay rejected.jsonl --dry-run
    """
    if bool(file) == bool(reason):
        raise click.UsageError("either FILE or --reason")
    settings = Settings()
    require_kafka(settings.kafka)
    with closing(Registry(settings.registry)) as registry:
        candidates = _from_file(file, registry) if file else _from_ledger(settings, reason)
        planned = plan_replay(
            candidates, time.time_ns() // 1_000_000, registry.schema_text, lambda ids: booked_identities(settings, ids)
        )
    sent = 0 if dry_run else len(send(settings, planned.records))
    wrong = [{"event": name, "reason": why, "detail": detail} for name, why, detail in planned.wrong]
    result = {"sent": sent, "to_send": len(planned.records), "booked": planned.booked, "repeated": planned.repeated}
    if as_json:
        print_json(result | {"wrong": wrong})
    else:
        click.echo(
            f"{sent} of {len(planned.records)} sent; {planned.booked} booked already, {planned.repeated} repeated"
        )
    if wrong:
        named = "".join(f"\n  {one['event']}: {one['reason']}: {one['detail']}" for one in wrong[:20])
        raise click.ClickException(f"{len(wrong)} would be rejected again, the first of them:{named}")


def _from_ledger(settings: Settings, reason: str) -> list[Candidate]:
    rows = ask(settings, NEWEST, {"reason": reason, "most": ALL})
    return [
        Candidate(_place(row), b64decode(row["key_base64"]) or None, b64decode(row["value_base64"]))
        for row in reversed(rows)  # the oldest first: of several with one id, it is the one that counts
    ]


def _from_file(file: Path, registry: Registry) -> list[Candidate]:
    lines = file.read_text(encoding="utf-8").splitlines()
    parsed = [_line(number, text, file) for number, text in enumerate(lines, 1) if text.strip()]
    schema_id = registry.schema_id(EVENTS)
    return [
        Candidate(name, b64decode(line["key_base64"]) or None, encode(event.to_avro(), "usage_event.v1", schema_id))
        for name, line, event in reversed(parsed)
    ]


def _line(number: int, text: str, file: Path) -> tuple[str, Mapping[str, Any], UsageEvent]:
    name = f"{file}:{number}"
    try:
        line = json.loads(text)
        event = UsageEvent.model_validate_json(json.dumps(line["event"]))
        return name, {"key_base64": line.get("key_base64", "")}, event
    except ValidationError as error:
        raise ValueError(f"{name}: event: {explain(error)}") from error
    except (KeyError, TypeError, AttributeError, json.JSONDecodeError) as error:
        raise ValueError(f"{name}: not a line of `tollbook rejected export` ({error!r})") from error


@rejected.command()
@reports_failure
def accept() -> None:
    """Let rating go on where it stands still because more than half of 1 000 events would be rejected.

    They are rejected then, with their bytes, and nobody is asked again until fewer are.
    Exit status: 0 accepted, 1 rating does not stand still, 3 a service is away.

    Example: tollbook rejected accept
    """
    settings = Settings()
    require_kafka(settings.kafka)
    halts = newest_halts(read_alerts(settings, follow=False)).values()
    standing = [halt for halt in halts if halt["state"] == "raised"]
    if not standing:
        raise click.ClickException("rating does not stand still because of rejected events")
    with closing(Registry(settings.registry)) as registry:
        for halt in standing:
            detail = f"Accepted: rating goes on at {halt['scope']}"
            taken_back = {**halt, "state": "retracted", "detail": detail, "raised_at": time.time_ns() // 1000}
            append_alert(settings.kafka, registry, taken_back)
            click.echo(detail)


commands: list[click.Command] = [rejected]
