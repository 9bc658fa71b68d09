"""A ledger that has a past: many ids seen, and many windows that are still open, before a worker is killed."""

import time
from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from benchmarks.job import HOUR_US, HOURS, Job
from benchmarks.load import batches
from benchmarks.stacks import Stack
from producers.client import Producer
from stream_processors.landed import wait_landed

#: Each event of a user and a project of its own opens the hour, the day and the month of both.
KEYS_PER_EVENT = 6
LANDED_S = 900.0


def preload(stack: Stack, keys: int, ids: int, seed: int) -> None:
    """Sends `ids` events, spread over them so many of users and projects of their own that `keys` windows are open.

    The hours are those that have just ended, which are kept. Returns when all has landed; TimeoutError otherwise.
    """
    job = Job(seed, ids, (int(time.time()) // 3600 - HOURS) * HOUR_US)
    with Producer(stack.settings) as producer:
        for events in own_scopes(job, keys // KEYS_PER_EVENT):
            producer.emit_batch(events)
    if not wait_landed(stack.settings, LANDED_S):
        raise TimeoutError(f"{ids} events: not landed within {LANDED_S} s")


def own_scopes(job: Job, own: int) -> Iterator[pa.RecordBatch]:
    """The events of a job, `own` of which, evenly spread, have a user and a project that nobody else has."""
    first = 0
    for events, _ in batches(job):
        rows = np.arange(first, first + events.num_rows)
        first += events.num_rows
        numbers = (rows + 1) * own // job.events
        chosen = numbers != rows * own // job.events
        for name in ("user", "project"):
            events = _renamed(events, name, chosen, numbers)
        yield events


def _renamed(events: pa.RecordBatch, name: str, chosen: np.ndarray, numbers: np.ndarray) -> pa.RecordBatch:
    column = events.column(name)
    scopes = column.dictionary.to_pylist()
    codes = column.indices.to_numpy().copy()
    codes[chosen] = len(scopes) + np.arange(int(chosen.sum()))
    scopes += [f"{name}-own-{number}" for number in numbers[chosen].tolist()]
    index = events.schema.get_field_index(name)
    renamed = pa.DictionaryArray.from_arrays(pa.array(codes, column.indices.type), pa.array(scopes))
    return events.set_column(index, events.schema.field(index), renamed)
