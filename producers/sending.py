"""Sends batches of events at a pace and adds up what was sent."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from producers.client import Producer
from schemas.arrow import TOKEN_CLASSES

Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]
QUANTUM_S = 0.02  # a paced stream still goes out in small batches


@dataclass
class Tally:
    """What was sent. `tokens` leaves out copies of an event that was sent before: the ledger counts it once."""

    events: int = 0
    duplicates: int = 0
    late: int = 0
    tokens: dict[str, int] = field(default_factory=lambda: dict.fromkeys(TOKEN_CLASSES, 0))

    def add(self, events: pa.RecordBatch, repeated: Mask, late: Mask) -> None:
        self.events += events.num_rows
        self.duplicates += int(repeated.sum())
        self.late += int((late & ~repeated).sum())
        once = pa.array(~repeated)
        for name in TOKEN_CLASSES:
            self.tokens[name] += pc.sum(events.column(name).filter(once)).as_py() or 0


def report(tally: Tally, producer: Producer, seconds: float) -> dict[str, Any]:
    """The answer of `simulate` and `replay`: offsets are of `usage.events`, by partition."""
    return {
        "events": tally.events,
        "acknowledged": producer.acknowledged,
        "duplicates": tally.duplicates,
        "late": tally.late,
        "tokens": tally.tokens,
        "first_offset": _by_partition(producer.first_offsets),
        "last_offset": _by_partition(producer.last_offsets),
        "seconds": round(seconds, 3),
    }


def _by_partition(offsets: dict[int, int]) -> dict[str, int]:
    return {str(partition): offsets[partition] for partition in sorted(offsets)}


def send_paced(
    producer: Producer,
    events: pa.RecordBatch,
    due_s: Floats,
    started: float,
    sent: Callable[[int], None],
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Sends each event once `due_s` (ascending, seconds since `started`) has come; `sent` learns how many went out.

    Encoded as a whole: a few at a time would cost some ten times as much.
    """
    first, encoded = 0, producer.encode(events)
    while first < events.num_rows:
        elapsed = clock() - started
        end = int(np.searchsorted(due_s, elapsed, side="right"))
        if end > first:
            producer.emit_encoded(encoded.part(first, end))
            sent(end - first)
            first = end
        else:
            sleep(max(QUANTUM_S, due_s[first] - elapsed))
