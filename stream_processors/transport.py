"""The sequenced transport: Faust's Kafka transport with one message per fetched batch, strictly in sequence.

For the topics an app tracks, the consumer hands the agent one `Batch` per (partition, fetch): contiguous, once per
assignment, nothing before the assignment's seek is done. It commits the end of the acknowledged prefix of delivered
batches. Faust keeps assignment, rebalancing, recovery and supervision; changelogs keep Faust's own path.

Two guards against losing records, both needed (3 942 of 400 000 events lost without them under kill -9):
Faust resumes source partitions before the seek of a recovery and then clears its queues, so source partitions are
held back until the rebalance has ended; and an agent processes a batch only when it directly follows the last one
it processed (`in_sequence`).

Relies on private attributes of faust 0.15.3 and aiokafka 0.14.0; tests/contract/test_faust_internals.py names each.
"""

import asyncio
import logging
import os
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Awaitable, Callable, Container, Iterable, Mapping
from typing import Any

import aiokafka
import faust
from aiokafka.consumer import consumer, fetcher
from aiokafka.errors import KafkaError
from confluent_kafka import KafkaException
from faust.transport.drivers import aiokafka as driver
from faust.types.tuples import TP, ConsumerMessage

from schemas.registry import RegistryAwayError

log = logging.getLogger("tollbook.transport")

#: Seconds to wait for agents to acknowledge what they hold when partitions move; below the rebalance time-out.
WAIT_EMPTY_S = 12.0
FLUSH_AGAIN_S = 0.1
#: How long a fetch waits for something to come when the one before found nothing.
QUIET_WAIT_MS = 500


class StartAgainError(Exception):
    """Ends a worker where starting again is the whole remedy."""


#: What needs no traceback: somebody else is away, or has taken our place.
HEALED_BY_RESTART = (StartAgainError, RegistryAwayError, KafkaException, KafkaError)

StartPositions = Callable[[set[TP]], Awaitable[Mapping[TP, int]]]


def stop_process(reason: str) -> None:
    """End at once, without acknowledging anything: the supervisor restarts us and replay is harmless."""
    log.critical("stopping: %s", reason)
    logging.shutdown()
    os._exit(70)


class Batch(ConsumerMessage):  # type: ignore[misc]
    """One fetched batch of a partition: `value` is the list of records, `offset` the last one's.

    `expected` is the offset that had to come first: records between it and `value[0].offset` do not exist
    (transaction markers, or lost to retention).
    """

    __slots__ = ("expected",)


class Joining(driver.ConsumerRebalanceListener):  # type: ignore[misc] # its base, of aiokafka, has no types
    """Asks once more for partitions where a worker was given none.

    One that starts again under the same instance takes over what its predecessor had, without a rebalance, and even
    the group's leader then passes for a follower (KIP-814): had the predecessor none because the topic was away for a
    moment, nobody would ever hand them out again.
    """

    _asked = False

    async def on_partitions_assigned(self, assigned: Iterable[Any]) -> None:
        await super().on_partitions_assigned(assigned)
        if not assigned and not self._asked:
            self._asked = True
            self._thread._ensure_consumer()._coordinator.request_rejoin()


class SequencedConsumer(driver.Consumer):  # type: ignore[misc]
    """Delivers tracked topics as batches, in sequence."""

    RebalanceListener = Joining

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._expected: dict[TP, int] = {}  # next offset to deliver; no entry: not sought in this assignment
        self._processed: dict[TP, int] = {}  # next offset an agent may process
        self._sought_back: dict[TP, int] = {}
        self._delivered: dict[TP, deque[Batch]] = defaultdict(deque)
        self._acked_to: dict[TP, int] = {}
        self._held_back: set[TP] = set()
        super().__init__(*args, **kwargs)

    def _tracked(self, tps: Iterable[TP]) -> set[TP]:
        return {tp for tp in tps if tp.topic in self.app.tracked}

    def _forget(self, tps: Iterable[TP]) -> None:
        for tp in tps:
            for state in (self._expected, self._processed, self._sought_back, self._delivered, self._acked_to):
                state.pop(tp, None)

    # ---- where to start

    async def perform_seek(self) -> None:
        """Seek every tracked partition to where its app says that its own output ends."""
        await super().perform_seek()
        tracked = self._tracked(self.assignment())
        self._forget(tracked)
        positions = await self.app.start_positions(tracked)
        for tp, offset in positions.items():
            self._read_offset[tp] = offset or None
            self._committed_offset[tp] = None
        await self.seek_wait(positions)
        for tp, offset in positions.items():
            self._expected[tp] = self._processed[tp] = self._acked_to[tp] = offset
            self._acked[tp].clear()  # Faust commits what has an entry here: the group says where we are at once

    def resume_partitions(self, tps: Iterable[TP]) -> None:
        """Resume, but hold tracked partitions back while a rebalance is under way."""
        tps = set(tps)
        if self.app.rebalancing:
            held = self._tracked(tps)
            self._held_back |= held
            tps -= held
        super().resume_partitions(tps)

    def release(self) -> None:
        """The rebalance has ended: let the partitions go that were held back."""
        held, self._held_back = self._held_back & self.assignment(), set()
        if held:
            super().resume_partitions(held)

    async def on_partitions_assigned(self, assigned: set[TP], generation_id: int = 0) -> None:
        self.app.revoked = False
        await super().on_partitions_assigned(assigned, generation_id)

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        await super().on_partitions_revoked(revoked)  # waits for what is being processed, and commits it
        self._forget(revoked)

    async def wait_empty(self) -> None:
        """Faust's, with the app flushing meanwhile: its own task for that ends with the order to stop."""
        waiting = asyncio.ensure_future(super().wait_empty())
        try:
            async with asyncio.timeout(WAIT_EMPTY_S):
                while not waiting.done():
                    if self._unacked_messages and not self.should_stop:
                        await self.app.flush()
                    await asyncio.wait({waiting}, timeout=FLUSH_AGAIN_S)
                await waiting
        except TimeoutError:
            stop_process(f"agents still hold batches after {WAIT_EMPTY_S} s of a rebalance")

    # ---- delivery

    async def getmany(self, timeout: float) -> AsyncIterator[tuple[TP, ConsumerMessage]]:
        """What a fetch brought; the checks against stale generations and paused partitions are Faust's own."""
        records, active = await self._wait_next_records(timeout)
        generation = self.app.consumer_generation_id
        if records is None or self.should_stop:
            return
        for raw_tp, fetched in records.items():
            tp = TP(raw_tp.topic, raw_tp.partition)
            wanted = active is None or tp in active or tp in self._buffered_partitions
            if not wanted:
                continue
            messages = self._batch(tp, fetched) if tp.topic in self.app.tracked else self._singles(tp, fetched)
            async for message in messages:
                # Dropped records are fetched again: a recovery ends with a seek.
                if not self.flow_active or self.app.consumer_generation_id != generation:
                    return
                yield tp, message

    async def _singles(self, tp: TP, fetched: list[Any]) -> AsyncIterator[ConsumerMessage]:
        for record in fetched:
            self.app.monitor.track_tp_end_offset(tp, self.highwater(tp))
            yield self._to_message(tp, record)

    async def _batch(self, tp: TP, fetched: list[Any]) -> AsyncIterator[ConsumerMessage]:
        expected = self._expected.get(tp)
        if expected is None:  # fetched before this assignment's seek
            return
        if fetched[0].offset < expected:
            fetched = [record for record in fetched if record.offset >= expected]
        if not fetched:
            return
        if fetched[0].offset > expected and self._sought_back.get(tp) != expected:
            # A lost fetch or a real hole: ask once more, then believe it.
            self._sought_back[tp] = expected
            await self.seek_wait({tp: expected})
            return
        last = fetched[-1]
        batch = Batch(
            tp.topic,
            tp.partition,
            last.offset,
            last.timestamp / 1000,
            last.timestamp_type,
            [],
            None,
            fetched,
            None,
            -1,
            -1,
            tp,
            generation_id=self.app.consumer_generation_id,
        )
        batch.expected = expected
        self._expected[tp] = last.offset + 1
        self._delivered[tp].append(batch)
        yield batch

    async def in_sequence(self, batch: Batch) -> bool:
        """Whether the agent may process this batch; one that may not is dropped and fetched again."""
        tp = batch.tp
        processed = self._processed.get(tp)
        if not self.app.revoked and batch.expected == processed:
            return True
        # Dropped without acknowledgement: it must leave the unacknowledged set, or the next rebalance waits for it.
        self._unacked_messages.discard(batch)
        if not self.app.revoked and processed is not None and self._expected.get(tp) != processed:
            self._delivered.pop(tp, None)
            self._expected[tp] = processed
            await self.seek_wait({tp: processed})
        return False

    def processed(self, batch: Batch) -> None:
        """The agent's state contains this batch; the next one may come."""
        self._processed[batch.tp] = batch.offset + 1

    # ---- acknowledgement

    async def _add_gap(self, tp: TP, offset_from: int, offset_to: int) -> None:
        if tp.topic not in self.app.tracked:
            await super()._add_gap(tp, offset_from, offset_to)

    def _new_offset(self, tp: TP) -> int | None:
        if tp.topic not in self.app.tracked:
            return super()._new_offset(tp)  # type: ignore[no-any-return]
        self._acked[tp].clear()
        self._acked_index[tp].clear()
        delivered = self._delivered[tp]
        while delivered and delivered[0].acked:
            self._acked_to[tp] = delivered.popleft().offset + 1
        return self._acked_to.get(tp)


class AwaitedProducer(driver.Producer):  # type: ignore[misc]
    """Idempotent, and without a buffer limit of its own: agents await every acknowledgement, which bounds it."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.buffer.max_messages = 10**9

    def _settings_extra(self) -> Mapping[str, Any]:
        return {"acks": "all", "enable_idempotence": True}


class SequencedTransport(driver.Transport):  # type: ignore[misc]
    """Faust's aiokafka transport with the consumer and producer above."""

    Consumer = SequencedConsumer
    Producer = AwaitedProducer


class Raw(faust.Codec):  # type: ignore[misc]
    """Values as they are: Faust's own `raw` insists on bytes, ours are lists of records."""

    def _loads(self, s: Any) -> Any:
        return s

    def _dumps(self, s: Any) -> Any:
        return s


async def _nothing() -> None:
    """For an app whose agents hold nothing back."""


class SequencedApp(faust.App):  # type: ignore[misc]
    """An app whose `tracked` topics are delivered in sequence from `start_positions`."""

    tracked: frozenset[str] = frozenset()
    start_positions: StartPositions
    #: Called whenever partitions have been assigned and found: the worker is at work.
    settled: Callable[[], None] = staticmethod(lambda: None)
    #: Acknowledges at once what would wait for the next flush.
    flush: Callable[[], Awaitable[None]] = staticmethod(_nothing)
    #: True from a revocation to the next assignment: Faust may declare an old recovery done in between.
    revoked = False

    def raw_topic(self, name: str) -> Any:
        """A topic whose values reach the agent as fetched."""
        return self.topic(name, key_serializer="raw", value_serializer=Raw(), maxsize=4)

    async def turns(self, stream: Any, turn: Callable[[Batch], Awaitable[None]]) -> None:
        """Give an agent its batches in sequence; whatever goes wrong in a turn ends the process, and replay heals it.

        `noack`: without it Faust acknowledges the event when the agent raises or is stopped.
        """
        async for event in stream.noack().events():
            batch = event.message
            if not await self.consumer.in_sequence(batch):
                continue
            try:
                await turn(batch)
            except (asyncio.CancelledError, GeneratorExit):
                raise
            except BaseException as error:  # a Rust panic is not an Exception
                self.stop_on(error)
            self.consumer.processed(batch)

    async def repeatedly(self, work: Callable[[], Awaitable[None]], pause_s: float) -> None:
        """Do the same thing again and again, with pauses; its failure ends the process as a turn's does."""
        await self.sleep(pause_s)
        while not self.should_stop:  # asked to stop, it sleeps no longer, and the producer is gone soon
            try:
                await work()
            except asyncio.CancelledError:
                raise
            except BaseException as error:
                self.stop_on(error)
            await self.sleep(pause_s)

    def stop_on(self, error: BaseException | None) -> None:
        """End the process on an error that a restart may heal."""
        log.error("a turn failed: %s", error, exc_info=None if isinstance(error, HEALED_BY_RESTART) else error)
        stop_process(f"{type(error).__name__}: {error}")

    def on_rebalance_start(self) -> None:
        self.revoked = True
        super().on_rebalance_start()

    def on_rebalance_end(self) -> None:
        super().on_rebalance_end()
        if not self.revoked:
            self.consumer.release()
            self.settled()


def fetch_in_batches(wait_ms: int, min_bytes: int, tracked: Container[str]) -> None:
    """Make Faust's consumer wait for fuller fetches, skip aborted records, and not wrap those of tracked topics.

    Faust hard-codes the first two. The wrapping (a dataclass a record) was half of rating's time; agents need only
    `offset`, `timestamp`, `key`, `value` and `headers`, which aiokafka's own records have.

    After a fetch that found nothing the next waits long, for the first byte: what comes when all is quiet is taken at
    once, and asking costs next to nothing. Only a fetch of everything may wait so: what it leaves out, it holds up.
    """

    class Fetching(aiokafka.AIOKafkaConsumer):  # type: ignore[misc] # aiokafka has no types
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            kwargs |= {
                "fetch_max_wait_ms": wait_ms,
                "fetch_min_bytes": min_bytes,
                "isolation_level": "read_committed",
            }
            super().__init__(*args, **kwargs)

    class Fetcher(fetcher.Fetcher):  # type: ignore[misc] # likewise
        async def _proc_fetch_request(self, assignment: Any, node_id: Any, request: Any) -> Any:
            found = await super()._proc_fetch_request(assignment, node_id, request)
            asked = sum(len(partitions) for _, partitions in request.topics)
            running = sum(1 for tp in assignment.tps if not assignment.state_value(tp).paused)
            quiet = not found and asked == running
            self._fetch_max_wait_ms, self._fetch_min_bytes = (QUIET_WAIT_MS, 1) if quiet else (wait_ms, min_bytes)
            return found

    driver.aiokafka.AIOKafkaConsumer = Fetching
    consumer.Fetcher = Fetcher
    wrapped = fetcher.PartitionRecords._consumer_record

    def consumer_record(self: Any, tp: Any, record: Any) -> Any:
        return record if tp.topic in tracked else wrapped(self, tp, record)

    fetcher.PartitionRecords._consumer_record = consumer_record
