"""The budgets agent: window entries of all source partitions into totals; totals into alerts, limits and windows.

What it knows is folded from logs: totals from `usage.partials` since the last snapshots, alerts from `usage.alerts`,
budgets from `usage.budgets`. Alerts leave at once; windows and limits are conflated to one record a key a second.
"""

import asyncio
import logging
import time
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
from faust.types.tuples import TP

from schemas.alert_chain import EXTENDS
from schemas.arrow import WINDOW_ENTRIES
from schemas.block import from_ipc, to_ipc
from schemas.calendar import BUDGET_PERIODS, Calendar, Window, load_calendar
from schemas.codec import encode
from schemas.registry import Registry
from schemas.settings import Settings
from schemas.topics import ALERTS, HEARTBEATS, LIMITS, PARTIALS, WINDOWS
from stream_processors import append, faults
from stream_processors.alert_log import chain_end, fold_partition
from stream_processors.budget_log import BudgetFollower
from stream_processors.core import int128
from stream_processors.core.alert_subjects import Member
from stream_processors.core.alerts import AlertBook, alert_record, limit_key, limit_record
from stream_processors.core.budgets import Budget
from stream_processors.core.carry import with_next
from stream_processors.core.forecasts import Forecast, forecast_record, is_early
from stream_processors.core.merge import MARGIN_US, Place, ShardTotals
from stream_processors.core.rollup import PartialHeader
from stream_processors.core.scopes import Ids, ScopeIndex
from stream_processors.core.watch import Watch, counted, estimates
from stream_processors.core.windows import BASE_KIND, HOUR_US, KEEP_US, in_period, kept_until
from stream_processors.logs import LogReader
from stream_processors.transport import Batch, SequencedApp

log = logging.getLogger("tollbook.budgets")

FLUSH_S = 1.0
TELL_S = 0.5  # so that what a guard knows is less than a second old while usage flows
FOLLOW_S = 0.2
FORECAST_S = 5.0
#: How long after its end a window's alerts are remembered: longer than any stage keeps what it is made of.
REMEMBER_US = {period: KEEP_US[BASE_KIND[period]] + 2 * MARGIN_US for period in BUDGET_PERIODS}


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

    def forget(self) -> None:
        """Let go, once an hour of the chains' clock, of alerts about windows that can no longer be judged."""
        clock = self.clock()
        if clock >= self.forgot_at + HOUR_US:
            self.forgot_at = clock
            before = {period: clock - remember_us for period, remember_us in REMEMBER_US.items()}
            self.book.forget(before)
            self.watch.forget(before)


class Budgets:
    """The agent's state: shards, and the budgets in force."""

    def __init__(self, app: SequencedApp, settings: Settings, follower: BudgetFollower) -> None:
        self._app = app
        self._settings = settings
        self._calendar = load_calendar(settings.calendar)
        self._registry = Registry(settings.registry)
        self._alert_id = self._registry.schema_id(ALERTS)
        self._limit_id = self._registry.schema_id(LIMITS)
        self._follower = follower
        self._version = follower.version
        self._shards: dict[int, Shard] = {}

    # ---- where to start

    async def start_positions(self, tps: set[TP]) -> dict[TP, int]:
        """Any position before the snapshots that follow an assignment will do: the committed one, else the first."""
        positions = {}
        self._shards = {}
        earliest = await self._app.consumer.earliest_offsets(*tps) if tps else {}
        for tp in tps:
            index = ScopeIndex()
            book = await asyncio.to_thread(fold_partition, self._settings, self._registry, tp.partition)
            watch = Watch(*self._follower.state, book, index)
            last = await asyncio.to_thread(_last_limit, self._settings.kafka, tp.partition)
            self._shards[tp.partition] = Shard(
                ShardTotals(index), book, watch, limit_offset=last, untold=set(book.pauses)
            )
            committed = self._app.consumer._read_offset.get(tp)
            positions[tp] = max(committed or 0, earliest.get(tp, 0))
        return positions

    # ---- a turn

    async def turn(self, batch: Batch) -> None:
        """Merge the messages of a batch; raise or retract what is due behind the last one."""
        shard = self._shards[batch.partition]
        cause = ""
        async with shard.lock:
            for record in batch.value:
                header = PartialHeader.from_headers(record.headers)
                touched = shard.totals.apply(header, from_ipc(record.value))
                for place, ids in touched.items():
                    shard.waiting[place].append(ids)
                cause = header.cause_event or cause
            if shard.waiting and shard.caught_up(self._settings.partitions):
                await self._evaluate(batch.partition, shard, cause)
        self._app.consumer.ack(batch)

    async def _evaluate(self, number: int, shard: Shard, cause: str) -> None:
        """Append the alerts that are due for the scopes that wait, and note the limits that changed."""
        waiting, shard.waiting = shard.waiting, defaultdict(list)
        touched: dict[str, dict[Window, Ids]] = defaultdict(dict)
        for (selection, window), parts in waiting.items():
            touched[selection][window] = np.unique(np.concatenate(parts))
        in_periods = {
            (selection, period): in_period(self._calendar, period, touched.get(selection, {}))
            for selection, period in {(budget.selection.key, budget.period) for budget in shard.watch.budgets}
        }
        due: list[Any] = []
        clock, now = shard.clock(), time.time_ns() // 1000
        for budget in shard.watch.budgets:
            selection = budget.selection.key
            windows = in_periods[selection, budget.period]
            for window, ids in (with_next(self._calendar, windows, now) if budget.carry_over else windows).items():
                judge = shard.watch.judging(budget, window)
                if judge is None or not shard.totals.whole(window, selection):
                    continue
                watched = shard.watch.covered(judge, ids)
                if not len(watched):
                    continue
                left = shard.left(self._calendar, judge, window, watched)
                if left is None:
                    continue
                values = shard.totals.totals(window, watched, selection)
                if judge.carry_over:
                    found = shard.watch.due_with(judge, window, watched, values, left)
                    due += [(own, window, scope, change) for scope, own, change in found]
                else:
                    due += [(judge, window, *each) for each in shard.watch.due(judge, window, watched, values)]
                if kept_until(window) > clock:
                    shard.note_limits(judge, window, watched)
        if due:
            await self._raise(number, shard, due, cause)

    async def _raise(self, number: int, shard: Shard, due: list[Any], cause: str) -> None:
        """Append alerts to the chain; each names the offset that the one before it will have."""
        positions, now = _positions(shard), time.time_ns() // 1000
        records = [
            alert_record(change, budget, positions, cause, now, shard.watch.predates(budget, window))
            for budget, window, _, change in due
        ]
        await self._extend(number, shard, records)
        for budget, window, scope, _ in due:
            shard.watch.settled(budget, window, scope)

    async def _extend(self, number: int, shard: Shard, records: list[dict[str, Any]]) -> None:
        await self._append(number, shard, records[:1], shard.book.head)
        # Behind the first, whose offset is now known, the others follow one another.
        await self._append(number, shard, records[1:], shard.book.head)

    async def _append(self, number: int, shard: Shard, records: list[dict[str, Any]], head: int) -> None:
        sent = []
        for place, record in enumerate(records):
            value = encode(record, "alert.v1", self._alert_id)
            extends = [(EXTENDS, str(head + place).encode())]
            key = record["alert_id"].encode()
            sent.append(await append.send(self._app, ALERTS, key, value, number, extends))
        faults.crash("budgets.alert_sent")

        def read_back(start: int, end: int) -> bool:
            return chain_end(append.between(self._settings.kafka, ALERTS, number, start, end), start - 1) == end

        for place, (record, acknowledgement) in enumerate(zip(records, sent, strict=True)):
            offset = await append.landed(acknowledgement, head + place, read_back, number)
            if not shard.book.fold(offset, head + place, record):
                raise append.LostError(f"{ALERTS}[{number}]: the alert at {offset} does not extend the chain")

    # ---- now and then

    async def forecast(self) -> None:
        """Say who will exceed a limit, and who will not any more."""
        for number, shard in self._shards.items():
            async with shard.lock:
                if not shard.waiting and shard.caught_up(self._settings.partitions):
                    now = time.time_ns() // 1000
                    found, positions = shard.forecasts(self._calendar, now), _positions(shard)
                    records = [forecast_record(each, budget, positions, now) for budget, each in found]
                    if records:
                        await self._extend(number, shard, records)

    async def follow(self) -> None:
        """Put changed budgets in force."""
        if self._follower.version != self._version:
            self._version = self._follower.version
            await self._change_budgets()

    async def flush(self) -> None:
        """Send limits, then windows: whoever sees a watermark knows that the limits up to it are on their way.

        Acknowledgements are awaited behind the lock: a turn's alerts do not wait for them.
        """
        sent = []
        for number, shard in self._shards.items():
            async with shard.lock:
                limits = await self._send_limits(number, shard)
                sent.append((shard, limits, await self._send_windows(number, shard)))
                shard.forget()
        for shard, limits, windows in sent:
            await _note_sent(shard, limits)
            for acknowledgement in windows:
                await acknowledgement

    async def tell(self) -> None:
        """Send limits, and up to where they are known."""
        sent = []
        for number, shard in self._shards.items():
            async with shard.lock:
                self._note_resumed(shard)
                sent.append((number, shard, self._due_beat(shard), await self._send_limits(number, shard)))
        for number, shard, positions, limits in sent:
            await _note_sent(shard, limits)
            if positions is not None:
                await (await self._beat(number, shard, positions))

    async def _change_budgets(self) -> None:
        """New or changed budgets are evaluated at once, without waiting for usage; limits leave at once, too."""
        log.info("budgets in force: %s", ", ".join(budget.id for budget in self._follower.budgets) or "none")
        for number, shard in self._shards.items():
            async with shard.lock:
                shard.watch = Watch(*self._follower.state, shard.book, shard.totals.index)
                shard.totals.keep_only({track.family for track in self._follower.tracks})
                for selection in {budget.selection.key for budget in shard.watch.budgets}:
                    for window, ids in shard.totals.everything(selection).items():
                        shard.waiting[Place(selection, window)].append(ids)
                if shard.caught_up(self._settings.partitions):
                    await self._evaluate(number, shard, "")
                shard.untold.update(shard.book.pauses)
                self._note_resumed(shard)
                limits = await self._send_limits(number, shard)
            await _note_sent(shard, limits)

    def _note_resumed(self, shard: Shard) -> None:
        if shard.untold and not shard.waiting and shard.caught_up(self._settings.partitions):
            shard.note_resumed(self._calendar, time.time_ns() // 1000)

    async def _send_limits(self, number: int, shard: Shard) -> list[Any]:
        """The acknowledgements that are to come, in order."""
        changed, shard.limits = shard.limits, {}
        budgets = {budget.id: budget for budget in shard.watch.budgets}
        positions, now = _positions(shard), time.time_ns() // 1000
        futures = []
        for (budget_id, scope), window in changed.items():
            budget = budgets.get(budget_id)
            judge = budget and shard.watch.judging(budget, window)
            left = None if judge is None else shard.left(self._calendar, judge, window, np.array([scope]))
            if budget is None or judge is None or left is None:
                continue
            if left:
                judge = shard.watch.carried(judge, window, scope, left[0])
            index = shard.totals.index
            names = (index.organizations[scope], budget.scope_kind, index.names[scope])
            values = shard.totals.totals(window, np.array([scope]), budget.selection.key)
            [used], [estimated] = int128.to_ints(*counted(judge, values)), estimates(judge, values)
            paused = shard.book.paused(budget, names[0], names[2])
            record = limit_record(judge, *names, window, used, paused, positions, now, estimated)
            value = encode(record, "limit.v1", self._limit_id)
            futures.append(await append.send(self._app, LIMITS, limit_key(budget_id, *names), value, number))
        return futures

    def _due_beat(self, shard: Shard) -> list[dict[str, str | int]] | None:
        """Up to where all limits are being sent, if guards are to be told: of an idle shard once in FLUSH_S."""
        positions, now = _positions(shard), time.time_ns() // 1000
        is_told = positions == shard.beaten and now < shard.beat_at + int(FLUSH_S * 1_000_000)
        if is_told or shard.waiting or not shard.caught_up(self._settings.partitions):
            return None
        shard.beaten, shard.beat_at = positions, now
        return positions

    async def _beat(self, number: int, shard: Shard, positions: list[dict[str, str | int]]) -> Any:
        """Tell guards that all limits up to these positions have been sent, and that the shard is not dead."""
        beat = {"as_of": shard.beat_at, "limit_offset": shard.limit_offset, "positions": positions}
        return await append.send(self._app, HEARTBEATS, str(number).encode(), orjson.dumps(beat), number)

    async def _send_windows(self, number: int, shard: Shard) -> list[Any]:
        """The acknowledgements that are to come."""
        marks = {p: mark.block_offset for p, mark in shard.totals.watermarks.items()}
        batches = list(shard.totals.take_changed())
        if not batches and marks == shard.sent_marks:
            return []
        shard.sent_marks = marks
        watermarks = orjson.dumps(_positions(shard))
        futures = [
            await append.send(self._app, WINDOWS, None, to_ipc(entries), number, [("watermarks", b"[]")])
            for entries in batches
        ]
        empty = pa.RecordBatch.from_pylist([], schema=WINDOW_ENTRIES)
        futures.append(await append.send(self._app, WINDOWS, None, to_ipc(empty), number, [("watermarks", watermarks)]))
        return futures


async def _note_sent(shard: Shard, acknowledgements: list[Any]) -> None:
    """Returns when the limits are in the log."""
    for acknowledgement in acknowledgements:
        shard.limit_offset = max(shard.limit_offset, int((await acknowledgement).offset))


def _last_limit(kafka: str, number: int) -> int:
    """The offset of the last limit that was sent, by whoever had the shard before; -1 when there is none."""
    with LogReader(kafka) as reader:
        return reader.bounds(LIMITS, number)[1] - 1


def _positions(shard: Shard) -> list[dict[str, str | int]]:
    return [
        {
            "src_epoch": mark.src_epoch,
            "src_partition": mark.src_partition,
            "src_offset": mark.src_offset,
            "block_offset": mark.block_offset,
        }
        for _, mark in sorted(shard.totals.watermarks.items())
        if mark.block_offset >= 0
    ]


def install(app: SequencedApp, settings: Settings, follower: BudgetFollower) -> Budgets:
    """Attach the agent and its flush to their app."""
    budgets = Budgets(app, settings, follower)

    @app.agent(app.raw_topic(PARTIALS), concurrency=1)
    async def watch(stream: Any) -> None:
        await app.turns(stream, budgets.turn)

    @app.task
    async def flush() -> None:
        await app.repeatedly(budgets.flush, FLUSH_S)

    @app.task
    async def tell() -> None:
        await app.repeatedly(budgets.tell, TELL_S)

    @app.task
    async def forecast() -> None:
        await app.repeatedly(budgets.forecast, FORECAST_S)

    @app.task
    async def follow() -> None:
        await app.repeatedly(budgets.follow, FOLLOW_S)

    return budgets
