"""Which records of `usage.alerts` count: each partition is a chain with one writer at a time, see docs/design.md.

A record names, in a header, the offset of the accepted record that it extends (-1 for the first). One that does not
extend the head was computed on a history that lost, and is ignored. One without the header, by other writers than
budgets, stands beside the chain.
"""

from collections.abc import Iterable

EXTENDS = "extends"  # the header; the offset as decimal text


def extends_of(headers: Iterable[tuple[str, bytes]] | None) -> int | None:
    """The offset that a record says it extends; None when it stands beside the chain."""
    return next((int(value) for name, value in headers or () if name == EXTENDS), None)


def extends_head(extends: int, head: int, start: int) -> bool:
    """Whether a record continues a chain whose last accepted record is at `head` (-1: none yet).

    `start` is the first offset that the log kept when reading began: what extends an older one comes first.
    """
    return extends == head or head < start > extends
