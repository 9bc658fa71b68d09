"""The head of a chain is found from the end of its log, among records that lost, wherever retention has cut it."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.block import HEADER, BlockHeader
from stream_processors.chain_head import TAIL, find_head
from stream_processors.core.chain import Chain


@dataclass(frozen=True)
class Record:
    """As much of a Kafka message as is asked for."""

    at: int
    header: BlockHeader

    def offset(self) -> int:
        return self.at

    def headers(self) -> list[tuple[str, bytes]]:
        return [(HEADER, self.header.to_bytes())]


@dataclass
class Log:
    """A partition of usage.blocks that keeps the records from `low` on."""

    records: list[Record]
    low: int = 0

    def bounds(self, topic: str, partition: int) -> tuple[int, int]:
        return self.low, len(self.records)

    def read(self, topic: str, partition: int, start: int) -> Iterator[Record]:
        assert start >= self.low
        return iter(self.records[start:])


def log_of(steps: list[tuple[bool, int]]) -> tuple[list[Record], Chain, int]:
    """Accepted blocks, between them records that extend an accepted block that is the head no more."""
    records: list[Record] = []
    accepted = [-1]
    chain, clock = Chain(), 0
    for wins, pick in steps:
        stale = accepted[:-1]
        extends = accepted[-1] if wins or not stale else stale[-1 - pick % len(stale)]
        first = chain.next_offset or 0
        header = BlockHeader("e", 0, first, first + pick, extends, pick + 1, 0, 0, 0, "p", 1000 + len(records), 0)
        if chain.accept(header, len(records)):
            accepted.append(len(records))
            clock = header.booked_until
        records.append(Record(len(records), header))
    return records, chain, clock


def test_an_empty_log_has_no_head() -> None:
    assert find_head(Log([]), 0) == (Chain(), 0, 0)


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 9)), min_size=1, max_size=40), st.integers(0, 200), st.data())
@settings(deadline=None)
def test_the_head_is_the_last_accepted_block(steps: list[tuple[bool, int]], strays: int, data: st.DataObject) -> None:
    """Also with more records that lost behind it than are read at first."""
    records, chain, clock = log_of(steps + [(False, 3)] * (strays if any(wins for wins, _ in steps) else 0))
    low = data.draw(st.integers(0, chain.head))
    assert find_head(Log(records, low), 0) == (chain, clock, 0)
    assert find_head(Log(records, low), 0, data.draw(st.integers(1, 8))) == (chain, clock, 0)


def test_a_record_that_lost_is_not_the_head_when_retention_took_all_it_extends() -> None:
    steps = [(True, 0)] * 3 + [(False, 1), (True, 0)]
    records, chain, _ = log_of(steps)
    assert chain.head == 4
    assert find_head(Log(records, 3), 0)[0] == chain


def test_a_long_tail_is_read_further_back() -> None:
    records, chain, _ = log_of([(True, 0), (True, 0)] + [(False, 0)] * (3 * TAIL))
    assert chain.head == 1
    assert find_head(Log(records), 0)[0] == chain


def test_a_log_that_kept_nothing_is_refused() -> None:
    records, _, _ = log_of([(True, 0)])
    cut: Any = Log(records, 1)
    with pytest.raises(RuntimeError, match="kept none"):
        find_head(cut, 0)
