"""Entries that the ledger itself makes, into `usage.events`: by hand, by the auditor, from rejects.

They take the way of all usage, so that windows, budgets and alerts follow. On a server a producer of adjustments has
an account of its own.
"""

import logging
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from schemas.codec import encode
from schemas.event import UsageEvent, event_key
from schemas.registry import Registry
from schemas.settings import Settings
from schemas.topics import EVENTS

DELIVERY_S = 30
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
    client = Producer(
        {
            "bootstrap.servers": settings.kafka,
            "enable.idempotence": True,
            "compression.type": "lz4",
            "linger.ms": 5,
            "message.max.bytes": 8 << 20,
            "partitioner": "murmur2_random",  # as every producer's
            "delivery.timeout.ms": DELIVERY_S * 1000,
        },
        logger=log,
    )
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
