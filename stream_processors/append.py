"""Appending to a chain: a log with one writer at a time, whose records name the record they extend.

Readers accept only the record that extends the head, so a writer that lost its partition is harmless. It must
notice, though: when its record did not land right behind the head it reads back, and stops if another one won.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from confluent_kafka import Message

from stream_processors.logs import LogReader
from stream_processors.transport import StartAgainError

Headers = Sequence[tuple[str, bytes]]


class LostError(StartAgainError):
    """Another writer owns the chain now: stop, and let the owner go on."""


async def send(
    app: Any, topic: str, key: bytes | None, value: bytes | None, partition: int | None, headers: Headers = ()
) -> Any:
    """Queue a record (`partition` None: its key decides); returns the future of its acknowledgement, to be awaited."""
    return await app.producer.send(topic, key, value, partition, None, list(headers))


async def landed(acknowledgement: Any, head: int, read_back: Callable[[int, int], bool], partition: int) -> int:
    """The offset of a record that was to extend `head`, once it is sure that it counts; LostError when it does not."""
    offset = int((await acknowledgement).offset)
    if offset != head + 1 and not await asyncio.to_thread(read_back, head + 1, offset):
        raise LostError(f"partition {partition}: the record at {offset} does not extend {head}, another one does")
    return offset


def between(kafka: str, topic: str, partition: int, start: int, end: int) -> list[Message]:
    """The records from `start` up to and including `end`."""
    with LogReader(kafka) as reader:
        return [m for m in reader.read(topic, partition, start) if (m.offset() or 0) <= end]
