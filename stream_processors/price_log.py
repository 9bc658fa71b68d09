"""`usage.prices`: one record a price override, its whole dated history; compacted, one partition.

One `apply` is one transaction: nobody reads half of a version, and of two that apply at once the later one fails.
"""

import logging
import threading
import time
from collections.abc import Iterable

from confluent_kafka import KafkaException, Message, Producer
from pydantic import ValidationError

from schemas.topics import PRICES
from stream_processors.core.overrides import conflicts
from stream_processors.core.price_book import PriceBook
from stream_processors.core.price_history import Histories, History, latest_version, overrides_at, to_bytes
from stream_processors.logs import LogReader

WRITE_S = 20.0
FOLLOW_S = 0.5

log = logging.getLogger("tollbook.price_log")


def history_of(message: Message) -> History:
    """The history in a record. ValueError names what is wrong."""
    key = (message.key() or b"").decode()
    try:
        history = History.model_validate_json(message.value() or b"")
    except ValidationError as error:
        raise ValueError(f"{PRICES}: record of key {key!r} at {message.offset()}: {error}") from error
    if history.id != key:
        raise ValueError(f"{PRICES}: record of key {key!r} at {message.offset()}: id = {history.id!r}")
    return history


def read_histories(kafka: str) -> dict[str, History]:
    """Every price override that the topic holds, by id; KafkaException when the broker is away."""
    with LogReader(kafka) as reader:
        start, _ = reader.bounds(PRICES, 0)
        read = [history_of(message) for message in reader.read(PRICES, 0, start)]
    return {history.id: history for history in read}


class PriceWriter:
    """Applies one version: `read`, decide, `write`. Whoever began earlier and has not written yet fails."""

    def __init__(self, kafka: str) -> None:
        self._kafka = kafka
        self._producer = Producer({"bootstrap.servers": kafka, "transactional.id": "tollbook-prices"})
        self._producer.init_transactions(WRITE_S)

    def read(self) -> dict[str, History]:
        """The histories as nobody else can change them before `write`."""
        return read_histories(self._kafka)

    def write(self, histories: Iterable[History]) -> None:
        """All of them or, with KafkaException, none."""
        self._producer.begin_transaction()
        for history in histories:
            self._producer.produce(PRICES, key=history.id, value=to_bytes(history), partition=0)
        self._producer.commit_transaction(WRITE_S)


class PriceFollower:
    """The price book with the overrides in force, loaded whole at start and followed live by a thread.

    A version that cannot be a price list is logged and leaves its predecessor in force.
    """

    def __init__(self, kafka: str) -> None:
        self._kafka = kafka
        self._histories: dict[str, History] = {}
        self._next = 0
        self.book = PriceBook.compiled()
        self._catch_up()
        threading.Thread(target=self._follow, name="prices-follower", daemon=True).start()

    def _catch_up(self) -> None:
        with LogReader(self._kafka) as reader:
            start, _ = reader.bounds(PRICES, 0)
            messages = list(reader.read(PRICES, 0, max(start, self._next)))
        if messages:
            # Behind the last record, not at the end of the log: what lies between may belong to an open transaction.
            self._next = (messages[-1].offset() or 0) + 1
            self._histories |= {history.id: history for history in map(history_of, messages)}
            self.book = book_of(self._histories)
            log.info("prices: %s", self.book.version)

    def _follow(self) -> None:
        while True:
            time.sleep(FOLLOW_S)
            try:
                self._catch_up()
            except KafkaException as error:
                log.warning("%s: %s; trying again", PRICES, error)
            except ValueError:
                log.exception("%s: what was applied last is no price list", PRICES)


def book_of(histories: Histories, version: int | None = None) -> PriceBook:
    """The price book of a version of the overrides, by default the newest. ValueError when they contradict."""
    number = latest_version(histories) if version is None else version
    overrides = overrides_at(histories, number)
    for conflict in conflicts(overrides):
        raise ValueError(conflict)
    return PriceBook.compiled(overrides, number)
