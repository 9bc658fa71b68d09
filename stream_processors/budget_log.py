"""`usage.budgets`: one record a budget, its whole dated history; compacted, one partition, no value when removed."""

import logging
import threading
import time
from collections.abc import Mapping

import orjson
from confluent_kafka import KafkaException, Message

from schemas.topics import BUDGETS
from stream_processors.core.budget_forms import from_record, to_record
from stream_processors.core.budget_history import History, budgets_in_force
from stream_processors.core.budgets import Budget
from stream_processors.core.selection import Track
from stream_processors.logs import LogReader, append_records

FOLLOW_S = 1.0

log = logging.getLogger("tollbook.budget_log")


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

    `version` grows with every change, also when a date passes on which a budget changes. A record that is no budget is
    logged and leaves its predecessor in force.
    """

    def __init__(self, kafka: str) -> None:
        self._reader = LogReader(kafka)
        self._held: dict[str, History] = {}
        self._next = 0
        self.version = 0
        #: Every history in the order of ids, and (microseconds UTC) the instant as of which they are looked at.
        self.state: tuple[tuple[History, ...], int] = ((), 0)
        self._catch_up()
        self._look()
        threading.Thread(target=self._follow, name="budgets-follower", daemon=True).start()

    @property
    def budgets(self) -> tuple[Budget, ...]:
        """Those in force, in the order of their ids."""
        return budgets_in_force(*self.state)

    @property
    def tracks(self) -> tuple[Track, ...]:
        """The windows that exist for the sake of budgets in force, each once."""
        return tuple(sorted({budget.track for budget in self.budgets if budget.track is not None}, key=repr))

    def _look(self) -> None:
        """Puts in force what was read, and what a date that has passed puts in force."""
        state = (tuple(history for _, history in sorted(self._held.items())), time.time_ns() // 1000)
        if state[0] != self.state[0] or budgets_in_force(*state) != self.budgets:
            self.state = state
            self.version += 1

    def _catch_up(self) -> None:
        start, end = self._reader.bounds(BUDGETS, 0)
        for message in self._reader.read(BUDGETS, 0, max(start, self._next)):
            self._take(message)
        self._next = end

    def _take(self, message: Message) -> None:
        key = message.key() or b""
        try:
            history = history_of(key, message.value())
        except ValueError:
            log.exception("%s: the record at %s is no budget", BUDGETS, message.offset())
            return
        self._held.pop(key.decode(), None)
        if history:
            self._held[key.decode()] = history

    def _follow(self) -> None:
        while True:
            time.sleep(FOLLOW_S)
            try:
                self._catch_up()
                self._look()
            except KafkaException as error:
                log.warning("%s: %s; trying again", BUDGETS, error)
