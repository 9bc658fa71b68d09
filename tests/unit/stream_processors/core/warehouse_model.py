"""ClickHouse's table `window_entries`, its view `windows` and the audit's question, in plain dicts."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from functools import cache

import pyarrow as pa
from window_chains import ZERO, Chain, Sums, Where, model, plus

from schemas.arrow import MEASURES
from stream_processors.core.gcounter import SEED

Key = tuple[Where, int, int]  # of an entry: scope and window, source partition, segment


class Warehouse:
    """What has landed of usage.windows."""

    def __init__(self) -> None:
        self.entries: dict[Key, tuple[int, Sums]] = {}

    def insert(self, batch: pa.RecordBatch) -> None:
        """The entry of the higher block stands; of two at the same block, the later."""
        starts = batch.column("window_start").cast(pa.int64()).to_pylist()
        for row, start in zip(batch.to_pylist(), starts, strict=True):
            place = (row["window_kind"], start, row["organization"], row["scope_kind"], row["scope"])
            key = (place, row["src_partition"], row["segment"])
            held = self.entries.get(key)
            if held is None or row["block_offset"] >= held[0]:
                self.entries[key] = row["block_offset"], (*(row[name] for name in MEASURES), int(row["cost_pico"]))

    def _counting(self) -> dict[tuple[Where, int], list[tuple[int, Sums]]]:
        """Entries by place and source partition, without segments that are already in a seed."""
        seeds = {
            (place, part): position for (place, part, segment), (position, _) in self.entries.items() if segment == SEED
        }
        counting = defaultdict(list)
        for (place, part, segment), entry in self.entries.items():
            if segment == SEED or segment > seeds.get((place, part), SEED):
                counting[place, part].append(entry)
        return counting

    def windows(self) -> dict[Where, Sums]:
        """The view."""
        totals: dict[Where, Sums] = defaultdict(lambda: ZERO)
        for (place, _), entries in self._counting().items():
            for _, sums in entries:
                totals[place] = plus(totals[place], sums)
        return dict(totals)

    def differences(self, chains: Mapping[int, Chain], complete: Mapping[int, int]) -> list[object]:
        """Places where entries and rows differ at the position of the entries, or at the one known to be complete."""
        counting = self._counting()
        found = []
        for part, chain in chains.items():
            rows = model(chain.blocks, chain.calendar)
            sums_at = cache(lambda position, chain=chain: model(chain.until(position), chain.calendar))
            for place in rows.keys() | {place for place, p in counting if p == part}:
                entries = counting.get((place, part), [])
                position = max([complete.get(part, -1), *(at for at, _ in entries)])
                expected = sums_at(position).get(place, ZERO)
                total = ZERO
                for _, sums in entries:
                    total = plus(total, sums)
                if total != expected:
                    found.append((place, part, position, expected, total))
        return found


def added(models: Iterable[Mapping[Where, Sums]]) -> dict[Where, Sums]:
    """Several source partitions together."""
    totals: dict[Where, Sums] = defaultdict(lambda: ZERO)
    for one in models:
        for place, sums in one.items():
            totals[place] = plus(totals[place], sums)
    return dict(totals)
