"""What was sent, known without asking the ledger: a file to which a line is added before each record is sent, and
another when the broker has acknowledged it."""

from collections.abc import Iterable, Set
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from types import TracebackType
from typing import Self

import orjson

USAGE = "usage"  # the fate of an event that must be booked; any other fate is a reason to reject it
Position = tuple[int, int]  # partition and offset of usage.events


@dataclass(frozen=True, slots=True)
class Sent:
    """One record as it was sent. Its event id identifies it, or its bytes where nothing else can."""

    number: int
    identity: str
    digest: str  # sha256 of the bytes
    scopes: tuple[str, str, str, str]  # organization, department, user, model
    project: str
    hour: int  # its start, microseconds UTC
    tokens: tuple[int, ...]  # by TOKEN_CLASSES
    cost_usd: Decimal | None  # None: it has no price
    fate: str
    revision: int = 0  # of what is stated in revisions the highest counts
    requests: int = 1  # of an entry that corrects: 0, or -1 when it takes back

    @property
    def event(self) -> str:
        """What all revisions of one event have in common."""
        return self.identity.partition("#")[0]


class SentFile:
    """Appends lines, each on its way to the disk before the call returns."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("ab")

    def sending(self, records: Iterable[Sent]) -> None:
        self._file.writelines(
            orjson.dumps(
                {
                    "send": one.number,
                    "identity": one.identity,
                    "digest": one.digest,
                    "scopes": one.scopes,
                    "project": one.project,
                    "hour": one.hour,
                    "tokens": one.tokens,
                    "cost_usd": None if one.cost_usd is None else str(one.cost_usd),
                    "fate": one.fate,
                    "revision": one.revision,
                    "requests": one.requests,
                },
                option=orjson.OPT_APPEND_NEWLINE,
            )
            for one in records
        )
        self._file.flush()

    def acknowledged(self, number: int, position: Position) -> None:
        self._file.write(orjson.dumps({"ack": number, "position": position}, option=orjson.OPT_APPEND_NEWLINE))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None) -> None:
        self._file.close()


@dataclass(slots=True)
class Book:
    """What a file says: all that was sent, and where the acknowledged records are."""

    sent: list[Sent] = field(default_factory=list)
    positions: dict[int, Position] = field(default_factory=dict)  # by number

    def without(self, taken: Set[Position]) -> "Book":
        """The book without the records at these positions, which retention took before anybody could read them."""
        gone = {number for number, position in self.positions.items() if position in taken}
        kept = {number: position for number, position in self.positions.items() if number not in gone}
        return Book([one for one in self.sent if one.number not in gone], kept)


def read_book(path: Path) -> Book:
    """Reads a file from its beginning."""
    book = Book()
    for line in path.read_bytes().splitlines():
        entry = orjson.loads(line)
        if "ack" in entry:
            book.positions[entry["ack"]] = tuple(entry["position"])
            continue
        cost = entry["cost_usd"]
        book.sent.append(
            Sent(
                entry["send"],
                entry["identity"],
                entry["digest"],
                tuple(entry["scopes"]),
                entry["project"],
                entry["hour"],
                tuple(entry["tokens"]),
                None if cost is None else Decimal(cost),
                entry["fate"],
                entry["revision"],
                entry["requests"],
            )
        )
    return book
