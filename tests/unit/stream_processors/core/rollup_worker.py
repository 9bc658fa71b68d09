"""The rollup agent without its broker: a table from a changelog, turns, messages to budgets, flushes."""

from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import numpy as np
import pyarrow as pa
from window_chains import Chain, Sums, Where, batch

from schemas.arrow import MEASURES
from stream_processors.agents.rollup import Partition, Rollup, _keys_of_ended
from stream_processors.core import int128, shards
from stream_processors.core.chain import Chain as Links
from stream_processors.core.gcounter import HIGH, LOW, PartitionTotals, Progress, Values
from stream_processors.core.rollup import PartialHeader, Touched, apply_block, everything, merged, partial_messages
from stream_processors.core.scopes import ScopeIndex
from stream_processors.core.shards import keys_of, load, standing

Write = tuple[bytes, bytes | None]
Message = tuple[int, pa.RecordBatch, PartialHeader]
SHARDS_OF_BUDGETS = 2
#: In turn, flushes write shards anew never, after some changes, and as they do (windows of a test are small).
RESTING = (1, 2, shards.RESTING)


def rebuilt(changelog: Iterable[Write], table: dict[bytes, bytes] | None = None) -> dict[bytes, bytes]:
    """A table from its changelog, as the agent's table rebuilds it."""
    table = {} if table is None else table
    writes = list(changelog)
    for (key, value), stands in zip(writes, standing(table, writes), strict=True):
        if stands and value is None:
            table.pop(key, None)
        elif stands and value is not None:
            table[key] = value
    return table


class Worker:
    """One source partition in the hands of a rollup agent; its flushes are those of the real one."""

    def __init__(self, chain: Chain, table: dict[bytes, bytes], partition: int = 0) -> None:
        self.chain = chain
        self.index = ScopeIndex()
        self._agent = object.__new__(Rollup)
        self._agent._table = SimpleNamespace(data=SimpleNamespace(data=table))
        self._agent._index = self.index
        found = load(partition, table, self.index)
        totals, ahead = found or (PartitionTotals(Progress(partition)), {})
        self.partition = Partition(totals, Links(), ahead)
        self._flushes = 0

    def rebuild(self, totals: PartitionTotals, table: dict[bytes, bytes], heard_to: int = -1) -> None:
        """Go on with totals from the ledger, in place of what is in the table."""
        self._agent._table.data.data = table
        stale = keys_of(totals.progress.src_partition, table)
        self.partition = Partition(totals, Links(), {}, heard_to=heard_to, stale=stale)
        self.partition.dirty = everything(totals)

    @property
    def totals(self) -> PartitionTotals:
        return self.partition.totals

    @property
    def position(self) -> int:
        return self.totals.progress.block_offset

    def turn(self, count: int) -> Touched:
        """Count the next blocks of the chain."""
        touched: Touched = []
        for block in self.chain.after(self.position)[:count]:
            touched += apply_block(
                self.totals,
                block.header,
                block.offset,
                batch(block.rows),
                self.chain.calendar,
                self.index,
                self.partition.ahead,
            )
        touched = merged(touched)
        self.partition.dirty += touched
        return touched

    def messages(self, touched: Touched, snapshot: bool = False) -> list[Message]:
        """What budgets hear of a turn, as the agent sends it."""
        if self.partition.ahead:
            return []
        if snapshot or self.partition.needs_snapshot(0.0):
            self.partition.note_snapshot(0.0)
            touched = everything(self.totals)
            self.partition.tombstones += self.partition.leaving
            self.partition.leaving = _keys_of_ended(self.totals)
        since, self.partition.sent = self.partition.sent, self.position
        return list(
            partial_messages(
                self.totals, touched, since, "", SHARDS_OF_BUDGETS, self.index, sender=self.partition.sender
            )
        )

    def flush(self) -> list[Write]:
        """What goes to the changelog, in this order."""
        self._flushes += 1
        with patch.object(shards, "RESTING", RESTING[(self.position + self._flushes) % len(RESTING)]):
            return [(key, value) for _, key, value in self._agent._writes(self.partition)]

    def state(self) -> tuple[Any, ...]:
        """All that the blocks to come depend on. Before them comes the next block's forgetting, so it is done first."""
        self.totals.forget(self.totals.progress.clock)
        return self.totals.progress, self.totals.sealed, self.live()

    def live(self) -> dict[tuple[Where, int, int, bool], Sums]:
        """What is in memory and is something, with its segment, when that began and whether it is the whole window."""
        return {
            (place, held.segment, held.opened_at, held.whole): sums
            for held in self.totals.windows.values()
            for place, sums in named(
                held.window.kind, held.window.start, held.scopes[: held.size], held.values, self.index
            )
            if any(sums)
        }


def named(kind: str, start: int, ids: np.ndarray, values: Values, index: ScopeIndex) -> list[tuple[Where, Sums]]:
    """Rows of totals by the names of their scopes."""
    costs = int128.to_ints(values[: len(ids), HIGH], values[: len(ids), LOW])
    return [
        (
            (kind, start, index.organizations[scope], index.kind_names[index.kinds[scope]], index.names[scope]),
            (*row[: len(MEASURES)], cost),
        )
        for scope, row, cost in zip(ids.tolist(), values[: len(ids)].tolist(), costs, strict=True)
    ]
