"""Events that were booked more than once.

Rating drops what it has seen within a day in the same partition. What comes later is booked anew; the books show it: an
event has more than one request. Of its *runs* (a first row and the revisions that book a difference to it) the one with
the highest revision stands, of equal ones the earliest; the others are taken back.

An entry that corrects has one place in the log; of several the earliest stands.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from schemas.event import UsageEvent
from stream_processors.core.corrections import PRICE_TAG
from stream_processors.core.statements import PRICE_TYPES
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


def entry_reversals(rows: Iterable[Row]) -> list[UsageEvent]:
    """What takes back the copies of entries; none of what is booked once, or was taken back already.

    `rows`: everything that is booked under the ids of the entries, and what corrects the same as they do. Ids are made,
    and errors raised, as by `reversals`.
    """
    booked = list(rows)
    known = {row["event_id"] for row in booked}
    entries: dict[tuple[Any, ...], dict[tuple[Any, ...], list[Row]]] = {}
    for row in booked:
        if row["kind"] == "adjustment":
            places = entries.setdefault((row["source"], row["event_id"]), {})
            places.setdefault((row["src_epoch"], row["src_partition"], row["src_offset"]), []).append(row)
    copies = (run for places in entries.values() for run in _surplus([_Run(found) for found in places.values()]))
    undone = (_as_price(_undo(run), run.rows[0]) for run in copies)
    return [entry for found in undone if found and found[0].event_id not in known for entry in found]


def _as_price(undone: Sequence[UsageEvent], copied: Row) -> list[UsageEvent]:
    """What takes back a price is a price, too: re-rating adds up by type what usage is charged."""
    if copied["adjustment_type"] not in PRICE_TYPES:
        return list(undone)
    tags = {PRICE_TAG: copied["tags"][PRICE_TAG]}
    types = {"correction": PRICE_TYPES[0]}
    return [
        entry.model_copy(
            update={"tags": tags, "adjustment_type": types.get(entry.adjustment_type, entry.adjustment_type)}
        )
        for entry in undone
    ]


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
    return undo(run.rows, first["source"], first["corrects"] or first["event_id"], reason, AUTHOR, id_of)
