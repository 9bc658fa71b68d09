"""Steady traffic on a stack: `tollbook simulate` at a rate, for as long as a measurement takes."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks.stacks import TOLLBOOK, Stack, wait_until
from local import child_process
from schemas.settings import Settings
from schemas.topics import EVENTS
from stream_processors.logs import LogReader

WARM_UP_S = 5.0
START_S = 120.0


@contextmanager
def traffic(stack: Stack, rate: int, seconds: float, seed: int) -> Iterator[None]:
    """Events at `rate` a second while entered; none for rate 0. Entered once they have flowed for WARM_UP_S."""
    if not rate:
        yield
        return
    count = int(rate * (seconds + 4 * WARM_UP_S + START_S))
    command = (TOLLBOOK, "simulate", "--events", str(count), "--rate", str(rate), "--seed", str(seed), "--json")
    before = events_appended(stack.settings)
    with (stack.config.state_dir / "traffic.log").open("ab") as log:
        sender = child_process.start(command, os.environ | stack.environment, log, signal.SIGKILL)
        try:
            wait_until(lambda: events_appended(stack.settings) > before, START_S, f"traffic of {rate} events/s")
            time.sleep(WARM_UP_S)
            yield
            if sender.poll() is not None:
                raise RuntimeError(f"traffic ended early, with status {sender.returncode}")
        finally:
            child_process.signal_group(sender.pid, signal.SIGKILL)
            sender.wait()


def events_appended(settings: Settings) -> int:
    """The end offsets of `usage.events`, added up."""
    with LogReader(settings.kafka) as reader:
        return sum(reader.bounds(EVENTS, partition)[1] for partition in range(settings.partitions))
