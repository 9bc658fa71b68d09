"""The values of rollup's table: what is written comes back, and what cannot be read asks for a rebuild."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.calendar import Window
from stream_processors.core.gcounter import WIDTH, PartitionTotals, Progress
from stream_processors.core.scopes import ScopeIndex
from stream_processors.core.shards import (
    UnsoundTableError,
    encode_changes,
    encode_progress,
    load,
    position_of,
    progress_key,
)

HOUR = Window("hour", 0, 3_600_000_000)
VALUES = st.integers(-(1 << 63), (1 << 63) - 1)
SCOPES = st.dictionaries(st.text(max_size=8), st.lists(VALUES, min_size=WIDTH, max_size=WIDTH), max_size=40)


def table_of(scopes: dict[str, list[int]]) -> dict[bytes, bytes]:
    totals, index = PartitionTotals(Progress(3, 70, "epoch", 900, 5)), ScopeIndex()
    held = totals.open(HOUR, 60, 5)
    ids = np.array([index.id_of(2, "acme", name) for name in scopes], np.int64)
    held.put(ids, np.array(list(scopes.values()), np.int64).reshape(-1, WIDTH))
    written = dict(encode_changes(totals.progress, held, ids, index))
    return written | {progress_key(3): encode_progress(totals)}


@given(SCOPES)
def test_what_is_written_comes_back(scopes: dict[str, list[int]]) -> None:
    index = ScopeIndex()
    found = load(3, table_of(scopes), index)
    assert found is not None
    totals, ahead = found
    held = totals.windows[HOUR]
    rows = held.values[: held.size].tolist()
    assert {index.names[i]: row for i, row in zip(held.scopes[: held.size].tolist(), rows, strict=True)} == scopes
    assert (totals.progress, ahead) == (Progress(3, 70, "epoch", 900, 5), {})


def test_the_position_is_read_without_the_rest() -> None:
    assert {position_of(value) for value in table_of({"ann": [1] * WIDTH}).values()} == {70}


@pytest.mark.parametrize("is_progress", [True, False])
def test_a_value_that_cannot_be_read_makes_the_table_unsound(is_progress: bool) -> None:
    table = table_of({"ann": [1] * WIDTH})
    key = next(key for key in table if (key == progress_key(3)) == is_progress)
    table[key] = table[key][:12] + b'{"opened_at": 5, "whole": true}' + bytes(8 * WIDTH)
    with pytest.raises(UnsoundTableError, match="block 70"):
        load(3, table, ScopeIndex())


def test_many_scopes_are_kept_as_they_come() -> None:
    totals, index = PartitionTotals(Progress(0)), ScopeIndex()
    held = totals.open(HOUR, 0, 0)
    for first in range(0, 5_000, 500):
        ids = np.array([index.id_of(2, "acme", str(number)) for number in range(first, first + 500)], np.int64)
        held.add(ids, np.full((500, WIDTH), first, np.int64))
    assert held.size == 5_000
    assert [held.values[row, 0] for row in held.rows_of(np.array([0, 499, 500, 4_999])).tolist()] == [0, 0, 500, 4_500]
    assert len(held.scopes) < 1.3 * held.size
