"""The load: simulated events under names of their own, and a thread that sends records at a pace and keeps the book."""

import hashlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from threading import Thread
from typing import Any

import pyarrow as pa
from confluent_kafka import KafkaError, Message, Producer

from producers.batches import encode_batch
from producers.simulate import Simulation, simulate
from schemas.arrow import TOKEN_CLASSES
from schemas.event import event_key
from schemas.registry import Registry
from schemas.settings import Settings
from schemas.topics import EVENTS
from stream_processors.reference_prices import Overrides, price_pico

from .sent import USAGE, Sent, SentFile

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
HOUR_US = 3_600_000_000
TICK_S = 0.02
DELIVERY_S = 240.0
NOBODY = ("", "", "", "")


@dataclass(frozen=True, slots=True)
class Record:
    """A record of `usage.events`, and what the book says of it; `number` is given when it is sent."""

    key: bytes
    value: bytes
    identity: str
    scopes: tuple[str, str, str, str]
    project: str
    hour: int
    tokens: tuple[int, ...]
    cost_usd: Decimal | None
    fate: str
    revision: int = 0
    requests: int = 1

    def line(self, number: int) -> Sent:
        digest = hashlib.sha256(self.value).hexdigest()
        return Sent(
            number,
            self.identity or digest,
            digest,
            self.scopes,
            self.project,
            self.hour,
            self.tokens,
            self.cost_usd,
            self.fate,
            self.revision,
            self.requests,
        )


def last_hour() -> tuple[int, int]:
    """The last full hour, microseconds UTC: [start, end)."""
    end = int(time.time()) // 3600 * HOUR_US
    return end - HOUR_US, end


def events_of(run: str, seed: int, count: int, start: int, end: int) -> pa.RecordBatch:
    """Simulated events, each once, whose source is the run and whose organizations are the run's own."""
    batches = [batch.events for batch in simulate(Simulation(seed, count, start, end, duplicates=0.0, late=0.0))]
    events = pa.Table.from_batches(batches).unify_dictionaries().combine_chunks().to_batches()[0]
    names = [f"{name}-{run}" for name in events.column("organization").dictionary.to_pylist()]
    events = _replaced(events, "organization", events.column("organization").indices, names)
    return _replaced(events, "source", pa.array([0] * events.num_rows, pa.int32()), [run])


def _replaced(events: pa.RecordBatch, name: str, codes: pa.Array, names: list[str]) -> pa.RecordBatch:
    index = events.schema.get_field_index(name)
    column = pa.DictionaryArray.from_arrays(codes, pa.array(names))
    return events.set_column(index, events.schema.field(index), column)


def records_of(events: pa.RecordBatch, schema_id: int) -> list[Record]:
    """The records of events, priced in Decimal by the reference, which shares nothing with the engine."""
    values = encode_batch(events, schema_id)
    rows = events.to_pylist(maps_as_pydicts="strict")
    return [
        record_of(row | {"occurred_at": micros_of(row["occurred_at"])}, value)
        for row, value in zip(rows, values, strict=True)
    ]


def micros_of(moment: datetime) -> int:
    return (moment - EPOCH) // timedelta(microseconds=1)


def record_of(
    row: Mapping[str, Any],
    value: bytes,
    overrides: Overrides = (),
    fate: str = USAGE,
    requests: int = 1,
    cost_pico: int | None = None,
) -> Record:
    """The record of an event (`occurred_at` in microseconds). What an adjustment comes to is told."""
    occurred_at = row["occurred_at"]
    if row["kind"] != "adjustment":
        cost_pico = price_pico(row, overrides)
    return Record(
        event_key(row["organization"], row["user"], row["corrects"] or row["event_id"]),
        value,
        f"{row['event_id']}#{row['revision']}" if row["revision"] else row["event_id"],
        (row["organization"], row["department"], row["user"], row["model"]),
        row["project"],
        occurred_at // HOUR_US * HOUR_US,
        tuple(row[name] for name in TOKEN_CLASSES),
        None if cost_pico is None else Decimal(cost_pico).scaleb(-12),
        fate,
        row["revision"],
        requests,
    )


def load_of(settings: Settings, run: str, seed: int, count: int, back: int = 0) -> list[Record]:
    """The usual load: events of the last full hour, or of the one that ended so long before (microseconds)."""
    start, end = last_hour()
    return records_of(events_of(run, seed, count, start - back, end - back), schema_id_of(settings))


def schema_id_of(settings: Settings) -> int:
    """The id of the schema of `usage.events`."""
    registry = Registry(settings.registry)
    try:
        return registry.schema_id(EVENTS)
    finally:
        registry.close()


class Sending:
    """Sends records in a thread of its own, `rate` a second (0: as fast as it goes), and writes the book."""

    def __init__(
        self, settings: Settings, records: Sequence[Record], book: Path, first: int, rate: int, at_ms: int
    ) -> None:
        self._records, self._book, self._first, self._rate, self._at_ms = records, book, first, rate, at_ms
        self._errors: list[str] = []
        self._producer = Producer(
            {
                "bootstrap.servers": settings.kafka,
                "enable.idempotence": True,
                "compression.type": "lz4",
                "linger.ms": 5,
                "message.max.bytes": 8 << 20,
                "partitioner": "murmur2_random",
                "queue.buffering.max.messages": 1_000_000,
                "delivery.timeout.ms": int(DELIVERY_S * 1000),
                "log_level": 2,
            }
        )
        self._thread = Thread(target=self._run, daemon=True)
        self._thread.start()

    @property
    def done(self) -> bool:
        return not self._thread.is_alive()

    def finish(self) -> None:
        """Returns when every record has been acknowledged; AssertionError when one was not."""
        self._thread.join(len(self._records) / (self._rate or 1_000) + DELIVERY_S + 10)
        assert self.done, "the load is not through"
        assert not self._errors, self._errors[:5]

    def _run(self) -> None:
        try:
            with SentFile(self._book) as book:
                self._send(book)
        except Exception as error:  # shown by `finish`, in the test's own thread
            self._errors.append(repr(error))

    def _send(self, book: SentFile) -> None:
        started = time.monotonic()
        for first, part in self._due(started):
            numbers = range(self._first + first, self._first + first + len(part))
            book.sending(record.line(number) for number, record in zip(numbers, part, strict=True))
            for number, record in zip(numbers, part, strict=True):
                self._producer.produce(
                    EVENTS, record.value, record.key, on_delivery=self._noted(book, number), timestamp=self._at_ms
                )
            self._producer.poll(0)
        while self._producer.flush(1.0):
            pass  # ends: what cannot be delivered fails after DELIVERY_S
        print(f"{len(self._records)} acknowledged, {len(self._records) / (time.monotonic() - started):,.0f} a second")

    def _due(self, started: float) -> Iterator[tuple[int, Sequence[Record]]]:
        """Stretches of the records, each when its time has come."""
        first, total = 0, len(self._records)
        while first < total:
            end = min(total, int((time.monotonic() - started) * self._rate) if self._rate else first + 1000)
            if end > first:
                yield first, self._records[first:end]
                first = end
            else:
                self._producer.poll(TICK_S)

    def _noted(self, book: SentFile, number: int) -> Callable[[KafkaError | None, Message], None]:
        def delivered(error: KafkaError | None, message: Message) -> None:
            if error is not None:
                self._errors.append(f"record {number}: {error.str()}")
            else:
                book.acknowledged(number, (message.partition(), message.offset()))  # type: ignore[arg-type]

        return delivered
