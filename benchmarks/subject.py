"""A system at work on a preloaded topic: started, looked at from outside, killed, ended."""

import json
import logging
import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from clickhouse_connect.driver import Client
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined] # re-exported without saying so

from benchmarks.stacks import WORKERS, Stack, copied, running
from benchmarks.systems import TOLLBOOK, System, python_of
from benchmarks.template import ALERTS_TOPIC, BUDGET, Template, job_file
from local import child_process
from local.config import read_stack_file
from local.processes import process_table
from schemas.topics import BLOCKS
from stream_processors import warehouse
from stream_processors.lag import ends
from stream_processors.landed import wait_landed
from stream_processors.logs import LogReader

RATING = "rating"
NOT_IN_PEERS = (
    *("cost_usd", "requests", "unpriced_requests", "booked_at", "price_version"),
    *("src_offset", "src_entry", "src_epoch", "src_partition", "block_offset"),
)


@dataclass(slots=True)
class Subject:
    """A system at work on a stack: what it landed, and its processes."""

    system: System
    stack: Stack
    client: Client
    pids: Callable[[], dict[str, int]]
    kill: Callable[[], None]  # -9, and start again what does not start itself
    ended: Callable[[], bool]  # whether it is gone by itself

    @property
    def database(self) -> str:
        return "tollbook" if self.system.name == TOLLBOOK else "bench"

    def rows(self) -> int:
        """Rows visible; for this system also those it rejected as duplicates."""
        if self.database == "tollbook":
            return self._number("SELECT sum(row_count + reject_count) FROM tollbook.blocks FINAL")
        return self._number("SELECT count() FROM bench.usage")

    def has_begun(self) -> bool:
        """Whether the first row was made; of a system whose stages start one after the other, by the first of them."""
        if self.database == "tollbook":
            with LogReader(self.stack.settings.kafka) as reader:
                return any(ends(reader, self.stack.settings, (BLOCKS,)).values())
        return self.rows() > 0

    def counted(self) -> int:
        """Events that the windows of both kinds have counted; of this system all or nothing, alerts included."""
        if self.database == "tollbook":
            return self.rows() if wait_landed(self.stack.settings, 0.0) else 0
        sums = "SELECT sum(requests) AS n FROM bench.windows FINAL GROUP BY scope_kind"
        return self._number(f"SELECT if(count() = 2, min(n), 0) FROM ({sums})")

    def began_s(self) -> float:
        """When the first row was made, for a system whose stages start one after the other; else now."""
        if self.database == "tollbook":
            return self._number("SELECT min(toUnixTimestamp64Micro(rated_at)) FROM tollbook.blocks") / 1e6
        return time.time()

    def alerts(self) -> list[tuple[str, int]]:
        """Department and threshold of each alert that was sent."""
        if self.database == "tollbook":
            query = f"SELECT scope, threshold FROM tollbook.alert_entries WHERE budget_id = '{BUDGET}'"
            return [(str(scope), int(threshold)) for scope, threshold in self.client.query(query).result_rows]
        with LogReader(self.stack.settings.kafka) as reader:
            records = [json.loads(message.value() or b"{}") for message in reader.read(ALERTS_TOPIC, 0, 0)]
        return [(record["department"], record["threshold"]) for record in records]

    def bytes_per_event(self) -> float:
        """What a row takes on disk once parts are merged, its key and marks included."""
        table = f"{self.database}.usage"
        self.client.command(f"OPTIMIZE TABLE {table} FINAL", settings={"optimize_throw_if_noop": 0})
        query = f"SELECT sum(bytes_on_disk) / sum(rows) FROM system.parts WHERE active AND database = '{self.database}'"
        [[size]] = self.client.query(f"{query} AND table = 'usage'").result_rows
        return round(float(size), 1)

    def ids(self) -> list[str]:
        """The id of every row."""
        table = self.client.query_arrow(f"SELECT event_id FROM {self.database}.usage", use_strings=True)
        return list(table.column("event_id").to_pylist())

    def _number(self, query: str) -> int:
        return int(self.client.query(query).result_rows[0][0])


@contextmanager
def at_work(system: System, made: Template, folder: Path) -> Iterator[Subject]:
    """The system, started on a copy of the topic when all else is ready; of this one the first stage, rating."""
    state_dir = copied(made.state_dir, folder / "run")
    ours = system.name == TOLLBOOK
    with (
        running(state_dir, without=(RATING,) if ours else WORKERS) as stack,
        warehouse.connect(stack.settings) as client,
        (state_dir / "peer.log").open("ab") as log,
    ):
        name = RATING if ours else system.name
        command, environment = _rating(stack) if ours else _peer(system, made, stack, client)
        children = [child_process.start(command, environment, log)]

        def kill() -> None:
            child_process.signal_group(children[-1].pid, signal.SIGKILL)
            for other in set(WORKERS) & set(stack.pids()):
                os.kill(stack.pids()[other], signal.SIGKILL)
            children[-1].wait()
            children.append(child_process.start(command, environment, log))

        try:
            yield Subject(
                system,
                stack,
                client,
                lambda: stack.pids() | {name: children[-1].pid},
                kill,
                lambda: children[-1].poll() is not None,
            )
        finally:
            for child in children:
                if child.poll() is None:
                    child_process.signal_group(child.pid, signal.SIGKILL)
                    child.wait()


def _rating(stack: Stack) -> tuple[Sequence[str], Mapping[str, str]]:
    """As the supervisor starts it."""
    [process] = [one for one in process_table(stack.config, read_stack_file(stack.config)) if one.name == RATING]
    return process.command, os.environ | process.environment


def _peer(system: System, made: Template, stack: Stack, client: Client) -> tuple[Sequence[str], Mapping[str, str]]:
    """Its program in its own virtualenv, once its tables and its topic are there."""
    _make_tables(client)
    _make_topic(stack)
    told = job_file(made, stack, stack.config.state_dir / "peer")
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}
    shared = str(system.folder.parent)  # where job.py is
    environment = kept | {"BENCH_JOB": str(told), "PYTHONPATH": shared, "PYTHONUNBUFFERED": "1", "TZ": "UTC"}
    return (str(python_of(system)), str(system.folder / "main.py")), environment


def _make_topic(stack: Stack) -> None:
    admin = AdminClient({"bootstrap.servers": stack.settings.kafka}, logger=logging.getLogger("librdkafka"))
    admin.create_topics([NewTopic(ALERTS_TOPIC, 1, 1)])[ALERTS_TOPIC].result(30)


def _make_tables(client: Client) -> None:
    """The table that this system lands in, without what it adds to an event, and one for windows."""
    client.command("CREATE DATABASE bench")
    client.command("CREATE TABLE bench.usage AS tollbook.usage")
    client.command("ALTER TABLE bench.usage DROP INDEX block_offset_range")
    client.command(f"ALTER TABLE bench.usage {', '.join(f'DROP COLUMN {name}' for name in NOT_IN_PEERS)}")
    client.command("ALTER TABLE bench.usage ADD COLUMN cost_pico Int64 CODEC(ZSTD(1))")
    client.command(
        "CREATE TABLE bench.windows (scope_kind LowCardinality(String), scope String, window_start_us Int64, "
        "requests Int64, input_tokens Int64, output_tokens Int64, cost_pico Int64, version Int64) "
        "ENGINE = ReplacingMergeTree(version) ORDER BY (scope_kind, scope, window_start_us)"
    )
