"""Reading a stretch of one partition's log, outside any consumer group: how a worker finds its own past."""

from collections.abc import Iterator, Mapping
from typing import Any

from confluent_kafka import (
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    Producer,
    TopicCollection,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient

from schemas.block import BlockHeader

TIMEOUT_S = 20.0


class LogReader:
    """Reads records of single partitions by offset; use as a context manager."""

    def __init__(self, kafka: str) -> None:
        self._consumer = Consumer(
            {
                "bootstrap.servers": kafka,
                "group.id": "tollbook-log-reader",  # required by the client; nothing is ever committed
                "enable.auto.commit": False,
                "auto.offset.reset": "error",
                "isolation.level": "read_committed",
                "enable.partition.eof": True,
                "fetch.wait.max.ms": 50,
                "fetch.message.max.bytes": 16 << 20,
                "queued.max.messages.kbytes": 65_536,
            }
        )

    def __enter__(self) -> "LogReader":
        return self

    def __exit__(self, *_: object) -> None:
        self._consumer.close()

    def bounds(self, topic: str, partition: int) -> tuple[int, int]:
        """First offset kept and the offset after the last record."""
        low, high = self._consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=TIMEOUT_S)
        return low, high

    def offset_at(self, topic: str, partition: int, at_ms: int) -> int:
        """First offset appended at or after an instant (the end of the log when there is none)."""
        [found] = self._consumer.offsets_for_times([TopicPartition(topic, partition, at_ms)], timeout=TIMEOUT_S)
        return found.offset if found.offset >= 0 else self.bounds(topic, partition)[1]

    def read(self, topic: str, partition: int, start: int) -> Iterator[Message]:
        """Records from `start` to the end of the log as it was at the call; KafkaException when the broker is away."""
        _, end = self.bounds(topic, partition)
        if start >= end:
            return
        self._consumer.assign([TopicPartition(topic, partition, start)])
        yield from self._until(topic, partition, end)
        self._consumer.unassign()  # or it goes on fetching

    def _until(self, topic: str, partition: int, end: int) -> Iterator[Message]:
        while True:
            message = self._consumer.poll(TIMEOUT_S)
            if message is None:
                raise KafkaException(
                    KafkaError(KafkaError._TIMED_OUT, f"{topic}[{partition}]: nothing in {TIMEOUT_S} s")
                )
            error = message.error()
            if error is not None:
                if error.code() == KafkaError._PARTITION_EOF:
                    return
                raise KafkaException(error)
            offset = message.offset()
            assert offset is not None
            if offset >= end:
                return
            yield message
            if offset == end - 1:
                return


def header_of(message: Message) -> BlockHeader:
    """The block header of a record of `usage.blocks`."""
    headers: Any = message.headers()
    return BlockHeader.from_headers(headers)


def append_records(kafka: str, topic: str, records: Mapping[str, bytes | None]) -> None:
    """Append to the one partition of a topic; returns when all replicas have the records, else KafkaException."""
    failures: list[KafkaError] = []

    def delivered(error: KafkaError | None, _: Message) -> None:
        if error is not None:
            failures.append(error)

    producer = Producer({"bootstrap.servers": kafka, "acks": "all"})
    for key, value in records.items():
        producer.produce(topic, key=key, value=value, partition=0, on_delivery=delivered)
    if producer.flush(TIMEOUT_S):
        raise KafkaException(KafkaError(KafkaError._TIMED_OUT, f"{topic}: no acknowledgement in {TIMEOUT_S} s"))
    if failures:
        raise KafkaException(failures[0])


def topic_id(kafka: str, topic: str) -> str:
    """The id that the cluster gave a topic when it was created: the epoch of its offsets."""
    return TopicIds(kafka).of(topic)


class TopicIds:
    """Asks for topics' ids again and again over one connection."""

    def __init__(self, kafka: str) -> None:
        self._admin = AdminClient({"bootstrap.servers": kafka, "log_level": 4})

    def of(self, topic: str) -> str:
        """Raises KafkaException, also when there is no such topic, and when the broker does not answer."""
        described = self._admin.describe_topics(TopicCollection([topic]), request_timeout=TIMEOUT_S)
        try:
            return str(described[topic].result(TIMEOUT_S).topic_id)
        except TimeoutError as error:
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT, f"{topic}: no answer in {TIMEOUT_S} s")) from error


def wait_for_broker(kafka: str, deadline_s: float = 60.0) -> None:
    """Return when the broker answers; KafkaException when it does not within the deadline."""
    AdminClient({"bootstrap.servers": kafka}).list_topics(timeout=deadline_s)
