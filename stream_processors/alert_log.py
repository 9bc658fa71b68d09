"""Reading `usage.alerts` as anyone may, decoded through the registry; and appending to it beside the chains."""

import json
import time
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from typing import Any, cast

import fastavro
from confluent_kafka import KafkaError, KafkaException, Message, Producer

from schemas.alert_chain import extends_of
from schemas.codec import avro_schema, decode, encode, split_frame
from schemas.registry import Registry
from schemas.settings import Settings
from schemas.topics import ALERTS
from stream_processors.core.alerts import AlertBook
from stream_processors.logs import LogReader

PAUSE_S = 0.25
DELIVER_S = 20.0


def read_alerts(settings: Settings, follow: bool, ends: Mapping[int, int] | None = None) -> Iterator[Mapping[str, Any]]:
    """Records of `alert.v1`, partition after partition in the order of the log; with `follow` it waits for more.

    `ends`: of each partition only what lies before this offset. Raises KafkaException or RegistryAwayError when one of
    them is away, ValueError for a record that is no alert.
    """
    registry = Registry(settings.registry)
    with LogReader(settings.kafka) as reader:
        partitions = [
            _Partition(reader, registry, number, None if ends is None else ends.get(number, 0))
            for number in range(settings.partitions)
        ]
        while True:
            for partition in partitions:
                yield from partition.news()
            if not follow:
                return
            time.sleep(PAUSE_S)


class _Partition:
    """How far one partition has been read, and its chain."""

    def __init__(self, reader: LogReader, registry: Registry, number: int, end: int | None) -> None:
        self._reader, self._registry, self._number, self._end = reader, registry, number, end
        self._next, _ = reader.bounds(ALERTS, number)
        self._book = AlertBook(self._next)

    def news(self) -> Iterator[Mapping[str, Any]]:
        for message in self._reader.read(ALERTS, self._number, self._next):
            if self._end is not None and (message.offset() or 0) >= self._end:
                return
            self._next = (message.offset() or 0) + 1
            record = decoded(message, self._registry, "alert.v1")
            if self._counts(message, record):
                yield record

    def _counts(self, message: Message, record: Mapping[str, Any]) -> bool:
        """Alerts about the pipeline come from other writers and stand beside the chain."""
        headers = cast("list[tuple[str, bytes]] | None", message.headers())  # a dict only when producing
        extends = extends_of(headers)
        if extends is None:
            return bool(record["type"] != "threshold")
        return self._book.fold(self._next - 1, extends, record)


def decoded(message: Message, registry: Registry, name: str) -> dict[str, Any]:
    """A record of the schema `name`; ValueError naming its place when it is none."""
    place = f"{message.topic()}[{message.partition()}] at {message.offset()}"
    try:
        value = message.value() or b""
        schema_id, _ = split_frame(value)
        text = registry.schema_text(schema_id)
        if text is None:
            raise ValueError(f"schema id {schema_id}: unknown to the registry")
        return decode(value, _parsed(text), avro_schema(name))
    except ValueError as error:
        raise ValueError(f"{place}: {error}") from error


@cache
def _parsed(text: str) -> Any:
    return fastavro.parse_schema(json.loads(text))


def append_alert(kafka: str, registry: Registry, record: dict[str, Any]) -> None:
    """Appends one alert as `append_alerts` does."""
    append_alerts(kafka, registry, [record])


def append_alerts(kafka: str, registry: Registry, records: Iterable[dict[str, Any]]) -> None:
    """Appends alerts beside the chains; returns when the broker has them.

    Raises KafkaException or RegistryAwayError when they cannot be sent.
    """
    failures: list[KafkaError] = []

    def delivered(error: KafkaError | None, _: Message) -> None:
        if error is not None:
            failures.append(error)

    schema_id = registry.schema_id(ALERTS)
    producer = Producer({"bootstrap.servers": kafka, "acks": "all", "partitioner": "murmur2_random"})
    for record in records:
        producer.produce(ALERTS, encode(record, "alert.v1", schema_id), record["alert_id"], on_delivery=delivered)
        producer.poll(0)
    if producer.flush(DELIVER_S):
        raise KafkaException(KafkaError(KafkaError._TIMED_OUT, f"{ALERTS}: no acknowledgement in {DELIVER_S} s"))
    if failures:
        raise KafkaException(failures[0])


def fold_partition(settings: Settings, registry: Registry, number: int) -> AlertBook:
    """The alerts of one partition as they stand, its chain's head with them."""
    with LogReader(settings.kafka) as reader:
        start, _ = reader.bounds(ALERTS, number)
        book = AlertBook(start)
        for message in reader.read(ALERTS, number, start):
            headers = cast("list[tuple[str, bytes]] | None", message.headers())
            book.fold(message.offset() or 0, extends_of(headers), decoded(message, registry, "alert.v1"))
    return book


def chain_end(messages: Iterable[Message], head: int) -> int:
    """The head of a chain after these records, of which the first may extend `head`."""
    for message in messages:
        headers = cast("list[tuple[str, bytes]] | None", message.headers())
        if extends_of(headers) == head:
            head = message.offset() or 0
    return head
