"""Pacing sends each event when it is due, never before, in order and once."""

from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from producers.client import Encoded
from producers.sending import Tally, send_paced
from producers.simulate import Simulation, simulate

BATCH = next(simulate(Simulation(seed=1, events=200, start=0, end=3_600_000_000, duplicates=0.2, late=0.1)))


@dataclass
class Clock:
    """Time that passes only in `sleep`."""

    now: float = 100.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.now += seconds


@dataclass
class Recorder:
    """Takes what a producer would send, with the time."""

    clock: Clock
    sent: list[tuple[float, str]] = field(default_factory=list)

    def encode(self, batch: pa.RecordBatch) -> Encoded:
        ids = [event_id.encode() for event_id in batch.column("event_id").to_pylist()]
        return Encoded(ids, ids, np.zeros(len(ids), np.int32))

    def emit_encoded(self, events: Encoded) -> None:
        self.sent += [(self.clock.now - 100.0, event_id.decode()) for event_id in events.values]


@given(st.lists(st.floats(0, 5), min_size=1, max_size=50))
def test_every_event_is_sent_once_in_order_and_not_before_it_is_due(due: list[float]) -> None:
    clock = Clock()
    recorder = Recorder(clock)
    counted: list[int] = []
    events = BATCH.events.slice(0, len(due))
    due_s = np.sort(np.array(due))
    send_paced(recorder, events, due_s, 100.0, counted.append, clock, clock.sleep)  # type: ignore[arg-type]
    assert [event_id for _, event_id in recorder.sent] == events.column("event_id").to_pylist()
    assert all(at >= due - 1e-9 for (at, _), due in zip(recorder.sent, due_s, strict=True))
    assert clock.now - 100.0 <= due_s[-1] + 0.03
    assert sum(counted) == len(due)


def test_what_is_due_goes_out_in_one_batch() -> None:
    clock = Clock()
    counted: list[int] = []
    due_s = np.zeros(200)
    send_paced(Recorder(clock), BATCH.events, due_s, 100.0, counted.append, clock, clock.sleep)  # type: ignore[arg-type]
    assert counted == [200]


def test_a_copy_adds_to_the_events_and_not_to_the_tokens() -> None:
    tally = Tally()
    tally.add(BATCH.events, BATCH.repeated, BATCH.late)
    distinct = {row["event_id"]: row for row in BATCH.events.to_pylist()}
    assert tally.events == 200
    assert tally.duplicates == 200 - len(distinct) > 0
    for name, count in tally.tokens.items():
        assert count == sum(row[name] for row in distinct.values())
    assert tally.tokens["input_tokens"] > 0


def test_nothing_sent_is_nothing_counted() -> None:
    tally = Tally()
    none = np.zeros(0, np.bool_)
    tally.add(BATCH.events.slice(0, 0), none, none)
    assert (tally.events, set(tally.tokens.values())) == (0, {0})
    assert tally.late == 0
