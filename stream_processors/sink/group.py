"""The sink's membership in its consumer group: what is ours, what is being read, what is committed."""

import logging
import os
from collections.abc import Iterable
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from schemas.topics import ALERTS, BLOCKS, BUDGETS, DIRECTORY, LIMITS, PERIODS, RESPONSES, WINDOWS
from stream_processors.lag import SINK_GROUP
from stream_processors.sink.feeds import Feed
from stream_processors.sink.start import feeds_of

TOPICS = [BLOCKS, WINDOWS, ALERTS, LIMITS, BUDGETS, PERIODS, RESPONSES, DIRECTORY]
MESSAGES_A_TURN = 64
POLL_S = 0.1
COMMIT_S = 30.0  # a broker that answers takes milliseconds
CONSUMER: dict[str, Any] = {
    "group.id": SINK_GROUP,
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
#: The group has moved on without us: what is in hand belongs to another member now, or comes again once we are back.
LOST = {
    KafkaError.ILLEGAL_GENERATION,
    KafkaError.REBALANCE_IN_PROGRESS,
    KafkaError.UNKNOWN_MEMBER_ID,  # frozen for longer than a session, or known only to a broker that was killed
}
log = logging.getLogger("tollbook.sink")


class Group:
    """The consumer and the feeds of the partitions it has been given. Methods raise KafkaException.

    `ownership` counts rebalances: work begun under an older one is dropped, nothing of it is committed but perhaps a
    plan, which the next owner reads. `delivery` counts what was asked to be read: messages of an older one come
    again. An `instance` that comes back under its name is given its partitions at once: the group does not wait for
    its old session to end.
    """

    def __init__(self, kafka: str, instance: str) -> None:
        self.feeds: dict[tuple[str, int], Feed] = {}
        self.ownership = 0
        self._failed: KafkaException | None = None
        self.delivery = 0
        named = {"group.instance.id": instance} if instance else {}
        self._consumer = Consumer(CONSUMER | {"bootstrap.servers": kafka} | named)

    def join(self) -> None:
        self._consumer.subscribe(TOPICS, on_assign=self._assign, on_revoke=self._revoke, on_lost=self._revoke)

    def leave(self) -> None:
        self._consumer.close()

    def messages(self, patience_s: float) -> list[Any]:
        """What there is, at the latest after `patience_s` seconds; waits only for the first."""
        first = self._poll(patience_s)
        return [] if first is None else [first, *self._consumer.consume(MESSAGES_A_TURN, 0)]

    def keep_alive(self) -> None:
        """Stays a member while nothing is read; takes a tenth of a second."""
        self._poll(POLL_S)

    def hold(self) -> None:
        """Reads nothing; what had been fetched is forgotten and comes again."""
        self.delivery += 1
        self._consumer.assign([])

    def follow(self) -> None:
        """Reads every feed that is not halted, from its position."""
        self.delivery += 1
        self._consumer.assign([TopicPartition(feed.topic, feed.partition, feed.position) for feed in self.live()])

    def live(self) -> list[Feed]:
        return [feed for feed in self.feeds.values() if not feed.halted]

    def owns(self, feed: Feed) -> bool:
        return self.feeds.get((feed.topic, feed.partition)) is feed

    def commit(self, places: Iterable[tuple[Feed, int, str]]) -> bool:
        """Commits offset and metadata where they are news; False when the partitions are not ours any more."""
        news = [(feed, offset, metadata) for feed, offset, metadata in places if (offset, metadata) != feed.committed]
        if not news:
            return True
        offsets = [TopicPartition(feed.topic, feed.partition, offset, metadata) for feed, offset, metadata in news]
        try:
            results = self._committed(offsets)
        except KafkaException as error:
            return self._lost(error.args[0])
        for result in results:
            if result.error is not None:
                return self._lost(result.error)
        for feed, offset, metadata in news:
            feed.committed = (offset, metadata)
        return True

    def _committed(self, offsets: list[TopicPartition]) -> list[TopicPartition]:
        """The client's own call, which never returns when the broker was silent for long and then took requests of ours
        that waited in its queue for those of another member of our name. The process ends then, as by a kill."""
        answers: SimpleQueue[list[TopicPartition] | KafkaException] = SimpleQueue()

        def ask() -> None:
            try:
                answers.put(self._consumer.commit(offsets=offsets, asynchronous=False) or [])
            except KafkaException as error:
                answers.put(error)

        Thread(target=ask, daemon=True).start()
        try:
            answer = answers.get(timeout=COMMIT_S)
        except Empty:
            log.critical("ends: no answer to a commit within %s s", COMMIT_S)
            logging.shutdown()
            os._exit(1)
        if isinstance(answer, KafkaException):
            raise answer
        return answer

    def _lost(self, error: KafkaError) -> bool:
        if error.code() not in LOST:
            raise KafkaException(error)
        log.warning("the group has moved on: %s", error.str())
        self._forget()
        self.hold()
        return False

    def _poll(self, patience_s: float) -> Any:
        message = self._consumer.poll(patience_s)
        if self._failed is not None:
            raise self._failed
        return message

    def _assign(self, consumer: Any, partitions: list[TopicPartition]) -> None:
        self._forget()
        self.hold()
        try:
            self.feeds = {(feed.topic, feed.partition): feed for feed in feeds_of(consumer, partitions)}
        except KafkaException as error:  # the client, whose call this is, would make of it what nobody can catch
            self._failed = error

    def _revoke(self, consumer: Any, _: list[TopicPartition]) -> None:
        self._forget()
        self.delivery += 1
        consumer.unassign()  # to assign nothing would not do: the client would wait for this call, and never join again

    def _forget(self) -> None:
        self.ownership += 1
        self.feeds = {}
