"""Where the chain of a partition of `usage.blocks` ends."""

from schemas.topics import BLOCKS
from stream_processors.core.chain import Chain
from stream_processors.logs import LogReader, header_of

TAIL = 64  # records behind the end of the log that are read first


def find_head(reader: LogReader, partition: int, tail: int = TAIL) -> tuple[Chain, int, int]:
    """The chain of a partition of `usage.blocks` as it stands, `booked_until` and `revised_since` of its head (or 0).

    Only an accepted block is ever extended: its writer makes sure of it before the next. So the head is the first
    record that extends the newest of those that are extended, and the log's last records are enough, unless all that
    is extended lies before them: `tail` records are read first. RuntimeError when retention has taken the whole chain.
    """
    low, high = reader.bounds(BLOCKS, partition)
    start = max(low, high - tail)
    while True:
        headers = [(m.offset() or 0, header_of(m)) for m in reader.read(BLOCKS, partition, start)]
        newest = max((header.extends for _, header in headers), default=-1)
        if start == low or newest >= start:
            break
        start = max(low, start - tail)
    if not headers:
        if high > 0:
            raise RuntimeError(f"{BLOCKS}[{partition}] kept none of its {high} records: nothing to go on from")
        return Chain(), 0, 0
    offset, head = next((offset, header) for offset, header in headers if header.extends == newest)
    return Chain(offset, head.src_epoch, head.last_offset + 1), head.booked_until, head.revised_since
