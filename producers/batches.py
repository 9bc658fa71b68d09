"""Arrow batches of events to framed Avro values: the path for a hundred thousand events a second.

A batch has the columns of `schemas.arrow.EVENT_COLUMNS`. Checks are the model's: rows that vector operations
prove plain and right pass, every other row is built as a `schemas.event.UsageEvent`, whose errors stand.
"""

from functools import cache
from typing import get_args

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyruhvro
from pydantic import ValidationError

from producers.hashing import murmur2_partitions
from schemas.arrow import EVENT_COLUMNS, TOKEN_CLASSES
from schemas.codec import avro_text, frame
from schemas.event import ADJUSTMENT_FIELDS, MAX_COUNT, MAX_ID, PARTS, UsageEvent, explain

AVRO = "usage_event.v1"
MAX_EVENT_BYTES = 1 << 20
Mask = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]
_NULLABLE = ("amount_pico", "max_output_tokens", "latency_ms", "time_to_first_token_ms")
_NESTED = ("quality", "attachments", "input_parts", "output_parts", "tags", "units")
_LITERALS = {
    name: pa.array(get_args(UsageEvent.model_fields[name].annotation)) for name in ("kind", "service_tier", "status")
}


def event_batch(columns: dict[str, pa.Array]) -> pa.RecordBatch:
    """A batch of events from some columns; the others get the defaults of the schema."""
    count = len(next(iter(columns.values())))
    arrays = [
        _cast(columns[field.name], field.type) if field.name in columns else _default_column(field, count)
        for field in EVENT_COLUMNS
    ]
    return pa.record_batch(arrays, schema=EVENT_COLUMNS)


def _default_column(field: pa.Field, count: int) -> pa.Array:
    if field.name in _NULLABLE:
        return pa.nulls(count, field.type)
    if field.name in _NESTED:
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


def encode_batch(batch: pa.RecordBatch, schema_id: int) -> list[bytes]:
    """The framed Avro value of each event.

    Raises ValueError naming event, field, value and rule when one is not as `schemas.event.UsageEvent` wants it.
    """
    plain = _plain_columns(batch)
    check_batch(plain)
    bodies = pyruhvro.serialize_record_batch(plain, avro_text(AVRO), 1)[0]
    _check_sizes(plain, bodies)
    head = pa.scalar(frame(schema_id), pa.binary())
    return pc.binary_join_element_wise(head, bodies, pa.scalar(b"", pa.binary())).to_pylist()  # type: ignore[no-any-return]


def keys_and_partitions(batch: pa.RecordBatch, partition_count: int) -> tuple[list[bytes], npt.NDArray[np.int32]]:
    """Kafka's key and partition of each event. Users repeat within a batch, so each is hashed once."""
    columns = (batch.column(name).cast(pa.string()) for name in ("organization", "user", "event_id"))
    organization, user, event_id = columns
    scoped = pc.binary_join_element_wise(organization, user, "/")
    keys = pc.if_else(pc.equal(user, ""), event_id, scoped).dictionary_encode()
    codes = keys.indices.to_numpy()
    partitions = murmur2_partitions(keys.dictionary, partition_count)
    distinct = keys.dictionary.cast(pa.binary()).to_pylist()
    return [distinct[code] for code in codes], partitions[codes]


def check_batch(batch: pa.RecordBatch) -> None:
    """Raises ValueError naming event, field, value and rule of the first event that breaks one."""
    for row in np.flatnonzero(~_surely_right(batch)):
        values = batch.slice(row, 1).to_pylist(maps_as_pydicts="strict")[0]
        try:
            UsageEvent(**values)
        except ValidationError as error:
            raise ValueError(f"event {row} ({values['event_id']}): {explain(error)}") from error


def _surely_right(batch: pa.RecordBatch) -> Mask:
    """True where an event uses no rare field and breaks no rule; the others are for the model to judge."""
    right = np.ones(batch.num_rows, np.bool_)
    for name in batch.schema.names:
        if name not in _NULLABLE:
            right &= _mask(pc.is_valid(batch.column(name)))
    for name in ("event_id", "source", "organization"):
        length = pc.utf8_length(batch.column(name))
        right &= _mask(pc.and_(pc.greater(length, 0), pc.less_equal(length, MAX_ID)))
    for name, allowed in _LITERALS.items():
        right &= _mask(pc.is_in(batch.column(name), allowed))
    for name in ("provider", "model"):
        right &= _mask(pc.not_equal(batch.column(name), ""))
    for name in ADJUSTMENT_FIELDS:
        column = batch.column(name)
        right &= _mask(pc.is_null(column) if name in _NULLABLE else pc.equal(column, ""))
    for name in _NESTED:
        right &= np.diff(batch.column(name).offsets.to_numpy()) == 0
    for name in ("revision", *_NULLABLE):
        right &= _mask(pc.fill_null(pc.greater_equal(batch.column(name), 0), True))
    return right & _counts_right(batch) & _mask(pc.not_equal(batch.column("kind"), "adjustment"))


def _counts_right(batch: pa.RecordBatch) -> Mask:
    counts: dict[str, Ints] = {name: pc.fill_null(batch.column(name), 0).to_numpy() for name in TOKEN_CLASSES}
    right = np.ones(batch.num_rows, np.bool_)
    for count in counts.values():
        right &= (count >= 0) & (count <= MAX_COUNT)
    for parts, whole in PARTS:
        right &= sum(counts[part] for part in parts) <= counts[whole]
    return right


def _check_sizes(batch: pa.RecordBatch, bodies: pa.Array) -> None:
    sizes = pc.binary_length(bodies).to_numpy()
    row = int(sizes.argmax()) if len(sizes) else -1
    if row >= 0 and sizes[row] > MAX_EVENT_BYTES:
        name = batch.column("event_id")[row].as_py()
        raise ValueError(f"event {row} ({name}): value = {sizes[row]} bytes: at most {MAX_EVENT_BYTES}")


def _plain_columns(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The encoder takes no dictionaries."""
    schema = _plain_schema()
    return pa.record_batch([_cast(batch.column(field.name), field.type) for field in schema], schema=schema)


@cache
def _plain_schema() -> pa.Schema:
    return pa.schema(
        [(field.name, pa.string() if pa.types.is_dictionary(field.type) else field.type) for field in EVENT_COLUMNS]
    )


def _cast(column: pa.Array, kind: pa.DataType) -> pa.Array:
    if column.type == kind:
        return column
    return column.dictionary_encode() if pa.types.is_dictionary(kind) else column.cast(kind)


def _mask(values: pa.Array) -> Mask:
    return np.asarray(pc.fill_null(values, False).to_numpy(zero_copy_only=False))
