"""Arrow batches of events, checked, to framed Avro values.

Checks are the model's: rows that vector operations prove plain and right pass, every other row is built as a
`schemas.event.UsageEvent`, whose errors stand.
"""

from typing import get_args

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import ValidationError

from producers.hashing import murmur2_partitions
from schemas.arrow import TOKEN_CLASSES
from schemas.batches import NESTED, NULLABLE, avro_bodies, event_keys, framed, plain_batch
from schemas.event import ADJUSTMENT_FIELDS, MAX_COUNT, MAX_ID, PARTS, UsageEvent, explain

MAX_EVENT_BYTES = 1 << 20
Mask = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]
_LITERALS = {
    name: pa.array(get_args(UsageEvent.model_fields[name].annotation)) for name in ("kind", "service_tier", "status")
}


def encode_batch(batch: pa.RecordBatch, schema_id: int) -> list[bytes]:
    """The framed Avro value of each event.

    Raises ValueError naming event, field, value and rule when one is not as `schemas.event.UsageEvent` wants it.
    """
    plain = plain_batch(batch)
    check_batch(plain)
    bodies = avro_bodies(plain)
    _check_sizes(plain, bodies)
    return framed(bodies, schema_id)


def keys_and_partitions(batch: pa.RecordBatch, partition_count: int) -> tuple[list[bytes], npt.NDArray[np.int32]]:
    """Kafka's key and partition of each event. Users repeat within a batch, so each is hashed once."""
    keys = event_keys(*(batch.column(name) for name in ("organization", "user", "event_id")))
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
        if name not in NULLABLE:
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
        right &= _mask(pc.is_null(column) if name in NULLABLE else pc.equal(column, ""))
    for name in NESTED:
        right &= np.diff(batch.column(name).offsets.to_numpy()) == 0
    for name in ("revision", *NULLABLE):
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


def _mask(values: pa.Array) -> Mask:
    return np.asarray(pc.fill_null(values, False).to_numpy(zero_copy_only=False))
