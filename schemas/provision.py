"""Creates the topics and registers the schemas: `python -m schemas.provision`. Running it again changes nothing.

A topic that is there with another configuration is altered; one with another partition count is reported and left
alone (keys would move between partitions), and nothing is ever deleted. Exit 0 done, 1 a difference that stays,
3 the broker or the registry is away.
"""

import logging
import sys
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType  # type: ignore[attr-defined] # re-exported without saying so
from confluent_kafka.cimpl import NewTopic
from confluent_kafka.schema_registry.error import SchemaRegistryError

from schemas.codec import avro_text
from schemas.registry import Registry, RegistryAwayError, subject
from schemas.settings import Settings
from schemas.topics import TOPICS, Topic

REQUEST_S = 10.0
DEADLINE_S = 60.0
RETRY_S = 0.25
T = TypeVar("T")
log = logging.getLogger("tollbook.provision")


class ServiceAwayError(Exception):
    """The broker or the registry did not answer before the deadline; the message says which one."""


def provision(settings: Settings, deadline_s: float = DEADLINE_S) -> list[str]:
    """Brings broker and registry to what `schemas/` declares; returns the differences that it must not mend.

    Raises ServiceAwayError after `deadline_s` seconds without an answer.
    """
    deadline = time.monotonic() + deadline_s
    admin = AdminClient({"bootstrap.servers": settings.kafka, "socket.timeout.ms": 10_000}, logger=_librdkafka_log())
    found = _when_there(lambda: _partition_counts(admin), f"Kafka at {settings.kafka}", deadline)
    problems = _provision_topics(admin, settings, found)
    registry = Registry(settings.registry)
    _when_there(registry.require_backward, f"schema registry at {settings.registry}", deadline)
    return problems + _register_schemas(registry)


def _partition_counts(admin: AdminClient) -> dict[str, int]:
    return {name: len(topic.partitions) for name, topic in admin.list_topics(timeout=2).topics.items()}


def _provision_topics(admin: AdminClient, settings: Settings, found: dict[str, int]) -> list[str]:
    new = [topic for topic in TOPICS if topic.name not in found]
    old = [topic for topic in TOPICS if topic.name in found]
    if new:
        _create(admin, new, settings)
    if old:
        _alter(admin, old)
    wanted = {topic.name: topic.partitions or settings.partitions for topic in old}
    return [
        f"topic {name}: has {found[name]} partitions, wanted are {count}; "
        "left as it is, because keys would move between partitions"
        for name, count in wanted.items()
        if found[name] != count
    ]


def _create(admin: AdminClient, topics: list[Topic], settings: Settings) -> None:
    futures = admin.create_topics(
        [
            NewTopic(
                topic.name,
                num_partitions=topic.partitions or settings.partitions,
                replication_factor=settings.replication,
                config=topic.config(),
            )
            for topic in topics
        ],
        request_timeout=REQUEST_S,
    )
    for name, future in futures.items():
        try:
            future.result(timeout=REQUEST_S)
        except KafkaException as error:
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:  # another start was quicker
                raise
        log.info("topic %s: created", name)


def _alter(admin: AdminClient, topics: list[Topic]) -> None:
    """Sets what differs, and only that: an operator's other settings stay."""
    asked = [ConfigResource(ResourceType.TOPIC, topic.name) for topic in topics]
    now = {asked.name: _result(future) for asked, future in admin.describe_configs(asked).items()}
    changes = []
    for topic in topics:
        differing = {key: value for key, value in topic.config().items() if now[topic.name][key].value != value}
        if differing:
            log.info("topic %s: sets %s", topic.name, differing)
            changes.append(_changes(topic.name, differing))
    if changes:
        for future in admin.incremental_alter_configs(changes).values():
            _result(future)


def _changes(name: str, config: dict[str, str]) -> ConfigResource:
    entries = [ConfigEntry(key, value, incremental_operation=AlterConfigOpType.SET) for key, value in config.items()]
    return ConfigResource(ResourceType.TOPIC, name, incremental_configs=entries)


def _register_schemas(registry: Registry) -> list[str]:
    problems = []
    for topic in TOPICS:
        if topic.avro is None:
            continue
        try:
            schema_id = registry.register(topic, avro_text(topic.avro))
        except SchemaRegistryError as error:
            problems.append(f"schema {topic.avro}: refused as {subject(topic)}: {error}")
        else:
            log.info("schema %s: id %d as %s", topic.avro, schema_id, subject(topic))
    return problems


def _when_there(ask: Callable[[], T], name: str, deadline: float) -> T:
    while True:
        try:
            return ask()
        except (KafkaException, RegistryAwayError) as error:
            if time.monotonic() >= deadline:
                raise ServiceAwayError(f"{name} does not answer: {error}") from error
            time.sleep(RETRY_S)


def _result(future: "Future[T]") -> T:
    return future.result(timeout=REQUEST_S)


def _librdkafka_log() -> logging.Logger:
    """Refused connections while waiting are no news."""
    quiet = logging.getLogger("tollbook.provision.kafka")
    quiet.setLevel(logging.CRITICAL)
    return quiet


def main() -> int:
    """The command; differences and absences go to standard error."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    logging.getLogger("httpx2").setLevel(logging.WARNING)
    try:
        problems = provision(Settings())
    except ServiceAwayError as error:
        log.error("%s", error)
        return 3
    for problem in problems:
        log.error("%s", problem)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
