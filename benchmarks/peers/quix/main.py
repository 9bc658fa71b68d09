"""Quix Streams: a streaming dataframe, tumbling windows, a re-keyed branch for departments, batching sinks."""

import time
from datetime import timedelta
from typing import Any

import job
import quixstreams.dataframe.windows.aggregations as agg
from quixstreams import Application, State
from quixstreams.models import SchemaRegistryClientConfig
from quixstreams.models.serializers.avro import AvroDeserializer
from quixstreams.sinks import BatchingSink, SinkBatch

app = Application(
    broker_address=job.KAFKA,
    consumer_group=job.GROUP,
    auto_offset_reset="earliest",
    commit_interval=1.0,
    state_dir=job.STATE_DIR / "quix",
    loglevel="WARNING",
)
registry = SchemaRegistryClientConfig(url=job.REGISTRY)
usage = app.topic(
    job.TOPIC,
    key_deserializer="str",
    value_deserializer=AvroDeserializer(schema_registry_client_config=registry),
    timestamp_extractor=lambda value, headers, timestamp, kind: job.micros(value["occurred_at"]) // 1000,
)
alerts = app.topic(job.ALERTS, value_serializer="json", key_serializer="str")
# Partitions are read one after the other at times: as late as the whole stretch of the events.
GRACE = timedelta(hours=7)


class UsageSink(BatchingSink):
    """Rows to ClickHouse at every checkpoint."""

    def setup(self) -> None:
        self._client = job.clickhouse()

    def write(self, batch: SinkBatch) -> None:
        rows = [job.row(item.value, item.value["cost_pico"]) for item in batch]
        self._client.insert("usage", rows, column_names=job.USAGE_COLUMNS)


class WindowSink(BatchingSink):
    """The newest state of each window that changed, at every checkpoint."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self._kind = kind

    def setup(self) -> None:
        self._client = job.clickhouse()

    def write(self, batch: SinkBatch) -> None:
        newest = {(item.key, item.value["start"]): item.value for item in batch}
        version = time.time_ns()
        names = ("requests", "input_tokens", "output_tokens", "cost_pico")
        rows = [
            [self._kind, key.rpartition("/")[2], start * 1000, *(value[name] for name in names), version]
            for (key, start), value in newest.items()
        ]
        self._client.insert("windows", rows, column_names=job.WINDOW_COLUMNS)


def priced(event: dict[str, Any]) -> dict[str, Any]:
    return event | {"cost_pico": job.price(event)}


def spend(event: dict[str, Any]) -> dict[str, Any]:
    """What windows need; small, because it goes through a topic to be re-keyed."""
    names = ("department", "input_tokens", "output_tokens", "cost_pico")
    return {name: event[name] for name in names} | {"occurred_ms": job.micros(event["occurred_at"]) // 1000}


def hours(rows: Any) -> Any:
    """Hourly sums per key, as they are after every event."""
    return (
        rows.tumbling_window(timedelta(hours=1), grace_ms=GRACE)
        .agg(
            requests=agg.Count(),
            input_tokens=agg.Sum("input_tokens"),
            output_tokens=agg.Sum("output_tokens"),
            cost_pico=agg.Sum("cost_pico"),
        )
        .current()
    )


def crossings(value: dict[str, Any], state: State) -> list[dict[str, Any]]:
    """The thresholds that this event makes its department cross."""
    before = state.get("cost_pico", 0)
    after = before + value["cost_pico"]
    state.set("cost_pico", after)
    return [{"department": value["department"], "threshold": each} for each in job.crossed(before, after)]


events = app.dataframe(usage).apply(priced)
events.sink(UsageSink())
small = events.apply(spend)
hours(small).sink(WindowSink("user"))  # the topic is keyed by organization and user
departments = small.group_by("department", key_serializer="str", key_deserializer="str")
departments = departments.set_timestamp(lambda value, key, timestamp, headers: value["occurred_ms"])
hours(departments).sink(WindowSink("department"))
departments.apply(crossings, stateful=True, expand=True).to_topic(alerts)

if __name__ == "__main__":
    app.run()
