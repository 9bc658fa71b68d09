"""What a feed takes, ignores and refuses, and what is committed for it."""

from dataclasses import dataclass, field, replace

import pyarrow as pa
import pytest

from schemas.arrow import REJECT_ROWS, USAGE_ROWS
from schemas.block import HEADER, BlockHeader, encode_block
from schemas.topics import ALERTS, BLOCKS
from stream_processors.core.chain import Chain, HoleError
from stream_processors.sink.feeds import BlockFeed, EntryFeed
from stream_processors.sink.plan import Place, Plan, decode

FIRST = BlockHeader(
    src_epoch="e1",
    src_partition=2,
    first_offset=0,
    last_offset=2,
    extends=-1,
    row_count=3,
    reject_count=0,
    marker_count=0,
    gap_count=0,
    price_version="p",
    booked_until=0,
    rated_at=0,
)
ROWS = pa.RecordBatch.from_pylist([{"src_offset": offset} for offset in range(3)], schema=USAGE_ROWS)
NONE = pa.RecordBatch.from_pylist([], schema=REJECT_ROWS)


@dataclass
class Message:
    """A record as the consumer gives it."""

    at: int
    content: bytes = b""
    header: dict[str, bytes] = field(default_factory=dict)

    def offset(self) -> int:
        return self.at

    def value(self) -> bytes:
        return self.content

    def headers(self) -> list[tuple[str, bytes]]:
        return list(self.header.items())

    def key(self) -> bytes:
        return b""

    def topic(self) -> str:
        return ALERTS

    def partition(self) -> int:
        return 2


def block(at: int, header: BlockHeader, rows: pa.RecordBatch = ROWS) -> Message:
    return Message(at, encode_block(rows, NONE), {HEADER: header.to_bytes()})


def block_feed() -> BlockFeed:
    return BlockFeed(BLOCKS, 2, 0, (-1, ""), Place(), Chain(), known=True)


def test_a_block_is_pending_until_it_has_landed() -> None:
    feed = block_feed()
    feed.take(block(0, FIRST))
    feed.take(block(1, replace(FIRST, extends=5)))
    feed.take(block(2, replace(FIRST, extends=0, first_offset=3, last_offset=5)))
    offset, metadata = feed.planned()
    assert (offset, decode(metadata)) == (0, Place(plan=Plan(2, 2, 0, 5, 6, 0)))
    assert (feed.pending_rows, feed.position) == (6, 3)
    feed.landed()
    offset, metadata = feed.settled()
    assert (offset, decode(metadata)) == (3, Place(head=2, epoch="e1", next_offset=6))
    assert (feed.pending, feed.pending_rows, feed.pending_bytes) == ([], 0, 0)


def test_only_ignored_records_move_the_position_and_not_the_place() -> None:
    feed = block_feed()
    feed.take(block(0, replace(FIRST, extends=5)))
    offset, metadata = feed.settled()
    assert (offset, decode(metadata)) == (1, Place())


def test_a_record_that_comes_again_is_not_taken_again() -> None:
    feed = block_feed()
    feed.take(block(0, FIRST))
    feed.take(block(0, FIRST))
    assert len(feed.pending) == 1
    assert feed.position == 1


@pytest.mark.parametrize(
    ("message", "error", "reason"),
    [
        (block(1, replace(FIRST, extends=0, first_offset=4, last_offset=6)), HoleError, "source offset 4"),
        (block(1, replace(FIRST, src_partition=3)), ValueError, "src_partition = 3: must be 2"),
        (block(1, replace(FIRST, extends=0, first_offset=3, row_count=2)), ValueError, "its header says 2"),
        (block(1, replace(FIRST, extends=0, first_offset=3), ROWS.drop_columns(["user"])), ValueError, "columns"),
        (Message(1, b"", {}), ValueError, "without a `block` header"),
    ],
)
def test_what_is_wrong_stays_before_the_position(message: Message, error: type[Exception], reason: str) -> None:
    feed = block_feed()
    feed.take(block(0, FIRST))
    with pytest.raises(error, match=reason):
        feed.take(message)
    assert feed.position == 1
    assert len(feed.pending) == 1


def test_the_doubtful_are_those_that_clickhouse_may_have() -> None:
    feed = block_feed()
    feed.doubtful_until = 0
    assert not feed.doubtful
    feed.take(block(0, FIRST))
    assert feed.doubtful
    feed.landed()
    feed.take(block(1, replace(FIRST, extends=0, first_offset=3, last_offset=5)))
    assert not feed.doubtful


@pytest.mark.parametrize(("head", "taken"), [(-1, [0, 2, 3]), (None, [0, 2, 3]), (7, [3])])
def test_a_chain_of_alerts_is_followed_and_others_stand_beside_it(head: int | None, taken: list[int]) -> None:
    feed = EntryFeed(ALERTS, 2, 0, (-1, ""), head)
    for at, extends in enumerate((b"-1", b"-1", b"0", None)):
        feed.take(Message(at, b"x", {} if extends is None else {"extends": extends}))
    assert [record.offset for record in feed.pending] == taken
    assert feed.position == 4
