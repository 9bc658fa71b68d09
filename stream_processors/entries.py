"""Entries that the ledger itself makes, into `usage.events`: by hand, by the auditor, from rejects.

They take the way of all usage, so that windows, budgets and alerts follow. On a server a producer of adjustments has
an account of its own.
"""

import logging
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from confluent_kafka import KafkaError, KafkaException, Message, Producer

from schemas.batches import avro_bodies, event_keys, framed, plain_batch
from schemas.codec import encode
from schemas.event import UsageEvent, event_key
from schemas.registry import Registry
from schemas.settings import Settings
from schemas.topics import EVENTS
from stream_processors import faults

DELIVERY_S = 30
MOST_QUEUED = 100_000
log = logging.getLogger("tollbook.entries")


class Record(NamedTuple):
    """A record of `usage.events`; the key decides its partition."""

    key: bytes | None
    value: bytes


def records_of(events: Iterable[UsageEvent], registry: Registry) -> list[Record]:
    """Events as records; an adjustment has the key of what it corrects, so that it meets it. Raises LookupError."""
    schema_id = registry.schema_id(EVENTS)
    return [
        Record(
            event_key(event.organization, event.user, event.corrects or event.event_id),
            encode(event.to_avro(), "usage_event.v1", schema_id),
        )
        for event in events
    ]


def send(settings: Settings, records: Sequence[Record]) -> list[tuple[int, int]]:
    """Partition and offset of each record once the broker has all of them; KafkaException when it has not."""
    client = _producer(settings)
    places: dict[int, tuple[int, int]] = {}
    failures: list[KafkaError] = []

    def delivered_as(number: int) -> Callable[[KafkaError | None, Message], None]:
        def delivered(error: KafkaError | None, message: Message) -> None:
            if error is not None:
                failures.append(error)
            else:
                places[number] = (message.partition() or 0, message.offset() or 0)

        return delivered

    for number, record in enumerate(records):
        while len(client) > 10_000:
            client.poll(0.05)
        client.produce(EVENTS, record.value, record.key, on_delivery=delivered_as(number))
    while client.flush(1.0):
        pass  # ends: what cannot be delivered fails after DELIVERY_S
    if failures:
        raise KafkaException(failures[0])
    return [places[number] for number in range(len(records))]


class BatchSender:
    """Sends entries a batch at a time. Raises RegistryAwayError, LookupError or KafkaException when there is no way."""

    def __init__(self, settings: Settings) -> None:
        self._schema_id = Registry(settings.registry).schema_id(EVENTS)
        self._partitions = settings.partitions
        self._failures: list[KafkaError] = []
        self._client = _producer(settings, {"queue.buffering.max.messages": MOST_QUEUED, "batch.size": 1 << 20})

    def send(self, entries: pa.RecordBatch, partitions: npt.NDArray[np.int32]) -> None:
        """Returns when the broker has all of EVENT_COLUMNS, each in its partition (that of what it corrects).

        KafkaException when it has not. An entry about a topic of more partitions goes where there is one.
        """
        values = framed(avro_bodies(plain_batch(entries)), self._schema_id)
        keys = event_keys(*(entries.column(name) for name in ("organization", "user", "corrects")))
        names = keys.dictionary.cast(pa.binary()).to_pylist()
        codes = keys.indices.to_numpy()
        places = partitions % self._partitions
        for partition in range(self._partitions):
            rows = np.flatnonzero(places == partition)
            for start in range(0, len(rows), MOST_QUEUED):
                part = rows[start : start + MOST_QUEUED].tolist()
                self._send([{"key": names[codes[row]], "value": values[row]} for row in part], partition)

    def _send(self, messages: list[dict[str, Any]], partition: int) -> None:
        self._client.produce_batch(EVENTS, messages, partition, on_delivery=self._delivered)
        while self._client.flush(1.0):
            pass  # ends: what cannot be delivered fails after DELIVERY_S
        self._failures += [message["_error"] for message in messages if "_error" in message]
        if self._failures:
            raise KafkaException(self._failures[0])
        faults.crash("entries.sent")

    def _delivered(self, error: KafkaError | None, _: Message) -> None:
        if error is not None:
            self._failures.append(error)


def _producer(settings: Settings, more: dict[str, Any] | None = None) -> Producer:
    return Producer(
        {
            "bootstrap.servers": settings.kafka,
            "enable.idempotence": True,
            "compression.type": "lz4",
            "linger.ms": 5,
            "message.max.bytes": 8 << 20,
            "partitioner": "murmur2_random",  # as every producer's
            "delivery.timeout.ms": DELIVERY_S * 1000,
            **(more or {}),
        },
        logger=log,
    )
