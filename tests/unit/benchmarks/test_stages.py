"""Each stage does its work on what the one before it made; the figures themselves are the benchmark's."""

from benchmarks.job import Job
from benchmarks.load import batches
from benchmarks.rating import raw_batch
from benchmarks.report import FLOORS
from benchmarks.stages import INSERTED, stages

START_US = 1_790_000_000_000_000 // 3_600_000_000 * 3_600_000_000


BATCHES = INSERTED + 1  # more than the sink inserts at once


def test_every_stage_has_a_cost_and_a_floor() -> None:
    [(events, _)] = batches(Job(1, BATCHES * 300, START_US))
    measured = stages([raw_batch(events.slice(number * 300, 300), number) for number in range(BATCHES)])
    assert measured.keys() == FLOORS.keys()
    assert all(cost > 0 for stage in measured.values() for cost in stage.values())
