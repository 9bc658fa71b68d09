"""What was rated is cut into blocks that fit, and every offset is in exactly one of them."""

from typing import Any

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st
from window_chains import START, batch, row_of

from schemas.arrow import REJECT_ROWS
from schemas.block import BlockHeader, decode_block
from stream_processors.core.blocks import pieces
from stream_processors.core.rating import Rated

FATES = st.lists(st.sampled_from(["row", "pair", "reject", "marker"]), min_size=1, max_size=24)


def rated(fates: list[str], first: int) -> Rated:
    offsets = [first + place for place, fate in enumerate(fates) for _ in range({"row": 1, "pair": 2}.get(fate, 0))]
    rows = batch(row_of(START + offset, "acme", ["sales", f"u{offset}", "", "m"], offset, None) for offset in offsets)
    at = rows.schema.get_field_index("src_offset")
    rows = rows.set_column(at, rows.schema.field(at), pa.array(offsets, pa.int64()))
    rejects = [
        {"src_offset": first + place, "reason": "decode", "value": b"x" * 50 + bytes([place])}
        for place, fate in enumerate(fates)
        if fate == "reject"
    ]
    return Rated(rows, pa.RecordBatch.from_pylist(rejects, schema=REJECT_ROWS))


def content(rows: pa.RecordBatch) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = rows.to_pylist()
    return found


@given(FATES, st.integers(0, 1 << 40), st.integers(0, 3), st.sampled_from([0, 1, 5_000, 9_000, 20_000, 1 << 30]))
@settings(deadline=None, max_examples=50)
def test_every_offset_is_in_one_piece_and_none_is_larger_than_it_must_be(
    fates: list[str], first: int, markers: int, limit: int
) -> None:
    whole = rated(fates, first)
    last = first + len(fates) - 1 + markers
    cut = list(pieces(whole, first, last, limit))
    covered = [offset for piece in cut for offset in range(piece.first_offset, piece.last_offset + 1)]
    assert covered == list(range(first, last + 1))
    rows, rejects = [], []
    for piece in cut:
        assert len(piece.value) <= limit or piece.first_offset == piece.last_offset
        header = BlockHeader(
            "e", 0, piece.first_offset, piece.last_offset, -1,
            piece.rated.rows.num_rows, piece.rated.rejects.num_rows, 0, 0, "p", 0, 0,
        )  # fmt: skip
        read = decode_block(piece.value, header)
        for found, part in zip(read, (rows, rejects), strict=True):
            part += content(found)
            assert all(piece.first_offset <= row["src_offset"] <= piece.last_offset for row in content(found))
    assert rows == content(whole.rows)
    assert rejects == content(whole.rejects)


def test_what_fits_stays_whole() -> None:
    [piece] = pieces(rated(["row", "reject", "marker"], 5), 5, 9)
    assert (piece.first_offset, piece.last_offset) == (5, 9)
