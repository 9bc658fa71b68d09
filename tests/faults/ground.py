"""The stack under fire: its processes to kill, freeze and follow, its logs, and the table of what was found."""

import json
import os
import signal
import subprocess
import sys
import time
from base64 import b64encode
from collections.abc import Callable, Iterator, Set
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from schemas.settings import Settings
from schemas.topics import BLOCKS
from stream_processors import warehouse
from stream_processors.lag import committed, ends, lag
from stream_processors.landed import wait_landed
from stream_processors.logs import LogReader
from tests.conftest import Environment, RunTollbook, group_members, settings_of

from .invariants import ROOT, Watched, assert_alerts, assert_amounts, assert_standing, instant, read_accounts, unhandled
from .load import Record, Sending
from .sent import Book, Position, read_book
from .table import Line

DEADLINE_S = 120.0
RECOVERY_S = 60.0  # I5: lag is 0 again within so long after the fault and the load have ended
MODULES = {
    "rating": ("stream_processors.app", "rating"),
    "windows": ("stream_processors.app", "windows"),
    "sink": ("stream_processors.sink",),
}
LOGS = ("rating", "windows", "sink", "clickhouse")


def wait_until(holds: Callable[[], bool], what: str, deadline_s: float = DEADLINE_S) -> None:
    """Returns when the condition holds; AssertionError naming it when it does not within the deadline."""
    deadline = time.monotonic() + deadline_s
    while not holds():
        assert time.monotonic() < deadline, f"no {what} within {deadline_s} s"
        time.sleep(0.05)


class Ground:
    """One running stack."""

    def __init__(self, environment: Environment, run_tollbook: RunTollbook) -> None:
        self.environment = environment
        self.settings: Settings = settings_of(environment)
        self.admin = AdminClient({"bootstrap.servers": self.settings.kafka, "log_level": 2})
        self._run = run_tollbook
        self.state_dir = Path(environment["TOLLBOOK_STATE_DIR"])

    def tollbook(self, *arguments: str) -> str:
        """What a command prints; AssertionError when it fails."""
        done = self._run(self.environment, *arguments)
        assert done.returncode == 0, f"{arguments}: {done.stdout}{done.stderr}"
        return done.stdout

    def tollbook_dies(self, fault: str, *arguments: str) -> None:
        """A command that ends as by kill -9 where the fault is; AssertionError when it does not."""
        done = self._run(self.environment | {"TOLLBOOK_FAULT": fault}, *arguments)
        assert done.returncode == 9, f"{arguments}: {done.stdout}{done.stderr}"

    # ---- processes

    def pid(self, name: str) -> int:
        """From the supervisor's own record; 0 when the process is not at work."""
        record = json.loads((self.state_dir / "supervisor.json").read_text())
        [process] = [process for process in record["processes"] if process["name"] == name]
        return int(process["pid"]) if process["state"] == "ready" else 0

    def kill(self, name: str) -> int:
        """kill -9; the pid that is dead now."""
        return self.signal(name, signal.SIGKILL)

    def signal(self, name: str, number: signal.Signals) -> int:
        wait_until(lambda: self.pid(name) != 0, f"{name} at work")
        pid = self.pid(name)
        os.kill(pid, number)
        print(f"{number.name} {name} ({pid})")
        return pid

    def wait_restarted(self, name: str, dead: int) -> None:
        wait_until(lambda: self.pid(name) not in (0, dead), f"{name} at work again")

    def wait_all_ready(self) -> None:
        """Every process is at work again."""
        for name in ("kafka", "registry", "clickhouse", "rating", "windows", "sink"):
            wait_until(lambda name=name: self.pid(name) != 0, f"{name} at work")  # type: ignore[misc]

    @contextmanager
    def stopped(self, *names: str) -> Iterator[None]:
        """Workers frozen until their groups are empty, and killed at the end; the supervisor starts them again."""
        pids = {name: self.signal(name, signal.SIGSTOP) for name in names}
        try:
            for name in names:
                wait_until(lambda name=name: self.members(name) == 0, f"empty group of {name}")  # type: ignore[misc]
            yield
        finally:
            for pid in pids.values():
                os.kill(pid, signal.SIGKILL)
        for name, pid in pids.items():
            self.wait_restarted(name, pid)

    def start_worker(self, name: str) -> "subprocess.Popen[bytes]":
        """One more of a kind, outside the supervisor; it writes into the same log."""
        with self._log(name).open("ab") as log:
            return subprocess.Popen([sys.executable, "-m", *MODULES[name]], env=self._worker_environment, stderr=log)

    @property
    def _worker_environment(self) -> dict[str, str]:
        return os.environ | self.environment | {"PYTHONPATH": str(ROOT)}

    def members(self, name: str) -> int:
        """Of the group of a kind of worker, as the broker sees it; -1 while it cannot be asked."""
        return group_members(self.settings.kafka, f"tollbook-{name}")

    # ---- how far it is

    def progress(self, name: str) -> int:
        """Grows with what a kind of worker has done."""
        with LogReader(self.settings.kafka) as reader:
            wanted = ends(reader, self.settings, (BLOCKS,))
            if name == "rating":
                return sum(wanted.values())
            return sum(committed(self.settings.kafka, f"tollbook-{name}", wanted).values())

    def lag(self) -> int:
        """Records under way at any stage; -1 while the broker cannot be asked."""
        try:
            return sum(count for stage in lag(self.settings).values() for count in stage.values())
        except KafkaException:
            return -1

    def wait_landed(self, within_s: float = RECOVERY_S) -> None:
        """Everything sent is in ClickHouse, and nothing is under way."""
        assert wait_landed(self.settings, within_s), f"not landed within {within_s} s; lag {lag(self.settings)}"
        try:
            wait_until(lambda: self.lag() == 0, "lag of 0", within_s)
        except AssertionError as error:
            raise AssertionError(f"{error}: {lag(self.settings)}") from error

    # ---- faults inside

    def fail_inserts(self, mode: str, count: int = 1) -> None:
        """The next inserts into ClickHouse fail; see local/clickhouse/faults.py."""
        self._fault("POST", f"?mode={mode}&count={count}")

    def faults_left(self) -> int:
        """How many inserts are still to fail."""
        return int(self._fault("GET", ""))

    def _fault(self, method: str, arguments: str) -> str:
        secret = b64encode(f"tollbook:{self.environment['TOLLBOOK_CLICKHOUSE_PASSWORD']}".encode()).decode()
        address = f"{self.settings.clickhouse}/fault{arguments}"
        request = Request(address, method=method, headers={"Authorization": f"Basic {secret}"})  # noqa: S310
        with urlopen(request, timeout=10) as answer:  # noqa: S310 -- the stack's own address
            return str(answer.read().decode())

    # ---- logs

    def log_sizes(self) -> dict[str, int]:
        return {name: self._log(name).stat().st_size for name in LOGS}

    def unhandled_since(self, sizes: dict[str, int]) -> list[str]:
        found = []
        for name, size in sizes.items():
            with self._log(name).open(errors="replace") as log:
                log.seek(size)
                found += [f"{name}: {each}" for each in unhandled(log.read())]
        return found

    def log_since(self, name: str, sizes: dict[str, int]) -> str:
        with self._log(name).open(errors="replace") as log:
            log.seek(sizes[name])
            return log.read()

    def _log(self, name: str) -> Path:
        return self.state_dir / "logs" / f"{name}.log"


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
    rounds: int = 0
    sent: int = 0
    recovery_s: float = 0.0

    def send(self, records: list[Record], rate: int = 0) -> Sending:
        """Begins to send."""
        first, self.sent = self.sent, self.sent + len(records)
        return Sending(self.ground.settings, records, self.path, first, rate)

    def watch(self, thresholds: range, limit: int) -> Watched:
        """Puts a budget of the run in force, and no other."""
        watched = Watched(self.run, limit, tuple(thresholds))
        budgets = self.path.with_suffix(".toml")
        budgets.write_text(watched.toml())
        self.ground.tollbook("budgets", "apply", str(budgets), "--prune")
        return watched

    def over(self) -> None:
        """The fault and the load have ended: everything must have landed within a minute from now."""
        self.rounds += 1
        began = time.monotonic()
        self.ground.wait_landed()
        self.recovery_s = max(self.recovery_s, time.monotonic() - began)

    def check(
        self,
        watched: Watched | None = None,
        taken: Set[Position] = frozenset(),
        deep: bool = False,
        shrinks: bool = False,
    ) -> Book:
        """I1 to I5, and the audit (`deep`: from the events on); adds the table's line, also when something is wrong.

        `shrinks`: usage did so at times, and alerts may have been taken back and raised again.
        """
        book = read_book(self.path).without(taken)
        accounts = read_accounts(book, self.ground.settings, self.since)
        counts = (len(accounts.lost), len(accounts.doubled))
        self.tell(Line(self.test, self.run, self.rounds, self.sent, *counts, self.recovery_s))
        assert not any(counts), (accounts.lost[:3], accounts.doubled[:3])
        assert not accounts.unknown, accounts.unknown[:3]
        assert not accounts.misjudged, accounts.misjudged[:3]
        assert_amounts(book, self.run, self.ground.settings)
        if watched is not None:
            (assert_standing if shrinks else assert_alerts)(watched, book, self.run, self.ground.settings)
        self.ground.tollbook("audit", *(["--deep"] if deep else []))
        found = self.ground.unhandled_since(self.logs)
        assert not found, "\n\n".join(found)
        return book


def snapshot(settings: Settings) -> dict[str, Any]:
    """I6: a fingerprint of all that the books hold; asking again after a replay must give the same."""
    return {
        table: warehouse.ask(settings, f"SELECT count() AS n, sum(cityHash64({columns})) AS h FROM {table}")
        for table, columns in {
            "usage": "event_id, src_epoch, src_partition, src_offset, src_entry, input_tokens, cost_usd",
            "rejected": "src_epoch, src_partition, src_offset, reason, value",
            "blocks FINAL": "src_partition, block_offset, first_offset, last_offset, row_count",
            "windows": "window_kind, window_start, organization, scope_kind, scope, input_tokens, requests, cost_usd",
            "alerts": "alert_id, state, used",
            "usage_hourly FINAL": "hour, organization, department, model, feature, status, requests, cost_usd",
        }.items()
    }
