"""Pricing alone against a loop over `genai-prices`, and each stage alone; in one process and without a broker."""

from typing import Any

import numpy as np
import pyarrow as pa
from genai_prices import Usage, calc_price

from benchmarks.job import Job
from benchmarks.load import batches
from benchmarks.stages import stages, us_per_event
from producers.batches import encode_batch
from stream_processors.core.price_book import PriceBook
from stream_processors.core.rating import RawBatch

SCHEMA_ID = 1
LOOP_EVENTS = 5_000  # the loop is slow; its time an event does not depend on how many


def measure(job: Job) -> dict[str, Any]:
    """Microseconds an event of pricing alone, of the loop, and of each stage beside its floor."""
    tables = [events for events, _ in batches(job)]
    book = PriceBook.compiled()

    def pricing() -> None:
        for events in tables:
            book.price(events)

    sample = tables[0].slice(0, LOOP_EVENTS).to_pylist()
    loop_us = us_per_event(lambda: _loop(sample), len(sample))
    pricing()  # the cards of the models are compiled
    price_us = us_per_event(pricing, job.events)
    return {
        "events": job.events,
        "price_us": price_us,
        "loop_us": loop_us,
        "times_faster": round(loop_us / price_us),
        "stages": stages([raw_batch(events, number) for number, events in enumerate(tables)]),
    }


def raw_batch(events: pa.RecordBatch, number: int) -> RawBatch:
    """The records of one fetch, the `number`th; as booked a moment after they occurred."""
    values = encode_batch(events, SCHEMA_ID)
    offsets = np.arange(len(values), dtype=np.int64) + number * len(values)
    booked = events.column("occurred_at").cast(pa.int64()).to_numpy() // 1000 + 1
    return RawBatch(values, [None] * len(values), offsets, booked)


def _loop(events: list[dict[str, Any]]) -> None:
    """As the package's README calls it, an event at a time."""
    for event in events:
        usage = Usage(
            input_tokens=event["input_tokens"],
            output_tokens=event["output_tokens"],
            cache_read_tokens=event["cache_read_tokens"],
            cache_write_tokens=event["cache_write_tokens"],
        )
        calc_price(usage, event["model"], provider_id=event["provider"], genai_request_timestamp=event["occurred_at"])
