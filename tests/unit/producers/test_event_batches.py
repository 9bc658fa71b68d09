"""The fast path encodes what the model allows, byte for byte, and refuses what the model refuses, in its words."""

from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pyruhvro
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from producers.batches import MAX_EVENT_BYTES, check_batch, encode_batch, keys_and_partitions
from producers.hashing import murmur2_partitions
from schemas.arrow import EVENT_COLUMNS, MICROS, TOKEN_CLASSES
from schemas.batches import event_batch
from schemas.codec import avro_schema, avro_text, decode, encode
from schemas.event import MAX_COUNT, UsageEvent, event_key

AVRO = "usage_event.v1"
PLAIN = pa.schema(
    [(field.name, pa.string() if pa.types.is_dictionary(field.type) else field.type) for field in EVENT_COLUMNS]
)
NEEDED: dict[str, Any] = {
    "event_id": "e-1",
    "source": "gateway",
    "occurred_at": datetime(2026, 1, 1, tzinfo=UTC),
    "organization": "acme",
    "provider": "openai",
    "model": "gpt-4o",
}

text = st.text(max_size=8)
some_text = st.text(min_size=1, max_size=8)
small = st.integers(0, 20)


@st.composite
def event_values(draw: st.DrawFn) -> dict[str, Any]:
    """Values of an event, right or wrong."""
    adjustment = draw(st.booleans())
    return NEEDED | {
        "event_id": draw(some_text),
        "organization": draw(st.sampled_from(["acme", "globex"])),
        "user": draw(text),
        "occurred_at": draw(st.datetimes(datetime(1970, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))),
        "kind": "adjustment" if adjustment else draw(st.sampled_from(["usage", "final"])),
        "adjustment_type": "credit" if adjustment else "",
        "reason": draw(some_text) if adjustment else "",
        "author": draw(some_text) if adjustment else "",
        "amount_pico": draw(st.integers(-(10**15), 10**15)) if adjustment else None,
        "input_tokens": draw(st.integers(-1, 80)),
        "output_tokens": draw(st.integers(15, 50)),
        "cache_read_tokens": draw(small),
        "cache_write_tokens": draw(small),
        "cache_write_1h_tokens": draw(st.integers(0, 2)),
        "reasoning_tokens": draw(small),
        "input_parts": draw(st.dictionaries(some_text, st.integers(0, 10), max_size=2)),
        "tags": draw(st.dictionaries(some_text, text, max_size=2)),
        "units": draw(st.dictionaries(some_text, small, max_size=2)),
        "quality": draw(
            st.lists(
                st.fixed_dictionaries(
                    {"gate": text, "passed": st.booleans(), "score": st.none() | st.floats(0, 1), "detail": text}
                ),
                max_size=2,
            )
        ),
        "attachments": draw(
            st.lists(
                st.fixed_dictionaries({"file_id": text, "name": text, "bytes": small, "tokens": small}), max_size=2
            )
        ),
        "max_output_tokens": draw(st.none() | small),
        "latency_ms": draw(st.none() | small),
    }


def event_or_none(values: dict[str, Any]) -> UsageEvent | None:
    try:
        return UsageEvent(**values)
    except ValidationError:
        return None


def batch_of(rows: list[dict[str, Any]]) -> pa.RecordBatch:
    defaults = {name: field.get_default() for name, field in UsageEvent.model_fields.items()}
    return pa.RecordBatch.from_pylist([defaults | row for row in rows], schema=PLAIN)


def from_arrow(values: list[bytes]) -> list[UsageEvent]:
    """The events as the stream decodes them: Avro to Arrow."""
    columns = pyruhvro.deserialize_array([value[5:] for value in values], avro_text(AVRO))
    batch = pa.RecordBatch.from_arrays(
        [
            column.cast(pa.int64()).cast(MICROS) if name == "occurred_at" else column
            for name, column in zip(columns.schema.names, columns.columns, strict=True)
        ],
        names=columns.schema.names,
    )
    return [UsageEvent(**row) for row in batch.to_pylist(maps_as_pydicts="strict")]


@settings(max_examples=60)
@given(st.lists(event_values(), min_size=1, max_size=4))
def test_batches_and_the_model_agree(rows: list[dict[str, Any]]) -> None:
    events = [event_or_none(row) for row in rows]
    batch = batch_of(rows)
    if all(events):
        expected = [encode(event.to_avro(), AVRO, 7) for event in events if event]
        values = encode_batch(batch, 7)
        # Maps have no order, so records are compared where bytes may differ.
        assert [decode(v, avro_schema(AVRO)) for v in values] == [decode(v, avro_schema(AVRO)) for v in expected]
        assert [len(value) for value in values] == [len(value) for value in expected]
        assert from_arrow(values) == events
    else:
        with pytest.raises(ValueError, match=f"^event {events.index(None)} "):
            encode_batch(batch, 7)


def test_plain_events_have_the_bytes_of_the_codec() -> None:
    rows = [NEEDED | {"event_id": f"e-{number}", "input_tokens": number, "latency_ms": number} for number in range(9)]
    expected = [encode(UsageEvent(**row).to_avro(), AVRO, 513) for row in rows]
    assert encode_batch(batch_of(rows), 513) == expected


def test_a_slice_encodes_as_its_own_rows() -> None:
    rows = [NEEDED | {"event_id": f"e-{number}", "tags": {"n": str(number)}} for number in range(6)]
    batch = batch_of(rows)
    assert encode_batch(batch.slice(2, 3), 1) == encode_batch(batch, 1)[2:5]


def test_columns_left_out_have_the_defaults_of_the_schema() -> None:
    batch = event_batch({name: pa.array([value, value]) for name, value in NEEDED.items()})
    assert batch.schema == EVENT_COLUMNS
    expected = encode(UsageEvent(**NEEDED).to_avro(), AVRO, 1)
    assert encode_batch(batch, 1) == [expected, expected]


def test_an_empty_batch_is_no_values() -> None:
    batch = batch_of([])
    assert encode_batch(batch, 1) == []
    assert keys_and_partitions(batch, 4)[0] == []


@pytest.mark.parametrize("name", TOKEN_CLASSES)
@pytest.mark.parametrize("count", [-1, MAX_COUNT + 1])
def test_a_count_out_of_range_is_named(name: str, count: int) -> None:
    with pytest.raises(ValueError, match=rf"event 1 \(e-1\): .*{name} = {count}: "):
        check_batch(batch_of([NEEDED, NEEDED | {name: count}]))


@pytest.mark.parametrize(
    ("field", "value"),
    [("kind", "use"), ("status", "no"), ("service_tier", ""), ("organization", ""), ("event_id", "x" * 129),
     ("model", ""), ("occurred_at", None), ("user", None), ("reason", "because"), ("revision", -1)],
)  # fmt: skip
def test_a_wrong_value_is_named(field: str, value: object) -> None:
    with pytest.raises(ValueError, match=rf"event 0 .*{field} = "):
        check_batch(batch_of([NEEDED | {field: value}]))


def test_an_event_that_is_too_large_is_refused() -> None:
    with pytest.raises(ValueError, match=f"at most {MAX_EVENT_BYTES}"):
        encode_batch(batch_of([NEEDED | {"task_title": "x" * MAX_EVENT_BYTES}]), 1)


@given(st.lists(st.tuples(text, some_text), min_size=1, max_size=20))
def test_keys_and_partitions_are_those_of_single_events(users: list[tuple[str, str]]) -> None:
    rows = [NEEDED | {"user": user, "event_id": event_id} for user, event_id in users]
    keys, partitions = keys_and_partitions(batch_of(rows), 5)
    assert keys == [event_key("acme", user, event_id) for user, event_id in users]
    assert partitions.tolist() == murmur2_partitions(pa.array(keys, pa.binary()), 5).tolist()
