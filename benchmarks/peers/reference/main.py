"""What the hardware can do: whole batches in Rust and C from record to row. No state that outlives it, no recovery."""

import json
import time

import job
import numpy as np
import polars as pl
import pyarrow as pa
import pyruhvro
from confluent_kafka import Consumer, Producer

SCHEMA = json.dumps(job.SCHEMA)
MEASURES = ["requests", "input_tokens", "output_tokens", "cost_pico"]
consumer = Consumer(
    {
        "bootstrap.servers": job.KAFKA,
        "group.id": job.GROUP,
        "auto.offset.reset": "earliest",
        "enable.auto.commit": False,
        "queued.max.messages.kbytes": 262_144,
        "fetch.message.max.bytes": 8 << 20,
    }
)
consumer.subscribe([job.TOPIC])
alerts = Producer({"bootstrap.servers": job.KAFKA})
clickhouse = job.clickhouse()
windows = pl.DataFrame(
    schema={"scope_kind": pl.String, "scope": pl.String, "window_start_us": pl.Int64}
    | dict.fromkeys(MEASURES, pl.Int64)
)
department_cost: dict[str, int] = {}


def costs(events: pa.RecordBatch) -> np.ndarray:
    """Pico-dollars of each event: one dot product a model and time of day."""
    names = pl.from_arrow(events.select(["provider", "model"])).select(pl.concat_str(pl.all(), separator="/"))
    models = names.to_series().to_numpy()
    at = events.column("occurred_at").cast(pa.int64()).to_numpy() % job.DAY
    counts = np.stack([events.column(name).to_numpy() for name in job.CLASSES], axis=1)
    result = np.zeros(len(at), np.int64)
    distinct, code = np.unique(models.astype(str), return_inverse=True)
    for number, model in enumerate(distinct.tolist()):
        rows = np.flatnonzero(code == number)
        card = job.PRICES[model]
        era = np.searchsorted(np.array(card["from_us"]), at[rows], side="right") - 1
        result[rows] = (counts[rows] * np.array(card["rates"], np.int64)[era]).sum(axis=1)
    return result


def handle(values: list[bytes]) -> None:
    """Lands the rows of these records and every window they changed."""
    global windows
    events = pyruhvro.deserialize_array([value[job.FRAME_BYTES :] for value in values], SCHEMA)
    rows = pa.Table.from_batches([events.append_column("cost_pico", pa.array(costs(events)))])
    clickhouse.insert_arrow("usage", rows)
    frame = pl.from_arrow(
        rows.select(["department", "user", "occurred_at", "input_tokens", "output_tokens", "cost_pico"])
    )
    frame = frame.with_columns(
        requests=pl.lit(1, pl.Int64), window_start_us=pl.col("occurred_at").cast(pl.Int64) // job.HOUR * job.HOUR
    )
    parts = [
        frame.group_by(pl.lit(kind).alias("scope_kind"), pl.col(kind).alias("scope"), "window_start_us").agg(
            pl.col(MEASURES).sum()
        )
        for kind in ("department", "user")
    ]
    new = pl.concat(parts)
    keys = ["scope_kind", "scope", "window_start_us"]
    windows = pl.concat([windows, new.select(windows.columns)]).group_by(keys).agg(pl.col(MEASURES).sum())
    changed = windows.join(new.select(keys), on=keys, how="semi").with_columns(version=pl.lit(time.time_ns(), pl.Int64))
    clickhouse.insert_arrow("windows", changed.to_arrow())
    watch(parts[0].group_by("scope").agg(pl.col("cost_pico").sum()))


def watch(spent: pl.DataFrame) -> None:
    """Alerts for the thresholds that a batch makes its departments cross."""
    for department, cost in spent.iter_rows():
        before = department_cost.get(department, 0)
        department_cost[department] = before + cost
        for threshold in job.crossed(before, before + cost):
            alerts.produce(job.ALERTS, job.alert(department, threshold))
    alerts.flush()


while True:
    values, deadline = [], time.monotonic() + 1.0
    while len(values) < job.BATCH_ROWS and time.monotonic() < deadline:
        values += [message.value() for message in consumer.consume(10_000, timeout=0.1) if not message.error()]
    if values:
        handle(values)
        consumer.commit(asynchronous=False)
