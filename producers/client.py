"""The producer: checked usage events to `usage.events`.

    with Producer(Settings()) as producer:
        producer.emit(UsageEvent(event_id="...", ...))

Events wait in a bounded buffer until the broker has acknowledged them. When it is full, `emit` blocks until there is
room: usage must not be lost because a broker is slow. It never blocks for longer than `DELIVERY_S`, after which the
oldest events fail. A failed event is never silent: it goes to `on_failure`, or else the next `flush` or `close`
raises `DeliveryError`. Events of one key keep their order; a retry inside the client never doubles one.
"""

import atexit
import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from threading import Lock
from types import TracebackType
from typing import Any, NamedTuple, Self

import confluent_kafka
import numpy as np
import numpy.typing as npt
import pyarrow as pa
from confluent_kafka import KafkaError, KafkaException, Message

from producers.batches import MAX_EVENT_BYTES, encode_batch, keys_and_partitions
from schemas.batches import AVRO
from schemas.codec import avro_schema, decode, encode
from schemas.event import UsageEvent, event_key
from schemas.registry import Registry
from schemas.settings import Settings
from schemas.topics import EVENTS

BUFFER_EVENTS = 200_000
DELIVERY_S = 120
METADATA_S = 10.0
POLL_S = 0.05
NAMED_FAILURES = 100  # an error names so many events; all are counted
log = logging.getLogger("tollbook.producer")


@dataclass(frozen=True, slots=True)
class Failure:
    """An event that the broker did not take, and why. It can be emitted again as it is."""

    event_id: str
    error: str


class Place(NamedTuple):
    """Where an acknowledged event stands in `usage.events`."""

    partition: int
    offset: int


class Encoded(NamedTuple):
    """Events ready to be sent: value, key and partition of each."""

    values: list[bytes]
    keys: list[bytes]
    partitions: npt.NDArray[np.int32]

    def part(self, first: int, end: int) -> "Encoded":
        """Those from `first` up to, not including, `end`."""
        return Encoded(self.values[first:end], self.keys[first:end], self.partitions[first:end])


class DeliveryError(Exception):
    """Events that were emitted are not in the topic; `failures` names the first ones, `count` counts all."""

    def __init__(self, failures: list[Failure], count: int) -> None:
        first = failures[0]
        super().__init__(f"{count} events were not delivered; the first is {first.event_id}: {first.error}")
        self.failures = failures
        self.count = count


class Producer:
    """Emits usage events; safe to share between threads. Counts what the broker acknowledged, exactly."""

    def __init__(
        self,
        settings: Settings,
        on_failure: Callable[[Failure], None] | None = None,
        buffer_events: int = BUFFER_EVENTS,
        delivery_s: float = DELIVERY_S,
    ) -> None:
        """Raises RegistryAwayError or KafkaException when either is away, LookupError when nothing is provisioned."""
        registry = Registry(settings.registry)
        self._schema_id = registry.schema_id(EVENTS)
        registry.close()
        self._client = confluent_kafka.Producer(_configuration(settings, buffer_events, delivery_s), logger=log)
        self._buffer_events = buffer_events
        self._partition_count = _partition_count(self._client)
        self._on_failure = on_failure
        self._lock = Lock()
        self._failures: list[Failure] = []
        self._failed = 0
        self.acknowledged = 0
        self.first_offsets: dict[int, int] = {}  # by partition
        self.last_offsets: dict[int, int] = {}
        atexit.register(self.close)

    def emit(self, event: UsageEvent, on_settled: Callable[[Place | Failure], None] | None = None) -> None:
        """Sends one event; returns when it is buffered. ValueError when it is larger than an event may be.

        `on_settled` learns, from within a later call of this producer, where the event stands or that it failed; a
        failure is then its business alone.
        """
        value = encode(event.to_avro(), AVRO, self._schema_id)
        if len(value) > MAX_EVENT_BYTES:
            raise ValueError(f"event {event.event_id}: value = {len(value)} bytes: at most {MAX_EVENT_BYTES}")
        self._wait_for_room(1)
        key = event_key(event.organization, event.user, event.event_id)
        delivered = self._delivered if on_settled is None else partial(self._settled, on_settled)
        self._client.produce(EVENTS, value=value, key=key, on_delivery=delivered)
        self._client.poll(0)

    def emit_batch(self, batch: pa.RecordBatch) -> None:
        """Sends a batch with the columns of `schemas.arrow.EVENT_COLUMNS`; returns when it is buffered.

        Raises ValueError naming event, field, value and rule; then nothing of the batch is sent.
        """
        self.emit_encoded(self.encode(batch))

    def encode(self, batch: pa.RecordBatch) -> Encoded:
        """A batch ready to be sent, in parts if need be. Raises as `emit_batch`."""
        return Encoded(encode_batch(batch, self._schema_id), *keys_and_partitions(batch, self._partition_count))

    def emit_encoded(self, events: Encoded) -> None:
        """Sends what `encode` made; returns when it is buffered."""
        for partition in range(self._partition_count):
            rows = np.flatnonzero(events.partitions == partition).tolist()
            if rows:
                self._send([{"key": events.keys[row], "value": events.values[row]} for row in rows], partition)

    def poll(self, timeout_s: float) -> None:
        """Waits so long at most for acknowledgements, and tells whom they concern."""
        self._client.poll(timeout_s)

    def flush(self) -> None:
        """Returns when everything emitted is acknowledged; raises DeliveryError when something was not."""
        while self._client.flush(1.0):
            pass  # ends: a message that cannot be delivered fails after `delivery_s`
        with self._lock:
            failures, count = self._failures, self._failed
            self._failures, self._failed = [], 0
        if count:
            raise DeliveryError(failures, count)

    def close(self) -> None:
        """Flushes; also done when the program ends."""
        atexit.unregister(self.close)
        self.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _send(self, messages: list[dict[str, Any]], partition: int) -> None:
        chunk = max(1, self._buffer_events // 2)
        for start in range(0, len(messages), chunk):
            part = messages[start : start + chunk]
            while part:
                self._wait_for_room(len(part))
                self._client.produce_batch(EVENTS, part, partition, on_delivery=self._delivered)
                part = _not_queued(part)
        self._client.poll(0)

    def _wait_for_room(self, count: int) -> None:
        while len(self._client) + count > self._buffer_events:
            self._client.poll(POLL_S)

    def _delivered(self, error: KafkaError | None, message: Message) -> None:
        if error is not None:
            self._fail(error, message)
            return
        self._count(message)

    def _settled(
        self, on_settled: Callable[[Place | Failure], None], error: KafkaError | None, message: Message
    ) -> None:
        on_settled(self._count(message) if error is None else _failure(error, message))

    def _count(self, message: Message) -> Place:
        place = Place(message.partition(), message.offset())  # type: ignore[arg-type] # both set once delivered
        with self._lock:
            self.acknowledged += 1
            self.first_offsets.setdefault(place.partition, place.offset)
            self.last_offsets[place.partition] = place.offset
        return place

    def _fail(self, error: KafkaError, message: Message) -> None:
        failure = _failure(error, message)
        if self._on_failure is not None:
            self._on_failure(failure)
            return
        with self._lock:
            self._failed += 1
            if len(self._failures) < NAMED_FAILURES:
                self._failures.append(failure)


def _failure(error: KafkaError, message: Message) -> Failure:
    record = decode(message.value() or b"", avro_schema(AVRO))
    log.error("event %s: not delivered: %s", record["event_id"], error.str())
    return Failure(record["event_id"], error.str())


def _configuration(settings: Settings, buffer_events: int, delivery_s: float) -> dict[str, Any]:
    return {
        "bootstrap.servers": settings.kafka,
        "enable.idempotence": True,
        "compression.type": "lz4",
        "linger.ms": 5,
        "batch.size": 1 << 20,
        "message.max.bytes": 8 << 20,
        "partitioner": "murmur2_random",  # Java's: librdkafka's own would split a user between clients
        "queue.buffering.max.messages": buffer_events,
        "delivery.timeout.ms": int(delivery_s * 1000),
    }


def _partition_count(client: confluent_kafka.Producer) -> int:
    topic = client.list_topics(EVENTS, timeout=METADATA_S).topics[EVENTS]
    if topic.error is not None:
        raise LookupError(f"topic {EVENTS}: {topic.error.str()}; run `python -m schemas.provision`")
    return len(topic.partitions)


def _not_queued(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What the client's queue had no room for, to be sent again; any other refusal is raised."""
    refused = [message for message in messages if "_error" in message]
    for message in refused:
        error = message.pop("_error")
        if error.code() != KafkaError._QUEUE_FULL:
            raise KafkaException(error)
    return refused
