"""The chain accepts what extends its head, ignores the rest, and refuses holes and overlaps."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.block import BlockHeader
from stream_processors.core.chain import Chain, HoleError


def header(first: int, last: int, extends: int, epoch: str = "e1") -> BlockHeader:
    return BlockHeader(
        src_epoch=epoch,
        src_partition=0,
        first_offset=first,
        last_offset=last,
        extends=extends,
        row_count=last - first + 1,
        reject_count=0,
        marker_count=0,
        gap_count=0,
        price_version="p1",
        booked_until=0,
        rated_at=0,
    )


def test_the_first_block_may_begin_anywhere() -> None:
    chain = Chain()
    assert chain.accept(header(7, 9, -1), 0)
    assert chain == Chain(0, "e1", 10)


def test_a_block_that_does_not_extend_the_head_is_ignored() -> None:
    chain = Chain(4, "e1", 10)
    assert not chain.accept(header(10, 12, 3), 5)
    assert chain == Chain(4, "e1", 10)


@pytest.mark.parametrize("first", [9, 11])
def test_an_overlap_and_a_hole_raise_and_change_nothing(first: int) -> None:
    chain = Chain(4, "e1", 10)
    with pytest.raises(HoleError, match=f"source offset {first}"):
        chain.accept(header(first, 20, 4), 5)
    assert chain == Chain(4, "e1", 10)


def test_a_new_epoch_restarts_the_offsets() -> None:
    chain = Chain(4, "e1", 10)
    assert chain.accept(header(0, 3, 4, "e2"), 5)
    assert chain == Chain(5, "e2", 4)


@given(st.lists(st.tuples(st.booleans(), st.integers(1, 50)), max_size=30), st.data())
def test_zombies_between_the_blocks_change_nothing(steps: list[tuple[bool, int]], data: st.DataObject) -> None:
    """Reading a log again, from any place and with any losers in it, accepts the same blocks."""
    log: list[BlockHeader] = []
    accepted: list[int] = []
    head, following = -1, 0
    for wins, count in steps:
        if wins:
            log.append(header(following, following + count - 1, head))
            head, following = len(log) - 1, following + count
            accepted.append(head)
        else:
            stale = data.draw(st.sampled_from([at for at in range(-1, len(log)) if at != head] or [-2]))
            log.append(header(following, following + count, stale))
    chain = Chain()
    assert [at for at, one in enumerate(log) if chain.accept(one, at)] == accepted
    assert not any(chain.accept(one, at) for at, one in enumerate(log))
