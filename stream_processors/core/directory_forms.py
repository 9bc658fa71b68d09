"""The directory as people write it (CSV or TOML) and as `usage.directory` keeps it: whole dated histories."""

import csv
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Any

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from schemas.event import explain
from stream_processors.core.directory import Directory, Entry, Person

COLUMNS = ("organization", "user", "from", "business_unit", "cost_center", "department", "team", "display_name")


class Revision(BaseModel):
    """A person as version `version` of the directory has them, until the next revision."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: Annotated[int, Field(ge=1)]
    applied_at: AwareDatetime
    person: Person


class History(BaseModel):
    """The value of a record of `usage.directory`: all that was ever said of a user id, oldest first."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    revisions: Annotated[tuple[Revision, ...], Field(min_length=1)]

    def at(self, version: int) -> Person | None:
        """The person in a version of the directory; None when there is none."""
        held = [revision.person for revision in self.revisions if revision.version <= version]
        return held[-1] if held and held[-1].entries else None


def latest_version(histories: Mapping[str, History]) -> int:
    """The newest version of the directory; 0 when none was ever applied."""
    return max((history.revisions[-1].version for history in histories.values()), default=0)


def people_at(histories: Mapping[str, History], version: int) -> dict[str, Person]:
    """The people of a version, by key."""
    held = ((key, history.at(version)) for key, history in histories.items())
    return {key: person for key, person in held if person is not None}


def directory_of(histories: Mapping[str, History]) -> Directory:
    """The newest directory."""
    version = latest_version(histories)
    return Directory(people_at(histories, version).values(), version)


def grown(
    histories: Mapping[str, History], people: Iterable[Person], version: int, applied_at: AwareDatetime
) -> dict[str, History]:
    """What to write, by key, for people who changed."""
    revisions = {person.key: Revision(version=version, applied_at=applied_at, person=person) for person in people}
    earlier = {key: histories[key].revisions if key in histories else () for key in revisions}
    return {key: History(revisions=(*earlier[key], revision)) for key, revision in revisions.items()}


def parse_people(text: str, path: str) -> dict[str, Person]:
    """The people of a file, by key; ValueError lists every mistake with place, field, value and rule."""
    found: dict[tuple[str, str], list[Any]] = {}
    mistakes = []
    for place, row in _toml_rows(text, path) if path.endswith(".toml") else _csv_rows(text, path):
        try:
            entry = Entry.model_validate({name: value for name, value in row.items() if name not in COLUMNS[:2]})
        except ValidationError as error:
            mistakes.append(f"{place}: {explain(error)}")
            continue
        found.setdefault((row.get("organization", ""), row.get("user", "")), []).append(entry)
    people = {}
    for (organization, user), entries in found.items():
        ordered = sorted(entries, key=lambda entry: entry.start)
        try:
            person = Person(organization=organization, user=user, entries=tuple(ordered))
        except ValidationError as error:
            mistakes.append(f"{path}: user {user!r} of {organization!r}: {explain(error)}")
        else:
            people[person.key] = person
    if mistakes:
        raise ValueError("\n".join(mistakes))
    return people


def _csv_rows(text: str, path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    reader = csv.DictReader(text.splitlines(keepends=True))
    unknown = [name for name in reader.fieldnames or () if name not in COLUMNS]
    missing = [name for name in COLUMNS[:3] if name not in (reader.fieldnames or ())]
    if unknown or missing:
        raise ValueError(f"{path}:1: columns {unknown or missing}: {'unknown' if unknown else 'missing'}; {COLUMNS}")
    for row in reader:
        place = f"{path}:{reader.line_num}"
        if None in row or None in row.values():
            raise ValueError(f"{place}: must have as many fields as the first line")
        yield place, row


def _toml_rows(text: str, path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{path}: not TOML: {error}") from error
    rows = document.pop("person", [])
    if document:
        raise ValueError(f"{path}: {', '.join(document)}: unknown; allowed: [[person]]")
    for number, row in enumerate(rows, 1):
        yield f"{path}: person {number}", row
