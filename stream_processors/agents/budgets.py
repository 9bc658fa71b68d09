"""The budgets agent: window entries of all source partitions into totals; totals into alerts, limits and windows.

What it knows is folded from logs: totals from `usage.partials` since the last snapshots, alerts from `usage.alerts`,
budgets from `usage.budgets`. Alerts leave at once; windows and limits are conflated to one record a key a second.
"""

import asyncio
import logging
import time
from typing import Any

import orjson
import pyarrow as pa
from faust.types.tuples import TP

from schemas.alert_chain import EXTENDS
from schemas.arrow import WINDOW_ENTRIES
from schemas.block import from_ipc, to_ipc
from schemas.calendar import load_calendar
from schemas.codec import encode
from schemas.registry import Registry
from schemas.settings import Settings
from schemas.topics import ALERTS, HEARTBEATS, LIMITS, PARTIALS, WINDOWS
from stream_processors import append, faults
from stream_processors.agents.budget_shard import Due, Shard
from stream_processors.alert_log import chain_end, fold_partition
from stream_processors.budget_log import BudgetFollower
from stream_processors.core.alerts import alert_record
from stream_processors.core.forecasts import forecast_record
from stream_processors.core.merge import Place, ShardTotals
from stream_processors.core.rollup import PartialHeader
from stream_processors.core.scopes import ScopeIndex
from stream_processors.core.watch import Watch
from stream_processors.logs import LogReader
from stream_processors.transport import Batch, SequencedApp

log = logging.getLogger("tollbook.budgets")

FLUSH_S = 1.0
TELL_S = 0.5  # so that what a guard knows is less than a second old while usage flows
FOLLOW_S = 0.2
FORECAST_S = 5.0


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
        due = shard.take_due(self._calendar, time.time_ns() // 1000)
        if due:
            await self._raise(number, shard, due, cause)

    async def _raise(self, number: int, shard: Shard, due: list[Due], cause: str) -> None:
        """Append alerts to the chain; each names the offset that the one before it will have."""
        positions, now = shard.positions(), time.time_ns() // 1000
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
                    found, positions = shard.forecasts(self._calendar, now), shard.positions()
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
                beat = shard.due_beat(self._settings.partitions, time.time_ns() // 1000)
                sent.append((number, shard, beat, await self._send_limits(number, shard)))
        for number, shard, beat, limits in sent:
            await _note_sent(shard, limits)
            if beat is not None:
                await (await self._beat(number, shard, beat))

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
        futures = []
        for key, record in shard.take_limits(self._calendar, time.time_ns() // 1000):
            value = encode(record, "limit.v1", self._limit_id)
            futures.append(await append.send(self._app, LIMITS, key, value, number))
        return futures

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
        watermarks = orjson.dumps(shard.positions())
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
