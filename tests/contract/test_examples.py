"""No orphan schema and no orphan example; every example is a record of its schema, whoever reads it."""

import io
import json
from pathlib import Path
from typing import Any

import fastavro
import pyarrow as pa
import pyruhvro
import pytest

from schemas.codec import AVRO_DIR, avro_schema, avro_text, decode, encode, split_frame
from schemas.event import UsageEvent
from schemas.topics import BY_NAME, EVENTS, TOPICS

EXAMPLES = AVRO_DIR.parent / "examples"
FILES = sorted(EXAMPLES.rglob("*.json"))
AVRO_TOPICS = {topic.name: topic.avro for topic in TOPICS if topic.avro}


def example_id(path: Path) -> str:
    return str(path.relative_to(EXAMPLES).with_suffix(""))


def schema_of(path: Path) -> str:
    topic, version, _ = path.relative_to(EXAMPLES).parts
    name = BY_NAME[topic].avro
    assert name is not None
    assert name.endswith(f".{version}"), f"{path}: the topic's schema is {name}"
    return name


def record(path: Path) -> dict[str, Any]:
    """The example, in Avro's JSON encoding; what it leaves out has the schema's default."""
    line = io.StringIO(json.dumps(json.loads(path.read_text())))
    (found,) = fastavro.json_reader(line, avro_schema(schema_of(path)))
    assert isinstance(found, dict)
    return found


def test_every_schema_file_belongs_to_exactly_one_topic() -> None:
    files = sorted(path.name.removesuffix(".avsc") for path in AVRO_DIR.iterdir())
    assert files == sorted(AVRO_TOPICS.values())


def test_every_schema_has_examples_and_every_example_a_schema() -> None:
    expected = {f"{topic}/{name.rpartition('.')[2]}" for topic, name in AVRO_TOPICS.items()}
    assert {str(path.parent.relative_to(EXAMPLES)) for path in FILES} == expected
    assert all(path.suffix == ".json" for path in EXAMPLES.rglob("*") if path.is_file())


@pytest.mark.parametrize("path", FILES, ids=example_id)
def test_an_example_survives_encoding(path: Path) -> None:
    name = schema_of(path)
    value = encode(record(path), name, 7)
    assert split_frame(value)[0] == 7
    assert decode(value, avro_schema(name)) == record(path)


@pytest.mark.parametrize("path", FILES, ids=example_id)
def test_an_example_cut_short_or_followed_by_more_is_refused(path: Path) -> None:
    name = schema_of(path)
    value = encode(record(path), name, 7)
    with pytest.raises(ValueError, match="value:"):
        decode(value[:-1], avro_schema(name))
    with pytest.raises(ValueError, match="1 bytes after the end"):
        decode(value + b"\0", avro_schema(name))


@pytest.mark.parametrize("path", [path for path in FILES if schema_of(path) == BY_NAME[EVENTS].avro], ids=example_id)
def test_an_example_event_is_the_same_to_model_and_arrow(path: Path) -> None:
    event = UsageEvent(**record(path))
    body = encode(event.to_avro(), schema_of(path), 7)[5:]
    batch = pa.record_batch(pyruhvro.deserialize_array([body], avro_text(schema_of(path))))
    (row,) = batch.to_pylist(maps_as_pydicts="strict")
    row["occurred_at"] = record(path)["occurred_at"]  # Arrow's has no zone here; compared below
    assert UsageEvent(**row) == event
    assert batch.column("occurred_at").cast(pa.int64())[0].as_py() == event.to_avro()["occurred_at"]
