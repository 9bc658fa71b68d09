"""`tollbook directory`: which unit, centre, department and team a user belongs to, and since when."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from schemas.settings import Settings
from schemas.topics import DIRECTORY
from stream_processors import warehouse
from stream_processors.commands.misplaced import booked_elsewhere, booked_text
from stream_processors.commands.output import print_json, print_table, reports_failure, require_kafka
from stream_processors.commands.reassign import correct
from stream_processors.core.directory import Person, differing
from stream_processors.core.directory_forms import History, grown, latest_version, parse_people, people_at
from stream_processors.versioned_log import Writer, read_histories

# Users whose usage no department answers for.
UNASSIGNED = """
SELECT organization, user, sum(requests) AS requests, toString(sum(cost_usd)) AS cost_usd
FROM usage
WHERE department = '' AND user != ''
GROUP BY organization, user
HAVING requests > 0
ORDER BY sum(cost_usd) DESC, organization, user
"""


@click.group()
def directory() -> None:
    """Apply and show who belongs where.

    Example: tollbook directory show
    """


@directory.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--prune", is_flag=True, help="Remove the users that FILE does not name.")
@click.option("--json", "as_json", is_flag=True, help="Print the changes as one JSON object.")
@reports_failure
def apply(file: Path, prune: bool, as_json: bool) -> None:
    """Put the people of FILE (CSV, or TOML when it ends in .toml) in force for all usage that is rated from now on.

    FILE has the whole history of each user it names, one line an entry. Nothing is written when it has a mistake. What
    is booked where a user does not belong any more is told, with the command that moves it.

    Example: tollbook directory apply people.csv
    """
    wanted = parse_people(file.read_text(encoding="utf-8"), str(file))
    settings = Settings()
    kafka = settings.kafka
    require_kafka(kafka)
    writer = Writer(kafka, DIRECTORY)
    histories = read_histories(kafka, DIRECTORY, History)
    version = latest_version(histories)
    held = people_at(histories, version)
    changed = [person for key, person in wanted.items() if held.get(key) != person]
    gone = [person for key, person in held.items() if prune and key not in wanted]
    removed = [person.model_copy(update={"entries": ()}) for person in gone]
    if changed or removed:
        writer.write(grown(histories, [*changed, *removed], version + 1, datetime.now(UTC)))
        version += 1
    told: dict[str, Any] = {
        "version": version,
        "added": sorted(person.key for person in changed if person.key not in held),
        "changed": sorted(person.key for person in changed if person.key in held),
        "removed": sorted(person.key for person in removed),
    }
    differences = [(person, differing(held.get(person.key), person)) for person in changed]
    told["booked"] = booked_elsewhere(settings, [(person, found) for person, found in differences if found])
    if as_json:
        print_json(told)
        return
    for what in ("added", "changed", "removed"):
        click.echo(f"{len(told[what]):,} {what}")
    click.echo(f"version {version}")
    for line in booked_text(told["booked"]):
        click.echo(line)


@directory.command()
@click.argument("user", required=False)
@click.option("--unassigned", is_flag=True, help="Users whose usage has no department instead.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON array.")
@reports_failure
def show(user: str | None, unassigned: bool, as_json: bool) -> None:
    """Show where USER, or everybody, belongs and since when; or who is in no department.

    Example: tollbook directory show ada
    """
    settings = Settings()
    if unassigned:
        rows = [row for row in warehouse.ask(settings, UNASSIGNED) if user in (None, row["user"])]
        columns: tuple[str, ...] = ("organization", "user", "requests", "cost_usd")
    else:
        require_kafka(settings.kafka)
        histories = read_histories(settings.kafka, DIRECTORY, History)
        people = people_at(histories, latest_version(histories)).values()
        rows = [row for person in people if user in (None, person.user) for row in _rows(person)]
        columns = (
            *("organization", "user", "from", "business_unit", "cost_center", "department", "team", "display_name"),
        )
    if as_json:
        print_json(rows)
    else:
        numbers = ("requests", "cost_usd")
        print_table(columns, [tuple(str(row[name]) for name in columns) for row in rows], numbers)


def _rows(person: Person) -> list[dict[str, Any]]:
    named = {"organization": person.organization, "user": person.user}
    return [named | entry.model_dump(mode="json", by_alias=True) for entry in person.entries]


directory.add_command(correct)
commands: list[click.Command] = [directory]
