"""A compacted topic of one partition whose records are whole dated histories: prices, the directory.

One `apply` is one transaction: nobody reads half of a version, and of two that apply at once the later one wins.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Generic, TypeVar

from confluent_kafka import KafkaException, Message, Producer
from pydantic import BaseModel, ValidationError

from stream_processors.logs import LogReader

WRITE_S = 20.0
FOLLOW_S = 1.0
#: A reader works with no state that is older: what was readable this long ago is in force.
FRESH_S = 2.0
History = TypeVar("History", bound=BaseModel)
State = TypeVar("State")

log = logging.getLogger("tollbook.versioned_log")


def read_histories(kafka: str, topic: str, form: type[History]) -> dict[str, History]:
    """Every history that the topic holds, by key; KafkaException: the broker is away; ValueError: another form."""
    with LogReader(kafka) as reader:
        start, _ = reader.bounds(topic, 0)
        return {key_of(message): history_of(message, form) for message in reader.read(topic, 0, start)}


def key_of(message: Message) -> str:
    """The key of a record, '' when it has none."""
    return (message.key() or b"").decode()


def history_of(message: Message, form: type[History]) -> History:
    """The history in a record. ValueError names what is wrong."""
    try:
        return form.model_validate_json(message.value() or b"")
    except ValidationError as error:
        place = f"{message.topic()}: record of key {key_of(message)!r} at {message.offset()}"
        raise ValueError(f"{place}: {error}") from error


class Writer:
    """Applies one version: read the histories, decide, `write`. Whoever began earlier and has not written yet fails."""

    def __init__(self, kafka: str, topic: str) -> None:
        self._topic = topic
        self._producer = Producer({"bootstrap.servers": kafka, "transactional.id": f"tollbook-{topic}"})
        self._producer.init_transactions(WRITE_S)

    def write(self, histories: Mapping[str, BaseModel]) -> None:
        """All of them by key or, with KafkaException, none."""
        self._producer.begin_transaction()
        for key, history in histories.items():
            self._producer.produce(self._topic, key=key, value=to_bytes(history), partition=0)
        self._producer.commit_transaction(WRITE_S)


def to_bytes(history: BaseModel) -> bytes:
    """The value of a record; amounts are text."""
    return history.model_dump_json(by_alias=True, exclude_none=True).encode()


class Follower(Generic[History, State]):
    """What is built of a topic's histories, loaded whole at start and followed live by a thread.

    A version that nothing can be built of is logged and leaves its predecessor in force. `state` is never older than
    FRESH_S: re-rating relies on it to know from when on nothing is priced by an older version any more.
    """

    def __init__(
        self, kafka: str, topic: str, form: type[History], build: Callable[[Mapping[str, History]], State]
    ) -> None:
        self._topic, self._form, self._build = topic, form, build
        self._reader = LogReader(kafka)  # kept: connecting anew twice a second is work for the broker, too
        self._histories: dict[str, History] = {}
        self._next = 0
        self._state = build({})
        self._lock = threading.Lock()
        self._fresh_at = 0.0
        self._catch_up()
        threading.Thread(target=self._follow, name=f"{topic}-follower", daemon=True).start()

    @property
    def state(self) -> State:
        """As of FRESH_S ago or later; when the thread could not see to that, KafkaException says why."""
        if time.monotonic() - self._fresh_at > FRESH_S:
            self._refresh()
        return self._state

    def _refresh(self) -> None:
        try:
            self._catch_up()
        except ValueError:
            log.exception("%s: what was applied last cannot be used", self._topic)

    def _catch_up(self) -> None:
        with self._lock:
            asked_at = time.monotonic()
            start, _ = self._reader.bounds(self._topic, 0)
            self._take(self._reader.read(self._topic, 0, max(start, self._next)))
            self._fresh_at = asked_at

    def _take(self, messages: Iterable[Message]) -> None:
        new = {}
        for message in messages:
            # Behind the last record, not at the end of the log: what lies between may belong to an open transaction.
            self._next = (message.offset() or 0) + 1
            new[key_of(message)] = history_of(message, self._form)
        if new:
            self._histories |= new
            self._state = self._build(self._histories)
            log.info("%s: %s histories, %s of them new", self._topic, len(self._histories), len(new))

    def _follow(self) -> None:
        while True:
            time.sleep(FOLLOW_S)
            try:
                self._refresh()
            except KafkaException as error:
                log.warning("%s: %s; trying again", self._topic, error)
