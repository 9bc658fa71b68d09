"""One scenario: its load, its budget, its line in the table, and what must hold when it is over."""

import time
from collections.abc import Callable, Iterable, Set
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from .alerts import Watched, assert_alerts, assert_standing, most_used, other_alerts
from .ground import RECOVERY_S, Ground
from .invariants import assert_amounts, instant, read_accounts
from .load import HOUR_US, Record, Sending, load_of
from .sent import Book, Position, read_book
from .table import Line


@dataclass(slots=True)
class Scenario:
    """One scenario under way: its name for events and budgets, its book, its line in the table."""

    test: str
    run: str
    seed: int
    ground: Ground
    path: Path
    tell: Callable[[Line], None]
    logs: dict[str, int]  # how long each log was at the beginning
    since: datetime = field(default_factory=instant)
    watched: Watched | None = None
    rounds: int = 0
    sent: int = 0
    recovery_s: float = 0.0

    def load(self, count: int) -> list[Record]:
        """The usual load, watched by a budget."""
        load = self.events(count)
        self.watch(load)
        return load

    def events(self, count: int, back: int = 0) -> list[Record]:
        """Events of the last full hour, or of the one that ended so long before (microseconds), each time others."""
        return load_of(self.ground.settings, self.run, self.seed + back // HOUR_US, count, back)

    def watch(self, load: list[Record]) -> None:
        """Puts a budget in force, and no other, a threshold of which each part of the load crosses."""
        self.watched = Watched(self.run, most_used(load))
        budgets = self.path.with_suffix(".toml")
        budgets.write_text(self.watched.toml())
        self.ground.tollbook("budgets", "apply", str(budgets), "--prune")

    def send(self, records: list[Record], rate: int = 0, at_ms: int = 0) -> Sending:
        """Begins to send, `rate` a second (0: as fast as it goes), as records of `at_ms` (0: of now)."""
        first, self.sent = self.sent, self.sent + len(records)
        return Sending(self.ground.settings, records, self.path, first, rate, at_ms)

    def over(self, killed: Iterable[tuple[str, int]] = ()) -> None:
        """A round has ended, load and fault: what was `killed` starts again, and all must land, within a minute."""
        self.rounds += 1
        began = time.monotonic()
        for name, dead in killed:
            self.ground.wait_restarted(name, dead)
        self.ground.wait_landed(RECOVERY_S - (time.monotonic() - began))
        self.recovery_s = max(self.recovery_s, time.monotonic() - began)

    def check(
        self, taken: Set[Position] = frozenset(), provoked: str = "", deep: bool = False, shrinks: bool = False
    ) -> Book:
        """I1 to I5, and the audit (`deep`: from the events on); adds the table's line, also when something is wrong.

        `taken`: positions that retention took. `provoked`: a pattern of the pipeline's alerts that belong to it.
        `shrinks`: usage did so at times, and alerts may have been taken back and raised again.
        """
        ground, watched = self.ground, self.watched
        assert watched is not None, "a scenario has a budget"
        book = read_book(self.path).without(taken)
        accounts = read_accounts(book, ground.settings, self.since)
        counts = (len(accounts.lost), len(accounts.doubled))
        self.tell(Line(self.test, self.run, self.seed, self.rounds, self.sent, *counts, self.recovery_s))
        assert not any(counts), (accounts.lost[:3], accounts.doubled[:3])
        assert not accounts.unknown, accounts.unknown[:3]
        assert not accounts.misjudged, accounts.misjudged[:3]
        assert_amounts(book, self.run, ground.settings)
        (assert_standing if shrinks else assert_alerts)(watched, book, self.run, ground.settings)
        unexpected = other_alerts(ground.settings, self.since, provoked)
        assert not unexpected, unexpected[:3]
        ground.tollbook("audit", *(["--deep"] if deep else []))
        found = ground.unhandled_since(self.logs)
        assert not found, "\n\n".join(found)
        return book
