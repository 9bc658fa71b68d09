"""Tells people that a partition stands still: an alert of type `pipeline`, outside the chains of `usage.alerts`.

The chain of a partition of `usage.alerts` has one writer, the budgets agent. A record without the header `extends`
stands beside it: readers of the chain pass it by, and the sink lands it like any alert.
"""

import hashlib
import time
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from schemas.codec import encode
from schemas.registry import Registry
from schemas.topics import ALERTS

DELIVER_S = 20.0


class Alarm:
    """Appends alerts and waits until the broker has them."""

    def __init__(self, kafka: str, registry: Registry) -> None:
        self._registry = registry
        self._kafka = kafka

    def halted(self, topic: str, partition: int, offset: int, reason: str) -> None:
        """Raises KafkaException or RegistryAwayError when the alert cannot be sent."""
        record = halt_alert(topic, partition, offset, reason, time.time_ns() // 1000)
        value = encode(record, "alert.v1", self._registry.schema_id(ALERTS))
        failures: list[KafkaError] = []

        def delivered(error: KafkaError | None, _: Message) -> None:
            if error is not None:
                failures.append(error)

        producer = Producer({"bootstrap.servers": self._kafka, "acks": "all", "partitioner": "murmur2_random"})
        alert_id = halt_id(topic, partition, offset)
        producer.produce(ALERTS, value, alert_id, on_delivery=delivered)
        if producer.flush(DELIVER_S):
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT, f"{ALERTS}: no acknowledgement in {DELIVER_S} s"))
        if failures:
            raise KafkaException(failures[0])


def halt_id(topic: str, partition: int, offset: int) -> str:
    """The same place has the same id: standing still there after each restart is one alert."""
    return hashlib.sha256(f"pipeline:sink:{topic}:{partition}:{offset}".encode()).hexdigest()[:32]


def halt_alert(topic: str, partition: int, offset: int, reason: str, at: int) -> dict[str, Any]:
    """A record of `alert.v1`; `at` in microseconds UTC. It concerns no window and no budget."""
    return {
        "alert_id": halt_id(topic, partition, offset),
        "type": "pipeline",
        "state": "raised",
        "revision": 0,
        "budget_id": "",
        "organization": "",
        "scope_kind": "partition",
        "scope": f"{topic}[{partition}]",
        "window_kind": "",
        "conditions": "",
        "window_start": at,
        "window_end": at,
        "threshold": 0,
        "used": "0",
        "limit": "0",
        "unit": "",
        "severity": "critical",
        "detail": f"The sink stands still at {topic}[{partition}] offset {offset}: {reason}",
        "cause_event": "",
        "positions": [],
        "late": False,
        "deliver": True,
        "raised_at": at,
    }
