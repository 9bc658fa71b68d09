"""Topics and schemas on the real broker and registry."""

import json
import time
from typing import Any

import pytest
from confluent_kafka.admin import (  # type: ignore[attr-defined] # re-exported without saying so
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ResourceType,
)
from confluent_kafka.schema_registry.error import SchemaRegistryError

from schemas.codec import avro_text
from schemas.provision import ServiceAwayError, provision
from schemas.registry import Registry, RegistryAwayError
from schemas.settings import Settings
from schemas.topics import ALERTS, BLOCKS, EVENTS, PRICES, TOPICS, Topic

NOBODY = "127.0.0.1:1"


@pytest.fixture
def admin(settings: Settings) -> AdminClient:
    return AdminClient({"bootstrap.servers": settings.kafka})


@pytest.fixture
def registry(settings: Settings) -> Registry:
    return Registry(settings.registry)


def topic_config(admin: AdminClient, name: str) -> dict[str, str | None]:
    resource = ConfigResource(ResourceType.TOPIC, name)
    (future,) = admin.describe_configs([resource]).values()
    return {key: entry.value for key, entry in future.result(10).items()}


def test_every_topic_is_there_as_declared(settings: Settings, admin: AdminClient) -> None:
    assert provision(settings) == []
    found = admin.list_topics(timeout=10).topics
    for topic in TOPICS:
        assert len(found[topic.name].partitions) == (topic.partitions or settings.partitions)
        assert topic.config().items() <= topic_config(admin, topic.name).items()


def test_a_changed_topic_is_set_right_and_other_settings_stay(settings: Settings, admin: AdminClient) -> None:
    def set_config(**values: str) -> None:
        entries = [
            ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET) for name, value in values.items()
        ]
        resource = ConfigResource(ResourceType.TOPIC, PRICES, incremental_configs=entries)
        (future,) = admin.incremental_alter_configs([resource]).values()
        future.result(10)

    set_config(**{"retention.ms": "5000", "min.cleanable.dirty.ratio": "0.25"})
    assert provision(settings) == []
    deadline = time.monotonic() + 20
    while topic_config(admin, PRICES)["retention.ms"] != "-1":
        assert time.monotonic() < deadline
    assert topic_config(admin, PRICES)["min.cleanable.dirty.ratio"] == "0.25"


def test_another_partition_count_is_reported_and_left(settings: Settings, admin: AdminClient) -> None:
    before = {name: len(topic.partitions) for name, topic in admin.list_topics(timeout=10).topics.items()}
    problems = provision(settings.model_copy(update={"partitions": settings.partitions + 1}))
    assert any(problem.startswith(f"topic {EVENTS}: has {settings.partitions} partitions") for problem in problems)
    assert not any(PRICES in problem for problem in problems)  # it has one, whatever the setting
    after = {name: len(topic.partitions) for name, topic in admin.list_topics(timeout=10).topics.items()}
    assert after == before


def test_the_absent_service_is_named(settings: Settings) -> None:
    with pytest.raises(ServiceAwayError, match=rf"^Kafka at {NOBODY}"):
        provision(settings.model_copy(update={"kafka": NOBODY}), deadline_s=1)
    with pytest.raises(ServiceAwayError, match=r"^schema registry at http://127.0.0.1:1/"):
        provision(settings.model_copy(update={"registry": f"http://{NOBODY}/"}), deadline_s=1)


def test_schemas_are_registered_and_keep_their_ids(settings: Settings, registry: Registry) -> None:
    provision(settings)
    ids = {topic.name: registry.schema_id(topic.name) for topic in TOPICS if topic.avro}
    assert len(set(ids.values())) == len(ids)
    provision(settings)
    again = Registry(settings.registry)
    assert {name: again.schema_id(name) for name in ids} == ids
    for topic in TOPICS:
        if topic.avro:
            text = again.schema_text(ids[topic.name])
            assert text is not None
            assert json.loads(text) == json.loads(avro_text(topic.avro))


def test_unknown_and_unreachable_are_different(registry: Registry) -> None:
    assert registry.schema_text(2_000_000_000) is None
    away = Registry(f"http://{NOBODY}", timeout_s=1)
    with pytest.raises(RegistryAwayError, match=NOBODY):
        away.schema_text(1)
    with pytest.raises(RegistryAwayError, match=NOBODY):
        away.schema_id(ALERTS)
    with pytest.raises(RegistryAwayError, match=NOBODY):
        away.require_backward()


def test_a_topic_without_avro_has_no_schema(registry: Registry) -> None:
    with pytest.raises(LookupError, match=f"topic {BLOCKS}"):
        registry.schema_id(BLOCKS)


def changed(schema: dict[str, Any], **field: Any) -> str:
    return json.dumps(schema | {"fields": [*schema["fields"], field]})


def test_a_schema_may_grow_by_fields_with_a_default_only(settings: Settings, registry: Registry) -> None:
    provision(settings)  # sets the compatibility
    topic = Topic(f"evolution.{time.time_ns()}", "a subject for this test alone", avro="usage_event.v1")
    schema = json.loads(avro_text("usage_event.v1"))
    first = registry.register(topic, json.dumps(schema))
    assert registry.register(topic, json.dumps(schema)) == first
    second = registry.register(topic, changed(schema, name="tone", type="string", default=""))
    assert second != first
    with pytest.raises(SchemaRegistryError) as refused:
        registry.register(topic, changed(schema, name="pitch", type="string"))
    assert refused.value.http_status_code == 409
    retyped = json.loads(avro_text("usage_event.v1"))
    retyped["fields"][0]["type"] = "long"
    with pytest.raises(SchemaRegistryError) as refused:
        registry.register(topic, json.dumps(retyped))
    assert refused.value.http_status_code == 409
