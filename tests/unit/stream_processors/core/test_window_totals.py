"""Windowed totals are the plain sums of the rows, however they are cut, saved, lost and read back."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from rollup_worker import Worker, Write, rebuilt
from window_chains import HOUR, START, Block, Chain, chains, model, without_zeros

from schemas.block import BlockHeader

#: Nothing is let go: everything stays in memory.
SHORT = st.sampled_from([0, 1, HOUR])
BLOCKS = st.lists(st.integers(1, 4), max_size=12)


def run(chain: Chain, table: dict[bytes, bytes] | None = None) -> Worker:
    worker = Worker(chain, {} if table is None else table)
    worker.turn(len(chain.blocks))
    return worker


def plain(worker: Worker) -> dict[Any, Any]:
    return {place: sums for (place, *_), sums in worker.live().items()}


@given(chains(pauses=SHORT))
@settings(deadline=None, max_examples=50)
def test_totals_are_the_sums_of_the_rows(chain: Chain) -> None:
    assert plain(run(chain)) == without_zeros(model(chain.blocks, chain.calendar))


@given(chains(pauses=SHORT), st.integers(1, 3))
@settings(deadline=None, max_examples=50)
def test_the_cut_into_blocks_changes_no_total(chain: Chain, size: int) -> None:
    rows = [row for block in chain.blocks for row in block.rows]
    cut = [tuple(rows[start : start + size]) for start in range(0, len(rows), size)]
    headers = [BlockHeader("e1", 0, 0, 0, -1, 0, 0, 0, 0, "p1", START, START)] * len(cut)
    other = Chain(chain.calendar, tuple(map(Block, range(len(cut)), headers, cut)))
    assert plain(run(other)) == plain(run(chain))


@given(chains(), BLOCKS)
@settings(deadline=None, max_examples=50)
def test_the_cut_into_turns_changes_nothing_at_all(chain: Chain, counts: list[int]) -> None:
    worker = Worker(chain, {})
    for count in [*counts, 9]:
        worker.turn(count)
    assert worker.state() == run(chain).state()


@given(chains(), BLOCKS, st.randoms(use_true_random=False))
@settings(deadline=None, max_examples=400)
def test_a_crash_at_any_point_of_a_flush_changes_nothing(chain: Chain, counts: list[int], random: Any) -> None:
    changelog: list[Write] = []
    worker = Worker(chain, {})
    for count in counts:
        worker.turn(count)
        if random.random() < 0.3:
            continue
        writes = worker.flush()
        crash = random.random() < 0.5
        reached = random.randint(0, len(writes)) if crash else len(writes)
        changelog += writes[:reached]
        if crash:
            worker = Worker(chain, rebuilt(changelog))
    worker.turn(9)
    assert not worker.partition.ahead
    assert worker.state() == run(chain).state()
    changelog += worker.flush()
    assert Worker(chain, rebuilt(changelog)).state() == worker.state()


@given(chains(), st.lists(st.tuples(st.booleans(), st.integers(0, 4)), max_size=16), st.randoms(use_true_random=False))
@settings(deadline=None, max_examples=400)
def test_a_frozen_worker_that_writes_late_changes_nothing(
    chain: Chain, steps: list[tuple[bool, int]], random: Any
) -> None:
    """Two workers from the same table; what either writes lands late, in its own order, tombstones among it."""
    log: list[Write] = []
    workers = {True: Worker(chain, {}), False: Worker(chain, {})}
    late: dict[bool, list[Write]] = {True: [], False: []}
    for who, count in steps:
        workers[who].turn(count)
        late[who] += workers[who].flush()
        landed = random.randint(0, len(late[who]))
        log += late[who][:landed]
        del late[who][:landed]
        if random.random() < 0.2:
            workers[who], late[who] = Worker(chain, rebuilt(log)), []
    table: dict[bytes, bytes] = {}
    while log:
        size = random.randint(1, len(log))
        rebuilt(log[:size], table)
        del log[:size]
    assert run(chain, table).state() == run(chain).state()
