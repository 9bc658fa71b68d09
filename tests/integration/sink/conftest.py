"""A ledger for the sink alone: the real broker and registry, a ClickHouse front and a sink that tests may kill.

Chains and database live as long as the module's tests: each test adds to them, and then all of it must be exact.
"""

import os
import signal
import subprocess
import sys
import time
import urllib.request
from base64 import b64encode
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import psutil
import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient

from local.processes import NAMES
from schemas.money import to_pico
from schemas.provision import provision
from schemas.settings import Settings
from schemas.topics import BLOCKS
from stream_processors.sink.migrate import migrate
from stream_processors.sink.plan import decode
from stream_processors.sink.warehouse import Warehouse

from .chains import Chain

PARTITIONS = 6  # the tests of what halts a partition for good have the last two
KEPT = ("kafka", "registry")
WITHOUT = [argument for name in NAMES if name not in KEPT for argument in ("--without", name)]
MEASURES = ("input_tokens", "output_tokens", "requests", "unpriced_requests")
Environment = dict[str, str]


class Front:
    """`python -m local.clickhouse`, started with the fault switch."""

    def __init__(self, environment: Environment, url: str, log: Path) -> None:
        self._environment, self._url, self._log = environment | {"TOLLBOOK_FAULT": "front"}, url, log
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._process = spawn("local.clickhouse", self._environment, self._log)
        wait_until(lambda: answers(f"{self._url}/ping"), 30)

    def stop(self, number: int = signal.SIGTERM) -> None:
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait(70)
            self._process = None

    def fail(self, mode: str, count: int = 1, table: str = "") -> None:
        """The next inserts fail; see local/clickhouse/faults.py."""
        query = urlencode({"mode": mode, "count": count, "table": table})
        secret = b64encode(f"tollbook:{self._environment['TOLLBOOK_CLICKHOUSE_PASSWORD']}".encode()).decode()
        request = urllib.request.Request(  # noqa: S310 -- the front's own address
            f"{self._url}/fault?{query}", method="POST", headers={"Authorization": f"Basic {secret}"}
        )
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310
            assert answer.status == 200


class Ledger:
    """Chains, the sink, and what ClickHouse says."""

    def __init__(self, environment: Environment, directory: Path) -> None:
        self.environment = environment
        self.settings = Settings.model_validate(
            {name.removeprefix("TOLLBOOK_").lower(): value for name, value in environment.items()}
        )
        self.warehouse = Warehouse(self.settings)
        self.front = Front(environment, self.settings.clickhouse, directory / "front.log")
        self.chains = [Chain(self.settings.kafka, partition) for partition in range(PARTITIONS)]
        self.log = directory / "sink.log"
        self._ready = directory / "sink.ready"
        self._sink: subprocess.Popen[bytes] | None = None

    def start_sink(self, fault: str = "", wait: bool = True) -> psutil.Process:
        self._ready.unlink(missing_ok=True)
        more = {"TOLLBOOK_FAULT": fault, "TOLLBOOK_READY_FILE": str(self._ready)}
        self._sink = spawn("stream_processors.sink", self.environment | more, self.log)
        if wait:
            wait_until(self._ready.exists, 60)
        return psutil.Process(self._sink.pid)

    def wait_for_death(self) -> int:
        assert self._sink is not None
        status = self._sink.wait(60)
        self._sink = None
        return status

    def stop_sink(self, number: int = signal.SIGTERM) -> int | None:
        if self._sink is None:
            return None
        self._sink.send_signal(number)
        return self.wait_for_death()

    def planned(self, partition: int) -> bool:
        """Whether the sink's commit says that it is inserting."""
        place = decode(self.committed(partition).metadata)
        return place is not None and place.plan is not None

    def committed(self, partition: int) -> TopicPartition:
        """Offset and metadata of the sink's commit."""
        consumer = Consumer({"bootstrap.servers": self.settings.kafka, "group.id": "tollbook-sink"})
        [found] = consumer.committed([TopicPartition(BLOCKS, partition)], timeout=10)
        consumer.close()
        return found

    def commit(self, place: TopicPartition) -> None:
        """Sets the sink's commit, which no member may hold meanwhile."""
        consumer = Consumer({"bootstrap.servers": self.settings.kafka, "group.id": "tollbook-sink"})
        consumer.commit(offsets=[place], asynchronous=False)
        consumer.close()

    def wait_landed(self, partitions: range = range(4)) -> None:
        """Returns when the last block of each chain is in table `blocks`."""

        def landed() -> bool:
            found = self.query("SELECT src_partition, max(block_offset) AS newest FROM blocks GROUP BY src_partition")
            newest = {row["src_partition"]: row["newest"] for row in found}
            return all(newest.get(partition, -1) >= self.chains[partition].head for partition in partitions)

        wait_until(landed, 90, self.log)

    def assert_exact(self, partitions: range = range(4)) -> None:
        """Table, rollups, rejects and blocks of each partition are what its chain says, each position once."""
        for partition in partitions:
            wanted = self.chains[partition].totals()
            assert self._sums("usage", partition) == {name: wanted[name] for name in (*MEASURES, "cost_pico")}
            for rollup in ("usage_hourly", "usage_daily"):
                assert self._sums(rollup, partition) == self._sums("usage", partition)
            assert self._count("usage", partition, "(src_epoch, src_offset, src_entry)") == (wanted["rows"],) * 2
            assert self._count("rejected", partition, "(src_epoch, src_offset)") == (wanted["rejected"],) * 2
            assert self._count("blocks FINAL", partition, "first_offset") == (wanted["blocks"],) * 2

    def _sums(self, table: str, partition: int) -> dict[str, int]:
        sums = ", ".join(f"toInt64(sum({name})) AS {name}" for name in MEASURES)
        [row] = self.query(f"SELECT {sums}, sum(cost_usd) AS cost_pico FROM {table} WHERE src_partition = {partition}")
        return row | {"cost_pico": to_pico(row["cost_pico"] or 0)}  # NULL: no rows yet

    def _count(self, table: str, partition: int, position: str) -> tuple[int, int]:
        [row] = self.query(
            f"SELECT count() AS n, uniqExact({position}) AS distinct_n FROM {table} WHERE src_partition = {partition}"
        )
        return row["n"], row["distinct_n"]

    def query(self, sql: str) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = self.warehouse.select(sql).to_pylist()
        return rows


def spawn(module: str, environment: Environment, log: Path) -> subprocess.Popen[bytes]:
    with log.open("ab") as out:
        return subprocess.Popen([sys.executable, "-m", module], env=os.environ | environment, stdout=out, stderr=out)


def wait_until(condition: Callable[[], bool], timeout_s: float, log: Path | None = None) -> None:
    """Fails with the end of the log, if one is given."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            said = log.read_text(errors="replace")[-8_000:] if log and log.exists() else ""
            pytest.fail(f"the condition did not come true within {timeout_s} s\n{said}")
        time.sleep(0.05)


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:  # noqa: S310 -- the front's own address
            return bool(answer.status == 200)
    except OSError:
        return False


@pytest.fixture(scope="package")
def ledger(
    new_stack_environment: Callable[[], Environment],
    run_tollbook: Callable[..., subprocess.CompletedProcess[str]],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Ledger]:
    stack = new_stack_environment()
    started = run_tollbook(stack, "up", "--detach", *WITHOUT)
    try:
        assert started.returncode == 0, started.stdout + started.stderr
        at = "127.0.0.1"
        environment = {
            "TOLLBOOK_STATE_DIR": str(tmp_path_factory.mktemp("sink")),
            "TOLLBOOK_KAFKA": f"{at}:{stack['TOLLBOOK_KAFKA_PORT']}",
            "TOLLBOOK_REGISTRY": f"http://{at}:{stack['TOLLBOOK_REGISTRY_PORT']}/apis/ccompat/v7",
            "TOLLBOOK_CLICKHOUSE": f"http://{at}:{stack['TOLLBOOK_CLICKHOUSE_PORT']}",
            "TOLLBOOK_CLICKHOUSE_PASSWORD": "test",
            "TOLLBOOK_PARTITIONS": str(PARTITIONS),
        }
        one = Ledger(environment, Path(environment["TOLLBOOK_STATE_DIR"]))
        assert provision(one.settings) == []
        one.front.start()
        try:
            migrate(one.settings)
            yield one
        finally:
            one.stop_sink(signal.SIGKILL)
            one.front.stop()
    finally:
        stopped = run_tollbook(stack, "down")
        assert stopped.returncode == 0, stopped.stdout + stopped.stderr


@pytest.fixture
def quiet(ledger: Ledger) -> Iterator[Ledger]:
    """The ledger with no sink running, before and after."""
    yield ledger
    ledger.stop_sink(signal.SIGKILL)


def delete_group(ledger: Ledger) -> None:
    """Forgets every commit of the sink, once the group has noticed that its members are gone."""
    admin = AdminClient({"bootstrap.servers": ledger.settings.kafka})

    def deleted() -> bool:
        try:
            admin.delete_consumer_groups(["tollbook-sink"])["tollbook-sink"].result(10)
        except KafkaException as error:
            if error.args[0].code() != KafkaError.NON_EMPTY_GROUP:
                raise
            return False
        return True

    wait_until(deleted, 30)
