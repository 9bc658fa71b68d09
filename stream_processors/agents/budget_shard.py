"""One partition of `usage.partials` in the hands of the budgets agent: what is due, of what it has counted. No I/O."""

import asyncio
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from schemas.calendar import BUDGET_PERIODS, Calendar, Window
from stream_processors.core import int128
from stream_processors.core.alert_subjects import Member
from stream_processors.core.alerts import AlertBook, Change, limit_key, limit_record
from stream_processors.core.budgets import Budget
from stream_processors.core.carry import with_next
from stream_processors.core.forecasts import Forecast, is_early
from stream_processors.core.merge import MARGIN_US, Place, ShardTotals
from stream_processors.core.scopes import Ids
from stream_processors.core.watch import Watch, counted, estimates
from stream_processors.core.windows import BASE_KIND, HOUR_US, KEEP_US, in_period, kept_until

IDLE_BEAT_US = 1_000_000
#: How long after its end a window's alerts are remembered: longer than any stage keeps what it is made of.
REMEMBER_US = {period: KEEP_US[BASE_KIND[period]] + 2 * MARGIN_US for period in BUDGET_PERIODS}


class Due(NamedTuple):
    """An alert that is due, and the budget as it is for its scope."""

    budget: Budget
    window: Window
    scope: int
    change: Change


@dataclass(slots=True)
class Shard:
    """One partition of `usage.partials` in our hands."""

    totals: ShardTotals
    book: AlertBook
    watch: Watch
    waiting: dict[Place, list[Ids]] = field(default_factory=lambda: defaultdict(list))  # not yet evaluated
    limits: dict[tuple[str, int], Window] = field(default_factory=dict)  # (budget, scope) to be sent
    newest: dict[tuple[str, int], int] = field(default_factory=dict)  # start of the newest window sent
    untold: set[Member] = field(default_factory=set)  # they were paused, and may have been resumed
    limit_offset: int = -1  # offset of the last record in usage.limits
    sent_marks: dict[int, int] = field(default_factory=dict)  # block offsets of the watermarks last sent
    beaten: list[dict[str, str | int]] = field(default_factory=list)  # the positions of the last heartbeat
    beat_at: int = 0  # microseconds UTC
    forgot_at: int = 0  # chain clock
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    def caught_up(self, partitions: int) -> bool:
        """Whether all source partitions are here, at least as far as what has been alerted was counted.

        After a restart rollup begins a little earlier than it was: judged then, usage would seem to have shrunk.
        """
        marks = self.totals.watermarks
        return len(marks) == partitions and all(
            marks[number].block_offset >= counted for number, counted in self.book.counted.items()
        )

    def clock(self) -> int:
        """The newest append time that any source partition has been counted to."""
        return max((mark.clock for mark in self.totals.watermarks.values()), default=0)

    def note_limits(self, budget: Budget, window: Window, scopes: Ids) -> None:
        """These limits are to be sent, unless a newer window's have been."""
        for scope in scopes.tolist():
            key = (budget.id, scope)
            if window.start >= self.newest.get(key, -(1 << 62)):
                self.newest[key] = window.start
                self.limits[key] = window

    def note_resumed(self, calendar: Calendar, now_us: int) -> None:
        """Who was paused is told how the window stands that is running: the one that paused may be forgotten."""
        for budget in self.watch.budgets:
            window = calendar.window(budget.period, now_us)
            if self.totals.whole(window, budget.selection.key):
                members = [member for member in self.untold if member.budget_id == budget.id]
                self.untold.difference_update(members)
                kind = self.totals.index.kind_of(budget.selection.text)
                ids = [self.totals.index.id_of(kind, member.organization, member.scope) for member in members]
                self.note_limits(budget, window, self.watch.covered(budget, np.array(ids, np.int64)))

    def forecasts(self, calendar: Calendar, now_us: int) -> list[tuple[Budget, Forecast]]:
        """What must be said of who will exceed a limit at the pace of the window that is running."""
        found = []
        for budget in self.watch.budgets:
            window, selection = calendar.window(budget.period, now_us), budget.selection.key
            if budget.forecast and not is_early(window, now_us) and self.totals.whole(window, selection):
                ids = self.watch.covered(budget, self.totals.scopes_in(window, selection))
                values, left = self.totals.totals(window, ids, selection), self.left(calendar, budget, window, ids)
                if left is not None:
                    found += self.watch.forecasts(budget, window, ids, values, now_us, left)
        return found

    def left(self, calendar: Calendar, judge: Budget, window: Window, ids: Ids) -> list[int] | None:
        """What is carried into a window for each scope: nothing at all without `carry_over`; None: not known yet."""
        if not judge.carry_over:
            return []
        before = calendar.window(judge.period, window.start - 1)
        judged = self.watch.judging(judge, before)
        if judged is None or judged.unit != judge.unit or self.watch.predates(judge, before):
            return [0] * len(ids)
        selection = judge.selection.key
        if not self.totals.whole(before, selection):
            return None
        return self.watch.left(judged, before, ids, self.totals.totals(before, ids, selection))

    def take_due(self, calendar: Calendar, now_us: int) -> list[Due]:
        """The alerts that are due for the scopes that wait, which then wait no more; notes the limits that changed."""
        waiting, self.waiting = self.waiting, defaultdict(list)
        touched: dict[str, dict[Window, Ids]] = defaultdict(dict)
        for (selection, window), parts in waiting.items():
            touched[selection][window] = np.unique(np.concatenate(parts))
        in_periods = {
            (selection, period): in_period(calendar, period, touched.get(selection, {}))
            for selection, period in {(budget.selection.key, budget.period) for budget in self.watch.budgets}
        }
        due: list[Due] = []
        for budget in self.watch.budgets:
            windows = in_periods[budget.selection.key, budget.period]
            for window, ids in (with_next(calendar, windows, now_us) if budget.carry_over else windows).items():
                due += self._due_in(calendar, budget, window, ids)
        return due

    def _due_in(self, calendar: Calendar, budget: Budget, window: Window, ids: Ids) -> list[Due]:
        selection = budget.selection.key
        judge = self.watch.judging(budget, window)
        if judge is None or not self.totals.whole(window, selection):
            return []
        watched = self.watch.covered(judge, ids)
        left = self.left(calendar, judge, window, watched)
        if not len(watched) or left is None:
            return []
        if kept_until(window) > self.clock():
            self.note_limits(judge, window, watched)
        values = self.totals.totals(window, watched, selection)
        if judge.carry_over:
            found = self.watch.due_with(judge, window, watched, values, left)
            return [Due(own, window, scope, change) for scope, own, change in found]
        return [Due(judge, window, *each) for each in self.watch.due(judge, window, watched, values)]

    def take_limits(self, calendar: Calendar, now_us: int) -> Iterator[tuple[bytes, dict[str, Any]]]:
        """Key and record (`limit.v1`) of each limit that is to be sent; then none is."""
        changed, self.limits = self.limits, {}
        budgets = {budget.id: budget for budget in self.watch.budgets}
        positions, index = self.positions(), self.totals.index
        for (budget_id, scope), window in changed.items():
            budget, ids = budgets.get(budget_id), np.array([scope])
            judge = budget and self.watch.judging(budget, window)
            left = judge and self.left(calendar, judge, window, ids)
            if budget is None or judge is None or left is None:
                continue
            own = self.watch.carried(judge, window, scope, left[0]) if left else judge
            names = (index.organizations[scope], budget.scope_kind, index.names[scope])
            values = self.totals.totals(window, ids, budget.selection.key)
            [used], [estimated] = int128.to_ints(*counted(own, values)), estimates(own, values)
            paused = self.book.paused(budget, names[0], names[2])
            record = limit_record(own, *names, window, used, paused, positions, now_us, estimated)
            yield limit_key(budget_id, *names), record

    def due_beat(self, partitions: int, now_us: int) -> list[dict[str, str | int]] | None:
        """Up to where all limits are being sent, if guards are to be told: of an idle shard once in IDLE_BEAT_US."""
        positions = self.positions()
        is_told = positions == self.beaten and now_us < self.beat_at + IDLE_BEAT_US
        if is_told or self.waiting or not self.caught_up(partitions):
            return None
        self.beaten, self.beat_at = positions, now_us
        return positions

    def positions(self) -> list[dict[str, str | int]]:
        """Up to where each source partition is counted."""
        return [
            {
                "src_epoch": mark.src_epoch,
                "src_partition": mark.src_partition,
                "src_offset": mark.src_offset,
                "block_offset": mark.block_offset,
            }
            for _, mark in sorted(self.totals.watermarks.items())
            if mark.block_offset >= 0
        ]

    def forget(self) -> None:
        """Let go, once an hour of the chains' clock, of alerts about windows that can no longer be judged."""
        clock = self.clock()
        if clock >= self.forgot_at + HOUR_US:
            self.forgot_at = clock
            before = {period: clock - remember_us for period, remember_us in REMEMBER_US.items()}
            self.book.forget(before)
            self.watch.forget(before)
