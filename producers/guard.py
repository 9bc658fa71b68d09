"""The guard: asks, before a call, whether the budgets leave room for it, and reserves what it may use.

    guard = Guard(Settings(), fail_closed=True)
    verdict = guard.check("acme", {"department": "engineering", "user": "ada"}, Estimate(1_200, 4_096))
    if verdict.allowed:
        time.sleep(verdict.delay_s)
        ...                                                    # the call
        producer.emit(event, guard.settles(verdict))           # or guard.release(verdict) when none was made

Answers come from memory within microseconds; a thread follows `usage.limits`, `usage.heartbeats` and `usage.budgets`.
How they are made is in `producers.limit_book`; docs/guard.md says what they are worth.
"""

import json
import logging
import threading
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from functools import cache
from types import TracebackType
from typing import Any, NamedTuple, Self, cast

import fastavro
import orjson
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Message, TopicPartition

from producers.client import Failure, Place
from producers.limit_book import ALERT, STRICTNESS, Era, Estimate, GuardedBudget, Limit, LimitBook, Standing, Verdict
from schemas.codec import avro_schema, decode, split_frame
from schemas.money import to_pico
from schemas.registry import Registry, RegistryAwayError
from schemas.settings import Settings
from schemas.topics import BUDGETS, HEARTBEATS, LIMITS

BROKER_S = 10.0
POLL_S = 0.2
MESSAGES = 1_000
AVRO = "limit.v1"
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

log = logging.getLogger("tollbook.guard")


class Heartbeat(NamedTuple):
    """What a shard says of itself: with `limit_offset` read, all limits up to `counted` are known."""

    as_of: int  # microseconds UTC
    limit_offset: int
    counted: Mapping[int, int]


class Guard:
    """Safe to share between threads; one a process is enough. Close it, or use it as a context manager."""

    def __init__(
        self,
        settings: Settings,
        *,
        fail_closed: bool,
        stale_after_s: float = 10.0,
        reserve_s: float = 600.0,
        wait_s: float = 10.0,
    ) -> None:
        """Returns when it knows all that the topics hold, or after `wait_s`, with a warning in the log.

        When what it knows is older than `stale_after_s`, calls under a hard limit (block_new, pause) are refused if
        `fail_closed`, otherwise answered from what is known. A reservation that no event has released ends after
        `reserve_s`. Raises KafkaException when the broker is away now.
        """
        self._registry = Registry(settings.registry)
        self._consumer = Consumer(
            {
                "bootstrap.servers": settings.kafka,
                "group.id": "tollbook-guard",  # required by the client; nothing is ever committed
                "enable.auto.commit": False,
                "auto.offset.reset": "earliest",
                "isolation.level": "read_committed",
                "enable.partition.eof": True,
            },
            logger=log,
        )
        self._awaited = _assign_all(self._consumer)
        shards = sum(topic == LIMITS for topic, _ in self._awaited)
        self._book = LimitBook(shards, stale_after_s, fail_closed, reserve_s)
        self._lock = threading.Lock()
        self._read_to = dict.fromkeys(range(shards), -1)  # offsets of usage.limits
        self._beats: dict[int, Heartbeat] = {}  # that wait for their limits
        self._known, self._stopping = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._follow, name="tollbook-guard", daemon=True)
        self._thread.start()
        if not self._known.wait(wait_s):
            log.warning("limits are not known after %g s", wait_s)

    def check(
        self, organization: str, scopes: Mapping[str, str], estimate: Estimate, *, continues: bool = False
    ) -> Verdict:
        """Whether a call with these scopes (kind to name) may be made; reserves its estimate when it may.

        `continues`: it belongs to a task that has begun, which block_new lets finish.
        """
        now = time.time_ns() // 1000
        with self._lock:
            return self._book.check(organization, scopes, estimate, now, continues)

    def settles(self, verdict: Verdict) -> Callable[[Place | Failure], None]:
        """For `Producer.emit`: the reservation ends when the stream has counted the event."""

        def settled(outcome: Place | Failure) -> None:
            if isinstance(outcome, Failure):
                log.warning("event %s: not delivered; what it used is reserved until it ends", outcome.event_id)
                return
            with self._lock:
                self._book.sent(verdict.reservation, *outcome)

        return settled

    def release(self, verdict: Verdict) -> None:
        """The call was not made."""
        with self._lock:
            self._book.release(verdict.reservation)

    def standings(self, organization: str, scope_kind: str, scope: str) -> list[Standing]:
        """What a scope has used of each budget that covers it, as far as this guard knows."""
        now = time.time_ns() // 1000
        with self._lock:
            return self._book.standings(organization, scope_kind, scope, now)

    def staleness_s(self) -> float:
        """How old the oldest word of the stream is, in seconds; infinite until every shard has been heard."""
        with self._lock:
            return self._book.staleness_s(time.time_ns() // 1000)

    def close(self) -> None:
        """Ends the thread; the guard then knows nothing new."""
        self._stopping.set()
        self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # ---- the thread

    def _follow(self) -> None:
        while not self._stopping.is_set():
            for message in self._consumer.consume(MESSAGES, POLL_S):
                self._take(message)
        self._consumer.close()

    def _take(self, message: Message) -> None:
        error = message.error()
        if error is not None:
            if error.code() == KafkaError._PARTITION_EOF:
                self._awaited.discard((cast("str", message.topic()), cast("int", message.partition())))
                if not self._awaited:
                    self._known.set()
            else:
                log.warning("Kafka: %s", error.str())
            return
        try:
            self._apply(message)
        except (RegistryAwayError, ValueError, KeyError, TypeError) as wrong:  # what is known stays in force
            log.error("%s[%s] at %s: %s", message.topic(), message.partition(), message.offset(), wrong)

    def _apply(self, message: Message) -> None:
        topic, shard, offset = message.topic(), cast("int", message.partition()), cast("int", message.offset())
        key, value = message.key() or b"", message.value()
        if topic == BUDGETS:
            eras = eras_of(key.decode(), value)
            with self._lock:
                self._book.put_budget(key.decode(), eras)
        elif topic == HEARTBEATS:
            self._beats[shard] = heartbeat_of(value or b"")
            self._beat(shard)
        else:
            limit = None if value is None else limit_of(decode(value, self._writer(value), avro_schema(AVRO)))
            if limit is not None:
                with self._lock:
                    self._book.put_limit(shard, limit)
            self._read_to[shard] = offset
            self._beat(shard)

    def _beat(self, shard: int) -> None:
        """A heartbeat counts once the limits that were sent before it have been read."""
        beat = self._beats.get(shard)
        if beat is not None and self._read_to[shard] >= beat.limit_offset:
            del self._beats[shard]
            with self._lock:
                self._book.heartbeat(shard, beat.as_of, beat.counted)

    def _writer(self, value: bytes) -> Any:
        text = self._registry.schema_text(split_frame(value)[0])
        if text is None:
            raise ValueError(f"schema id {split_frame(value)[0]}: unknown to the registry")
        return _parsed(text)


def limit_of(record: Mapping[str, Any]) -> Limit | None:
    """A decoded record of limit.v1; None for a budget with conditions: it holds nothing up, whatever is used."""
    if record["conditions"]:
        return None
    return Limit(
        record["budget_id"],
        record["organization"],
        record["scope_kind"],
        record["scope"],
        int(record["window_end"].timestamp()) * 1_000_000,
        _amount(record["unit"], record["used"]),
        _amount(record["unit"], record["limit"]),
        _known(record["decision"].replace(" ", "_")),
        {position["src_partition"]: position["src_offset"] for position in record["positions"]},
    )


def eras_of(budget_id: str, value: bytes | None) -> list[Era]:
    """When a budget is in force, and how it is then, by a record of usage.budgets; nothing when it was removed.

    A version with conditions only alerts, and has no era.
    """
    if not value:
        return []
    history = orjson.loads(value)["history"]
    ends = [entry["effective_at"] for entry in history[1:]] + [None]
    return [
        Era(
            max(entry["effective_at"], _instant_us(entry.get("valid_from")) or 0),
            min((end for end in (until, _instant_us(entry.get("valid_until"))) if end is not None), default=None),
            _budget(budget_id, entry),
        )
        for entry, until in zip(history, ends, strict=True)
        if not entry.get("conditions")
    ]


def _budget(budget_id: str, entry: Mapping[str, Any]) -> GuardedBudget:
    kind, _, scope = entry["scope"].partition(":")
    limit, action = _amount(entry["unit"], entry["limit"]), _known(entry.get("action", ALERT))
    return GuardedBudget(budget_id, entry["organization"], kind, scope, entry["unit"], limit, action)


def _instant_us(text: str | None) -> int | None:
    return None if text is None else (datetime.fromisoformat(text) - EPOCH) // timedelta(microseconds=1)


def heartbeat_of(value: bytes) -> Heartbeat:
    """A record of usage.heartbeats."""
    beat = orjson.loads(value)
    counted = {position["src_partition"]: position["src_offset"] for position in beat["positions"]}
    return Heartbeat(beat["as_of"], beat["limit_offset"], counted)


def _known(decision: str) -> str:
    if decision not in STRICTNESS:
        raise ValueError(f"decision = {decision!r}: one of {', '.join(STRICTNESS)}")
    return decision


def _amount(unit: str, text: str) -> int:
    return to_pico(text) if unit == "cost" else int(text)


def _assign_all(consumer: Consumer) -> set[tuple[str, int]]:
    """Every partition of the three topics, from its beginning."""
    known = consumer.list_topics(timeout=BROKER_S).topics
    for topic in (LIMITS, HEARTBEATS, BUDGETS):
        if topic not in known or known[topic].error is not None:
            raise KafkaException(KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART, f"{topic}: run `schemas.provision`"))
    places = {(topic, number) for topic in (LIMITS, HEARTBEATS, BUDGETS) for number in known[topic].partitions}
    consumer.assign([TopicPartition(topic, number, OFFSET_BEGINNING) for topic, number in sorted(places)])
    return places


@cache
def _parsed(text: str) -> Any:
    return fastavro.parse_schema(json.loads(text))
