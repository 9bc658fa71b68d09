"""Waits until everything emitted so far is in ClickHouse: rows, windows, alerts and limits."""

import time
from collections.abc import Callable, Iterator, Mapping

from schemas.settings import Settings
from schemas.topics import ALERTS, EVENTS, LIMITS
from stream_processors.lag import SINK_GROUP, committed, ends
from stream_processors.logs import LogReader, topic_id
from stream_processors.sink.warehouse import AwayError, Warehouse

POLL_S = 0.1
BOOKED = "SELECT src_partition, max(last_offset) AS reached FROM blocks"


def wait_landed(settings: Settings, timeout: float) -> bool:
    """Whether every event that `usage.events` holds at the call has landed within `timeout` seconds.

    That is: its block is in table `blocks`, every shard's watermark of the windows has passed that block, and what
    `usage.alerts` and `usage.limits` held then is in their tables. Raises KafkaException when the broker is away and
    RefusedError when ClickHouse refuses to answer; that ClickHouse is away counts as not landed yet.
    """
    deadline = time.monotonic() + timeout
    with LogReader(settings.kafka) as reader:
        epoch = topic_id(settings.kafka, EVENTS)
        last = {part: end - 1 for part in range(settings.partitions) if (end := _end_of_events(reader, part)) > 0}
        return all(_wait(step, deadline) for step in _steps(settings, Warehouse(settings), reader, epoch, last))


def wait_booked(settings: Settings, timeout: float) -> tuple[str, list[int]] | None:
    """The epoch of `usage.events` and where each of its partitions ends, once the rows up to there are in ClickHouse.

    None when they are not within `timeout` seconds. Raises as `wait_landed`.
    """
    deadline = time.monotonic() + timeout
    epoch = topic_id(settings.kafka, EVENTS)
    with LogReader(settings.kafka) as reader:
        found = [_end_of_events(reader, part) for part in range(settings.partitions)]
    last = {part: end - 1 for part, end in enumerate(found) if end > 0}
    booked = _wait(lambda: _reached(Warehouse(settings), BOOKED, epoch, last), deadline)
    return (epoch, found) if booked else None


def event_ends(settings: Settings) -> tuple[str, list[int]]:
    """The epoch of `usage.events`, and where each of its partitions ends now."""
    with LogReader(settings.kafka) as reader:
        epoch = topic_id(settings.kafka, EVENTS)
        return epoch, [reader.bounds(EVENTS, part)[1] for part in range(settings.partitions)]


def _steps(
    settings: Settings, warehouse: Warehouse, reader: LogReader, epoch: str, last: Mapping[int, int]
) -> Iterator[Callable[[], bool]]:
    """What must become true, one after the other; each step begins when the one before it is done."""
    yield lambda: _reached(warehouse, BOOKED, epoch, last)
    complete = f"HAVING count() = {settings.partitions}"
    yield lambda: _reached(
        warehouse, "SELECT src_partition, min(src_offset) AS reached FROM watermarks FINAL", epoch, last, complete
    )
    wanted = ends(reader, settings, (ALERTS, LIMITS))
    filled = {place: end for place, end in wanted.items() if end > 0}
    yield lambda: all(
        offset >= filled[place] for place, offset in committed(settings.kafka, SINK_GROUP, filled).items()
    )


def _end_of_events(reader: LogReader, partition: int) -> int:
    """0 when nothing is kept: what retention took cannot be waited for."""
    low, high = reader.bounds(EVENTS, partition)
    return high if high > low else 0


def _reached(warehouse: Warehouse, select: str, epoch: str, last: Mapping[int, int], having: str = "") -> bool:
    rows = warehouse.select(f"{select} WHERE src_epoch = {{epoch:String}} GROUP BY src_partition {having}", epoch=epoch)
    reached = {row["src_partition"]: row["reached"] for row in rows.to_pylist()}
    return all(reached.get(partition, -1) >= offset for partition, offset in last.items())


def _wait(condition: Callable[[], bool], deadline: float) -> bool:
    while True:
        try:
            if condition():
                return True
        except AwayError:
            pass  # not landed as far as anybody can say; the deadline decides
        if time.monotonic() >= deadline:
            return False
        time.sleep(POLL_S)
