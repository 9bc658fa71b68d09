"""Which budgets are not to be told about for now: `usage.responses`, followed outside any consumer group."""

import logging
from typing import cast

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from schemas.responses import Snooze, parse_response
from schemas.topics import RESPONSES

BROKER_S = 20.0
MESSAGES = 500

log = logging.getLogger("tollbook.notifier")


class Snoozes:
    """What was said up to now. Raises KafkaException when the broker is away."""

    def __init__(self, kafka: str) -> None:
        """Returns when it knows all that the topic holds."""
        self._consumer = Consumer(
            {
                "bootstrap.servers": kafka,
                "group.id": "tollbook-notifier",  # required by the client; nothing is ever committed
                "enable.auto.commit": False,
                "auto.offset.reset": "earliest",
            }
        )
        self._held: dict[bytes, Snooze] = {}
        place = TopicPartition(RESPONSES, 0)
        low, end = self._consumer.get_watermark_offsets(place, timeout=BROKER_S)
        place.offset = self._next = low
        self._consumer.assign([place])
        while self._next < end:
            if not self._take(1, BROKER_S):
                raise KafkaException(KafkaError(KafkaError._TIMED_OUT, f"{RESPONSES}: no record in {BROKER_S} s"))

    def known(self) -> list[Snooze]:
        """The newest of each budget and scope, whether it is over or not."""
        self._take(MESSAGES, 0)
        return list(self._held.values())

    def _take(self, most: int, timeout_s: float) -> int:
        """How many came."""
        messages = self._consumer.consume(most, timeout_s)
        for message in messages:
            error = message.error()
            if error is not None:
                raise KafkaException(error)
            self._next = cast("int", message.offset()) + 1
            try:
                response = parse_response(message.value() or b"")
            except ValueError as wrong:
                log.error("%s at %s: no response: %s", RESPONSES, message.offset(), wrong)
                continue
            if isinstance(response, Snooze):
                self._held[response.key] = response
        return len(messages)

    def close(self) -> None:
        self._consumer.close()
