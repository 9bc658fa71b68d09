"""Events that were booked more than once.

Rating drops what it has seen within a day in the same partition. What comes later is booked anew; the books show it: an
event has more than one request. Of its *runs* (a first row and the revisions that book a difference to it) the one with
the highest revision stands, of equal ones the earliest; the others are taken back.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from schemas.event import UsageEvent
from stream_processors.core.undo import Row, undo

AUTHOR = "tollbook"


@dataclass(slots=True)
class _Run:
    """Rows of one partition in the order of their offsets; the first one books a request."""

    rows: list[Row]

    @property
    def place(self) -> tuple[Any, ...]:
        first = self.rows[0]
        return first["booked_us"], first["src_epoch"], first["src_partition"], first["src_offset"]

    @property
    def revision(self) -> int:
        return max(int(row["revision"]) for row in self.rows)


def reversals(rows: Iterable[Row]) -> list[UsageEvent]:
    """What takes back the copies of an event; none when it is booked once in all, or was taken back already.

    `rows`: everything that is booked for the event, what corrects it included (`stream_processors.booked`). The id of a
    reversal is made of the place of its copy, so that it counts once, whoever finds it. pydantic.ValidationError when
    a copy's sums are beyond what an entry may state.
    """
    booked = list(rows)
    surplus = sum(row["requests"] for row in booked) - 1
    known = {row["event_id"] for row in booked if row["kind"] == "adjustment"}
    entries: list[UsageEvent] = []
    for run in _surplus(list(_runs(row for row in booked if row["kind"] != "adjustment"))):
        undone = _undo(run)
        if surplus > 0 and undone and undone[0].event_id not in known:
            entries += undone
            surplus -= 1
    return entries


def _runs(rows: Iterable[Row]) -> Iterator[_Run]:
    """Cuts where the rows of an offset book a request."""
    offsets: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        offsets.setdefault((row["src_epoch"], row["src_partition"], row["src_offset"]), []).append(row)
    newest: dict[tuple[Any, ...], _Run] = {}
    for (*partition, _), entries in sorted(offsets.items()):
        key = tuple(partition)
        if key in newest and sum(row["requests"] for row in entries) <= 0:
            newest[key].rows += entries
        else:
            if key in newest:
                yield newest[key]
            newest[key] = _Run(entries)
    yield from newest.values()


def _surplus(runs: Sequence[_Run]) -> list[_Run]:
    """All but the one that stands, the latest first."""
    stands = min(runs, key=lambda run: (-run.revision, run.place), default=None)
    return sorted((run for run in runs if run is not stands), key=lambda run: run.place, reverse=True)


def _undo(run: _Run) -> list[UsageEvent]:
    first = run.rows[0]
    place = f"{first['src_epoch']}:{first['src_partition']}:{first['src_offset']}"

    def id_of(number: int) -> str:
        return hashlib.sha256(orjson.dumps(("copy", place, number))).hexdigest()[:32]

    reason = f"booked more than once: at usage.events[{first['src_partition']}] {first['src_offset']} too"
    return undo(run.rows, first["source"], first["event_id"], reason, AUTHOR, id_of)
