"""A loop: consume a batch, decode each record with fastavro, price it, add it to dicts, insert. No recovery."""

import io
import time
from collections import defaultdict

import fastavro
import job
from confluent_kafka import Consumer, Producer

schema = fastavro.parse_schema(job.SCHEMA)
consumer = Consumer(
    {
        "bootstrap.servers": job.KAFKA,
        "group.id": job.GROUP,
        "auto.offset.reset": "earliest",
        "enable.auto.commit": False,
    }
)
consumer.subscribe([job.TOPIC])
alerts = Producer({"bootstrap.servers": job.KAFKA})
clickhouse = job.clickhouse()
windows: dict[tuple, list[int]] = defaultdict(lambda: [0, 0, 0, 0])
department_cost: dict[str, int] = defaultdict(int)


def handle(values: list[bytes]) -> None:
    """Lands the rows of these records and every window they changed."""
    rows, changed = [], set()
    for value in values:
        event = fastavro.schemaless_reader(io.BytesIO(value[job.FRAME_BYTES :]), schema)
        cost = job.price(event)
        rows.append(job.row(event, cost))
        start = job.hour(event["occurred_at"])
        for kind in ("department", "user"):
            key = (kind, event[kind], start)
            total = windows[key]
            for number, measure in enumerate(job.measures(event, cost)):
                total[number] += measure
            changed.add(key)
        watch(event["department"], cost)
    clickhouse.insert("usage", rows, column_names=job.USAGE_COLUMNS)
    version = time.time_ns()
    clickhouse.insert("windows", [[*key, *windows[key], version] for key in changed], column_names=job.WINDOW_COLUMNS)
    alerts.flush()


def watch(department: str, cost: int) -> None:
    """Alerts for the thresholds that this event makes the department cross."""
    before = department_cost[department]
    department_cost[department] = before + cost
    for threshold in job.crossed(before, before + cost):
        alerts.produce(job.ALERTS, job.alert(department, threshold))


while True:
    values, deadline = [], time.monotonic() + 1.0
    while len(values) < job.BATCH_ROWS and time.monotonic() < deadline:
        values += [message.value() for message in consumer.consume(5_000, timeout=0.1) if not message.error()]
    if values:
        handle(values)
        consumer.commit(asynchronous=False)
