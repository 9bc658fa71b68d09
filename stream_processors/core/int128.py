"""Sums of 128 bits in numpy: two int64 columns, `value = high * 2**32 + low` with `0 <= low < 2**32`.

int64 pico-dollars wrap at 9.2 million dollars, and so would a sum of them; these wrap beyond 2**95.
"""

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Ints = npt.NDArray[np.int64]
LOW = np.int64(0xFFFF_FFFF)


def split(values: Ints) -> tuple[Ints, Ints]:
    """High and low parts of int64 values; the low part is never negative."""
    return values >> 32, values & LOW


def times(values: Ints, factor: int) -> tuple[Ints, Ints]:
    """Products of counts (less than 2**30) and a number less than 2**60; parts as of `split`."""
    high, low = values * np.int64(factor >> 32), values * np.int64(factor & int(LOW))
    carry(high, low)
    return high, low


def carry(high: Ints, low: Ints) -> None:
    """Bring `low` back into its range after additions, in place."""
    high += low >> 32
    low &= LOW


def to_decimal(high: Ints, low: Ints) -> pa.Array:
    """As `decimal128(38, 0)`."""
    words = np.empty((len(high), 2), np.int64)
    words[:, 0] = (high << 32) | low
    words[:, 1] = high >> 32
    return pa.Array.from_buffers(pa.decimal128(38, 0), len(high), [None, pa.py_buffer(words)])


def from_decimal(values: pa.Array) -> tuple[Ints, Ints]:
    """High and low parts of a `decimal128(38, 0)` array without nulls."""
    words = np.frombuffer(values.buffers()[1], np.int64).reshape(-1, 2)
    words = words[values.offset : values.offset + len(values)]
    high = (words[:, 1] << 32) | ((words[:, 0] >> 32) & LOW)
    return high, words[:, 0] & LOW


def to_ints(high: Ints, low: Ints) -> list[int]:
    """As Python integers."""
    return [(int(h) << 32) + int(w) for h, w in zip(high, low, strict=True)]
