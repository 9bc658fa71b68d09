"""What a test takes away from Kafka, or sets, while the workers that own it are stopped."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from aiokafka import AIOKafkaConsumer
from aiokafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor
from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment
from confluent_kafka import Consumer, ConsumerGroupTopicPartitions, TopicPartition
from confluent_kafka.admin import AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType  # type: ignore[attr-defined] # re-exported without saying so

from schemas.provision import provision
from schemas.topics import EVENTS
from stream_processors.lag import rated_to
from stream_processors.logs import LogReader, topic_id

from .ground import Ground, wait_until
from .sent import Position

TIMEOUT_S = 20.0


def make_anew(ground: Ground, topic: str) -> None:
    """Deletes a topic and provisions it again."""
    ground.admin.delete_topics([topic])[topic].result(TIMEOUT_S)
    wait_until(lambda: topic not in ground.admin.list_topics(timeout=TIMEOUT_S).topics, f"end of {topic}")
    assert provision(ground.settings) == []


def delete_group(ground: Ground, name: str) -> None:
    """Forgets the offsets of a kind of worker."""
    ground.admin.delete_consumer_groups([f"tollbook-{name}"])[f"tollbook-{name}"].result(TIMEOUT_S)


class _Nothing(RoundRobinPartitionAssignor):  # type: ignore[misc] # aiokafka has no types
    """Assigns as if there were no partitions."""

    @classmethod
    def assign(cls, cluster: Any, members: Mapping[str, Any]) -> dict[str, Any]:
        return {member: ConsumerProtocolMemberAssignment(cls.version, [], b"") for member in members}


async def join_for_nothing(ground: Ground, name: str) -> None:
    """Takes the place of a stopped worker in its group, hands itself no partitions, and leaves it so."""
    consumer = AIOKafkaConsumer(
        EVENTS,
        bootstrap_servers=ground.settings.kafka,
        group_id=f"tollbook-{name}",
        group_instance_id=name,
        session_timeout_ms=60_000,
        partition_assignment_strategy=[_Nothing],
    )
    await consumer.start()
    await consumer.stop()  # a static member does not leave its group


def commits(ground: Ground, name: str) -> list[TopicPartition]:
    """Where a kind of worker has committed."""
    asked = ConsumerGroupTopicPartitions(f"tollbook-{name}")
    found = ground.admin.list_consumer_group_offsets([asked])[asked.group_id].result(TIMEOUT_S)
    return list(found.topic_partitions)


def commit(ground: Ground, name: str, places: list[TopicPartition]) -> None:
    """Sets commits of a kind of worker, without metadata."""
    consumer = Consumer({"bootstrap.servers": ground.settings.kafka, "group.id": f"tollbook-{name}"})
    consumer.commit(
        offsets=[TopicPartition(one.topic, one.partition, one.offset) for one in places], asynchronous=False
    )
    consumer.close()


def beginnings(ground: Ground, places: list[TopicPartition]) -> list[TopicPartition]:
    """The first record kept of each place."""
    with LogReader(ground.settings.kafka) as reader:
        bounds = [reader.bounds(one.topic, one.partition) for one in places]
    return [TopicPartition(one.topic, one.partition, low) for one, (low, _) in zip(places, bounds, strict=True)]


def take_unrated(ground: Ground, share: float) -> set[Position]:
    """Deletes the oldest events that are not rated yet, as retention does; which ones."""
    cuts, taken = [], set()
    epoch = topic_id(ground.settings.kafka, EVENTS)
    with LogReader(ground.settings.kafka) as reader:
        for partition in range(ground.settings.partitions):
            first, (_, end) = rated_to(reader, partition, epoch), reader.bounds(EVENTS, partition)
            cut = first + int((end - first) * share)
            taken |= {(partition, offset) for offset in range(first, cut)}
            cuts.append(TopicPartition(EVENTS, partition, cut))
    for future in ground.admin.delete_records(cuts).values():
        future.result(TIMEOUT_S)
    return taken


@contextmanager
def configured(ground: Ground, topic: str, name: str, value: str) -> Iterator[None]:
    """A topic has another setting for a while."""
    resource = ConfigResource(ResourceType.TOPIC, topic)
    before = ground.admin.describe_configs([resource])[resource].result(TIMEOUT_S)[name].value
    _configure(ground, topic, name, value)
    try:
        yield
    finally:
        _configure(ground, topic, name, before)


def _configure(ground: Ground, topic: str, name: str, value: str) -> None:
    entry = ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET)
    changed = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[entry])
    for future in ground.admin.incremental_alter_configs([changed]).values():
        future.result(TIMEOUT_S)
