"""How much the windows write to be able to come back: the changelog of their table, as it grows."""

from dataclasses import dataclass

from benchmarks.stacks import Stack
from schemas.topics import TOTALS
from stream_processors.logs import LogReader


@dataclass(frozen=True, slots=True)
class Written:
    """What the changelog has taken so far; compaction takes nothing back within a measurement."""

    records: int
    size_bytes: int

    def per_event(self, before: "Written", events: int) -> dict[str, float]:
        """What was added since `before`, for each of so many events."""
        return {
            "changelog_records_per_event": round((self.records - before.records) / events, 5),
            "changelog_bytes_per_event": round((self.size_bytes - before.size_bytes) / events, 2),
        }


NOTHING = Written(0, 0)


def written(stack: Stack) -> Written:
    """As the broker has it now: end offsets, and the size of its segments."""
    with LogReader(stack.settings.kafka) as reader:
        records = sum(reader.bounds(TOTALS, partition)[1] for partition in range(stack.settings.partitions))
    segments = stack.config.state_dir.glob(f"kafka/**/{TOTALS}-*/*.log")
    return Written(records, sum(path.stat().st_size for path in segments))
