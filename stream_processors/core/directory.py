"""The directory: which unit, centre, department and team a person belonged to at an instant.

Fills in what events leave out, as of `occurred_at`, whole batches at a time. A reorganisation is a later entry, so it
does not rewrite the past.
"""

from collections.abc import Iterable
from itertools import pairwise
from typing import Annotated, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import Field, model_validator

from stream_processors.core.dated import Form, Moment, instant_us
from stream_processors.core.validate import of_kind

#: What an entry may fill in, in the order of an event's columns.
FILLED = ("business_unit", "cost_center", "department", "team")
Places = npt.NDArray[np.int64]


class Entry(Form):
    """Where a person belongs from `start` on, until the next entry."""

    start: Annotated[Moment, Field(alias="from")]
    business_unit: str = ""
    cost_center: str = ""
    department: str = ""
    team: str = ""
    display_name: str = ""


class Person(Form):
    """A user id (hashed, where events hash it) of an organization, and its dated entries, oldest first."""

    organization: Annotated[str, Field(min_length=1, max_length=128)]
    user: Annotated[str, Field(min_length=1)]
    entries: tuple[Entry, ...]  # none: removed

    @model_validator(mode="after")
    def _ascending(self) -> Self:
        starts = [entry.start for entry in self.entries]
        for before, after in pairwise(starts):
            if before >= after:
                raise ValueError(f"from = {after.isoformat()}: must be after {before.isoformat()}, the entry before it")
        return self

    @property
    def key(self) -> str:
        """Of its record in `usage.directory`, as of an event in `usage.events`."""
        return f"{self.organization}/{self.user}"


Stretch = tuple[Moment, Moment | None]  # from, until (not any more; None: no end)


def differing(before: Person | None, after: Person | None) -> list[Stretch]:
    """When the two say something else of FILLED, oldest first."""
    starts = sorted({entry.start for person in (before, after) if person is not None for entry in person.entries})
    found: list[Stretch] = []
    for start, end in zip(starts, [*starts[1:], None], strict=True):
        if _held(before, start) == _held(after, start):
            continue
        if found and found[-1][1] == start:
            start = found.pop()[0]
        found.append((start, end))
    return found


def _held(person: Person | None, at: Moment) -> tuple[str, ...]:
    """What is filled in at an instant."""
    entries = [entry for entry in (person.entries if person else ()) if entry.start <= at]
    return tuple(getattr(entries[-1], name) if entries else "" for name in FILLED)


class Directory:
    """Everybody's entries as arrays. `version` names which applied state it is."""

    def __init__(self, people: Iterable[Person], version: int) -> None:
        self.version = version
        held = [person for person in people if person.entries]
        entries = [entry for person in held for entry in person.entries]
        self._number = {(person.organization, person.user): place for place, person in enumerate(held)}
        self._counts = np.array([len(person.entries) for person in held], np.int64)
        self._first = np.cumsum(self._counts) - self._counts
        self._starts = np.array([instant_us(entry.start) for entry in entries], np.int64)
        self._names = {name: np.array([getattr(entry, name) for entry in entries], object) for name in FILLED}

    def fill(self, events: pa.RecordBatch) -> pa.RecordBatch:
        """The events (EVENT_COLUMNS) with what they lack of FILLED, where the directory has it.

        Adjustments stay as they are: one that takes back what was booked under no department must count there too.
        """
        if not self._number or not events.num_rows:
            return events
        at = events.column("occurred_at").view(pa.int64()).to_numpy()
        entry = self._entries(self._people(events), at)
        entry[of_kind(events, "adjustment")] = -1
        if not (entry >= 0).any():
            return events
        columns = dict(zip(events.schema.names, events.columns, strict=True))
        columns |= {name: self._filled(columns[name], name, entry) for name in FILLED}
        return pa.RecordBatch.from_arrays(list(columns.values()), schema=events.schema)

    def says(self, events: pa.RecordBatch) -> tuple[npt.NDArray[np.bool_], dict[str, npt.NDArray[np.object_]]]:
        """Whether it knows the person of each row, and what it has for each of FILLED at that time; '' is nothing."""
        people = self._people(events)
        entry = self._entries(people, events.column("occurred_at").view(pa.int64()).to_numpy())
        return people >= 0, {name: np.append(self._names[name], "")[entry] for name in FILLED}

    def _people(self, events: pa.RecordBatch) -> Places:
        """The number of each row's person; -1: not in the directory."""
        organization, user = events.column("organization"), events.column("user")
        organizations, users = organization.dictionary.to_pylist(), user.dictionary.to_pylist()
        codes = organization.indices.to_numpy().astype(np.int64) * len(users) + user.indices.to_numpy()
        distinct, which = np.unique(codes, return_inverse=True)
        pairs = (divmod(code, len(users)) for code in distinct.tolist())
        numbers = [self._number.get((organizations[one], users[two]), -1) for one, two in pairs]
        found: Places = np.array(numbers, np.int64)[which]
        return found

    def _entries(self, people: Places, at: Places) -> Places:
        """The entry that holds for each row; -1: none, or not yet."""
        held = np.full(len(people), -1, np.int64)
        known = np.flatnonzero(people >= 0)
        for nth in range(int(self._counts.max(initial=0))):
            known = known[self._counts[people[known]] > nth]
            place = self._first[people[known]] + nth
            begun = self._starts[place] <= at[known]
            held[known[begun]] = place[begun]
        return held

    def _filled(self, column: pa.DictionaryArray, name: str, entry: Places) -> pa.DictionaryArray:
        names = column.dictionary.to_pylist()
        codes = column.indices.to_numpy().astype(np.int32)
        empty = np.array([not value for value in names], bool)
        lacking = np.flatnonzero(empty[codes] & (entry >= 0)) if empty.any() else np.empty(0, np.int64)
        if not len(lacking):
            return column
        code_of = {value: code for code, value in enumerate(names)}
        distinct, which = np.unique(entry[lacking], return_inverse=True)
        said = [code_of.setdefault(value, len(code_of)) for value in self._names[name][distinct].tolist()]
        codes = codes.copy()
        codes[lacking] = np.array(said, np.int32)[which]
        return pa.DictionaryArray.from_arrays(pa.array(codes), pa.array(list(code_of), pa.string()))


NOBODY = Directory((), 0)
