"""How far rating is, told from the end of its log, where a worker that has lost may have written last."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, cast

from schemas.block import HEADER, BlockHeader
from stream_processors.lag import rated_to
from stream_processors.logs import LogReader


@dataclass(frozen=True)
class Record:
    """As much of a Kafka message as is asked for."""

    epoch: str
    last_offset: int
    extends: int
    at: int = 0

    def offset(self) -> int:
        return self.at

    def headers(self) -> list[tuple[str, bytes]]:
        header = BlockHeader(self.epoch, 0, 0, self.last_offset, self.extends, 1, 0, 0, 0, "", 0, 0)
        return [(HEADER, header.to_bytes())]


@dataclass
class Log:
    """A partition of usage.blocks that keeps the records from `low` on."""

    records: list[Record]
    low: int = 0

    def bounds(self, topic: str, partition: int) -> tuple[int, int]:
        return self.low, len(self.records)

    def read(self, topic: str, partition: int, start: int) -> Iterator[Any]:
        return iter(self.records[start:])


def told(*records: Record, low: int = 0) -> int:
    log = Log([replace(record, at=at) for at, record in enumerate(records)], low)
    return rated_to(cast("LogReader", log), 0, "now")


def test_it_is_the_event_after_the_newest_block() -> None:
    assert told() == 0
    assert told(Record("now", 9, -1), Record("now", 19, 0)) == 20


def test_a_late_block_of_a_worker_that_has_lost_turns_nothing_back() -> None:
    assert told(Record("now", 9, -1), Record("now", 29, 0), Record("now", 15, 0), Record("now", 12, 0)) == 30


def test_a_block_that_lost_counts_for_nothing_however_far_it_goes() -> None:
    assert told(Record("now", 9, -1), Record("now", 29, 0), Record("now", 99, 0)) == 30


def test_blocks_of_another_epoch_say_nothing() -> None:
    assert told(Record("before", 99, -1), Record("before", 199, 0)) == 0
    assert told(Record("before", 99, -1), Record("now", 3, 0)) == 4


def test_a_log_of_which_retention_took_all_says_nothing() -> None:
    assert told(Record("now", 9, -1), low=1) == 0
