"""The rollup agent: priced blocks into windowed totals per source partition.

Outputs leave at once; the table's changelog, and with it the acknowledgement, is coalesced for up to a second. Where
to go on is what the table says, not a group offset. After every assignment a snapshot of each partition goes to
budgets, which keep no table of their own.
"""

import asyncio
import logging
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import faust
from faust.types.tuples import TP

from schemas.block import BlockHeader, decode_block, to_ipc
from schemas.calendar import load_calendar
from schemas.settings import Settings
from schemas.topics import BLOCKS, PARTIALS
from stream_processors import append, faults
from stream_processors.budget_log import BudgetFollower
from stream_processors.core.chain import Chain
from stream_processors.core.gcounter import PartitionTotals, Progress
from stream_processors.core.rollup import HEADER, Touched, apply_block, everything, merged, partial_messages
from stream_processors.core.scopes import ScopeIndex
from stream_processors.core.shards import (
    Ahead,
    UnsoundTableError,
    encode_changes,
    encode_progress,
    keys_of,
    keys_of_segment,
    load,
    position_of,
    progress_key,
    standing,
)
from stream_processors.logs import LogReader
from stream_processors.seeding import ledger_sums, newest_landed, seed
from stream_processors.transport import Batch, SequencedApp
from stream_processors.warehouse import WarehouseError

log = logging.getLogger("tollbook.rollup")

FLUSH_S = 1.0
TRACKS_S = 0.5
SNAPSHOT_S = 300.0  # open keys are sent again now and then, so even a lost one heals


class MergedTable(faust.Table):  # type: ignore[misc]
    """Rebuilt from its changelog by position, not by last write: frozen workers may have written late."""

    def apply_changelog_batch(self, batch: Any) -> None:
        writes = ((event.message.key, event.message.value) for event in batch)
        counts = standing(self.data.data, writes)
        super().apply_changelog_batch([event for event, stands in zip(batch, counts, strict=True) if stands])


@dataclass(slots=True)
class Counted:
    """A track of one source partition: until it is seeded, what was counted behind its seed's position."""

    totals: PartitionTotals
    since: Progress
    seeded: bool = False


@dataclass(slots=True)
class Partition:
    """One source partition in our hands."""

    totals: PartitionTotals
    chain: Chain
    ahead: Ahead
    seeded: bool = True  # false: the totals are still to be had from the ledger
    heard_to: int = -1  # of a seeded one: up to which block budgets may have heard of whoever counted before
    seeding: asyncio.Lock = field(default_factory=asyncio.Lock)
    sending: asyncio.Lock = field(default_factory=asyncio.Lock)  # messages of one turn lie together
    sent: int = -1  # block offset of the last message to budgets; -1: the next one is a snapshot
    snapshot_at: float = 0.0
    introduced: bool = False  # budgets have had a snapshot since the assignment
    dirty: Touched = field(default_factory=list)
    leaving: list[bytes] = field(default_factory=list)  # of what ended before the last snapshot
    tombstones: list[bytes] = field(default_factory=list)
    stale: list[bytes] = field(default_factory=list)  # what was in the table before it was rebuilt
    tracks: dict[str, Counted] = field(default_factory=dict)  # by family
    sender: str = field(default_factory=lambda: uuid4().hex)

    def needs_snapshot(self, now: float) -> bool:
        """Whether the next message to budgets must be everything: they do not count news of a seed without it.

        The first snapshot is too old for those who have heard more; the one behind all that they can have heard is not.
        """
        return self.sent < 0 or self._is_past_heard() or now > self.snapshot_at + SNAPSHOT_S

    def note_snapshot(self, now: float) -> None:
        """The next message is one."""
        self.sent, self.snapshot_at, self.introduced = -1, now, True
        if self._is_past_heard():
            self.heard_to = -1

    def _is_past_heard(self) -> bool:
        return 0 <= self.heard_to < self.totals.progress.block_offset

    def ready_tracks(self) -> list[PartitionTotals]:
        """What is complete of the tracks."""
        return [track.totals for track in self.tracks.values() if track.seeded]


class Rollup:
    """The agent's state: partitions, scopes, and what waits for the next flush."""

    def __init__(self, app: SequencedApp, settings: Settings, follower: BudgetFollower) -> None:
        self._app = app
        self._settings = settings
        self._follower = follower
        self._calendar = load_calendar(settings.calendar)
        self._index = ScopeIndex()
        self._partitions: dict[int, Partition] = {}
        self._held: list[tuple[Batch, list[Any]]] = []
        self._flushing = asyncio.Lock()
        self._table = app.Table("partials", partitions=settings.partitions, key_type=bytes, value_type=bytes)

    # ---- where to start

    async def start_positions(self, tps: set[TP]) -> dict[TP, int]:
        """Behind the last block that the table contains; a partition without a sound table is rebuilt first."""
        self._partitions = {}
        self._held = []
        for tp in tps:
            self._partitions[tp.partition] = await self._restored(tp.partition)
        return {tp: self._partitions[tp.partition].chain.head + 1 for tp in tps}

    async def _restored(self, number: int) -> Partition:
        try:
            found = load(number, self._table.data.data, self._index)
        except UnsoundTableError as error:
            log.warning("partition %s: the table is not one state (%s), rebuilding it", number, error)
            found = None
        if found is not None:
            return Partition(found[0], _chain_at(found[0].progress), found[1])
        low, high = await asyncio.to_thread(self._bounds, number)
        start = await asyncio.to_thread(self._rebuilt_from, number, low, high)
        stale = keys_of(number, self._table.data.data)
        if start.block_offset < 0:
            return Partition(PartitionTotals(start), _chain_at(start), {}, stale=stale)
        return Partition(PartitionTotals(start), _chain_at(start), {}, seeded=False, heard_to=high - 1, stale=stale)

    def _bounds(self, number: int) -> tuple[int, int]:
        with LogReader(self._settings.kafka) as reader:
            return reader.bounds(BLOCKS, number)

    def _rebuilt_from(self, number: int, low: int, high: int) -> Progress:
        """Where the ledger ends if it has anything of the partition; otherwise before the first block."""
        if high == 0:
            return Progress(number)
        try:
            landed = newest_landed(self._settings, number)
        except WarehouseError as error:
            if low > 0:
                raise
            log.warning("partition %s: counting from the first block, the ledger cannot be asked: %s", number, error)
            landed = None
        if landed is None and low > 0:
            raise RuntimeError(f"{BLOCKS}[{number}] begins at {low}, and the ledger has nothing of what was before")
        return landed or Progress(number)

    async def _seeded(self, partition: Partition) -> None:
        """Fill the totals of a partition that starts in the middle; not while its assignment waits for positions."""
        async with partition.seeding:
            if partition.seeded:
                return
            progress = partition.totals.progress
            sums = await asyncio.to_thread(ledger_sums, self._settings, self._calendar, progress)
            partition.totals = seed(progress, sums, self._calendar, self._index)
            partition.dirty = everything(partition.totals)
            partition.seeded = True
            log.info("partition %s: seeded from the ledger at block %s", progress.src_partition, progress.block_offset)

    # ---- a turn

    async def turn(self, batch: Batch) -> None:
        """Count the blocks of a batch; budgets hear of it at once, the table with the next flush."""
        partition = self._partitions[batch.partition]
        await self._seeded(partition)
        touched: Touched = []
        tracked: Touched = []
        cause = ""
        for record in batch.value:
            header = BlockHeader.from_headers(record.headers)
            if not partition.chain.accept(header, record.offset):
                log.warning(
                    "%s[%s]: ignoring the block at %s: its history lost", BLOCKS, batch.partition, record.offset
                )
                continue
            rows, _ = decode_block(record.value, header)
            touched += apply_block(
                partition.totals, header, record.offset, rows, self._calendar, self._index, partition.ahead
            )
            for track in partition.tracks.values():
                news = apply_block(track.totals, header, record.offset, rows, self._calendar, self._index, {})
                tracked += news if track.seeded else []
            cause = rows.column("event_id")[-1].as_py() if rows.num_rows else cause
        touched = merged(touched)
        partition.dirty += touched
        self._held.append((batch, await self._send(partition, touched + merged(tracked), cause)))
        faults.crash("rollup.sent")

    async def _send(self, partition: Partition, touched: Touched, cause: str) -> list[Any]:
        """Queue what changed since the last message for budgets, everything when there was none.

        Nothing while some shards are ahead: the totals are not those of one position.
        """
        async with partition.sending:
            return await self._send_next(partition, touched, cause)

    async def _send_next(self, partition: Partition, touched: Touched, cause: str) -> list[Any]:
        if partition.ahead:
            return []
        now = asyncio.get_running_loop().time()
        tracks = partition.ready_tracks()
        if partition.needs_snapshot(now):
            partition.note_snapshot(now)
            touched = [each for totals in (partition.totals, *tracks) for each in everything(totals)]
            for totals in tracks:
                totals.take_ended()
            # What has ended leaves the table one snapshot later: by then its last entries have long arrived.
            partition.tombstones += partition.leaving
            partition.leaving = _keys_of_ended(partition.totals)
        since, partition.sent = partition.sent, partition.totals.progress.block_offset
        messages = [
            (target, to_ipc(entries), header.to_bytes())
            for target, entries, header in partial_messages(
                partition.totals,
                touched,
                since,
                cause,
                self._settings.partitions,
                self._index,
                tracks,
                partition.sender,
            )
        ]
        return [
            await append.send(self._app, PARTIALS, None, value, target, [(HEADER, header)])
            for target, value, header in messages
        ]

    # ---- tracks

    async def keep_tracks(self) -> None:
        """Count what budgets in force need besides the standing windows, and nothing that they do not."""
        wanted = {track.family: track for track in self._follower.tracks}
        for partition in list(self._partitions.values()):
            for family in partition.tracks.keys() - wanted.keys():
                del partition.tracks[family]
            for family in wanted.keys() - partition.tracks.keys():
                track, progress = wanted[family], partition.totals.progress
                totals = PartitionTotals(progress, (track.selection,), (track.window_kind,))
                partition.tracks[family] = Counted(totals, progress)
            unseeded = [family for family, track in partition.tracks.items() if not track.seeded]
            if unseeded:
                await self._seed_tracks(partition, unseeded)

    async def _seed_tracks(self, partition: Partition, families: list[str]) -> None:
        """Put the ledger's totals under what was counted since, once the ledger has come that far."""
        number = partition.totals.progress.src_partition
        try:
            landed = await asyncio.to_thread(newest_landed, self._settings, number)
            for family in families:
                track = partition.tracks.get(family)
                if track is None or track.since.block_offset > (landed.block_offset if landed else -1):
                    continue
                selections, kinds = track.totals.selections, track.totals.kinds
                sums = await asyncio.to_thread(
                    ledger_sums, self._settings, self._calendar, track.since, selections, kinds
                )
                seeded = seed(track.since, sums, self._calendar, self._index, selections)
                seeded.absorb(track.totals)
                track.totals, track.seeded = seeded, True
                partition.sent, partition.introduced = -1, False  # the next message to budgets is a snapshot
                log.info("partition %s: %s is counted from block %s", number, family, track.since.block_offset)
        except WarehouseError as error:
            log.warning("partition %s: %s wait for the ledger: %s", number, ", ".join(families), error)

    # ---- the table

    async def flush(self) -> None:
        """Write what changed to the changelog, then acknowledge the batches it contains."""
        async with self._flushing:
            waiting: list[Any] = []
            for partition in self._partitions.values():
                await self._seeded(partition)
                if not partition.introduced:  # an assignment without new blocks, perhaps without any
                    waiting += await self._send(partition, [], "")
            held, self._held = self._held, []
            writes = [write for partition in self._partitions.values() for write in self._writes(partition)]
            topic = self._table.changelog_topic.get_topic_name()
            for number, key, value in writes:
                waiting.append(await append.send(self._app, topic, key, value, number))
            for future in [*waiting, *(future for _, futures in held for future in futures)]:
                await future
            faults.crash("rollup.before_ack")
            for batch, _ in held:
                self._app.consumer.ack(batch)

    def _writes(self, partition: Partition) -> list[tuple[int, bytes, bytes | None]]:
        """Shards that changed, progress behind them, then tombstones of what has ended.

        Before them all, tombstones of a table that is being rebuilt.
        """
        if not partition.dirty and not partition.tombstones and self._recorded(partition):
            return []
        number = partition.totals.progress.src_partition
        data = self._table.data.data
        stale, partition.stale = partition.stale, []
        writes: list[tuple[int, bytes, bytes | None]] = [(number, key, None) for key in stale]
        dirty, partition.dirty = partition.dirty, []
        for held, ids in merged(dirty):
            changes = encode_changes(partition.totals.progress, held, ids, self._index)
            writes += ((number, key, value) for key, value in changes)
        writes.append((number, progress_key(number), encode_progress(partition.totals)))
        writes += [(number, key, None) for key in partition.tombstones if key in data]
        partition.tombstones = []
        for _, key, written in writes:
            if written is None:
                data.pop(key, None)
            else:
                data[key] = written
        return writes

    def _recorded(self, partition: Partition) -> bool:
        held = self._table.data.data.get(progress_key(partition.totals.progress.src_partition))
        return partition.totals.progress.block_offset < 0 or (
            held is not None and position_of(held) == partition.totals.progress.block_offset
        )


def _keys_of_ended(totals: PartitionTotals) -> list[bytes]:
    ended = totals.take_ended()
    return [key for held in ended for key in keys_of_segment(totals.progress.src_partition, held)]


def _chain_at(progress: Progress) -> Chain:
    if progress.block_offset < 0:
        return Chain()
    return Chain(progress.block_offset, progress.src_epoch, progress.src_offset + 1)


def install(app: SequencedApp, settings: Settings, follower: BudgetFollower) -> Rollup:
    """Attach the agent, its flush and its look-out for budgets to their app."""
    app.conf.Table = MergedTable
    rollup = Rollup(app, settings, follower)
    app.flush = rollup.flush

    @app.agent(app.raw_topic(BLOCKS), concurrency=1)
    async def add_up(stream: Any) -> None:
        await app.turns(stream, rollup.turn)

    @app.task
    async def flush() -> None:
        await app.repeatedly(rollup.flush, FLUSH_S)

    @app.task
    async def keep_tracks() -> None:
        await app.repeatedly(rollup.keep_tracks, TRACKS_S)

    return rollup
