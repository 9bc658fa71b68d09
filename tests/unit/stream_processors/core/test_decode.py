"""Decoding: other versions of the schema, records that are longer than they need be, and decoders that give up."""

import io
import json
from typing import Any

import fastavro
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rating_events import changed_schema, event, framed, schema_of

from schemas.arrow import EVENT_COLUMNS
from schemas.codec import avro_schema, avro_text
from stream_processors.core import decode
from stream_processors.core.avro_types import encoded_sizes, parse
from stream_processors.core.decode import decode_batch


def written(schema: str, record: dict[str, Any], schema_id: int = 9) -> bytes:
    out = io.BytesIO(bytes([0]) + schema_id.to_bytes(4, "big"))
    out.seek(5)
    fastavro.schemaless_writer(out, fastavro.parse_schema(json.loads(schema)), record)
    return out.getvalue()


def both(schema: str) -> Any:
    return lambda schema_id: schema if schema_id == 9 else schema_of(schema_id)


def test_all_fields_arrive() -> None:
    given_ = event(
        quality=[{"gate": "g", "passed": True, "score": 0.5, "detail": "d"}],
        attachments=[{"file_id": "f", "name": "n", "bytes": 10, "tokens": 3}],
        input_parts={"message": 7},
        tags={"k": "v"},
        max_output_tokens=5,
        latency_ms=6,
        amount_pico=-7,
        user="ü",
    )
    decoded = decode_batch([framed(**given_), framed()], schema_of)
    assert decoded.events.schema.equals(EVENT_COLUMNS)
    row = decoded.events.to_pylist()[0]
    assert row["quality"] == given_["quality"]
    assert row["attachments"] == given_["attachments"]
    assert (row["input_parts"], row["tags"]) == ([("message", 7)], [("k", "v")])
    assert (row["max_output_tokens"], row["latency_ms"], row["amount_pico"], row["user"]) == (5, 6, -7, "ü")
    assert decoded.positions.tolist() == [0, 1]


def test_another_version_is_projected_and_order_is_kept() -> None:
    schema = changed_schema(
        team=None,  # missing: default
        attachments=None,
        tags=None,
        extra={"type": {"type": "array", "items": "string"}, "default": []},  # unknown: dropped
        input_tokens={"type": "int"},  # promoted
        kind={"type": "string"},
        organization={"type": ["null", "string"]},
        quality={
            "type": {
                "type": "array",
                "items": {
                    "type": "record",
                    "name": "QualityGate",
                    "fields": [
                        {"name": "passed", "type": "boolean"},
                        {"name": "weight", "type": "int"},
                        {"name": "gate", "type": "string"},
                        {"name": "score", "type": "float"},
                    ],
                },
            }
        },
    )
    new = {
        **{field["name"]: field.get("default") for field in json.loads(schema)["fields"]},
        **event(event_id="new", extra=["x"], quality=[{"gate": "g", "passed": True, "weight": 3, "score": 0.5}]),
        "kind": "usage",
    }
    values = [
        framed(event_id="a"),
        written(schema, new),
        framed(event_id="b"),
        written(schema, new | {"organization": None}),
    ]
    decoded = decode_batch(values, both(schema))
    rows = decoded.events.to_pylist()
    assert [row["event_id"] for row in rows] == ["a", "new", "b"]
    assert decoded.positions.tolist() == [0, 1, 2]
    assert (rows[1]["team"], rows[1]["attachments"], rows[1]["tags"], rows[1]["input_tokens"]) == ("", [], [], 1000)
    assert rows[1]["quality"] == [{"gate": "g", "passed": True, "score": 0.5, "detail": ""}]
    assert decoded.failures == [(3, "schema", "organization = null: it must have a value")]


@pytest.mark.parametrize(
    ("schema", "detail"),
    [
        (changed_schema(model=None), "writer schema: field model is missing, and it has no default"),
        (changed_schema(model={"type": "long"}), "writer schema: field model is long, it must be string"),
        (
            changed_schema(occurred_at={"type": {"type": "long", "logicalType": "timestamp-millis"}}),
            "writer schema: field occurred_at is timestamp-millis, it must be timestamp-micros",
        ),
        (
            changed_schema(extra={"type": {"type": "fixed", "name": "f", "size": 4}}),
            "extra: type fixed is not one of an event",
        ),
        (changed_schema(extra={"type": ["null", "int", "string"]}), "extra: a union other than of null and one type"),
        (
            changed_schema(tags={"type": {"type": "map", "values": "long"}}),
            "field tags.items is long, it must be string",
        ),
        ('"string"', "schema is a string, an event is a record"),
        ('{"type": "record", "name": "x"}', "writer schema: not an Avro schema"),
        ("{", "Expecting property name"),
    ],
)
def test_a_schema_that_cannot_be_ours_is_rejected_and_others_are_read(schema: str, detail: str) -> None:
    decoded = decode_batch([framed(), b"\0\0\0\0\x09abc", framed()], both(schema))
    assert decoded.positions.tolist() == [0, 2]
    ((position, reason, said),) = decoded.failures
    assert (position, reason) == (1, "schema")
    assert detail in said


def in_blocks(pairs: list[tuple[str, int]], sized: bool) -> bytes:
    """An Avro map with one block a pair, with or without the blocks' sizes: legal, and longer than it need be."""
    out = io.BytesIO()
    for key, value in pairs:
        item = io.BytesIO()
        fastavro.schemaless_writer(item, {"type": "record", "name": "i", "fields": ITEM}, {"k": key, "v": value})
        head = [-1, len(item.getvalue())] if sized else [1]
        for number in head:
            fastavro.schemaless_writer(out, "long", number)
        out.write(item.getvalue())
    fastavro.schemaless_writer(out, "long", 0)
    return out.getvalue()


ITEM = [{"name": "k", "type": "string"}, {"name": "v", "type": "long"}]


@pytest.mark.parametrize("sized", [False, True])
@pytest.mark.parametrize("neighbours", [0, 100])
def test_a_map_in_several_blocks_is_no_trailing_bytes(sized: bool, neighbours: int) -> None:
    one = framed(input_parts={"message": 1, "files": 2})
    pairs = [("message", 1), ("files", 2)]
    canonical = b"\x04" + in_blocks(pairs, False).replace(b"\x02\x0a", b"\x0a").lstrip(b"\x02")
    assert canonical in one
    longer = one.replace(canonical, in_blocks(pairs, sized))
    assert len(longer) > len(one)
    decoded = decode_batch([longer, longer + b"\0", *[framed()] * neighbours], schema_of)
    assert decoded.events.column("input_parts")[0].as_py() == pairs
    assert decoded.failures == [(1, "decode", "value: 1 bytes after the end of the record")]


@pytest.mark.parametrize("neighbours", [0, 100])
def test_a_number_that_does_not_fit_is_not_cut(neighbours: int) -> None:
    wide = changed_schema(latency_ms={"type": ["null", "long"]})
    blank = {field["name"]: field.get("default") for field in json.loads(wide)["fields"]}
    for latency in (2**31, 2**33 + 2**30, -(2**40)):
        value = written(wide, blank | event(latency_ms=latency), schema_id=1)
        decoded = decode_batch([value, *[framed()] * neighbours], schema_of)
        assert decoded.failures == [(0, "decode", f"latency_ms = {latency}: does not fit 32 bits")]


class Panic(BaseException):
    """As a panic in the decoder arrives: not an Exception."""


Panic.__name__ = "PanicException"


def test_a_panic_is_a_failure_of_its_record_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    real = decode.pyruhvro.deserialize_array

    def panicking(bodies: list[bytes], text: str) -> pa.RecordBatch:
        if any(b"boom" in body for body in bodies):
            raise Panic("index out of bounds")
        return real(bodies, text)

    monkeypatch.setattr(decode.pyruhvro, "deserialize_array", panicking)
    values = [framed(), framed(event_id="boom"), framed()]
    decoded = decode_batch(values, schema_of)
    assert decoded.positions.tolist() == [0, 2]
    assert decoded.failures == [(1, "decode", "value: not a record of its schema")]


@pytest.mark.parametrize("interrupt", [KeyboardInterrupt, SystemExit])
def test_an_interrupt_goes_through(monkeypatch: pytest.MonkeyPatch, interrupt: type[BaseException]) -> None:
    def interrupted(bodies: list[bytes], text: str) -> pa.RecordBatch:
        raise interrupt

    monkeypatch.setattr(decode.pyruhvro, "deserialize_array", interrupted)
    with pytest.raises(interrupt):
        decode_batch([framed()], schema_of)


texts = st.text(st.characters(codec="utf-8"), max_size=100)
numbers = st.one_of(st.integers(0, 200), st.integers(-(2**63), 2**63 - 1))
ours = st.builds(
    event,
    event_id=texts,
    user=texts,
    task_title=st.one_of(texts, st.just("x" * 9000)),
    revision=st.integers(-(2**31), 2**31 - 1),
    amount_pico=st.one_of(st.none(), numbers),
    input_tokens=numbers,
    latency_ms=st.one_of(st.none(), st.integers(-(2**31), 2**31 - 1)),
    tags=st.dictionaries(texts, texts, max_size=3),
    units=st.dictionaries(texts, numbers, max_size=70),
    kind=st.sampled_from(["usage", "adjustment"]),
    quality=st.lists(
        st.fixed_dictionaries(
            {"gate": texts, "passed": st.booleans(), "score": st.one_of(st.none(), st.floats(0, 1)), "detail": texts}
        ),
        max_size=3,
    ),
)


@settings(deadline=None, max_examples=60)
@given(st.lists(ours, min_size=1, max_size=6))
def test_sizes_are_those_of_the_encoder(events: list[dict[str, Any]]) -> None:
    bodies = []
    for record in events:
        out = io.BytesIO()
        fastavro.schemaless_writer(out, avro_schema("usage_event.v1"), record)
        bodies.append(out.getvalue())
    columns = decode.pyruhvro.deserialize_array(bodies, avro_text("usage_event.v1"))
    sizes = encoded_sizes(parse(avro_text("usage_event.v1")), columns.to_struct_array())
    assert sizes.tolist() == [len(body) for body in bodies]
