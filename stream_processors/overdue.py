"""Readers that are half way to losing what they have not read: said in an alert while there is time to act.

A reader that has stopped cannot say so itself, so rating and the sink each look at all of them. The id of an alert
is a hash of reader, partition and the day of the oldest record not read: whoever says it, it is one alert a day.
"""

import logging
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient, ConfigResource, ResourceType  # type: ignore[attr-defined] # re-exported without saying so

from schemas.registry import Registry, RegistryAwayError
from schemas.settings import Settings
from schemas.topics import BLOCKS, EVENTS, PARTIALS
from stream_processors.alert_log import append_alert, read_alerts
from stream_processors.core.pipeline_alerts import pipeline_alert, pipeline_id
from stream_processors.lag import SINK_GROUP, SINK_TOPICS, WINDOWS_GROUP, Place, committed, ends, rated_to
from stream_processors.logs import LogReader, topic_id

CHECK_S = 60.0
TIMEOUT_S = 10.0
log = logging.getLogger("tollbook.overdue")


class Reader(NamedTuple):
    """A stage that reads a partition, and the time of the oldest record that it has not read (ms UTC)."""

    stage: str
    topic: str
    partition: int
    oldest_ms: int


def report_overdue(settings: Settings) -> None:
    """Appends the alerts that are due and not in the log yet; what cannot be asked now is asked the next time."""
    registry = Registry(settings.registry)
    try:
        due = overdue_alerts(list(readers_behind(settings)), _retentions(settings), time.time_ns() // 1000)
        if due:
            said = {record["alert_id"] for record in read_alerts(settings, follow=False)}
            for alert in due:
                if alert["alert_id"] not in said:
                    log.critical("%s", alert["detail"])
                    append_alert(settings.kafka, registry, alert)
    except (KafkaException, RegistryAwayError) as error:
        log.warning("cannot see how far the readers are: %s", error)
    finally:
        registry.close()


def overdue_alerts(readers: list[Reader], retentions: Mapping[str, int], now_us: int) -> list[dict[str, Any]]:
    """An alert for each reader at half its input's retention; `retentions` in ms by topic, -1 for ever. Pure."""
    alerts = []
    for reader in readers:
        retention_ms, age_ms = retentions[reader.topic], now_us // 1000 - reader.oldest_ms
        if retention_ms < 0 or 2 * age_ms < retention_ms:
            continue
        oldest = datetime.fromtimestamp(reader.oldest_ms / 1000, UTC)
        detail = (
            f"{reader.stage} has not read {reader.topic}[{reader.partition}] since {oldest:%Y-%m-%d %H:%M} UTC: half "
            f"of the retention of {retention_ms / 3_600_000:g} hours has passed, after all of it records are lost"
        )
        alert_id = pipeline_id("overdue", reader.stage, reader.topic, reader.partition, f"{oldest:%Y-%m-%d}")
        alerts.append(pipeline_alert(alert_id, reader.topic, reader.partition, detail, now_us))
    return alerts


def readers_behind(settings: Settings) -> Iterator[Reader]:
    """Each stage and partition with something unread. Raises KafkaException."""
    with LogReader(settings.kafka) as reader:
        of_sink = ends(reader, settings, SINK_TOPICS)
        of_windows = ends(reader, settings, (BLOCKS, PARTIALS))
        of_rating = ends(reader, settings, (EVENTS,))
        epoch = topic_id(settings.kafka, EVENTS)
        rated = {place: rated_to(reader, place[1], epoch) for place in of_rating}
        yield from _unread(reader, "rating", rated, of_rating)
        yield from _unread(reader, "windows", committed(settings.kafka, WINDOWS_GROUP, of_windows), of_windows)
        yield from _unread(reader, "sink", committed(settings.kafka, SINK_GROUP, of_sink), of_sink)


def _unread(log: LogReader, stage: str, done: Mapping[Place, int], wanted: Mapping[Place, int]) -> Iterator[Reader]:
    for (topic, partition), end in wanted.items():
        low, _ = log.bounds(topic, partition)
        position = max(low, done[topic, partition])
        if position < end:
            for message in log.read(topic, partition, position):
                yield Reader(stage, topic, partition, message.timestamp()[1])
                break


def _retentions(settings: Settings) -> dict[str, int]:
    """As the broker has them now: an operator may have changed them. -1 for a topic that is only compacted."""
    admin = AdminClient({"bootstrap.servers": settings.kafka, "log_level": 4})
    asked = [ConfigResource(ResourceType.TOPIC, topic) for topic in {EVENTS, PARTIALS, *SINK_TOPICS}]
    found = {}
    for resource, future in admin.describe_configs(asked, request_timeout=TIMEOUT_S).items():
        entries = future.result(TIMEOUT_S)
        deletes = "delete" in str(entries["cleanup.policy"].value)
        found[resource.name] = int(str(entries["retention.ms"].value)) if deletes else -1
    return found
