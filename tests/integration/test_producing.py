"""What producers send is what the real broker holds: delivered = acknowledged = end offsets."""

import json
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import confluent_kafka
import pyarrow as pa
import pytest
from confluent_kafka import Message, TopicPartition
from confluent_kafka.admin import (  # type: ignore[attr-defined] # re-exported without saying so
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ResourceType,
)

from producers.client import DeliveryError, Failure, Producer
from producers.hashing import murmur2_partitions
from producers.simulate import Simulation, simulate
from schemas.codec import avro_schema, decode, split_frame
from schemas.event import UsageEvent, event_key
from schemas.registry import Registry
from schemas.settings import Settings
from schemas.topics import BY_NAME, EVENTS

DATA = Path(__file__).parents[3] / "shared" / "data"
AZURE = [str(DATA / f"AzureLLMInferenceTrace_{name}.csv") for name in ("code", "conv")]
AVRO = avro_schema("usage_event.v1")
RunTollbook = Callable[..., subprocess.CompletedProcess[str]]
Offsets = dict[int, int]


class Topic:
    """Looks at `usage.events`."""

    def __init__(self, settings: Settings) -> None:
        configuration = {"bootstrap.servers": settings.kafka, "group.id": "test-producing", "enable.auto.commit": False}
        self._consumer = confluent_kafka.Consumer(configuration)
        self.partitions = range(len(self._consumer.list_topics(EVENTS, timeout=10).topics[EVENTS].partitions))

    def end(self) -> Offsets:
        return {
            partition: self._consumer.get_watermark_offsets(TopicPartition(EVENTS, partition), timeout=10)[1]
            for partition in self.partitions
        }

    def records(self, start: Offsets, end: Offsets) -> Iterator[Message]:
        """All records from `start` up to `end`, partition by partition."""
        for partition in self.partitions:
            self._consumer.assign([TopicPartition(EVENTS, partition, start[partition])])
            expected = start[partition]
            deadline = time.monotonic() + 60
            while expected < end[partition]:
                assert time.monotonic() < deadline
                for message in self._consumer.consume(5000, timeout=1):
                    assert message.error() is None
                    if expected < end[partition]:
                        assert message.offset() == expected
                        expected += 1
                        yield message

    def close(self) -> None:
        self._consumer.close()


@pytest.fixture
def topic(settings: Settings) -> Iterator[Topic]:
    found = Topic(settings)
    yield found
    found.close()


def event(number: int, **values: Any) -> UsageEvent:
    return UsageEvent(
        event_id=f"single-{time.time_ns()}-{number}",
        source="test",
        occurred_at=datetime.now(UTC),
        organization="acme",
        provider="openai",
        model="gpt-4o-mini",
        input_tokens=number,
        **values,
    )


def read(message: Message) -> UsageEvent:
    value = message.value()
    assert value is not None
    return UsageEvent(**decode(value, AVRO))


def test_single_events_arrive_once_framed_and_in_their_partition(settings: Settings, topic: Topic) -> None:
    start = topic.end()
    users = ("dana.costa", "zoë", "")
    sent = [event(number, user=users[number % 3], tags={"n": str(number)}) for number in range(300)]
    with Producer(settings) as producer:
        for each in sent:
            producer.emit(each)
        producer.flush()
        assert producer.acknowledged == len(sent)
        end = topic.end()
        assert sum(end.values()) - sum(start.values()) == len(sent)
        assert producer.last_offsets == {p: end[p] - 1 for p in end if end[p] > start[p]}
        assert producer.first_offsets == {p: start[p] for p in end if end[p] > start[p]}
    messages = list(topic.records(start, end))
    assert sorted(map(read, messages), key=lambda e: e.input_tokens) == sent
    schema_id = Registry(settings.registry).schema_id(EVENTS)
    for message in messages:
        value, key = message.value(), message.key()
        assert value is not None
        assert isinstance(key, bytes)
        assert split_frame(value)[0] == schema_id
        assert key == event_key("acme", read(message).user, read(message).event_id)
        # librdkafka chose this partition: the batch path computes the same.
        assert message.partition() == murmur2_partitions(pa.array([key], pa.binary()), len(topic.partitions))[0]
    for user in users[:2]:  # one user's events keep their order
        numbers = [e.input_tokens for e in map(read, messages) if e.user == user]
        assert numbers == sorted(numbers)


def test_batches_arrive_once_byte_for_byte(settings: Settings, topic: Topic) -> None:
    start = topic.end()
    now = int(time.time() * 1e6)
    simulation = Simulation(seed=now, events=30_000, start=now - 3_600_000_000, end=now, duplicates=0.05)
    batches = [batch.events for batch in simulate(simulation)]
    with Producer(settings, buffer_events=5_000) as producer:  # far less than a batch: it waits for room
        for batch in batches:
            producer.emit_batch(batch)
        producer.flush()
        assert producer.acknowledged == simulation.events
    end = topic.end()
    assert sum(end.values()) - sum(start.values()) == simulation.events
    expected = Counter(
        (row["event_id"], row["user"], row["input_tokens"], row["occurred_at"])
        for batch in batches
        for row in batch.select(["event_id", "user", "input_tokens", "occurred_at"]).to_pylist()
    )
    found: Counter[tuple[str, str, int, datetime]] = Counter()
    for message in topic.records(start, end):
        record = read(message)
        found[record.event_id, record.user, record.input_tokens, record.occurred_at] += 1
        assert message.key() == event_key(record.organization, record.user, record.event_id)
        assert message.timestamp()[0] == confluent_kafka.TIMESTAMP_LOG_APPEND_TIME
    assert found == expected


def test_a_batch_with_a_wrong_event_is_not_sent(settings: Settings, topic: Topic) -> None:
    start = topic.end()
    batch = next(simulate(Simulation(seed=1, events=50, start=0, end=3_600_000_000))).events
    index = batch.schema.get_field_index("output_tokens")
    wrong = batch.set_column(index, "output_tokens", pa.array([-1] * batch.num_rows, pa.int64()))
    with Producer(settings) as producer, pytest.raises(ValueError, match=r"event 0 .*output_tokens = -1"):
        producer.emit_batch(wrong)
    assert topic.end() == start


def set_largest(settings: Settings, size: int) -> None:
    """How many bytes a batch of `usage.events` may have."""
    admin = AdminClient({"bootstrap.servers": settings.kafka})
    entry = ConfigEntry("max.message.bytes", str(size), incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ResourceType.TOPIC, EVENTS, incremental_configs=[entry])
    (future,) = admin.incremental_alter_configs([resource]).values()
    future.result(10)


def is_taken(settings: Settings) -> bool:
    try:
        with Producer(settings) as producer:
            producer.emit(event(0))
    except DeliveryError:
        return False
    return True


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline


@pytest.fixture
def refusing_broker(settings: Settings) -> Iterator[None]:
    """The broker finds every event too large."""
    set_largest(settings, 10)
    try:
        wait_until(lambda: not is_taken(settings))
        yield
    finally:
        set_largest(settings, BY_NAME[EVENTS].max_message_bytes)
        wait_until(lambda: is_taken(settings))


@pytest.mark.usefixtures("refusing_broker")
def test_undelivered_events_are_named(settings: Settings, topic: Topic) -> None:
    start = topic.end()
    producer = Producer(settings)
    sent = [event(number) for number in range(150)]
    for each in sent:
        producer.emit(each)
    with pytest.raises(DeliveryError) as lost:
        producer.close()
    assert lost.value.count == len(sent)
    assert len(lost.value.failures) == 100
    assert {failure.event_id for failure in lost.value.failures} <= {each.event_id for each in sent}
    assert "too large" in lost.value.failures[0].error
    assert producer.acknowledged == 0
    assert topic.end() == start
    producer.flush()  # told once


@pytest.mark.usefixtures("refusing_broker")
def test_a_caller_may_take_failures_itself(settings: Settings) -> None:
    failures: list[Failure] = []
    sent = [event(number) for number in range(20)]
    with Producer(settings, on_failure=failures.append) as producer:
        for each in sent:
            producer.emit(each)
    assert sorted(failure.event_id for failure in failures) == sorted(each.event_id for each in sent)


@pytest.mark.usefixtures("refusing_broker")
def test_a_full_buffer_blocks_until_there_is_room(settings: Settings) -> None:
    failures: list[Failure] = []
    with Producer(settings, on_failure=failures.append, buffer_events=10) as producer:
        for number in range(11):
            producer.emit(event(number))
        assert failures  # the eleventh waited until the first had failed


def run_json(run_tollbook: RunTollbook, stack: Mapping[str, str], *arguments: str) -> dict[str, Any]:
    run = run_tollbook(stack, *arguments, "--json")
    assert run.returncode == 0, run.stderr
    answer = json.loads(run.stdout)
    assert isinstance(answer, dict)
    return answer


def check_offsets(answer: dict[str, Any], start: Offsets, end: Offsets) -> None:
    assert answer["acknowledged"] == answer["events"] == sum(end.values()) - sum(start.values())
    assert answer["last_offset"] == {str(p): end[p] - 1 for p in end if end[p] > start[p]}
    assert answer["first_offset"] == {str(p): start[p] for p in end if end[p] > start[p]}


def test_simulate_reports_what_the_topic_holds(
    stack: Mapping[str, str], run_tollbook: RunTollbook, topic: Topic, record_property: Callable[[str, object], None]
) -> None:
    start = topic.end()
    answer = run_json(run_tollbook, stack, "simulate", "--events", "50000")
    end = topic.end()
    check_offsets(answer, start, end)
    record_property("simulate events per second", answer["events"] / answer["seconds"])
    distinct = {record.event_id: record for record in map(read, topic.records(start, end))}
    assert answer["events"] - answer["duplicates"] == len(distinct)
    for name, count in answer["tokens"].items():
        assert count == sum(getattr(record, name) for record in distinct.values())


def test_the_same_seed_sends_the_same_bytes(stack: Mapping[str, str], run_tollbook: RunTollbook, topic: Topic) -> None:
    command = ("simulate", "--events", "3000", "--seed", "7", "--from", "2026-01-05", "--to", "2026-01-06")
    sent = []
    for _ in range(2):
        start = topic.end()
        run_json(run_tollbook, stack, *command)
        sent.append(Counter((m.partition(), m.key(), m.value()) for m in topic.records(start, topic.end())))
    assert sent[0] == sent[1]


def test_a_rate_is_kept(stack: Mapping[str, str], run_tollbook: RunTollbook) -> None:
    answer = run_json(run_tollbook, stack, "simulate", "--events", "400", "--rate", "200")
    assert answer["seconds"] >= 399 / 200


def test_both_azure_traces_are_replayed_whole(
    stack: Mapping[str, str], run_tollbook: RunTollbook, topic: Topic, record_property: Callable[[str, object], None]
) -> None:
    start = topic.end()
    answer = run_json(run_tollbook, stack, "replay", *AZURE, "--seed", str(time.time_ns()))
    end = topic.end()
    check_offsets(answer, start, end)
    record_property("replay events per second", answer["events"] / answer["seconds"])
    assert answer["events"] == 28_185
    assert answer["tokens"]["input_tokens"] == 18_059_974 + 22_361_870
    assert answer["tokens"]["output_tokens"] == 245_896 + 4_088_665
    records = [read(message) for message in topic.records(start, end)]
    assert sum(record.input_tokens for record in records) == answer["tokens"]["input_tokens"]
    assert sum(record.output_tokens for record in records) == answer["tokens"]["output_tokens"]


def test_a_malformed_line_sends_nothing(
    stack: Mapping[str, str], run_tollbook: RunTollbook, topic: Topic, tmp_path: Path
) -> None:
    start = topic.end()
    trace = tmp_path / "trace.csv"
    lines = Path(AZURE[0]).read_text().splitlines()
    trace.write_text("\n".join([*lines, "2023-11-16 20:00:00,many,2"]))
    run = run_tollbook(stack, "replay", str(trace))
    assert run.returncode == 1
    assert f"{trace}: line 8821: ContextTokens = 'many': a whole number" in run.stderr
    assert topic.end() == start


@pytest.mark.parametrize("away", ["TOLLBOOK_KAFKA", "TOLLBOOK_REGISTRY"])
def test_a_service_away_is_status_3(stack: Mapping[str, str], run_tollbook: RunTollbook, away: str) -> None:
    address = {"TOLLBOOK_KAFKA": "127.0.0.1:1", "TOLLBOOK_REGISTRY": "http://127.0.0.1:1"}[away]
    run = run_tollbook({**stack, away: address}, "simulate", "--events", "5")
    assert run.returncode == 3, run.stderr
    assert run.stderr.startswith("Error: ")
