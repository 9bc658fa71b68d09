"""Faust as its guide writes it: agents, a repartitioned stream, windowed tables; rows in batches by `take`."""

import asyncio
import io
import time
from datetime import timedelta
from typing import Any

import fastavro
import faust
import job
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from faust.serializers import codecs
from faust.types import StreamT

schema = fastavro.parse_schema(job.SCHEMA)


class UsageCodec(codecs.Codec):
    """Avro in Confluent framing, as the guide's chapter on codecs has it."""

    def _loads(self, value: bytes) -> dict[str, Any]:
        return fastavro.schemaless_reader(io.BytesIO(value[job.FRAME_BYTES :]), schema)


codecs.register("usage_event", UsageCodec())


class Spend(faust.Record):
    """What an event adds to its department; sent on so that all of a department meet in one partition."""

    department: str
    occurred_at_s: float
    input_tokens: int
    output_tokens: int
    cost_pico: int


app = faust.App(
    job.GROUP,
    broker=f"kafka://{job.KAFKA}",
    store="memory://",
    datadir=str(job.STATE_DIR / "faust"),
    topic_partitions=4,
    consumer_auto_offset_reset="earliest",
    web_enabled=False,
)
events = app.topic(job.TOPIC, key_serializer="raw", value_serializer="usage_event")
by_department = app.topic("bench.spend", key_type=str, value_type=Spend, internal=True, partitions=4)
alerts = app.topic(job.ALERTS, value_serializer="raw")
kept = timedelta(days=3)  # by the wall clock, not by the events' time
user_hours = (
    app.Table("user_hours", default=lambda: [0, 0, 0, 0])
    .tumbling(3600, expires=kept)
    .relative_to(lambda event: event.value["occurred_at"].timestamp())
)
department_hours = (
    app.Table("department_hours", default=lambda: [0, 0, 0, 0])
    .tumbling(3600, expires=kept)
    .relative_to_field(Spend.occurred_at_s)
)
department_cost = app.Table("department_cost", default=int)
clickhouse = job.clickhouse()
changed: dict[tuple[str, str, int], list[int]] = {}


def add(total: list[int], measures: tuple[int, ...]) -> list[int]:
    """The sums of a window after an event."""
    return [a + b for a, b in zip(total, measures, strict=True)]


@app.agent(events)
async def land(stream: StreamT) -> None:
    """Rows to ClickHouse, many at a time."""
    async for batch in stream.take(5_000, within=1.0):
        rows = [job.row(event, job.price(event)) for event in batch]
        clickhouse.insert("usage", rows, column_names=job.USAGE_COLUMNS)


@app.agent(events)
async def count_users(stream: StreamT) -> None:
    """Windows of users, by whom the topic is partitioned; sends on what belongs to departments."""
    async for event in stream:
        cost = job.price(event)
        user_hours[event["user"]].apply(add, job.measures(event, cost))
        changed["user", event["user"], job.hour(event["occurred_at"])] = user_hours[event["user"]].value()
        spend = Spend(
            department=event["department"],
            occurred_at_s=event["occurred_at"].timestamp(),
            input_tokens=event["input_tokens"],
            output_tokens=event["output_tokens"],
            cost_pico=cost,
        )
        await by_department.send(key=spend.department, value=spend)


@app.agent(by_department)
async def count_departments(stream: StreamT) -> None:
    """Windows of departments, and their budgets."""
    async for spend in stream:
        name = spend.department
        department_hours[name].apply(add, (1, spend.input_tokens, spend.output_tokens, spend.cost_pico))
        start = int(spend.occurred_at_s // 3600) * job.HOUR
        changed["department", name, start] = department_hours[name].value()
        before = department_cost[name]
        department_cost[name] = before + spend.cost_pico
        for threshold in job.crossed(before, before + spend.cost_pico):
            await alerts.send(value=job.alert(name, threshold))


@app.timer(1.0)
async def write_windows() -> None:
    """The windows that changed, to ClickHouse."""
    if changed:
        version = time.time_ns()
        rows = [[*key, *total, version] for key, total in changed.items()]
        changed.clear()
        clickhouse.insert("windows", rows, column_names=job.WINDOW_COLUMNS)


async def make_topics() -> None:
    """Its own topics, before it starts: a worker that makes them itself may go on without those not yet there."""
    admin = AIOKafkaAdminClient(bootstrap_servers=job.KAFKA)
    await admin.start()
    tables = ("user_hours", "department_hours", "department_cost")
    compact = {"cleanup.policy": "compact"}
    wanted = [NewTopic(f"{job.GROUP}-{name}-changelog", 4, 1, topic_configs=compact) for name in tables]
    there = set(await admin.list_topics())
    await admin.create_topics([topic for topic in [*wanted, NewTopic("bench.spend", 4, 1)] if topic.name not in there])
    await admin.close()


if __name__ == "__main__":
    asyncio.run(make_topics())
    faust.Worker(app, loglevel="warning").execute_from_commandline()
