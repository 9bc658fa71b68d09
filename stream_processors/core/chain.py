"""The chain of a partition of `usage.blocks`: which records count, and that none is missing between them."""

from dataclasses import dataclass

from schemas.block import BlockHeader


class HoleError(Exception):
    """An accepted block does not begin where its predecessor ended: a hole is as wrong as an overlap."""


@dataclass(slots=True)
class Chain:
    """What a reader of one partition has accepted so far.

    `head` is the offset of the last accepted block (-1 before the first); `epoch` and `next_offset` say which
    offset of `usage.events` must come next (None: any, as before the first block).
    """

    head: int = -1
    epoch: str | None = None
    next_offset: int | None = None

    def accept(self, header: BlockHeader, offset: int) -> bool:
        """Whether the record at `offset` extends the chain; if so it is the new head.

        A record that does not is to be ignored whole: its rows were computed on a history that lost.
        On a new epoch the offsets of `usage.events` start afresh. Raises HoleError, with the chain unchanged,
        when a block of the same epoch leaves offsets out or repeats some.
        """
        if header.extends != self.head:
            return False
        if header.src_epoch == self.epoch and self.next_offset not in (None, header.first_offset):
            raise HoleError(
                f"partition {header.src_partition}: the block at {offset} begins at source offset "
                f"{header.first_offset}, its predecessor at {self.head} ended before {self.next_offset}"
            )
        self.head = offset
        self.epoch = header.src_epoch
        self.next_offset = header.last_offset + 1
        return True
