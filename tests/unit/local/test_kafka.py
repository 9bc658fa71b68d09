"""The broker's configuration."""

from pathlib import Path
from uuid import UUID

import pytest

from local import kafka
from local.config import load_config


@pytest.fixture
def properties(tmp_path: Path) -> dict[str, str]:
    config = load_config({"TOLLBOOK_KAFKA_PORT": "3333", "TOLLBOOK_KAFKA_CONTROLLER_PORT": "4444"}, tmp_path)
    return dict(line.split("=", 1) for line in kafka.server_properties(config).splitlines())


def test_listens_on_loopback_only(properties: dict[str, str]) -> None:
    assert properties["listeners"] == "PLAINTEXT://127.0.0.1:3333,CONTROLLER://127.0.0.1:4444"
    assert properties["advertised.listeners"] == properties["listeners"]
    assert properties["controller.quorum.voters"] == "1@127.0.0.1:4444"


def test_takes_blocks_and_makes_no_topic_by_accident(properties: dict[str, str]) -> None:
    assert int(properties["message.max.bytes"]) > 16 * 1024 * 1024
    assert properties["replica.fetch.max.bytes"] == properties["message.max.bytes"]
    assert properties["auto.create.topics.enable"] == "false"


def test_a_cluster_id_never_looks_like_an_option() -> None:
    ids = iter([UUID(int=0b111110 << 122), UUID(int=1)])
    assert kafka.cluster_id(lambda: next(ids)) == "AAAAAAAAAAAAAAAAAAAAAQ"


def test_data_lies_in_the_state_directory(properties: dict[str, str], tmp_path: Path) -> None:
    assert Path(properties["log.dirs"]).is_relative_to(tmp_path / ".tollbook")


def test_every_kafka_jar_has_the_same_version() -> None:
    assert {jar.version for jar in kafka.JARS if jar.group == "org.apache.kafka"} == {"4.1.1"}
    assert len({(jar.group, jar.name) for jar in kafka.JARS}) == len(kafka.JARS)
