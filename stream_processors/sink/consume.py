"""The sink's loop: one consumer, one thread; what it does with what it reads is in the other modules."""

import logging
import time
from collections.abc import Callable, Iterable
from typing import Any

import pyarrow as pa
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from schemas.registry import Registry, RegistryAwayError
from schemas.topics import ALERTS, BLOCKS, BUDGETS, LIMITS, WINDOWS
from stream_processors import faults
from stream_processors.core.chain import HoleError
from stream_processors.logs import LogReader
from stream_processors.sink.entries import INSERTS, Record
from stream_processors.sink.feeds import BlockFeed, EntryFeed, Feed
from stream_processors.sink.halt import Alarm
from stream_processors.sink.landing import Batch, Landing, batch_of
from stream_processors.sink.start import begin, feeds_of
from stream_processors.sink.warehouse import AwayError, RefusedError

GROUP = "tollbook-sink"
TOPICS = [BLOCKS, WINDOWS, ALERTS, LIMITS, BUDGETS]
ROWS_A_BATCH = 50_000
BYTES_A_BATCH = 64 << 20
WINDOW_S = 0.25
MESSAGES_A_TURN = 64
IDLE_S = 1.0
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 5.0
CONSUMER: dict[str, Any] = {
    "group.id": GROUP,
    "enable.auto.commit": False,
    "enable.auto.offset.store": False,
    "auto.offset.reset": "error",  # a lost position is never guessed: feeds begin at explicit offsets
    "isolation.level": "read_committed",
    "partition.assignment.strategy": "range",
    "session.timeout.ms": 6000,
    "heartbeat.interval.ms": 1500,
    "fetch.message.max.bytes": 17 << 20,
    "fetch.max.bytes": 64 << 20,
    "queued.max.messages.kbytes": 64 << 10,  # the prefetch, and so the memory that an outage may take
}
#: The group has moved on without us: what is in hand belongs to another member now.
LOST = {
    KafkaError.ILLEGAL_GENERATION,
    KafkaError.UNKNOWN_MEMBER_ID,
    KafkaError.REBALANCE_IN_PROGRESS,
    KafkaError.FENCED_INSTANCE_ID,
}
WRONG = (HoleError, ValueError, pa.ArrowInvalid)  # what a record itself can be guilty of
log = logging.getLogger("tollbook.sink")


class Sink:
    """Reads, lands, commits. `run` returns after `stop`; KafkaException and RegistryAwayError end it."""

    def __init__(self, kafka: str, landing: Landing, registry: Registry, ready: Callable[[], None]) -> None:
        self._landing, self._registry, self._ready = landing, registry, ready
        self._alarm = Alarm(kafka, registry)
        self._reader = LogReader(kafka)
        self._consumer = Consumer(CONSUMER | {"bootstrap.servers": kafka})
        self._feeds: dict[tuple[str, int], Feed] = {}
        self._ownership = 0  # counts rebalances: work begun under an older one is dropped
        self._delivery = 0  # counts assignments: messages of an older one will come again
        self._begun = False
        self._stopping = False
        self._due: float | None = None

    def stop(self) -> None:
        """Ends `run` after the insert that is under way."""
        self._stopping = True

    def run(self) -> None:
        self._consumer.subscribe(TOPICS, on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_revoke)
        try:
            while not self._stopping:
                if self._feeds and not self._begun:
                    self._begin()
                self._turn()
        finally:
            self._consumer.close()

    def _turn(self) -> None:
        """Takes what the consumer has, and flushes when a batch is full or its time has come."""
        patience = IDLE_S if self._due is None else max(0.0, self._due - time.monotonic())
        first = self._consumer.poll(patience)  # consume() would wait for all of them
        messages = [first, *self._consumer.consume(MESSAGES_A_TURN, 0)] if first is not None else []
        delivery = self._delivery
        for message in messages:
            if delivery != self._delivery:
                return  # they come again, from where each feed stands
            self._take(message)
            if self._full():
                self._flush()
        if self._due is not None and time.monotonic() >= self._due:
            self._flush()

    def _take(self, message: Any) -> None:
        feed = self._feeds.get((message.topic(), message.partition()))
        if feed is None or feed.halted or not self._begun:
            return
        error = message.error()
        if error is not None:
            self._on_error(feed, error)
            return
        try:
            feed.take(message)
        except WRONG as wrong:
            self._flush()  # what came before it is right
            if self._feeds.get((feed.topic, feed.partition)) is feed:
                self._halt(feed, str(wrong))
        if self._due is None:
            self._due = time.monotonic() + WINDOW_S

    def _on_error(self, feed: Feed, error: KafkaError) -> None:
        if error.code() == KafkaError._AUTO_OFFSET_RESET:
            self._halt(feed, f"offset {feed.position} is not in the log any more: {error.str()}")
        elif error.fatal() or error.code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
            raise KafkaException(error)
        else:
            log.warning("%s[%d]: %s", feed.topic, feed.partition, error.str())

    def _full(self) -> bool:
        feeds = self._block_feeds()
        return (
            sum(feed.rows_pending for feed in feeds) >= ROWS_A_BATCH
            or sum(feed.bytes_pending for feed in feeds) >= BYTES_A_BATCH
        )

    # ---- assignment

    def _on_assign(self, consumer: Any, partitions: list[TopicPartition]) -> None:
        self._on_revoke(consumer, partitions)
        self._feeds = {(feed.topic, feed.partition): feed for feed in feeds_of(consumer, partitions)}
        if not partitions:
            self._ready()

    def _on_revoke(self, _: Any, __: list[TopicPartition]) -> None:
        """Drops what is in hand: nothing of it is committed but perhaps a plan, which the next owner reads."""
        self._ownership += 1
        self._feeds, self._begun, self._due = {}, False, None
        self._hold()

    def _begin(self) -> None:
        """Asks ClickHouse where it stands, finishes what a crash left half done, then starts reading."""
        for feed in self._block_feeds():
            try:
                if not self._insist(lambda _, feed=feed: begin(feed, self._landing.warehouse, self._reader)):  # type: ignore[misc]
                    return
            except (*WRONG, RefusedError) as error:
                self._halt(feed, str(error))
        self._flush()
        if self._feeds:
            self._begun = True
            self._follow()
            places = (f"[{feed.partition}] from {feed.position}" for feed in self._block_feeds())
            log.info("reads %s%s", BLOCKS, ", ".join(places))
            self._ready()

    def _hold(self) -> None:
        """Nothing is read, the membership in the group goes on."""
        self._delivery += 1
        self._consumer.assign([])

    def _follow(self) -> None:
        self._delivery += 1
        self._consumer.assign([TopicPartition(feed.topic, feed.partition, feed.position) for feed in self._live()])

    def _live(self) -> list[Feed]:
        return [feed for feed in self._feeds.values() if not feed.halted]

    def _block_feeds(self) -> list[BlockFeed]:
        return [feed for feed in self._feeds.values() if isinstance(feed, BlockFeed)]

    # ---- landing

    def _flush(self) -> None:
        self._due = None
        ownership = self._ownership
        self._flush_blocks()
        for topic in INSERTS:
            if ownership == self._ownership and not self._stopping:
                self._flush_entries(topic)
        if ownership == self._ownership:
            self._commit((feed, *feed.settled()) for feed in self._live() if not feed.pending)

    def _flush_blocks(self) -> None:
        feeds = [feed for feed in self._block_feeds() if feed.pending]
        if not feeds or not self._commit((feed, *feed.planned()) for feed in feeds):
            return
        faults.crash("sink.after_plan")
        batch = batch_of([block for feed in feeds for block in feed.pending])
        if self._land(batch, any(feed.doubtful for feed in feeds)):
            faults.crash("sink.before_commit")
            for feed in feeds:
                feed.landed()

    def _land(self, batch: Batch, doubtful: bool) -> bool:
        """Lands the batch; what ClickHouse refuses halts its partition, and only that."""
        try:
            return self._insist(lambda doubt: self._landing.land(batch, doubt), doubtful)
        except RefusedError as error:
            log.warning("ClickHouse refuses a batch of partitions %s: %s", batch.partitions, error)
        for partition in batch.partitions:
            part = batch.of(partition)
            try:
                if not self._insist(lambda _, part=part: self._landing.land(part, True)):  # type: ignore[misc]
                    return False
            except RefusedError as error:
                self._halt(self._feeds[BLOCKS, partition], str(error), part.blocks[0].offset)
        return True

    def _flush_entries(self, topic: str) -> None:
        feeds = [feed for feed in self._feeds.values() if isinstance(feed, EntryFeed) and feed.topic == topic]
        groups = [[feed for feed in feeds if feed.pending]]
        while groups:
            group = groups.pop()
            try:
                records = [record for feed in group for record in feed.pending]
                if not self._insist(lambda _, records=records: self._insert_entries(topic, records)):  # type: ignore[misc]
                    return
            except (*WRONG, RefusedError) as error:
                if len(group) == 1:
                    self._halt(group[0], str(error), group[0].pending[0].offset)
                else:
                    groups += [[feed] for feed in group]
                continue
            for feed in group:
                feed.landed()

    def _insert_entries(self, topic: str, records: list[Record]) -> None:
        if records:
            for table, rows in INSERTS[topic](records, self._registry):
                self._landing.warehouse.insert(table, rows)

    def _insist(self, work: Callable[[bool], None], doubtful: bool = False) -> bool:
        """Does it, again and again while ClickHouse is away, then in doubt; False when it is ours no more.

        Reads nothing meanwhile, so that memory stays as it is, but polls, so that the group keeps us.
        """
        ownership, pause, held = self._ownership, FIRST_PAUSE_S, False
        while ownership == self._ownership:
            try:
                work(doubtful)
            except (AwayError, RegistryAwayError) as error:
                if not held:
                    log.warning("waits, nothing is lost: %s", error)
                    held = True
                    self._hold()
                doubtful = True
                if self._waited(pause):
                    return False
                pause = min(2 * pause, LONGEST_PAUSE_S)
            else:
                if held:
                    log.info("goes on")
                    if self._begun:
                        self._follow()
                return True
        return False

    def _waited(self, pause: float) -> bool:
        """Polls for so long; whether it was asked to stop."""
        deadline = time.monotonic() + pause
        while time.monotonic() < deadline and not self._stopping:
            self._consumer.consume(1, 0.1)
        return self._stopping

    def _halt(self, feed: Feed, reason: str, offset: int | None = None) -> None:
        """The partition stands still until the next start; the others go on."""
        at = feed.position if offset is None else offset
        log.error("%s[%d] stands still at offset %d: %s", feed.topic, feed.partition, at, reason)
        feed.halted = True
        feed.pending.clear()
        if self._begun:
            self._follow()
        self._alarm.halted(feed.topic, feed.partition, at, reason)

    def _commit(self, places: Iterable[tuple[Feed, int, str]]) -> bool:
        """Commits what differs from the last commit; False when the partitions are not ours any more."""
        news = [(feed, offset, metadata) for feed, offset, metadata in places if (offset, metadata) != feed.committed]
        if not news:
            return True
        offsets = [TopicPartition(feed.topic, feed.partition, offset, metadata) for feed, offset, metadata in news]
        try:
            results = self._consumer.commit(offsets=offsets, asynchronous=False)
        except KafkaException as error:
            return self._lost(error.args[0])
        for result in results or ():
            if result.error is not None:
                return self._lost(result.error)
        for feed, offset, metadata in news:
            feed.committed = (offset, metadata)
        return True

    def _lost(self, error: KafkaError) -> bool:
        if error.code() not in LOST:
            raise KafkaException(error)
        log.warning("the group has moved on: %s", error.str())
        self._on_revoke(None, [])
        return False
