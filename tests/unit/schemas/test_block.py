"""A block comes back as it was written, or is refused."""

from dataclasses import replace

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.arrow import REJECT_ROWS, USAGE_ROWS
from schemas.block import BlockHeader, decode_block, empty_rows, encode_block, from_ipc, to_ipc

HEADER = BlockHeader("epoch-é", 3, 7, 9, -1, 2, 1, 0, 0, "prices-1", 1_795_824_000_000_000, 5)
LARGE = st.integers(-(1 << 63), (1 << 63) - 1)


def rows(count: int) -> pa.RecordBatch:
    found = [
        {
            "event_id": str(place),
            "organization": "acme" if place % 2 else "é",
            "cost_pico": None if place % 3 == 0 else place - (1 << 62),
            "occurred_at": place,
            "units": [("image", place)],
            "quality": [{"gate": "g", "passed": True, "score": 0.5, "detail": ""}] * (place % 2),
            "content_hash": (1 << 64) - 1 - place,
        }
        for place in range(count)
    ]
    return pa.RecordBatch.from_pylist(found, schema=USAGE_ROWS)


def rejects(count: int) -> pa.RecordBatch:
    found = [{"src_offset": place, "reason": "decode", "value": bytes([place]) * 9} for place in range(count)]
    return pa.RecordBatch.from_pylist(found, schema=REJECT_ROWS)


@given(st.integers(0, 20), st.integers(0, 20), st.integers(0, 3))
def test_rows_and_rejects_come_back(row_count: int, reject_count: int, skipped: int) -> None:
    written = rows(row_count).slice(skipped), rejects(reject_count).slice(skipped)
    header = replace(HEADER, row_count=written[0].num_rows, reject_count=written[1].num_rows)
    read = decode_block(encode_block(*written), header)
    for before, after in zip(written, read, strict=True):
        assert after.schema.equals(before.schema)
        assert after.to_pylist() == before.to_pylist()


@given(st.tuples(LARGE, LARGE, LARGE), st.text(max_size=9))
def test_the_header_comes_back(numbers: tuple[int, int, int], name: str) -> None:
    first, extends, booked = numbers
    header = replace(HEADER, first_offset=first, extends=extends, booked_until=booked, src_epoch=name)
    assert BlockHeader.from_headers([("other", b"1"), ("block", header.to_bytes())]) == header


@pytest.mark.parametrize("headers", [None, [], [("blocks", b"{}")]])
def test_a_record_without_a_header_is_not_ours(headers: list[tuple[str, bytes]] | None) -> None:
    with pytest.raises(ValueError, match="without a `block` header"):
        BlockHeader.from_headers(headers)


@pytest.mark.parametrize(("row_count", "reject_count"), [(1, 1), (3, 1), (2, 0), (2, 2), (0, 0)])
def test_other_counts_than_the_header_says_are_refused(row_count: int, reject_count: int) -> None:
    with pytest.raises(ValueError, match="its header says"):
        decode_block(encode_block(rows(2), rejects(1)), replace(HEADER, row_count=row_count, reject_count=reject_count))


def test_missing_rejects_are_refused() -> None:
    with pytest.raises(ValueError, match="its header says"):
        decode_block(encode_block(rows(2), rejects(0)), HEADER)


def test_a_cut_value_is_refused() -> None:
    value = encode_block(rows(2), rejects(1))
    for length in (0, 100, len(value) // 2):
        with pytest.raises((ValueError, OSError)):
            decode_block(value[:length], HEADER)


def test_a_block_may_be_empty() -> None:
    read = decode_block(encode_block(empty_rows(), rejects(0)), replace(HEADER, row_count=0, reject_count=0))
    assert [batch.num_rows for batch in read] == [0, 0]
    assert from_ipc(to_ipc(empty_rows())).schema.equals(USAGE_ROWS)
