"""How fast a preloaded topic becomes rows and windows: the whole stack but Superset on this machine.

`python -m benchmarks` preloads events into a stack of its own, starts the workers, and watches ClickHouse from the
first row to the last. CPU and memory are the operating system's own figures for each process.
"""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil

from schemas.settings import Settings
from stream_processors import warehouse
from stream_processors.landed import wait_landed

TOLLBOOK = str(Path(sys.executable).with_name("tollbook"))
WORKERS = ("rating", "windows", "sink")
PORTS = ("KAFKA", "KAFKA_CONTROLLER", "REGISTRY", "CLICKHOUSE", "SUPERSET")
POLL_S = 0.25
DEADLINE_S = 900.0


@dataclass(slots=True)
class Cost:
    """What one process used between the first and the last row."""

    cpu_s_per_million: float = 0.0
    rss_mb: list[int] = field(default_factory=list)  # sampled once a second


@dataclass(slots=True)
class Pace:
    """One run: `events` from the first row visible to the last one landed and counted in windows."""

    events: int
    seconds: float
    events_per_s: int
    costs: dict[str, Cost]


def measure(events: int, seed: int) -> Pace:
    """Run once; AssertionError when a command fails, TimeoutError when the events do not land."""
    with TemporaryDirectory(prefix="tollbook-bench-") as folder, _environment(Path(folder)) as environment:
        without = [part for name in (*WORKERS, "superset") for part in ("--without", name)]
        _run(environment, "up", "--detach", *without)
        _run(environment, "simulate", "--events", str(events), "--seed", str(seed), "--json")
        _run(environment, "down")
        try:
            _run(environment, "up", "--detach", "--without", "superset")
            return _watched(environment, events)
        finally:
            _run(environment, "down")


def _watched(environment: dict[str, str], events: int) -> Pace:
    os.environ.update(environment)
    settings = Settings()
    processes = _processes(environment)
    first = time.monotonic()
    cpu = {name: _cpu(process) for name, process in processes.items()}
    started_with = _accounted(settings)  # workers begin before `up` returns: these are not counted
    costs = {name: Cost() for name in processes}
    deadline, sampled = first + DEADLINE_S, first
    while _accounted(settings) < events:
        if time.monotonic() > deadline:
            raise TimeoutError(f"{events} events were not landed within {DEADLINE_S} s")
        if time.monotonic() > sampled + 1:
            sampled = time.monotonic()
            for name, process in processes.items():
                costs[name].rss_mb.append(process.memory_info().rss >> 20)
        time.sleep(POLL_S)
    if not wait_landed(settings, DEADLINE_S):
        raise TimeoutError("windows did not catch up")
    seconds = time.monotonic() - first
    counted = events - started_with
    for name, process in processes.items():
        costs[name].cpu_s_per_million = round((_cpu(process) - cpu[name]) / counted * 1e6, 2)
    return Pace(counted, round(seconds, 2), round(counted / seconds), costs)


def _accounted(settings: Settings) -> int:
    [row] = warehouse.ask(settings, "SELECT sum(row_count + reject_count) AS done FROM blocks FINAL")
    return int(row["done"])


def _cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def _processes(environment: dict[str, str]) -> dict[str, psutil.Process]:
    status = json.loads(_run(environment, "status", "--json"))
    return {each["name"]: psutil.Process(each["pid"]) for each in status["processes"] if each["pid"]}


def _run(environment: dict[str, str], *arguments: str) -> str:
    done = subprocess.run(
        [TOLLBOOK, *arguments], env=os.environ | environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"tollbook {' '.join(arguments)}: {done.stdout}{done.stderr}"
    return done.stdout


@contextmanager
def _environment(folder: Path) -> Iterator[dict[str, str]]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in PORTS]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    yield {"TOLLBOOK_STATE_DIR": str(folder / "state")} | {
        f"TOLLBOOK_{name}_PORT": str(port) for name, port in zip(PORTS, ports, strict=True)
    }


def as_json(pace: Pace) -> str:
    return json.dumps(asdict(pace))
