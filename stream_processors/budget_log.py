"""`usage.budgets`: one record a budget, its whole dated history; compacted, one partition, no value when removed."""

import logging
import threading
import time
from collections.abc import Mapping

import orjson
from confluent_kafka import KafkaException, Message

from schemas.topics import BUDGETS
from stream_processors.core.budget_forms import History, from_record, to_record
from stream_processors.core.budgets import Budget
from stream_processors.core.selection import Track
from stream_processors.logs import LogReader, append_records

FOLLOW_S = 0.5

log = logging.getLogger("tollbook.budget_log")


def fold_budget_record(key: bytes, value: bytes | None) -> Budget | None:
    """The budget in force by a record of the topic, None when it was removed. ValueError names what is wrong."""
    history = history_of(key, value)
    return history[-1].budget if history else None


def history_of(key: bytes, value: bytes | None) -> History:
    """The history that a record states, empty when the budget was removed. ValueError names what is wrong."""
    if not value:
        return ()
    try:
        record = orjson.loads(value)
        if record["id"] != key.decode():
            raise ValueError(f"id = {record['id']!r}: must be the record's key")
        return from_record(record)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{BUDGETS}: record of key {key!r}: {error!r}") from error


def read_histories(kafka: str) -> dict[str, History]:
    """Every budget that the topic holds, by id; KafkaException when the broker is away."""
    histories: dict[str, History] = {}
    with LogReader(kafka) as reader:
        start, _ = reader.bounds(BUDGETS, 0)
        for message in reader.read(BUDGETS, 0, start):
            key = message.key() or b""
            histories[key.decode()] = history_of(key, message.value())
    return {budget_id: history for budget_id, history in histories.items() if history}


def write_histories(kafka: str, histories: Mapping[str, History]) -> None:
    """Append each history, an empty one as a removal; returns when all replicas have them, else KafkaException."""
    records = {key: orjson.dumps(to_record(history)) if history else None for key, history in histories.items()}
    append_records(kafka, BUDGETS, records)  # written twice, a history says the same


class BudgetFollower:
    """The budgets in force, loaded whole at start and followed live by a thread; a change needs no restart.

    `version` grows with every change. A record that is no budget is logged and leaves its predecessor in force.
    """

    def __init__(self, kafka: str) -> None:
        self._kafka = kafka
        self._held: dict[str, Budget] = {}
        self._next = 0
        self.version = 0
        self._catch_up()
        threading.Thread(target=self._follow, name="budgets-follower", daemon=True).start()

    @property
    def budgets(self) -> tuple[Budget, ...]:
        """In the order of their ids."""
        return tuple(budget for _, budget in sorted(self._held.items()))

    @property
    def tracks(self) -> tuple[Track, ...]:
        """The windows that exist for the sake of budgets in force, each once."""
        return tuple(sorted({budget.track for budget in self._held.values() if budget.track is not None}, key=repr))

    def _catch_up(self) -> None:
        with LogReader(self._kafka) as reader:
            start, end = reader.bounds(BUDGETS, 0)
            for message in reader.read(BUDGETS, 0, max(start, self._next)):
                self._take(message)
            self._next = end

    def _take(self, message: Message) -> None:
        key = message.key() or b""
        try:
            budget = fold_budget_record(key, message.value())
        except ValueError:
            log.exception("%s: the record at %s is no budget", BUDGETS, message.offset())
            return
        held = dict(self._held)
        held.pop(key.decode(), None)
        if budget is not None:
            held[budget.id] = budget
        self._held = held
        self.version += 1

    def _follow(self) -> None:
        while True:
            time.sleep(FOLLOW_S)
            try:
                self._catch_up()
            except KafkaException as error:
                log.warning("%s: %s; trying again", BUDGETS, error)
