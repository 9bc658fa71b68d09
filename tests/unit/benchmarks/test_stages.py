"""Each stage does its work on what the one before it made; the figures themselves are the benchmark's."""

from benchmarks.job import Job
from benchmarks.load import batches
from benchmarks.rating import raw_batch
from benchmarks.report import FLOORS
from benchmarks.stages import stages

START_US = 1_790_000_000_000_000 // 3_600_000_000 * 3_600_000_000


def test_every_stage_has_a_cost_and_a_floor() -> None:
    raw = [raw_batch(events, number) for number, (events, _) in enumerate(batches(Job(1, 2_000, START_US)))]
    measured = stages(raw)
    assert measured.keys() == FLOORS.keys()
    assert all(cost > 0 for stage in measured.values() for cost in stage.values())
