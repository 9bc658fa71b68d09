"""What the sink writes into Kafka's commit metadata, so that after any crash it knows what is in doubt.

The commit of a partition of `usage.blocks` stands at the first block that has not landed. Its metadata holds the
chain up to there and, from before an insert until after it, the *plan*: what is being inserted. Kafka limits the
metadata to 4 096 bytes; a plan is about 200.
"""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass

import orjson
import pyarrow as pa

from schemas.block import BlockHeader


@dataclass(frozen=True, slots=True)
class Block:
    """An accepted block, decoded: `offset` is its place in `usage.blocks`."""

    offset: int
    header: BlockHeader
    rows: pa.RecordBatch
    rejects: pa.RecordBatch


@dataclass(frozen=True, slots=True)
class Plan:
    """Blocks of one partition that are inserted together, up to `last_block` (inclusive)."""

    last_block: int
    block_count: int
    first_offset: int  # of usage.events
    last_offset: int  # inclusive
    row_count: int
    reject_count: int


@dataclass(frozen=True, slots=True)
class Place:
    """Up to where a partition has landed: the chain's state there, and what is perhaps half done behind it."""

    head: int = -1
    epoch: str | None = None
    next_offset: int | None = None
    plan: Plan | None = None


def plan_of(blocks: Sequence[Block]) -> Plan:
    """The plan of consecutive blocks of one partition; the same blocks always give the same plan."""
    return Plan(
        last_block=blocks[-1].offset,
        block_count=len(blocks),
        first_offset=blocks[0].header.first_offset,
        last_offset=blocks[-1].header.last_offset,
        row_count=sum(block.header.row_count for block in blocks),
        reject_count=sum(block.header.reject_count for block in blocks),
    )


def place_after(block: Block) -> Place:
    """Where a partition stands when everything up to and including `block` has landed."""
    return Place(block.offset, block.header.src_epoch, block.header.last_offset + 1)


def encode(place: Place) -> str:
    return orjson.dumps(asdict(place)).decode()


def decode(metadata: str | None) -> Place | None:
    """None when there is no metadata; ValueError when it is not the sink's."""
    if not metadata:
        return None
    try:
        fields = orjson.loads(metadata)
        plan = fields.pop("plan")
        return Place(**fields, plan=Plan(**plan) if plan else None)
    except (AttributeError, KeyError, TypeError, orjson.JSONDecodeError) as error:
        raise ValueError(f"commit metadata of usage.blocks: {metadata!r}: not written by the sink") from error


Position = tuple[int, int, int, int]  # src_partition, block_offset, src_offset, src_entry


def missing(expected: Sequence[Position], found: Sequence[Position]) -> list[int]:
    """Indexes of the expected positions that are not among those found.

    Raises ValueError when something is found twice, or that no block explains: repeating would not mend that.
    """
    there = set(found)
    if len(there) != len(found):
        raise ValueError(f"positions counted twice, such as {_repeated(found)}")
    unknown = there.difference(expected)
    if unknown:
        raise ValueError(f"positions that no block explains, such as {min(unknown)}")
    return [index for index, position in enumerate(expected) if position not in there]


def _repeated(found: Iterable[Position]) -> Position | None:
    seen: set[Position] = set()
    for position in found:
        if position in seen:
            return position
        seen.add(position)
    return None
