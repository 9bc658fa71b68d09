"""Where to begin a partition: from the sink's own commit, and only if ClickHouse agrees with it."""

import logging
from dataclasses import replace
from typing import Any

from confluent_kafka import TopicPartition

from schemas.topics import ALERTS, BLOCKS
from stream_processors.core.chain import Chain
from stream_processors.logs import LogReader
from stream_processors.sink.feeds import NOTHING, BlockFeed, EntryFeed, Feed
from stream_processors.sink.plan import Place, decode, plan_of
from stream_processors.sink.warehouse import Warehouse

TIMEOUT_S = 20.0
log = logging.getLogger("tollbook.sink")


def feeds_of(consumer: Any, partitions: list[TopicPartition]) -> list[Feed]:
    """A feed for each assigned partition, at its commit or else at the first record kept.

    Raises KafkaException when the broker does not answer, ValueError for a commit that is not the sink's.
    """
    return [_feed(consumer, committed) for committed in consumer.committed(partitions, timeout=TIMEOUT_S)]


def _feed(consumer: Any, committed: TopicPartition) -> Feed:
    low, _ = consumer.get_watermark_offsets(committed, timeout=TIMEOUT_S)
    offset = max(committed.offset, NOTHING)
    position = low if offset == NOTHING else offset
    if committed.topic != BLOCKS:
        return _entry_feed(committed, offset, max(position, low))
    place = decode(committed.metadata) if position >= low else None
    committed_as = (offset, committed.metadata or "")
    if place is None:
        return BlockFeed(BLOCKS, committed.partition, low, committed_as, Place(), Chain(), known=False)
    return BlockFeed(BLOCKS, committed.partition, position, committed_as, place, Chain(), known=True)


def _entry_feed(committed: TopicPartition, offset: int, position: int) -> EntryFeed:
    """These records may be read again; what retention took is said again by later ones."""
    if position > offset != NOTHING:
        log.warning("%s[%d]: records %d to %d are gone", committed.topic, committed.partition, offset, position - 1)
    metadata = committed.metadata or ""
    head = int(metadata) if metadata else -1 if committed.topic == ALERTS and position == 0 else None
    return EntryFeed(committed.topic, committed.partition, position, (offset, metadata), head)


def begin(feed: BlockFeed, warehouse: Warehouse, reader: LogReader) -> None:
    """Sets the chain and what is in doubt; after it, `pending` holds what a crash left half done.

    Raises AwayError; ValueError when blocks are gone that have not landed, or the log is not what was planned.
    """
    feed.drop()
    if feed.place.head >= 0 and not _block_before(warehouse, feed.partition, feed.place.head + 1, feed.place.head):
        log.warning("%s[%d]: block %d is not in ClickHouse: reads again", BLOCKS, feed.partition, feed.place.head)
        feed.place, feed.known = Place(), False
        feed.position, _ = reader.bounds(BLOCKS, feed.partition)
    if not feed.known and feed.position > 0:
        feed.place = _place_before(warehouse, feed)
    feed.doubtful_until = _newest(warehouse, feed.partition, feed.place.head)
    feed.chain = Chain(feed.place.head, feed.place.epoch, feed.place.next_offset)
    if feed.place.plan:
        _read_planned(feed, reader)


def _read_planned(feed: BlockFeed, reader: LogReader) -> None:
    plan = feed.place.plan
    assert plan is not None
    for message in reader.read(BLOCKS, feed.partition, feed.position):
        feed.take(message)
        if feed.position > plan.last_block:
            break
    if not feed.pending or plan_of(feed.pending) != plan:
        raise ValueError(f"the log from {feed.committed[0]} to {plan.last_block} is not what was planned: {plan}")
    feed.doubtful_until = max(feed.doubtful_until, plan.last_block)
    feed.place = replace(feed.place, plan=None)


def _place_before(warehouse: Warehouse, feed: BlockFeed) -> Place:
    """The log begins in the middle of the chain: goes on from the last block that ClickHouse has from before."""
    rows = _block_before(warehouse, feed.partition, feed.position, 0)
    if not rows:
        raise ValueError(f"blocks before offset {feed.position} are gone and have not landed")
    [row] = rows
    return Place(row["block_offset"], row["src_epoch"], row["last_offset"] + 1)


def _block_before(warehouse: Warehouse, partition: int, end: int, start: int) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = warehouse.select(
        "SELECT block_offset, src_epoch, last_offset FROM blocks WHERE src_partition = {partition:Int32} "
        "AND block_offset >= {start:Int64} AND block_offset < {end:Int64} ORDER BY block_offset DESC LIMIT 1",
        partition=partition,
        start=start,
        end=end,
    ).to_pylist()
    return rows


def _newest(warehouse: Warehouse, partition: int, head: int) -> int:
    """Offset of the newest block after `head` of which anything is in ClickHouse: a commit may be older than that."""
    tables = " UNION ALL ".join(
        f"SELECT maxOrNull(block_offset) AS newest FROM {table} "  # noqa: S608 -- our own names
        "WHERE src_partition = {partition:Int32} AND block_offset > {head:Int64}"
        for table in ("usage", "rejected", "blocks")
    )
    sql = f"SELECT maxOrNull(newest) AS newest FROM ({tables})"  # noqa: S608 -- our own names
    newest = warehouse.select(sql, partition=partition, head=head).column("newest")[0].as_py()
    return NOTHING if newest is None else int(newest)
