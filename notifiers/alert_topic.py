"""`usage.alerts` as the notifier reads it: every partition from where its outbox is, outside any consumer group."""

import hashlib
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, cast

import fastavro
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicCollection, TopicPartition
from confluent_kafka.admin import AdminClient

from notifiers.chain import Chain
from notifiers.outbox import Disabled
from schemas.alert_chain import extends_of
from schemas.codec import avro_schema, decode, encode, split_frame
from schemas.registry import Registry
from schemas.topics import ALERTS

BROKER_S = 20.0
MESSAGES = 500
AVRO = "alert.v1"

log = logging.getLogger("tollbook.notifier")


@dataclass(frozen=True, slots=True)
class Received:
    """One record that counts; `alert` is None when it could not be decoded, and `reason` says why."""

    partition: int
    offset: int
    value: bytes
    alert: dict[str, Any] | None
    reason: str

    @property
    def place(self) -> str:
        """Where it stands, as people and keys name it."""
        return f"{ALERTS}[{self.partition}]:{self.offset}"


class AlertTopic:
    """Reads and, to report a channel, appends. Raises KafkaException and RegistryAwayError when one is away."""

    def __init__(self, kafka: str, registry: Registry, known: Mapping[int, Chain]) -> None:
        self._kafka = kafka
        self._registry = registry
        self._consumer = Consumer(
            {
                "bootstrap.servers": kafka,
                "group.id": "tollbook-notifier",  # required by the client; the outbox keeps the positions
                "enable.auto.commit": False,
                "auto.offset.reset": "error",
                "isolation.level": "read_committed",
            }
        )
        self.chains = self._begin(known)

    def _begin(self, known: Mapping[int, Chain]) -> dict[int, Chain]:
        epoch, partitions = _describe(self._kafka)
        chains = {}
        for number in partitions:
            place = TopicPartition(ALERTS, number)
            low, _ = self._consumer.get_watermark_offsets(place, timeout=BROKER_S)
            chain = known.get(number)
            if chain is None or chain.epoch != epoch:
                chain = Chain(epoch, low, low)
            lost = chain.skip_to(low)
            if lost:
                log.error("%s[%d]: retention took %d records that were never read", ALERTS, number, lost)
            chains[number] = chain
        self._consumer.assign([TopicPartition(ALERTS, number, chain.next_offset) for number, chain in chains.items()])
        return chains

    def read(self, timeout_s: float) -> list[Received]:
        """What is new and counts, in the order of each partition; `chains` have then moved past it."""
        received = []
        first = self._consumer.poll(timeout_s)  # `consume` waits the whole time unless there are that many
        for message in [first, *self._consumer.consume(MESSAGES, 0)] if first is not None else []:
            error = message.error()
            if error is not None:
                raise KafkaException(error)
            partition, offset = cast("int", message.partition()), cast("int", message.offset())
            headers = cast("list[tuple[str, bytes]] | None", message.headers())  # a dict only when producing
            if self.chains[partition].accepts(offset, extends_of(headers)):
                received.append(self._decoded(message, partition, offset))
        return received

    def _decoded(self, message: Message, partition: int, offset: int) -> Received:
        value = message.value() or b""
        try:
            schema_id, _ = split_frame(value)
            writer = self._registry.schema_text(schema_id)
            if writer is None:
                raise ValueError(f"schema id {schema_id}: unknown to the registry")
            return Received(partition, offset, value, decode(value, _parsed(writer), avro_schema(AVRO)), "")
        except ValueError as error:
            return Received(partition, offset, value, None, str(error))

    def report(self, disabled: Disabled) -> None:
        """Appends an alert of type `pipeline` beside the chain; returns when the broker has it."""
        record = disabled_alert(disabled)
        value = encode(record, AVRO, self._registry.schema_id(ALERTS))
        failures: list[KafkaError] = []

        def delivered(error: KafkaError | None, _: Message) -> None:
            if error is not None:
                failures.append(error)

        producer = Producer({"bootstrap.servers": self._kafka, "acks": "all", "partitioner": "murmur2_random"})
        producer.produce(ALERTS, value, record["alert_id"], on_delivery=delivered)
        if producer.flush(BROKER_S):
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT, f"{ALERTS}: no acknowledgement in {BROKER_S} s"))
        if failures:
            raise KafkaException(failures[0])

    def close(self) -> None:
        self._consumer.close()


def disabled_alert(disabled: Disabled) -> dict[str, Any]:
    """A record of alert.v1 about a channel; told again after a crash it has the same id. The rest are its defaults."""
    return {
        "alert_id": hashlib.sha256(f"pipeline:notifier:{disabled.channel}:{disabled.at}".encode()).hexdigest()[:32],
        "type": "pipeline",
        "state": "raised",
        "organization": "",
        "scope_kind": "channel",
        "scope": disabled.channel,
        "window_kind": "",
        "window_start": disabled.at,
        "window_end": disabled.at,
        "threshold": 0,
        "used": "0",
        "limit": "0",
        "unit": "",
        "severity": "critical",
        "detail": (
            f"Channel {disabled.channel} is disabled, its receiver answered that it is gone ({disabled.reason}); "
            f"mend it, then `tollbook notify resume {disabled.channel}`"
        ),
        "raised_at": disabled.at,
    }


def _describe(kafka: str) -> tuple[str, list[int]]:
    """Id of the topic, and its partitions. A topic that was made anew has another id."""
    admin = AdminClient({"bootstrap.servers": kafka})  # must outlive its answer
    described = admin.describe_topics(TopicCollection([ALERTS]), request_timeout=BROKER_S)
    topic = described[ALERTS].result(BROKER_S)
    return str(topic.topic_id), sorted(partition.id for partition in topic.partitions)


@cache
def _parsed(text: str) -> Any:
    return fastavro.parse_schema(json.loads(text))
