"""The rating agent: fetched batches of `usage.events` into priced blocks, each the commit point of its offsets.

Rating resumes after the last accepted block of a partition, never from a group offset. What it remembers (ids seen)
is rebuilt from its own output.
"""

import asyncio
import logging
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow.compute as pc
from confluent_kafka import KafkaError, KafkaException
from faust.types.tuples import TP

from schemas.block import HEADER, BlockHeader, decode_block
from schemas.codec import encode
from schemas.registry import Registry
from schemas.settings import Settings
from schemas.topics import BLOCKS, DIRECTORY, EVENTS, REJECTED
from stream_processors import append, faults
from stream_processors.agents.rating_alarm import Halt, RatingAlarm, Schemas, gap_alert, halt_alert
from stream_processors.chain_head import find_head
from stream_processors.core.blocks import Piece, pieces
from stream_processors.core.chain import Chain
from stream_processors.core.directory import Directory
from stream_processors.core.directory_forms import History, directory_of
from stream_processors.core.price_book import PriceBook
from stream_processors.core.rating import Rated, RawBatch, rate
from stream_processors.core.reject_watch import RejectWatch, judged
from stream_processors.core.revisions import Revisions
from stream_processors.core.seen import Seen
from stream_processors.logs import LogReader, TopicIds, header_of
from stream_processors.overdue import CHECK_S, report_overdue
from stream_processors.price_log import follow_prices
from stream_processors.transport import Batch, SequencedApp, StartAgainError
from stream_processors.versioned_log import Follower

log = logging.getLogger("tollbook.rating")

HORIZON_HOURS = 24
EPOCH_S = 1.0


class RecreatedError(StartAgainError):
    """`usage.events` was deleted under us: start again, at the beginning of the new epoch."""


@dataclass(slots=True)
class Memory:
    """What is remembered of a source partition; all of it follows from its blocks."""

    seen: Seen
    revisions: Revisions
    watch: RejectWatch


@dataclass(slots=True)
class Partition:
    """One source partition in our hands."""

    chain: Chain
    memory: Memory | None = None  # rebuilt by the first turn
    revised_since: int = 0
    booked_until: int = 0
    price_version: str = ""  # of the batch that is being appended
    directory_version: int = 0  # likewise
    pending: asyncio.Task[None] | None = None


class Rating:
    """The agent's state: partitions, prices, registry."""

    def __init__(self, app: SequencedApp, settings: Settings) -> None:
        self._app = app
        self._settings = settings
        self._registry = Registry(settings.registry)
        self._rejected_id = self._registry.schema_id(REJECTED)
        self._prices = follow_prices(settings.kafka)
        self._directory = Follower(settings.kafka, DIRECTORY, History, directory_of)
        self._alarm = RatingAlarm(app, settings, self._registry)
        self._partitions: dict[int, Partition] = {}
        self._topic_ids = TopicIds(settings.kafka)
        self._epoch = self._topic_ids.of(EVENTS)

    # ---- where to start

    async def start_positions(self, tps: set[TP]) -> dict[TP, int]:
        """The offset after the last accepted block of each partition."""
        return await asyncio.to_thread(self._find_heads, sorted(tps))

    def _find_heads(self, tps: list[TP]) -> dict[TP, int]:
        positions = {}
        self._partitions = {}
        with LogReader(self._settings.kafka) as reader:
            for tp in tps:
                chain, booked_until, revised_since = find_head(reader, tp.partition)
                _, high = reader.bounds(EVENTS, tp.partition)
                expected = chain.next_offset or 0
                if chain.epoch not in (None, self._epoch):
                    expected = 0  # the topic was recreated: its offsets start afresh
                if expected > high:
                    raise RuntimeError(
                        f"{EVENTS}[{tp.partition}] ends at {high}, but offsets up to {expected - 1} are already rated: "
                        "its log was truncated or restored; see docs/operations.md"
                    )
                self._partitions[tp.partition] = Partition(chain, None, revised_since, booked_until)
                positions[tp] = expected
        return positions

    def _remembered(self, number: int, partition: Partition) -> Memory:
        """From the blocks of the horizon, and of usage that may still be revised those that may be older."""
        chain, memory = partition.chain, Memory(Seen(HORIZON_HOURS), Revisions(), RejectWatch())
        if chain.head < 0:
            return memory
        horizon_ms = int((time.time() - HORIZON_HOURS * 3600) * 1000)
        revised_ms = partition.revised_since // 1000 or horizon_ms
        with LogReader(self._settings.kafka) as reader:
            seen_from = reader.offset_at(BLOCKS, number, horizon_ms)
            start = min(seen_from, reader.offset_at(BLOCKS, number, revised_ms))
            past: Chain | None = None
            for message in reader.read(BLOCKS, number, start):
                header = header_of(message)
                offset = message.offset() or 0
                if offset > chain.head:
                    break
                past = past or Chain(header.extends)
                if past.accept(header, offset):
                    rated = Rated(*decode_block(message.value() or b"", header))
                    memory.revisions.remember(rated.rows)
                    if offset >= seen_from:
                        memory.seen.remember(rated.rows)
                    memory.watch.take(judged(rated)[1])
        return memory

    async def same_epoch(self) -> None:
        """RecreatedError when the topic is another one now: its offsets start afresh, and so must we."""
        try:
            found = await asyncio.to_thread(self._topic_ids.of, EVENTS)
        except KafkaException as error:
            if error.args[0].code() != KafkaError.UNKNOWN_TOPIC_OR_PART:
                return  # the broker is away, which says nothing about the topic
            found = "none"
        if found != self._epoch:
            raise RecreatedError(f"{EVENTS} was deleted: its id was {self._epoch}, now it is {found}")

    # ---- a turn

    async def turn(self, batch: Batch) -> None:
        """Rate a batch and append it as one block or more; acknowledged when the broker has them all."""
        partition = self._partitions[batch.partition]
        records = batch.value
        raw = RawBatch(
            [record.value or b"" for record in records],
            [record.key for record in records],
            np.fromiter((record.offset for record in records), np.int64, len(records)),
            np.fromiter((record.timestamp for record in records), np.int64, len(records)),
        )
        book = self._prices.state  # one for the whole batch: a block names the version that priced it
        directory = self._directory.state
        rated = await self._rated(batch.partition, partition, raw, book, directory)
        if faults.reached("rating.drop_row"):
            rated = Rated(rated.rows.slice(1), rated.rejects)
        gap = await self._gap(batch)
        cut = list(pieces(rated, batch.expected, batch.offset))
        if partition.pending is not None:
            await partition.pending
        partition.booked_until = max(partition.booked_until, int(raw.booked_ms[-1]) * 1000)
        partition.price_version, partition.directory_version = book.version, directory.version
        partition.pending = asyncio.create_task(self._append(batch, partition, cut, gap))
        partition.pending.add_done_callback(self._stop_on_failure)

    async def _rated(
        self, number: int, partition: Partition, raw: RawBatch, book: PriceBook, directory: Directory
    ) -> Rated:
        """Rates a batch. Stands still where too many events would be rejected, until that changes or is accepted."""
        halt: Halt | None = None
        while True:
            if partition.memory is None:
                partition.memory = await asyncio.to_thread(self._remembered, number, partition)
            memory = partition.memory
            schemas = Schemas(self._registry)
            rated = rate(raw, schemas.text, book, memory.seen, memory.revisions, directory)
            offsets, verdicts = judged(rated)
            at = memory.watch.crossing(verdicts)
            if at is None:
                if halt is not None:
                    await self._alarm.take_back(halt)
                break
            halt = Halt(halt_alert(self._epoch, number, int(offsets[at]), rated), schemas)
            if await self._alarm.stand_still(halt):
                break
            if partition.pending is not None:
                await partition.pending
            partition.memory = None  # it holds ids that have not been booked
        memory.watch.take(verdicts)
        partition.revised_since = memory.revisions.since_us
        return rated

    async def _gap(self, batch: Batch) -> int:
        """How many of the offsets before the batch's first record retention took; the others are markers."""
        first = batch.value[0].offset
        if first == batch.expected:
            return 0
        earliest = await self._app.consumer.earliest_offsets(batch.tp)
        lost = min(max(earliest.get(batch.tp, 0), batch.expected), first) - batch.expected
        if lost:
            log.critical("%s[%s]: retention took %s offsets from %s", EVENTS, batch.partition, lost, batch.expected)
            await self._alarm.say(gap_alert(self._epoch, batch.partition, batch.expected, int(lost)))
        return int(lost)

    async def _append(self, batch: Batch, partition: Partition, cut: list[Piece], gap: int) -> None:
        for piece in cut:
            pairs = pc.sum(piece.rated.rows.column("src_entry")).as_py() or 0
            row_count = piece.rated.rows.num_rows - pairs
            counted = row_count + piece.rated.rejects.num_rows
            lost = min(gap, piece.last_offset - piece.first_offset + 1)
            header = BlockHeader(
                src_epoch=self._epoch,
                src_partition=batch.partition,
                first_offset=piece.first_offset,
                last_offset=piece.last_offset,
                extends=partition.chain.head,
                row_count=row_count,
                reject_count=piece.rated.rejects.num_rows,
                marker_count=piece.last_offset - piece.first_offset + 1 - counted - lost,
                gap_count=lost,
                price_version=partition.price_version,
                directory_version=partition.directory_version,
                booked_until=partition.booked_until,
                rated_at=time.time_ns() // 1000,
                pair_count=pairs,
                revised_since=partition.revised_since,
            )
            gap -= lost
            await self._append_one(partition, header, piece)
            await self._alarm.tell_unpriced(batch.partition, piece.rated)
        faults.crash("rating.before_ack")
        self._app.consumer.ack(batch)

    async def _append_one(self, partition: Partition, header: BlockHeader, piece: Piece) -> None:
        rejected = [await self._send_reject(header, record) for record in piece.rated.rejects.to_pylist()]
        for acknowledgement in rejected:
            await acknowledgement
        acknowledgement = await append.send(
            self._app, BLOCKS, None, piece.value, header.src_partition, [(HEADER, header.to_bytes())]
        )
        faults.crash("rating.block_sent")

        def read_back(start: int, end: int) -> bool:
            chain = Chain(header.extends)
            records = append.between(self._settings.kafka, BLOCKS, header.src_partition, start, end)
            accepted = [m.offset() for m in records if chain.accept(header_of(m), m.offset() or 0)]
            return accepted == [end]

        offset = await append.landed(acknowledgement, header.extends, read_back, header.src_partition)
        partition.chain.accept(header, offset)

    async def _send_reject(self, header: BlockHeader, record: dict[str, Any]) -> Any:
        """Derived from the block and repeated with the same key after a crash; the block behind it awaits it."""
        record |= {"src_epoch": header.src_epoch, "src_partition": header.src_partition}
        key = f"{header.src_epoch}:{header.src_partition}:{record['src_offset']}".encode()
        value = encode(record, "rejected.v1", self._rejected_id)
        return await append.send(self._app, REJECTED, key, value, header.src_partition)

    def _stop_on_failure(self, task: "asyncio.Task[None]") -> None:
        if not task.cancelled() and task.exception() is not None:
            self._app.stop_on(task.exception())


def install(app: SequencedApp, settings: Settings) -> None:
    """Attach the agent to its app."""
    rating = Rating(app, settings)
    app.start_positions = rating.start_positions
    events = app.raw_topic(EVENTS)

    @app.agent(events, concurrency=1)
    async def rate_events(stream: Any) -> None:
        await app.turns(stream, rating.turn)

    @app.task
    async def watch_epoch() -> None:
        await app.repeatedly(rating.same_epoch, EPOCH_S)

    @app.task
    async def watch_readers() -> None:
        await app.repeatedly(lambda: asyncio.to_thread(report_overdue, settings), CHECK_S)
