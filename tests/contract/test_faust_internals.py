"""The sequenced transport stands on private parts of Faust and aiokafka: each is named here, with its shape.

When one of the pinned versions is raised and a test here fails, read what became of that part before anything else.
"""

import ast
import importlib.metadata
import inspect
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiokafka
import faust
import mode.loop
import pytest
from aiokafka.consumer import consumer, fetcher
from aiokafka.consumer.group_coordinator import GroupCoordinator
from faust.transport.drivers import aiokafka as driver
from faust.types.tuples import ConsumerMessage

from stream_processors import transport

ROOT = Path(__file__).parents[2]
PINNED = {"faust-streaming": "0.15.3", "aiokafka": "0.14.0"}

# Methods of the consumer that are overridden or called: parameters after self, and whether it is a coroutine function.
CONSUMER_METHODS: dict[str, tuple[list[str], bool]] = {
    "_add_gap": (["tp", "offset_from", "offset_to"], True),
    "_new_offset": (["tp"], False),
    "_to_message": (["tp", "record"], False),
    "_wait_next_records": (["timeout"], True),
    "ack": (["message"], False),
    "assignment": ([], False),
    "earliest_offsets": (["partitions"], True),
    "getmany": (["timeout"], False),  # an asynchronous generator
    "highwater": (["tp"], False),
    "on_partitions_assigned": (["assigned", "generation_id"], True),
    "on_partitions_revoked": (["revoked"], True),
    "perform_seek": ([], True),
    "resume_partitions": (["tps"], False),
    "seek_wait": (["partitions"], True),
    "wait_empty": ([], True),
}
# What its constructor makes.
CONSUMER_STATE = {
    "_acked",
    "_acked_index",
    "_buffered_partitions",
    "_committed_offset",
    "_read_offset",
    "_unacked_messages",
    "flow_active",
}
CONSUMER_PROPERTIES = {"should_stop"}
OTHERS: list[tuple[Callable[..., Any], list[str]]] = [
    (fetcher.Fetcher._proc_fetch_request, ["assignment", "node_id", "request"]),
    (driver.Producer.send, ["topic", "key", "value", "partition", "timestamp", "headers", "transactional_id"]),
    (driver.Producer._settings_extra, []),
    (faust.App.on_rebalance_start, []),
    (faust.App.on_rebalance_end, []),
    (faust.Table.apply_changelog_batch, ["batch"]),
    (faust.Stream.noack, []),
    (mode.loop.use, ["loop"]),
]


def parameters(function: Callable[..., Any]) -> list[str]:
    return [name for name in inspect.signature(function).parameters if name != "self"]


def source_of_classes(kind: type) -> str:
    return "\n".join(inspect.getsource(each) for each in kind.__mro__ if each is not object)


@pytest.mark.parametrize(("name", "version"), PINNED.items())
def test_versions_are_the_ones_looked_into(name: str, version: str) -> None:
    assert importlib.metadata.version(name) == version
    assert f'"{name}=={version}"' in (ROOT / "pyproject.toml").read_text()


@pytest.mark.parametrize("name", CONSUMER_METHODS)
def test_consumer_has_the_method(name: str) -> None:
    method = getattr(driver.Consumer, name)
    assert (parameters(method), inspect.iscoroutinefunction(method)) == CONSUMER_METHODS[name]


@pytest.mark.parametrize("name", sorted(CONSUMER_STATE))
def test_consumer_makes_its_state(name: str) -> None:
    assert re.search(rf"\b(self\.)?{name}\b[^=\n]*=[^=]", source_of_classes(driver.Consumer))


@pytest.mark.parametrize("name", sorted(CONSUMER_PROPERTIES))
def test_consumer_has_the_property(name: str) -> None:
    assert isinstance(inspect.getattr_static(driver.Consumer, name), property)


@pytest.mark.parametrize(("function", "names"), OTHERS, ids=lambda value: getattr(value, "__qualname__", None))
def test_other_parts_take_what_we_give(function: Callable[..., Any], names: list[str]) -> None:
    assert parameters(function) == names


def test_message_is_built_in_the_order_we_rely_on() -> None:
    names = parameters(ConsumerMessage.__init__)
    assert names[:12] == [
        *("topic", "partition", "offset", "timestamp", "timestamp_type", "headers", "key", "value", "checksum"),
        *("serialized_key_size", "serialized_value_size", "tp"),
    ]
    assert "generation_id" in names
    assert "acked" in ConsumerMessage.__slots__


def test_app_tells_rebalancing_and_generation() -> None:
    assert {"rebalancing", "consumer_generation_id", "monitor", "consumer", "producer"} <= set(dir(faust.App))
    assert "track_tp_end_offset" in dir(faust.Monitor)


def test_producer_has_a_bounded_buffer_that_we_lift() -> None:
    assert "self.buffer" in source_of_classes(driver.Producer)
    assert "max_messages" in inspect.getsource(inspect.getmodule(driver.Producer.__mro__[1]))  # type: ignore[arg-type]


def test_driver_looks_its_consumer_class_up_where_we_put_ours() -> None:
    assert driver.aiokafka is aiokafka
    assert "aiokafka.AIOKafkaConsumer(" in inspect.getsource(driver)
    taken = inspect.signature(aiokafka.AIOKafkaConsumer.__init__).parameters
    assert {"fetch_max_wait_ms", "fetch_min_bytes", "isolation_level"} <= set(taken)


def test_consumer_looks_its_listener_up_where_we_put_ours() -> None:
    assert "consumer.RebalanceListener(self)" in inspect.getsource(driver.AIOKafkaConsumerThread)
    assert parameters(driver.ConsumerRebalanceListener.on_partitions_assigned) == ["assigned"]
    assert not inspect.iscoroutinefunction(GroupCoordinator.request_rejoin)  # it only leaves word


def test_consumer_looks_its_fetcher_up_where_we_put_ours() -> None:
    assert "self._fetcher = Fetcher(" in inspect.getsource(consumer)
    asking = inspect.getsource(fetcher.Fetcher._get_actions_per_node)
    assert "self._fetch_max_wait_ms,\n                self._fetch_min_bytes," in asking
    assert "assignment.tps" in asking
    assert "tp_state.paused" in asking


def test_table_keeps_its_values_in_a_dict_behind_data() -> None:
    app = faust.App("internals", broker="kafka://127.0.0.1:1", store="memory://")
    table = app.Table("values", key_type=bytes, value_type=bytes)
    assert table.data.data == {}
    assert table.changelog_topic.get_topic_name() == "internals-values-changelog"


def private_uses() -> set[str]:
    """Attributes with a leading underscore that the transport's consumer uses and does not make itself."""
    source = ast.parse(inspect.getsource(transport))
    [consumer] = [node for node in source.body if isinstance(node, ast.ClassDef) and node.name == "SequencedConsumer"]
    own = {node.name for node in consumer.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
    attributes = [node for node in ast.walk(consumer) if isinstance(node, ast.Attribute)]
    made = {node.attr for node in attributes if isinstance(node.ctx, ast.Store)}
    used = {node.attr for node in attributes if re.match("_[a-z]", node.attr)}
    inherited = set(dir(driver.Consumer)) | CONSUMER_STATE
    return (used | own) & {name for name in inherited if re.match("_[a-z]", name)} - (made - CONSUMER_STATE)


def test_every_private_part_that_is_used_is_named_here() -> None:
    named = {name for name in CONSUMER_METHODS if name.startswith("_")}
    named |= {name for name in CONSUMER_STATE if name.startswith("_")}
    assert private_uses() == named
