"""Blocks become rows of ClickHouse without touching a value."""

from decimal import Decimal

import pyarrow as pa
import pytest

from schemas.arrow import REJECT_ROWS, USAGE_ROWS
from schemas.block import BlockHeader
from stream_processors.sink.landing import batch_of, positions
from stream_processors.sink.plan import Block, place_after, plan_of
from stream_processors.sink.rows import block_rows, reject_rows, usage_rows


def block(offset: int, partition: int, first: int, costs: list[int | None], rejects: int = 0) -> Block:
    rows = [
        {"event_id": f"{partition}-{first + index}", "department": f"d{index}", "cost_pico": cost, "src_entry": 0}
        | {"src_offset": first + index}
        for index, cost in enumerate(costs)
    ]
    refused = [{"src_offset": first + len(costs) + index, "reason": "decode"} for index in range(rejects)]
    header = BlockHeader(
        src_epoch="e1",
        src_partition=partition,
        first_offset=first,
        last_offset=first + len(costs) + rejects - 1,
        extends=offset - 1,
        row_count=len(costs),
        reject_count=rejects,
        marker_count=0,
        gap_count=0,
        price_version=f"p{offset}",
        booked_until=5,
        rated_at=6,
    )
    return Block(
        offset,
        header,
        pa.RecordBatch.from_pylist(rows, schema=USAGE_ROWS),
        pa.RecordBatch.from_pylist(refused, schema=REJECT_ROWS),
    )


BLOCKS = [block(3, 0, 10, [1, None, -(2**63)], rejects=2), block(4, 0, 15, []), block(8, 1, 0, [2**63 - 1], rejects=1)]


def test_cost_keeps_every_pico_dollar_and_null() -> None:
    cost = usage_rows(BLOCKS).column("cost_usd")
    assert cost.to_pylist() == [
        Decimal("0.000000000001"),
        None,
        Decimal("-9223372.036854775808"),
        Decimal("9223372.036854775807"),
    ]


def test_each_row_says_where_it_comes_from() -> None:
    rows = usage_rows(BLOCKS)
    assert rows.select(["src_epoch", "src_partition", "block_offset", "price_version"]).to_pylist() == [
        {"src_epoch": "e1", "src_partition": partition, "block_offset": offset, "price_version": f"p{offset}"}
        for partition, offset in ((0, 3), (0, 3), (0, 3), (1, 8))
    ]
    assert rows.column("department").to_pylist() == ["d0", "d1", "d2", "d0"]
    assert "content_hash" not in rows.schema.names
    assert positions(rows) == [(0, 3, 10, 0), (0, 3, 11, 0), (0, 3, 12, 0), (1, 8, 0, 0)]


def test_rejects_and_blocks_have_their_rows() -> None:
    assert positions(reject_rows(BLOCKS)) == [(0, 3, 13, 0), (0, 3, 14, 0), (1, 8, 1, 0)]
    assert block_rows(BLOCKS, 7).select(["src_partition", "block_offset", "row_count"]).to_pylist() == [
        {"src_partition": 0, "block_offset": 3, "row_count": 3},
        {"src_partition": 0, "block_offset": 4, "row_count": 0},
        {"src_partition": 1, "block_offset": 8, "row_count": 1},
    ]


def test_blocks_without_rows_make_an_empty_batch_of_the_same_columns() -> None:
    empty = usage_rows(BLOCKS[1:2])
    assert empty.num_rows == 0
    assert empty.schema.names == usage_rows(BLOCKS).schema.names


def test_the_same_blocks_make_the_same_batch_in_any_order() -> None:
    batch, other = batch_of(BLOCKS), batch_of(BLOCKS[::-1])
    assert batch == other
    assert batch.token == other.token
    assert batch.token != batch.of(0).token
    assert batch.partitions == (0, 1)


@pytest.mark.parametrize(("blocks", "row_count", "reject_count", "last_offset"), [(BLOCKS[:2], 3, 2, 14)])
def test_plan_adds_up(blocks: list[Block], row_count: int, reject_count: int, last_offset: int) -> None:
    plan = plan_of(blocks)
    assert (plan.row_count, plan.reject_count, plan.first_offset, plan.last_offset) == (
        row_count,
        reject_count,
        10,
        last_offset,
    )
    assert (plan.last_block, plan.block_count) == (4, 2)
    assert place_after(blocks[-1]).head == 4
