"""What lands of the windows is exactly the rows at its position, whatever becomes of the messages on the way."""

import zlib
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rollup_worker import SHARDS_OF_BUDGETS, Message, Worker, named, rebuilt
from warehouse_model import Warehouse, added
from window_chains import DAY, HOUR, START, Block, Chain, Sums, Where, chains, model, row_of, without_zeros

from schemas.arrow import SCOPE_KINDS, WINDOW_ENTRIES
from schemas.block import BlockHeader, from_ipc, to_ipc
from schemas.calendar import Calendar, Window
from stream_processors.core import rollup
from stream_processors.core.gcounter import PartitionTotals, Progress
from stream_processors.core.merge import ShardTotals
from stream_processors.core.rollup import PartialHeader
from stream_processors.core.scopes import ScopeIndex
from stream_processors.core.shards import UnsoundTableError, progress_key
from stream_processors.core.windows import BASE_KIND, in_period, opened_at

UTC = Calendar()
PAIRS = st.sampled_from([UTC, Calendar("Europe/Berlin")]).flatmap(
    lambda calendar: st.tuples(chains(0, calendar), chains(1, calendar))
)


class Budgets:
    """Every shard of the budgets agent as far as windows go, the ledger behind it."""

    def __init__(self, warehouse: Warehouse) -> None:
        self.shards = [ShardTotals(ScopeIndex()) for _ in range(SHARDS_OF_BUDGETS)]
        self.warehouse = warehouse

    def hear(self, message: Message) -> None:
        target, entries, header = message
        header = PartialHeader.from_headers([("progress", header.to_bytes())])
        self.shards[target].apply(header, from_ipc(to_ipc(entries)))

    def flush(self) -> None:
        for shard in self.shards:
            for entries in shard.take_changed():
                assert entries.schema.equals(WINDOW_ENTRIES)
                self.warehouse.insert(entries)

    def complete(self) -> dict[int, int]:
        """By source partition, the block up to which every shard has counted."""
        parts = set.intersection(*(set(shard.watermarks) for shard in self.shards))
        return {part: min(shard.watermarks[part].block_offset for shard in self.shards) for part in parts}

    def totals(self) -> dict[Where, Sums]:
        """Of the windows that are known to be whole."""
        return {
            place: sums
            for shard in self.shards
            for window, ids in shard.everything().items()
            if shard.whole(window)
            for place, sums in named(window.kind, window.start, ids, shard.totals(window, ids), shard.index)
            if any(sums)
        }


def everything_of(pair: Sequence[Chain]) -> dict[Where, Sums]:
    return without_zeros(added(model(chain.blocks, chain.calendar) for chain in pair))


def finish(workers: Sequence[Worker], budgets: Budgets) -> None:
    for worker in workers:
        for message in worker.messages(worker.turn(99), snapshot=True):
            budgets.hear(message)
    budgets.flush()


def shard_of(place: Where) -> int:
    _, _, organization, scope_kind, scope = place
    return zlib.crc32("\0".join((scope_kind, organization, scope)).encode()) % SHARDS_OF_BUDGETS


def check_whole_windows(budgets: Budgets, calendar: Calendar, expected: dict[Where, Sums]) -> None:
    """What a shard says it knows whole, it does."""

    def known(place: Where) -> bool:
        kind, start, *_ = place
        return budgets.shards[shard_of(place)].whole(calendar.window(kind, start))

    assert budgets.totals() == {place: sums for place, sums in expected.items() if known(place)}


@pytest.fixture(autouse=True)
def _small_messages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Turns of several messages, without thousands of scopes."""
    monkeypatch.setattr(rollup, "MESSAGE_ENTRIES", 7)


STEPS = st.lists(
    st.sampled_from(["turn", "turn", "snapshot", "restart", "reset", "hear", "hear", "flush"]), max_size=24
)


@given(PAIRS, STEPS, st.randoms(use_true_random=False))
@settings(deadline=None, max_examples=40)
def test_whatever_becomes_of_the_messages_entries_are_the_rows_at_their_position(
    pair: tuple[Chain, Chain], steps: list[str], random: Any
) -> None:
    """Late, repeated, lost, interleaved over partitions, cut off in a turn, sent again from an older position."""
    warehouse = Warehouse()
    budgets = Budgets(warehouse)
    changelogs: list[list[Any]] = [[], []]
    workers = [Worker(chain, {}, part) for part, chain in enumerate(pair)]
    wires: list[list[Message]] = [[], []]
    for step in steps:
        part = random.randint(0, 1)
        worker, wire = workers[part], wires[part]
        if step == "turn":
            wire += worker.messages(worker.turn(random.randint(1, 3)))
        elif step == "snapshot":  # minutes after the one before it: by then all has arrived
            for message in wire:
                budgets.hear(message)
            budgets.flush()
            wires[part] = worker.messages(worker.turn(random.randint(1, 3)), snapshot=True)
        elif step in ("restart", "reset"):
            for lost in [part] if step == "restart" else [0, 1]:
                writes = workers[lost].flush()
                changelogs[lost] += writes[: random.randint(0, len(writes))]
                workers[lost] = Worker(pair[lost], rebuilt(changelogs[lost]), lost)
                del wires[lost][random.randint(0, len(wires[lost])) :]
            if step == "reset":  # budgets have no table: they begin anywhere behind what they had heard
                budgets = Budgets(warehouse)
                wires = [wire[random.randint(0, len(wire)) :] for wire in wires]
        elif step == "hear":
            heard = random.randint(0, len(wire))
            for message in wire[:heard]:
                budgets.hear(message)
                if random.random() < 0.1:
                    budgets.hear(message)
            del wire[: random.choice([heard, heard, heard // 2])]
        else:
            budgets.flush()
            assert warehouse.differences(dict(enumerate(pair)), budgets.complete()) == []
    for message in [message for wire in wires for message in wire]:
        budgets.hear(message)
    finish(workers, budgets)
    assert warehouse.differences(dict(enumerate(pair)), budgets.complete()) == []
    assert without_zeros(warehouse.windows()) == everything_of(pair)
    check_whole_windows(budgets, pair[0].calendar, everything_of(pair))


# ---- weeks, quarters, years and billing cycles

LONGER = st.sampled_from(["week", "billing_cycle", "quarter", "year"])
ANCHORED = [UTC, Calendar("Europe/Berlin", "sunday", 11, 30)]


@given(st.sampled_from(ANCHORED).flatmap(lambda calendar: chains(0, calendar)), LONGER, st.data())
@settings(deadline=None, max_examples=60)
def test_longer_windows_add_up_to_their_rows_wherever_they_are_known(
    chain: Chain, period: str, data: st.DataObject
) -> None:
    """Heard from the start, from a snapshot in the middle, or after the table was lost and seeded."""
    warehouse, worker = Warehouse(), Worker(chain, {})
    budgets = Budgets(warehouse)
    for number, block in enumerate(chain.blocks):
        fate = data.draw(st.sampled_from(["go on", "go on", "begin again", "seed"]))
        if fate == "begin again":
            budgets = Budgets(warehouse)
        elif fate == "seed" and number:
            worker = restart_from_the_ledger(chain, chain.blocks[number - 1].offset, [])
        for message in worker.messages(worker.turn(1), snapshot=fate != "go on"):
            budgets.hear(message)
        expected = of_period(model(chain.until(block.offset), chain.calendar), chain.calendar, period)
        for shard in budgets.shards:
            for window, ids in in_period(chain.calendar, period, shard.everything()).items():
                if shard.whole(window):
                    found = named(period, window.start, ids, shard.totals(window, ids), shard.index)
                    assert {place: sums for place, sums in found if any(sums)} == {
                        place: sums
                        for place, sums in expected.items()
                        if place[1] == window.start
                        and place[0] == period
                        and shard_of(place) == budgets.shards.index(shard)
                    }


def test_what_a_killed_worker_began_to_send_is_not_mixed_with_what_the_next_one_sends() -> None:
    """Snapshots of the same position, one made from memory and one from the table: their entries differ in order."""
    chain = chain_of(*((START - hour * HOUR, START, 5) for hour in range(30)))
    for cut in range(4):
        worker, warehouse = Worker(chain, {}), Warehouse()
        budgets = Budgets(warehouse)
        begun = worker.messages(worker.turn(99))
        successor = Worker(chain, rebuilt(worker.flush()))
        for target in range(SHARDS_OF_BUDGETS):
            for message in [message for message in begun if message[0] == target][:cut]:
                budgets.hear(message)
        finish([successor], budgets)
        assert warehouse.windows() == model(chain.blocks, chain.calendar)


def of_period(totals: dict[Where, Sums], calendar: Calendar, period: str) -> dict[Where, Sums]:
    """The totals of days or months, by the longer windows that they lie in."""
    models = (
        {(period, calendar.window(period, start).start, *scope): sums}
        for (kind, start, *scope), sums in totals.items()
        if kind == BASE_KIND[period]
    )
    return without_zeros(added(models))  # type: ignore[arg-type]


def test_a_year_is_judged_while_all_its_months_are_kept() -> None:
    """Usage of January is in memory in December, and an import of a whole year before is judged as it was."""
    december = START + 5 * DAY
    chain = chain_of((START - 320 * DAY, START - 320 * DAY, 5), (december, december, 7))
    worker, budgets = Worker(chain, {}), Budgets(Warehouse())
    for _ in chain.blocks:
        for message in worker.messages(worker.turn(1)):
            budgets.hear(message)
    year = UTC.window("year", december)
    [shard] = [
        shard for shard in budgets.shards if shard_of(("year", 0, "acme", "user", "ann")) == budgets.shards.index(shard)
    ]
    assert shard.whole(year)
    ids = np.array([shard.index.id_of(SCOPE_KINDS.index("user"), "acme", "ann")])
    assert shard.totals(year, ids)[0, -1] == 12


# ---- seeding


def seeded(chain: Chain, position: int, worker: Worker) -> PartitionTotals:
    """As the ledger seeds: every window with rows, summed up to a landed block."""
    [*_, newest] = chain.until(position)
    header = newest.header
    progress = Progress(header.src_partition, position, header.src_epoch, header.last_offset, header.booked_until)
    totals = PartitionTotals(progress, unknown_before=progress.clock)
    windows: dict[Window, list[tuple[int, list[int]]]] = defaultdict(list)
    for place, sums in model(chain.until(position), chain.calendar).items():
        kind, start, organization, scope_kind, scope = place
        number = worker.index.id_of(SCOPE_KINDS.index(scope_kind), organization, scope)
        windows[chain.calendar.window(kind, start)].append(
            (number, [*sums[:-1], sums[-1] >> 32, sums[-1] & 0xFFFF_FFFF])
        )
    for window, scopes in windows.items():
        ids, values = zip(*scopes, strict=True)
        totals.seed(window, opened_at(window, touches(chain.until(position), window)), np.array(ids), np.array(values))
    return totals


def touches(blocks: list[Block], window: Window) -> list[tuple[int, int]]:
    """The chain's clock before and with each block that has rows in the window."""
    clocks = [0, *(block.header.booked_until for block in blocks)]
    return [
        (before, block.header.booked_until)
        for before, block in zip(clocks, blocks, strict=False)
        if any(window.start <= row["occurred_at"] < window.end for row in block.rows)
    ]


def restart_from_the_ledger(chain: Chain, position: int, changelog: list[Any], heard_to: int = -1) -> Worker:
    worker = Worker(chain, {})
    totals = seeded(chain, position, worker)
    worker.rebuild(totals, rebuilt(changelog), heard_to)
    return worker


@given(chains(), st.lists(st.integers(1, 4), min_size=1, max_size=4), st.randoms(use_true_random=False))
@settings(deadline=None, max_examples=40)
def test_seeded_totals_go_on_as_if_nothing_had_been_lost(chain: Chain, counts: list[int], random: Any) -> None:
    """The table is lost again and again; earlier segments and seeds have landed, some beyond where a seed begins."""
    warehouse = Warehouse()
    changelog: list[Any] = []
    worker = Worker(chain, {})
    budgets = Budgets(warehouse)
    landed_to = 0
    for count in counts:
        for turned in [worker.turn(1) for _ in range(count)]:
            for message in worker.messages(turned):
                budgets.hear(message)
            if random.random() < 0.5:
                budgets.flush()
            if random.random() < 0.5:
                changelog += worker.flush()
        landed = [block.offset for block in chain.until(worker.position) if block.offset >= landed_to]
        if not landed:
            continue
        landed_to = random.choice(landed)
        budgets = Budgets(warehouse)
        worker = restart_from_the_ledger(chain, landed_to, changelog)
        writes = worker.flush()
        reached = random.choice([len(writes), random.randint(0, len(writes))])
        changelog += writes[:reached]
        if reached == len(writes):
            continue
        worker = restart(chain, landed_to, changelog)
    finish([worker], budgets)
    assert without_zeros(warehouse.windows()) == everything_of([chain])
    assert warehouse.differences({0: chain}, budgets.complete()) == []
    check_whole_windows(budgets, chain.calendar, everything_of([chain]))


def restart(chain: Chain, position: int, changelog: list[Any]) -> Worker:
    """From the table where it is one state, as it is before it was cleared or when all was written; else anew."""
    table = rebuilt(changelog)
    with suppress(UnsoundTableError):
        if progress_key(0) in table:
            return Worker(chain, table)
    worker = restart_from_the_ledger(chain, position, changelog)
    changelog += worker.flush()
    return worker


# ---- single stories


def chain_of(*blocks: tuple[int, int, int | None]) -> Chain:
    """Blocks of one row each: chain clock, instant of the row, cost."""
    made = []
    for number, (clock, occurred_at, cost) in enumerate(blocks):
        row = row_of(occurred_at, "acme", ["sales", "ann", "p", "m"], 1, cost)
        header = BlockHeader("e1", 0, number, number, number - 1, 1, 0, 0, 0, "p1", clock, clock)
        made.append(Block(number, header, (row,)))
    return Chain(UTC, tuple(made))


def test_a_late_entry_opens_a_segment_and_the_window_is_not_judged_whole_again() -> None:
    chain = chain_of((START, START, 5), (START + 49 * HOUR, START + 49 * HOUR, 1), (START + 50 * HOUR, START, 7))
    warehouse, worker = Warehouse(), Worker(chain, {})
    budgets = Budgets(warehouse)
    for _ in chain.blocks:
        for message in worker.messages(worker.turn(1)):
            budgets.hear(message)
        budgets.flush()
    hour = UTC.window("hour", START)
    assert sorted({segment for (place, _, segment) in warehouse.entries if place[:2] == ("hour", START)}) == [0, 2]
    assert not any(shard.whole(hour) for shard in budgets.shards)
    assert all(shard.whole(UTC.window("day", START)) for shard in budgets.shards)
    assert warehouse.windows()["hour", START, "acme", "user", "ann"][-1] == 12


def test_windows_of_an_import_of_old_months_stay_while_it_runs() -> None:
    """Their end is long past, but other partitions may still add to them."""
    old = START - 400 * DAY
    chain = chain_of((START, old, 5), (START + HOUR, START, 1), (START + 2 * HOUR, old, 7))
    worker = Worker(chain, {})
    budgets = Budgets(Warehouse())
    for _ in chain.blocks:
        for message in worker.messages(worker.turn(1)):
            budgets.hear(message)
        budgets.flush()
    assert budgets.totals()["hour", old, "acme", "user", "ann"][-1] == 12


def test_a_window_that_was_let_go_is_not_judged_by_the_partitions_that_come_late() -> None:
    """One partition let go of it before budgets started; another, idle since, still has it in memory."""
    first = chain_of((START, START, 5), *((START + hours * HOUR, START + 60 * HOUR, 1) for hours in (60, 61, 62)))
    header = BlockHeader("e1", 1, 0, 0, -1, 1, 0, 0, 0, "p1", START, START)
    late = Chain(UTC, (Block(0, header, first.blocks[0].rows),))
    worker = Worker(first, {})
    changelog: list[Any] = []
    for _ in first.blocks:
        worker.messages(worker.turn(1), snapshot=True)
        changelog += worker.flush()
    budgets = Budgets(Warehouse())
    for each in (Worker(first, rebuilt(changelog)), Worker(late, {}, 1)):
        for message in each.messages(each.turn(1)):
            budgets.hear(message)
    assert not any(shard.whole(UTC.window("hour", START)) for shard in budgets.shards)


def test_a_window_that_budgets_let_go_of_is_never_judged_again() -> None:
    chain = chain_of((START, START, 5), (START + 80 * HOUR, START + 80 * HOUR, 1))
    budgets = Budgets(Warehouse())
    worker = Worker(chain, {})
    for _ in chain.blocks:
        for message in worker.messages(worker.turn(1)):
            budgets.hear(message)
        budgets.flush()
    for message in worker.messages([], snapshot=True):
        budgets.hear(message)
    hour = UTC.window("hour", START)
    assert not any(shard.whole(hour) for shard in budgets.shards)


def test_the_header_survives_its_bytes_and_its_absence_is_named() -> None:
    header = PartialHeader(1, 7, "e", 9, START, 3, 2, True, [("hour", START)], "é")
    assert PartialHeader.from_headers([("x", b""), ("progress", header.to_bytes())]) == header
    with pytest.raises(ValueError, match="without a `progress` header"):
        PartialHeader.from_headers([("x", b"")])


def heard_before_the_seed() -> tuple[Chain, Budgets, Worker]:
    """Budgets have heard two blocks; then the table is lost, and rollup goes on from a seed at the first."""
    chain = chain_of((START, START, 5), (START, START, 6), (START, START, 7))
    budgets = Budgets(Warehouse())
    worker = Worker(chain, {})
    for message in worker.messages(worker.turn(2)):
        budgets.hear(message)
    budgets.flush()
    return chain, budgets, restart_from_the_ledger(chain, 0, [])


def test_a_seed_takes_the_place_of_what_it_was_summed_from() -> None:
    chain, budgets, worker = heard_before_the_seed()
    finish([worker], budgets)
    assert budgets.totals() == budgets.warehouse.windows() == model(chain.blocks, UTC)


def test_news_of_a_seed_without_its_snapshot_does_not_count() -> None:
    """The snapshot came too early to be taken; what changed since is only some of the scopes."""
    chain, budgets, worker = heard_before_the_seed()
    for message in worker.messages(worker.turn(1)) + worker.messages(worker.turn(1)):
        budgets.hear(message)
    assert budgets.totals() == model(chain.blocks[:2], UTC)
    for each in budgets.shards:
        assert each.watermarks[0].block_offset == 1
    worker.partition.sent = -1
    for message in worker.messages([]):
        budgets.hear(message)
    assert budgets.totals() == model(chain.blocks, UTC)


@pytest.mark.parametrize("position", [0, 1])
def test_a_seed_is_told_again_behind_all_that_had_been_heard(position: int) -> None:
    """The budgets group lost its offsets, too: it has heard the messages of before, and takes no older snapshot."""
    chain, budgets, _ = heard_before_the_seed()
    worker = restart_from_the_ledger(chain, position, [], heard_to=1)
    for blocks in (0, *[1] * (2 - position)):
        for message in worker.messages(worker.turn(blocks)):
            budgets.hear(message)
    assert {each.watermarks[0].block_offset for each in budgets.shards} == {2}
    assert budgets.totals() == model(chain.blocks, UTC)
    assert not worker.partition.needs_snapshot(0.0)


def test_a_turn_of_which_a_message_is_missing_counts_for_nothing() -> None:
    chain = chain_of((START, START, 5), (START, START, 6))
    worker = Worker(chain, {})
    messages = worker.messages(worker.turn(1))
    heads = [header for _, _, header in messages]
    assert max(header.part for header in heads) > 0
    for lost in range(len(messages)):
        budgets = Budgets(Warehouse())
        for message in messages[:lost] + messages[lost + 1 :]:
            budgets.hear(message)
        assert 0 not in budgets.shards[messages[lost][0]].watermarks
        budgets.flush()
        for message in worker.messages([], snapshot=True):
            budgets.hear(message)
        assert budgets.totals() == model(chain.blocks[:1], UTC)
