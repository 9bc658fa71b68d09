"""`tollbook directory correct`: booked usage to where the directory has its users now, by pairs of entries."""

import getpass
from collections.abc import Sequence
from typing import Any

import click

from schemas.money import usd_text
from schemas.settings import Settings
from schemas.topics import DIRECTORY
from stream_processors.commands.correcting import LEFT, chosen, left_alone, run
from stream_processors.commands.output import print_json, print_table, reports_failure, require_kafka
from stream_processors.core.directory import FILLED
from stream_processors.core.directory_forms import History
from stream_processors.correct import FIELDS, Outcome
from stream_processors.reassign import reassignment
from stream_processors.versioned_log import read_histories

SHOWN = 20
#: All entries of a pair are equal in these.
CHOOSABLE = tuple(name for name in FIELDS if name not in FILLED)


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
    help="Only usage of this user, organization or the like; of one NAME given twice, either.",
)
@click.option("--reason", default="", help="Why; default: says which version.")
@click.option("--author", default="", help="Who answers for it; default: who runs it.")
@click.option("--dry-run", is_flag=True, help="Show what would be booked, send nothing.")
@click.option("--timeout", default=600.0, show_default=True, help="Seconds to wait for what is on its way.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@reports_failure
def correct(
    start: str,
    end: str | None,
    conditions: Sequence[str],
    reason: str,
    author: str,
    dry_run: bool,
    timeout: float,
    as_json: bool,
) -> None:
    """Move booked usage to where the newest directory has its users, as of when it happened.

    Nothing that is booked is changed: each use that moves gets a pair of entries, dated to the event, that count it
    where it belongs and take it away where it was. What events say themselves stands, and so does usage of users whom
    the directory does not know. Ended at any point and run again, or run twice, it comes to the same.

    Exit status: 0 all is booked where the directory has it, 1 a failure, 3 a service is away or lags: run it again.

    Example: tollbook directory correct --from 2026-03-01T00:00:00Z --where user=ada --dry-run
    """
    usage = chosen(start, end, conditions, CHOOSABLE)
    settings = Settings()
    require_kafka(settings.kafka)
    histories = read_histories(settings.kafka, DIRECTORY, History)
    correction = reassignment(histories, reason, author or getpass.getuser())
    outcome = run(settings, correction, usage, dry_run, timeout)
    told = _told(outcome, int(correction.version), dry_run)
    if as_json:
        print_json(told)
    else:
        _print(told)
        for line in left_alone(outcome.tally):
            click.echo(line, err=True)
    if outcome.left and not dry_run:
        raise ValueError(LEFT)


def _told(outcome: Outcome, version: int, dry_run: bool) -> dict[str, Any]:
    tally = outcome.tally
    return {
        "directory_version": version,
        "dry_run": dry_run,
        "uses": tally.statements,
        "entries": tally.entries,
        "moves": [
            {"from": key[0], "to": key[1], "uses": uses, "usd": usd_text(tally.cost_pico[key])}
            for key, uses in tally.rows.most_common()
        ],
        "booked_more_than_once": tally.repeated,
        "not_as_a_use": tally.unsound,
        "looks": outcome.looks,
    }


def _print(told: dict[str, Any]) -> None:
    if told["moves"]:
        print_table(
            ("from", "to", "uses", "USD"),
            [(each["from"], each["to"], f"{each['uses']:,}", each["usd"]) for each in told["moves"][:SHOWN]],
            numbers=("uses", "USD"),
        )
    done = "would book" if told["dry_run"] else "booked"
    click.echo(f"{done} {told['entries']:,} entries for {told['uses']:,} uses")
    click.echo(f"by version {told['directory_version']} of the directory")
