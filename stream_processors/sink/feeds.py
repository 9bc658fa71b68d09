"""How far the sink has read and landed each assigned partition; memory only, all of it follows from the commits."""

from dataclasses import dataclass, field, replace
from typing import Any

from schemas.arrow import REJECT_ROWS, USAGE_ROWS
from schemas.block import BlockHeader, decode_block
from stream_processors.core.chain import Chain
from stream_processors.sink.entries import Record
from stream_processors.sink.plan import Block, Place, encode, place_after, plan_of

NOTHING = -1


@dataclass(slots=True)
class BlockFeed:
    """A partition of `usage.blocks`. `position` is the next offset to read, `place` what has landed."""

    topic: str
    partition: int
    position: int
    committed: tuple[int, str]  # offset and metadata
    place: Place
    chain: Chain
    known: bool  # whether `place` is what a commit says
    doubtful_until: int = NOTHING  # blocks up to this offset may be in ClickHouse already
    halted: bool = False
    pending: list[Block] = field(default_factory=list)
    pending_rows: int = 0
    pending_bytes: int = 0  # encoded, as they came

    def take(self, message: Any) -> None:
        """Adds the block when it extends the chain. Raises HoleError, or ValueError for what is no block."""
        offset = message.offset()
        if offset < self.position:
            return
        header = BlockHeader.from_headers(message.headers())
        if header.src_partition != self.partition:
            raise ValueError(f"block at {offset}: src_partition = {header.src_partition}: must be {self.partition}")
        if self.chain.accept(header, offset):
            rows, rejects = decode_block(message.value(), header)
            if not (rows.schema.equals(USAGE_ROWS) and rejects.schema.equals(REJECT_ROWS)):
                raise ValueError(f"block at {offset}: its columns are not those of schemas.arrow")
            self.pending.append(Block(offset, header, rows, rejects))
            self.pending_rows += header.row_count + header.reject_count
            self.pending_bytes += len(message.value())
        self.position = offset + 1

    @property
    def doubtful(self) -> bool:
        return bool(self.pending) and self.pending[0].offset <= self.doubtful_until

    def planned(self) -> tuple[int, str]:
        """The commit from before the insert: the first block not landed, and what is being inserted."""
        return self.pending[0].offset, encode(replace(self.place, plan=plan_of(self.pending)))

    def landed(self) -> None:
        if self.pending:
            self.place = place_after(self.pending[-1])
        self.drop()

    def drop(self) -> None:
        self.pending.clear()
        self.pending_rows = self.pending_bytes = 0

    def settled(self) -> tuple[int, str]:
        """The commit of all that was read, when nothing is pending."""
        return self.position, encode(replace(self.place, plan=None))


@dataclass(slots=True)
class EntryFeed:
    """A partition of a topic whose records may be inserted again; `head` is that of the chain of `usage.alerts`."""

    topic: str
    partition: int
    position: int
    committed: tuple[int, str]  # offset and metadata
    head: int | None  # None: accept the first record of the chain that comes
    halted: bool = False
    pending: list[Record] = field(default_factory=list)

    def take(self, message: Any) -> None:
        if message.offset() < self.position:
            return
        record = Record(message)
        if self._accepts(record):
            self.pending.append(record)
        self.position = record.offset + 1

    def _accepts(self, record: Record) -> bool:
        """Records without `extends` stand outside any chain: alerts about the pipeline, and all other topics."""
        if record.extends is None:
            return True
        if self.head is not None and record.extends != self.head:
            return False
        self.head = record.offset
        return True

    def landed(self) -> None:
        self.drop()

    def drop(self) -> None:
        self.pending.clear()

    def settled(self) -> tuple[int, str]:
        return self.position, "" if self.head is None else str(self.head)


Feed = BlockFeed | EntryFeed
