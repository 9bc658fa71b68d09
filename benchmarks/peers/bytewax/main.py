"""Bytewax: a dataflow with event-time windows, a stateful map for budgets, batches to ClickHouse, and recovery.

The topic is read to its end (`tail=False`): a window is emitted when it closes, and the last ones only close at the
end of the input.
"""

import io
import signal
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import bytewax.connectors.kafka.operators as kop
import bytewax.operators as op
import bytewax.operators.windowing as win
import fastavro
import job
from bytewax.connectors.kafka import KafkaSinkMessage, KafkaSourceMessage
from bytewax.dataflow import Dataflow
from bytewax.outputs import DynamicSink, StatelessSinkPartition
from bytewax.recovery import RecoveryConfig, init_db_dir
from bytewax.run import cli_main

schema = fastavro.parse_schema(job.SCHEMA)
ALIGN, HOUR = datetime(2020, 1, 1, tzinfo=UTC), timedelta(hours=1)
Priced = tuple[dict[str, Any], int]


class TableSink(DynamicSink):
    """Inserts lists of rows into a table."""

    def __init__(self, table: str, columns: list[str]) -> None:
        self._table, self._columns = table, columns

    def build(self, step_id: str, worker_index: int, worker_count: int) -> "TablePartition":
        return TablePartition(self._table, self._columns)


class TablePartition(StatelessSinkPartition):
    def __init__(self, table: str, columns: list[str]) -> None:
        self._client, self._table, self._columns = job.clickhouse(), table, columns

    def write_batch(self, items: list[tuple[str, list[list[Any]]]]) -> None:
        for _, rows in items:
            self._client.insert(self._table, rows, column_names=self._columns)


def decode(message: KafkaSourceMessage) -> tuple[str, Priced]:
    """The event and its price, keyed by source partition."""
    event = fastavro.schemaless_reader(io.BytesIO(message.value[job.FRAME_BYTES :]), schema)
    return str(message.partition), (event, job.price(event))


def by(kind: str, priced: Priced) -> tuple[str, tuple[datetime, tuple[int, ...]]]:
    event, cost = priced
    return f"{kind}/{event[kind]}", (event["occurred_at"], job.measures(event, cost))


def fold(total: list[int], value: tuple[datetime, tuple[int, ...]]) -> list[int]:
    return [a + b for a, b in zip(total, value[1], strict=True)]


def merge(one: list[int], other: list[int]) -> list[int]:
    return [a + b for a, b in zip(one, other, strict=True)]


def window_row(closed: tuple[str, tuple[int, list[int]]]) -> tuple[str, list[Any]]:
    key, (number, total) = closed
    kind, _, scope = key.partition("/")
    return "windows", [kind, scope, job.micros(ALIGN + number * HOUR), *total, time.time_ns()]


def watch(before: int | None, value: tuple[datetime, tuple[int, ...]]) -> tuple[int, list[int]]:
    """The thresholds that an event makes its department cross."""
    after = (before or 0) + value[1][-1]
    return after, job.crossed(before or 0, after)


def alert(crossing: tuple[str, list[int]]) -> list[KafkaSinkMessage]:
    key, thresholds = crossing
    return [KafkaSinkMessage(None, job.alert(key.partition("/")[2], each)) for each in thresholds]


flow = Dataflow("bench")
source = kop.input("events", flow, brokers=[job.KAFKA], topics=[job.TOPIC], tail=False, batch_size=5_000)
op.raises("errors", source.errs)
priced = op.map("decode", source.oks, decode)
rows = op.map_value("row", priced, lambda each: job.row(*each))
batches = op.collect("rows", rows, timeout=timedelta(seconds=1), max_size=job.BATCH_ROWS)
op.output("usage", batches, TableSink("usage", job.USAGE_COLUMNS))
values = op.key_rm("values", priced)
departments = op.map("departments", values, lambda each: by("department", each))
users = op.map("users", values, lambda each: by("user", each))
hours = win.fold_window(
    "hours",
    op.merge("scopes", departments, users),
    # A department's events come from several partitions, of which a backlog is read in turn, a batch at a time: one may
    # be as far ahead as the whole stretch of the events. With less, events are late and left out without a word.
    win.EventClock(ts_getter=lambda value: value[0], wait_for_system_duration=timedelta(hours=7)),
    win.TumblingWindower(length=HOUR, align_to=ALIGN),
    lambda: [0, 0, 0, 0],
    fold,
    merge,
)
closed = op.collect("windows", op.map("window_row", hours.down, window_row), timedelta(seconds=1), job.BATCH_ROWS)
op.output("hours_out", closed, TableSink("windows", job.WINDOW_COLUMNS))
crossings = op.flat_map("alert", op.stateful_map("watch", departments, watch), alert)
kop.output("alerts", crossings, brokers=[job.KAFKA], topic=job.ALERTS)

if __name__ == "__main__":
    recovery = job.STATE_DIR / "bytewax"
    if not recovery.exists():
        recovery.mkdir()
        init_db_dir(recovery, 1)
    cli_main(flow, epoch_interval=timedelta(seconds=1), recovery_config=RecoveryConfig(recovery))
    signal.pause()  # all is read; the harness still asks what this process used
