"""Two int64 columns are one integer of 128 bits."""

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from stream_processors.core import int128

INT64 = st.one_of(st.integers(-(1 << 63), (1 << 63) - 1), st.sampled_from([0, -1, -(1 << 63), (1 << 63) - 1]))
WIDE = st.one_of(st.integers(-(1 << 95), (1 << 95) - 1), st.sampled_from([-(1 << 95), (1 << 95) - 1, -1, -(1 << 64)]))


def columns(values: list[int]) -> tuple[int128.Ints, int128.Ints]:
    return np.array([value >> 32 for value in values], np.int64), np.array(
        [value & 0xFFFF_FFFF for value in values], np.int64
    )


@given(st.lists(INT64))
def test_splitting_keeps_the_value_and_the_low_part_in_its_range(values: list[int]) -> None:
    high, low = int128.split(np.array(values, np.int64))
    assert int128.to_ints(high, low) == values
    assert ((low >= 0) & (low < 1 << 32)).all()


@given(st.lists(INT64, min_size=1))
def test_sums_are_those_of_integers(values: list[int]) -> None:
    high, low = (part.sum(keepdims=True) for part in int128.split(np.array(values, np.int64)))
    int128.carry(high, low)
    assert int128.to_ints(high, low) == [sum(values)]
    assert 0 <= low[0] < 1 << 32


@given(st.lists(WIDE), st.integers(0, 3))
def test_decimals_hold_the_same_integers_also_when_sliced(values: list[int], skipped: int) -> None:
    decimals = int128.to_decimal(*columns(values))
    assert [int(value) for value in decimals.to_pylist()] == values
    tail = pa.concat_arrays([decimals, decimals]).slice(skipped)
    if len(tail):
        assert int128.to_ints(*int128.from_decimal(tail)) == (values + values)[skipped:]
