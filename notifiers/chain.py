"""How far each partition of `usage.alerts` has been read, as the outbox keeps it."""

from dataclasses import dataclass

from schemas.alert_chain import extends_head


@dataclass(slots=True)
class Chain:
    """How far one partition has been read. `start` is the first offset that the log kept when reading began."""

    epoch: str  # id of the topic: a recreated one begins anew
    start: int
    next_offset: int
    head: int = -1  # offset of the last record accepted

    def accepts(self, offset: int, extends: int | None) -> bool:
        """Moves past a record; whether it counts. One without the header stands beside the chain and counts."""
        self.next_offset = offset + 1
        if extends is None:
            return True
        if not extends_head(extends, self.head, self.start):
            return False
        self.head = offset
        return True

    def skip_to(self, low: int) -> int:
        """Passes by what retention took; how many offsets that are."""
        lost = max(0, low - self.next_offset)
        if lost:
            self.start = self.next_offset = low
        return lost
