"""The stack under fire: its processes to kill, freeze and follow, and its logs."""

import json
import os
import signal
import subprocess
import sys
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.request import Request, urlopen

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from local import child_process
from schemas.settings import Settings
from schemas.topics import BLOCKS
from stream_processors.lag import committed, ends, lag
from stream_processors.landed import wait_landed
from stream_processors.logs import LogReader
from tests.conftest import Environment, RunTollbook, group_members, running_stack, settings_of

from .invariants import ROOT, unhandled

DEADLINE_S = 120.0
RECOVERY_S = 60.0  # I5: lag is 0 again within so long after the fault and the load have ended
MODULES = {
    "rating": ("stream_processors.app", "rating"),
    "windows": ("stream_processors.app", "windows"),
    "sink": ("stream_processors.sink",),
}
SERVICES = ("kafka", "registry", "clickhouse", *MODULES, "notifier", "collector", "console")


def wait_until(holds: Callable[[], bool], what: str, deadline_s: float = DEADLINE_S) -> None:
    """Returns when the condition holds; AssertionError naming it when it does not within the deadline."""
    deadline = time.monotonic() + deadline_s
    while not holds():
        assert time.monotonic() < deadline, f"no {what} within {deadline_s} s"
        time.sleep(0.05)


def grounds(new_environment: Callable[[], Environment], run_tollbook: RunTollbook) -> Iterator["Ground"]:
    """A ledger of its own, whose inserts can be made to fail; ended when it is asked for another."""
    environment = new_environment() | {"TOLLBOOK_FAULT": "front"}
    for running in running_stack(environment, run_tollbook):
        yield Ground(running, run_tollbook)


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

    @contextmanager
    def stopped(self, *names: str) -> Iterator[dict[str, int]]:
        """Workers frozen until their groups are empty, and killed at the end; the supervisor starts them again.

        Yields the pids that will be dead.
        """
        pids: dict[str, int] = {}
        try:
            for name in names:
                pids[name] = self.signal(name, signal.SIGSTOP)
            for name in names:
                self.wait_members(name, 0)
            yield pids
        finally:
            for pid in pids.values():
                os.kill(pid, signal.SIGKILL)

    def start_worker(self, name: str) -> "subprocess.Popen[bytes]":
        """One more of a kind, outside the supervisor; it writes into the same log, and dies with us."""
        with self._log(name).open("ab") as log:
            return child_process.start([sys.executable, "-m", *MODULES[name]], self._worker_environment, log)

    @property
    def _worker_environment(self) -> dict[str, str]:
        return os.environ | self.environment | {"PYTHONPATH": str(ROOT)}

    def members(self, name: str) -> int:
        """Of the group of a kind of worker, as the broker sees it; -1 while it cannot be asked."""
        return group_members(self.settings.kafka, f"tollbook-{name}")

    def wait_members(self, name: str, count: int) -> None:
        wait_until(lambda: self.members(name) == count, f"group of {count} {name}")

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
        deadline = time.monotonic() + within_s
        assert wait_landed(self.settings, within_s), f"not landed within {within_s} s; lag {lag(self.settings)}"
        try:
            wait_until(lambda: self.lag() == 0, "lag of 0", deadline - time.monotonic())
        except AssertionError as error:
            raise AssertionError(f"{error}: {lag(self.settings)}") from error

    # ---- faults inside

    def fail_inserts(self, mode: str, count: int = 1, table: str = "") -> None:
        """The next inserts into ClickHouse (into a table) fail; see local/clickhouse/faults.py."""
        self._fault("POST", f"?mode={mode}&count={count}&table={table}")

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
        return {name: self._log(name).stat().st_size for name in SERVICES}

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
