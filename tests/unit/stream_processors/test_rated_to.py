"""How far rating is, told from the end of its log, where a worker that has lost may have written last."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast

from schemas.block import HEADER, BlockHeader
from stream_processors.lag import rated_to
from stream_processors.logs import LogReader


@dataclass(frozen=True)
class Record:
    """As much of a Kafka message as is asked for."""

    epoch: str
    last_offset: int

    def headers(self) -> list[tuple[str, bytes]]:
        header = BlockHeader(self.epoch, 0, 0, self.last_offset, -1, 1, 0, 0, 0, "", 0, 0)
        return [(HEADER, header.to_bytes())]


@dataclass
class Log:
    """A partition of usage.blocks."""

    records: list[Record]

    def bounds(self, topic: str, partition: int) -> tuple[int, int]:
        return 0, len(self.records)

    def read(self, topic: str, partition: int, start: int) -> Iterator[Any]:
        return iter(self.records[start:])


def told(*records: Record) -> int:
    return rated_to(cast("LogReader", Log(list(records))), 0, "now")


def test_it_is_the_event_after_the_newest_block() -> None:
    assert told() == 0
    assert told(Record("now", 9), Record("now", 19)) == 20


def test_a_late_block_of_a_worker_that_has_lost_turns_nothing_back() -> None:
    assert told(Record("now", 9), Record("now", 29), Record("now", 15), Record("now", 12)) == 30


def test_blocks_of_another_epoch_say_nothing() -> None:
    assert told(Record("before", 99), Record("before", 199)) == 0
    assert told(Record("before", 99), Record("now", 3)) == 4
