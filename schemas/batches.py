"""Events as Arrow batches and as framed Avro: the path for a hundred thousand events a second.

A batch has the columns of `schemas.arrow.EVENT_COLUMNS`.
"""

from functools import cache

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyruhvro

from schemas.arrow import EVENT_COLUMNS
from schemas.codec import avro_text, frame
from schemas.event import UsageEvent

AVRO = "usage_event.v1"
NULLABLE = ("amount_pico", "max_output_tokens", "latency_ms", "time_to_first_token_ms")
NESTED = ("quality", "attachments", "input_parts", "output_parts", "tags", "units")


def event_batch(columns: dict[str, pa.Array]) -> pa.RecordBatch:
    """A batch of events from some columns; the others get the defaults of the schema."""
    count = len(next(iter(columns.values())))
    arrays = [
        _cast(columns[field.name], field.type) if field.name in columns else _default_column(field, count)
        for field in EVENT_COLUMNS
    ]
    return pa.record_batch(arrays, schema=EVENT_COLUMNS)


def plain_batch(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The batch without dictionaries: the encoder takes none."""
    schema = _plain_schema()
    return pa.record_batch([_cast(batch.column(field.name), field.type) for field in schema], schema=schema)


def avro_bodies(plain: pa.RecordBatch) -> pa.Array:
    """The Avro body of each event of a plain batch, as binary."""
    return pyruhvro.serialize_record_batch(plain, avro_text(AVRO), 1)[0]


def framed(bodies: pa.Array, schema_id: int) -> list[bytes]:
    """The bodies in Confluent framing: the values of records."""
    head = pa.scalar(frame(schema_id), pa.binary())
    return pc.binary_join_element_wise(head, bodies, pa.scalar(b"", pa.binary())).to_pylist()  # type: ignore[no-any-return]


def event_keys(organization: pa.Array, user: pa.Array, event_id: pa.Array) -> pa.DictionaryArray:
    """`schemas.event.event_key` of each event. Users repeat within a batch, so each key is there once."""
    organization, user = organization.cast(pa.string()), user.cast(pa.string())
    scoped = pc.binary_join_element_wise(organization, user, "/")
    return pc.if_else(pc.equal(user, ""), event_id.cast(pa.string()), scoped).dictionary_encode()


def _default_column(field: pa.Field, count: int) -> pa.Array:
    if field.name in NULLABLE:
        return pa.nulls(count, field.type)
    if field.name in NESTED:
        return _empty_column(field.type, count)
    default = UsageEvent.model_fields[field.name].get_default()
    if pa.types.is_dictionary(field.type):
        return pa.DictionaryArray.from_arrays(np.zeros(count, np.int32), pa.array([default]))
    return pa.repeat(pa.scalar(default, field.type), count)


def _empty_column(kind: pa.DataType, count: int) -> pa.Array:
    """An empty list or map in every row (`pa.repeat` takes 100 times as long)."""
    offsets = pa.array(np.zeros(count + 1, np.int32))
    if pa.types.is_map(kind):
        return pa.MapArray.from_arrays(offsets, pa.array([], kind.key_type), pa.array([], kind.item_type))
    return pa.ListArray.from_arrays(offsets, pa.array([], kind.value_type))


@cache
def _plain_schema() -> pa.Schema:
    return pa.schema(
        [(field.name, pa.string() if pa.types.is_dictionary(field.type) else field.type) for field in EVENT_COLUMNS]
    )


def _cast(column: pa.Array, kind: pa.DataType) -> pa.Array:
    if column.type == kind:
        return column
    return column.dictionary_encode() if pa.types.is_dictionary(kind) else column.cast(kind)
