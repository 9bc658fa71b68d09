"""Tells people that a partition stands still: an alert of type `pipeline`, beside the chains of `usage.alerts`."""

import time
from typing import Any

from schemas.registry import Registry
from stream_processors.alert_log import append_alert
from stream_processors.core.pipeline_alerts import pipeline_alert, pipeline_id


class Alarm:
    """Appends alerts and waits until the broker has them."""

    def __init__(self, kafka: str, registry: Registry) -> None:
        self._registry = registry
        self._kafka = kafka

    def halted(self, topic: str, partition: int, offset: int, reason: str) -> None:
        """Raises KafkaException or RegistryAwayError when the alert cannot be sent."""
        append_alert(self._kafka, self._registry, halt_alert(topic, partition, offset, reason, time.time_ns() // 1000))


def halt_id(topic: str, partition: int, offset: int) -> str:
    """The same place has the same id: standing still there after each restart is one alert."""
    return pipeline_id("sink", topic, partition, offset)


def halt_alert(topic: str, partition: int, offset: int, reason: str, at: int) -> dict[str, Any]:
    """A record of `alert.v1`; `at` in microseconds UTC."""
    detail = f"The sink stands still at {topic}[{partition}] offset {offset}: {reason}"
    return pipeline_alert(halt_id(topic, partition, offset), topic, partition, detail, at)
