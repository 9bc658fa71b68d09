"""Windows that exist for a budget's sake are exact from whichever block they begin, however late they are seeded."""

import zlib
from dataclasses import dataclass, replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from rollup_worker import SHARDS_OF_BUDGETS, named
from warehouse_model import Warehouse
from window_chains import START, Block, Chain, Row, Sums, Where, batch, chains, model, row_of, without_zeros

from schemas.block import BlockHeader, from_ipc, to_ipc
from schemas.calendar import Calendar
from stream_processors.core.gcounter import SEED, PartitionTotals, Progress
from stream_processors.core.merge import ShardTotals
from stream_processors.core.rollup import Touched, apply_block, everything, merged, partial_messages
from stream_processors.core.scopes import ScopeIndex
from stream_processors.core.selection import Selection, Track, parse_selection

ANN_OR_BOB = Selection("department", (("user", ("ann", "bob")),))
M1 = Selection("user", (("model", ("m1",)),))
FATES = st.sampled_from(["go on", "go on", "go on", "begin", "begin", "seed", "seed", "drop", "restart", "forget all"])


def meets(row: Row, selection: Selection) -> bool:
    return all(row[name] in values for name, values in selection.conditions)


def expected_of(blocks: list[Block], calendar: Calendar, track: Track) -> dict[Where, Sums]:
    """What the rows that meet the conditions add up to, under the track's name."""
    chosen = [block._replace(rows=tuple(r for r in block.rows if meets(r, track.selection))) for block in blocks]
    return without_zeros(
        {
            (kind, start, organization, track.selection.text, scope): sums
            for (kind, start, organization, scope_kind, scope), sums in model(chosen, calendar).items()
            if (kind, scope_kind) == (track.window_kind, track.selection.scope_kind)
        }
    )


@dataclass
class Tracker:
    """One source partition of rollup with one track; what the real agent does between its turns is a step here."""

    chain: Chain
    track: Track
    index: ScopeIndex
    totals: PartitionTotals
    pending: PartitionTotals | None = None
    since: Progress | None = None
    ready: PartitionTotals | None = None
    sent: int = -1

    def begin(self) -> None:
        if self.pending is None and self.ready is None:
            self.since = self.totals.progress
            self.pending = PartitionTotals(self.since, (self.track.selection,), (self.track.window_kind,))

    def seed(self) -> None:
        """The ledger sums every row up to where the track began; what was counted since is added."""
        if self.pending is None or self.since is None:
            return
        kinds = (self.track.window_kind,)
        seeded = PartitionTotals(self.since, (self.track.selection,), kinds, unknown_before=self.since.clock)
        until = self.chain.until(self.since.block_offset)
        for (kind, start, organization, name, scope), sums in expected_of(
            until, self.chain.calendar, self.track
        ).items():
            held = seeded.open(self.chain.calendar.window(kind, start), SEED, self.since.clock)
            held.whole = True
            number = self.index.id_of(self.index.kind_of(name), organization, scope)
            held.put(np.array([number]), np.array([[*sums[:-1], sums[-1] >> 32, sums[-1] & 0xFFFF_FFFF]]))
        seeded.absorb(self.pending)
        self.ready, self.pending, self.sent = seeded, None, -1

    def drop(self) -> None:
        self.pending = self.ready = None

    def turn(self, block: Block, shards: list[ShardTotals]) -> None:
        touched: Touched = []
        for totals in (self.totals, self.pending, self.ready):
            if totals is not None:
                news = apply_block(
                    totals, block.header, block.offset, batch(block.rows), self.chain.calendar, self.index, {}
                )
                touched += news if totals is not self.pending else []
        self.send(touched, shards)

    def send(self, touched: Touched, shards: list[ShardTotals]) -> None:
        """What changed, or everything when nothing was sent before."""
        tracks = [self.ready] if self.ready is not None else []
        if self.sent < 0:
            touched = [each for totals in (self.totals, *tracks) for each in everything(totals)]
        since, self.sent = self.sent, self.totals.progress.block_offset
        for target, entries, header in partial_messages(
            self.totals, merged(touched), since, "", SHARDS_OF_BUDGETS, self.index, tracks
        ):
            shards[target].apply(header, from_ipc(to_ipc(entries)))


@given(chains(), st.sampled_from([ANN_OR_BOB, M1]), st.sampled_from(["hour", "day", "month"]), st.data())
@settings(deadline=None, max_examples=60)
def test_a_track_is_its_rows_wherever_it_is_judged_and_wherever_it_landed(
    chain: Chain, selection: Selection, window_kind: str, data: st.DataObject
) -> None:
    """Begun, seeded late, dropped and begun again; rollup and budgets start afresh in between."""
    track, warehouse = Track(selection, window_kind), Warehouse()
    tracker = Tracker(chain, track, ScopeIndex(), PartitionTotals(Progress(0)))
    shards = [ShardTotals(ScopeIndex()) for _ in range(SHARDS_OF_BUDGETS)]
    for block in chain.blocks:
        fate = data.draw(FATES)
        if fate in ("begin", "seed"):
            getattr(tracker, fate)()
        elif fate == "drop":
            tracker.drop()
            for shard in shards:
                shard.keep_only([])
        elif fate == "restart":  # tracks have no table: they are seeded again
            tracker.drop()
            tracker.begin()
            tracker.sent = -1
        elif fate == "forget all":
            shards = [ShardTotals(ScopeIndex()) for _ in range(SHARDS_OF_BUDGETS)]
            tracker.sent = -1
        tracker.turn(block, shards)
        expected = expected_of(chain.until(block.offset), chain.calendar, track)
        for shard in shards:
            for entries in shard.take_changed():
                warehouse.insert(entries)
            judged = {
                place: sums
                for window, ids in shard.everything(selection.text).items()
                if shard.whole(window, selection.text)
                for place, sums in with_selection(window.kind, window.start, ids, shard, selection.text)
            }
            known = {
                place: sums
                for place, sums in expected.items()
                if shards[shard_of(place)] is shard
                and shard.whole(chain.calendar.window(window_kind, place[1]), selection.text)
            }
            assert judged == known
            if tracker.ready is None:
                assert judged == {}
    check_landed(warehouse, chain, track)


def shard_of(place: Where) -> int:
    _, _, organization, scope_kind, scope = place
    return zlib.crc32("\0".join((scope_kind, organization, scope)).encode()) % SHARDS_OF_BUDGETS


def with_selection(kind: str, start: int, ids: np.ndarray, shard: ShardTotals, text: str) -> list[tuple[Where, Sums]]:
    window = next(w for w in shard.everything(text) if (w.kind, w.start) == (kind, start))
    found = named(kind, start, ids, shard.totals(window, ids, text), shard.index)
    return [(place, sums) for place, sums in found if any(sums)]


def check_landed(warehouse: Warehouse, chain: Chain, track: Track) -> None:
    """As the audit does: what landed of each scope and window is the rows up to its own position."""
    for (place, _), entries in warehouse._counting().items():
        if place[3] != track.selection.text:
            continue
        assert parse_selection(place[3]) == track.selection
        until = chain.until(max(position for position, _ in entries))
        total = [sum(column) for column in zip(*(sums for _, sums in entries), strict=True)]
        wanted = expected_of(until, chain.calendar, track).get(place, (0,) * len(total))
        assert tuple(total) == wanted


def test_a_budget_applied_while_nothing_happens_is_judged_without_a_new_block_also_the_second_time() -> None:
    """Its snapshot has the position that budgets have reached already."""
    rows = tuple(row_of(START, "acme", ["sales", "ann", "", model], 5, 7) for model in ("m1", "m2"))
    header = BlockHeader("e1", 0, 0, 1, -1, 2, 0, 0, 0, "p1", START, START)
    chain = Chain(Calendar(), (Block(0, header, rows), Block(1, replace(header, first_offset=2, extends=0), rows)))
    track, shards = Track(M1, "day"), [ShardTotals(ScopeIndex()) for _ in range(SHARDS_OF_BUDGETS)]
    tracker = Tracker(chain, track, ScopeIndex(), PartitionTotals(Progress(0)))
    tracker.turn(chain.blocks[0], shards)
    for used in (7, 7):
        tracker.begin()
        tracker.seed()
        tracker.send([], shards)
        assert judged_cost(shards) == used
        tracker.drop()
        for shard in shards:
            shard.keep_only([])
        assert judged_cost(shards) == 0
    tracker.begin()
    tracker.seed()
    tracker.send([], shards)
    tracker.turn(chain.blocks[1], shards)
    assert judged_cost(shards) == 14


def judged_cost(shards: list[ShardTotals]) -> int:
    """Of the track's windows that are judged."""
    return sum(
        int(shard.totals(window, ids, M1.text)[:, -1].sum())
        for shard in shards
        for window, ids in shard.everything(M1.text).items()
        if shard.whole(window, M1.text)
    )
