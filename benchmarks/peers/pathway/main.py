"""Pathway: raw Kafka records, a UDF that decodes and prices, temporal windows, and Python writers to ClickHouse."""

import io
from time import time_ns
from typing import Any

import fastavro
import job
import pathway as pw

schema = fastavro.parse_schema(job.SCHEMA)
clickhouse = job.clickhouse()


class Rated(pw.Schema):
    """What the UDF gives of an event."""

    row: pw.PyObjectWrapper
    department: str
    user: str
    occurred_at_us: int
    input_tokens: int
    output_tokens: int
    cost_pico: int


@pw.udf
def rate(data: bytes) -> tuple[pw.PyObjectWrapper, str, str, int, int, int, int]:
    """Decodes and prices one record."""
    event = fastavro.schemaless_reader(io.BytesIO(data[job.FRAME_BYTES :]), schema)
    cost = job.price(event)
    at = job.micros(event["occurred_at"])
    row = pw.PyObjectWrapper(job.row(event, cost))
    return row, event["department"], event["user"], at, event["input_tokens"], event["output_tokens"], cost


@pw.udf
def reached(cost: int) -> tuple[int, ...]:
    """The thresholds at or below a department's cost."""
    return tuple(job.crossed(-1, cost))


class TableWriter(pw.io.python.ConnectorObserver):
    """Inserts the rows of each minibatch."""

    def __init__(self, table: str, columns: list[str]) -> None:
        self._table, self._columns, self._rows = table, columns, []

    def on_time_end(self, time: int) -> None:
        if self._rows:
            rows, self._rows = self._rows, []
            clickhouse.insert(self._table, rows, column_names=self._columns)


class UsageWriter(TableWriter):
    def on_change(self, key: Any, row: dict[str, Any], time: int, is_addition: bool) -> None:
        self._rows.append(row["row"].value)


class WindowWriter(TableWriter):
    def __init__(self, kind: str) -> None:
        super().__init__("windows", job.WINDOW_COLUMNS)
        self._kind = kind

    def on_change(self, key: Any, row: dict[str, Any], time: int, is_addition: bool) -> None:
        if is_addition:  # what it replaces comes as a deletion
            names = ("scope", "window_start_us", "requests", "input_tokens", "output_tokens", "cost_pico")
            self._rows.append([self._kind, *(row[name] for name in names), time_ns()])


def hours(events: pw.Table, kind: str) -> pw.Table:
    """Hourly sums of each department or user."""
    window = pw.temporal.tumbling(duration=job.HOUR)
    return events.windowby(events.occurred_at_us, window=window, instance=events[kind]).reduce(
        scope=pw.this._pw_instance,
        window_start_us=pw.this._pw_window_start,
        requests=pw.reducers.count(),
        input_tokens=pw.reducers.sum(pw.this.input_tokens),
        output_tokens=pw.reducers.sum(pw.this.output_tokens),
        cost_pico=pw.reducers.sum(pw.this.cost_pico),
    )


settings = {"bootstrap.servers": job.KAFKA, "group.id": job.GROUP, "auto.offset.reset": "earliest"}
records = pw.io.kafka.read(
    settings,
    topic=job.TOPIC,
    format="raw",
    autocommit_duration_ms=200,
    max_backlog_size=20_000,  # else a backlog is one minibatch, and nothing is landed before all is computed
    name="events",
)
events = pw.utils.col.unpack_col(records.select(rated=rate(pw.this.data)).rated, schema=Rated)
pw.io.python.write(events.select(pw.this.row), UsageWriter("usage", job.USAGE_COLUMNS))
for kind in ("department", "user"):
    pw.io.python.write(hours(events, kind), WindowWriter(kind))
cost = events.groupby(events.department).reduce(events.department, cost_pico=pw.reducers.sum(events.cost_pico))
crossed = cost.select(pw.this.department, threshold=reached(pw.this.cost_pico)).flatten(pw.this.threshold)
pw.io.kafka.write(crossed, {"bootstrap.servers": job.KAFKA}, topic_name=job.ALERTS, format="json")

if __name__ == "__main__":
    backend = pw.persistence.Backend.filesystem(str(job.STATE_DIR / "pathway"))
    pw.run(persistence_config=pw.persistence.Config(backend), monitoring_level=pw.MonitoringLevel.NONE)
