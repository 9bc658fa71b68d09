"""The sink's loop: one consumer, one thread; what it does with what it reads is in the other modules."""

import logging
import time
from collections.abc import Callable
from typing import Any

import pyarrow as pa
from confluent_kafka import KafkaError, KafkaException

from schemas.registry import Registry, RegistryAwayError
from schemas.settings import Settings
from schemas.topics import BLOCKS
from stream_processors import faults
from stream_processors.core.chain import HoleError
from stream_processors.logs import LogReader
from stream_processors.sink.entries import INSERTS, Record
from stream_processors.sink.feeds import BlockFeed, EntryFeed, Feed
from stream_processors.sink.group import Group
from stream_processors.sink.halt import Alarm
from stream_processors.sink.landing import Batch, Landing, batch_of
from stream_processors.sink.start import begin
from stream_processors.sink.warehouse import AwayError, RefusedError

ROWS_A_BATCH = 100_000
BYTES_A_BATCH = 24 << 20  # encoded, as they came
# An insert costs as much as thousands of rows, and every part is merged again: when inserts take long (much usage, a
# busy machine), rows are gathered for longer, so that about half of the time goes into inserting.
SHORTEST_WINDOW_S, LONGEST_WINDOW_S = 0.25, 1.0
IDLE_S = 1.0
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 5.0
WRONG = (HoleError, ValueError, pa.ArrowInvalid)  # what a record itself can be guilty of
log = logging.getLogger("tollbook.sink")


class Sink:
    """Reads, lands, commits. `run` returns after `stop`; KafkaException and RegistryAwayError end it."""

    def __init__(self, settings: Settings, landing: Landing, registry: Registry, ready: Callable[[], None]) -> None:
        self._landing, self._registry, self._ready = landing, registry, ready
        self._alarm = Alarm(settings.kafka, registry)
        self._reader = LogReader(settings.kafka)
        self._group = Group(settings.kafka, settings.instance)
        self._begun = 0  # the ownership that has been begun
        self._stopping = False
        self._due: float | None = None  # when what is pending must be inserted, monotonic seconds
        self._window_s = SHORTEST_WINDOW_S

    def stop(self) -> None:
        """Ends `run` after the insert that is under way."""
        self._stopping = True

    def run(self) -> None:
        self._group.join()
        try:
            while not self._stopping:
                if self._begun != self._group.ownership:
                    self._begin()
                self._turn()
        finally:
            self._group.leave()

    def _begin(self) -> None:
        """Asks ClickHouse where it stands, finishes what a crash left half done, then starts reading."""
        ownership, self._due = self._group.ownership, None
        for feed in self._block_feeds():
            try:
                if not self._insist(lambda _, feed=feed: begin(feed, self._landing.warehouse, self._reader)):  # type: ignore[misc]
                    return
            except (*WRONG, RefusedError) as error:
                self._halt(feed, str(error))
        self._flush()
        if ownership != self._group.ownership or self._stopping:
            return
        self._begun = ownership
        if self._group.feeds:
            self._group.follow()
            places = (f"[{feed.partition}] from {feed.position}" for feed in self._block_feeds())
            log.info("reads %s%s", BLOCKS, ", ".join(places))
        self._ready()

    def _turn(self) -> None:
        """Takes what the consumer has, and flushes when a batch is full or its time has come."""
        patience = IDLE_S if self._due is None else max(0.0, self._due - time.monotonic())
        messages = self._group.messages(patience)
        delivery = self._group.delivery
        for message in messages:
            if delivery != self._group.delivery:
                return  # they come again, from where each feed stands
            self._take(message)
            if self._full():
                self._flush()
        if self._due is not None and time.monotonic() >= self._due:
            self._flush()

    def _take(self, message: Any) -> None:
        feed = self._group.feeds.get((message.topic(), message.partition()))
        error = message.error()
        if error is not None:
            self._on_error(feed, error)
        elif feed is not None and not feed.halted and self._begun == self._group.ownership:
            self._due = self._due or time.monotonic() + self._window_s
            try:
                feed.take(message)
            except WRONG as wrong:
                self._flush()  # what came before it is right
                if self._group.owns(feed):
                    self._halt(feed, str(wrong))

    def _on_error(self, feed: Feed | None, error: KafkaError) -> None:
        if feed is not None and error.code() == KafkaError._AUTO_OFFSET_RESET:
            self._halt(feed, f"offset {feed.position} is not in the log any more: {error.str()}")
        elif error.fatal() or error.code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
            raise KafkaException(error)
        else:
            log.warning("Kafka: %s", error.str())

    def _full(self) -> bool:
        feeds = self._block_feeds()
        rows, size = sum(feed.pending_rows for feed in feeds), sum(feed.pending_bytes for feed in feeds)
        return rows >= ROWS_A_BATCH or size >= BYTES_A_BATCH

    def _block_feeds(self) -> list[BlockFeed]:
        return [feed for feed in self._group.feeds.values() if isinstance(feed, BlockFeed)]

    def _flush(self) -> None:
        self._due = None
        started, ownership = time.monotonic(), self._group.ownership
        self._flush_blocks()
        for topic in INSERTS:
            if ownership == self._group.ownership and not self._stopping:
                self._flush_entries(topic)
        if ownership == self._group.ownership:
            self._group.commit((feed, *feed.settled()) for feed in self._group.live() if not feed.pending)
        self._window_s = min(max(time.monotonic() - started, SHORTEST_WINDOW_S), LONGEST_WINDOW_S)

    def _flush_blocks(self) -> None:
        feeds = [feed for feed in self._block_feeds() if feed.pending]
        if not feeds or not self._group.commit((feed, *feed.planned()) for feed in feeds):
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
                self._halt(self._group.feeds[BLOCKS, partition], str(error), part.blocks[0].offset)
        return True

    def _flush_entries(self, topic: str) -> None:
        feeds = [feed for feed in self._group.feeds.values() if isinstance(feed, EntryFeed) and feed.topic == topic]
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
        ownership, pause, held = self._group.ownership, FIRST_PAUSE_S, False
        while ownership == self._group.ownership:
            try:
                work(doubtful)
            except (AwayError, RegistryAwayError) as error:
                if not held:
                    log.warning("waits, nothing is lost: %s", error)
                    held = True
                    self._group.hold()
                doubtful = True
                if self._waited(pause):
                    return False
                pause = min(2 * pause, LONGEST_PAUSE_S)
            else:
                if held:
                    log.info("goes on")
                    if self._begun == self._group.ownership:
                        self._group.follow()
                return True
        return False

    def _waited(self, pause: float) -> bool:
        """Polls for so long; whether it was asked to stop."""
        deadline = time.monotonic() + pause
        while time.monotonic() < deadline and not self._stopping:
            self._group.keep_alive()
        return self._stopping

    def _halt(self, feed: Feed, reason: str, offset: int | None = None) -> None:
        """The partition stands still until the next start; the others go on."""
        at = feed.position if offset is None else offset
        log.error("%s[%d] stands still at offset %d: %s", feed.topic, feed.partition, at, reason)
        feed.halted = True
        feed.drop()
        if self._begun == self._group.ownership:
            self._group.follow()
        self._alarm.halted(feed.topic, feed.partition, at, reason)
