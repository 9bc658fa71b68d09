"""What the stack uses when nothing comes and when the same comes all the time, and how fast it is back after a kill."""

import os
import signal
import time
from collections.abc import Mapping
from typing import Any

from benchmarks import changelog, meter
from benchmarks.figures import growth, rate
from benchmarks.stacks import WORKERS, Stack, wait_until
from benchmarks.traffic import events_appended, traffic
from schemas.topics import BLOCKS
from stream_processors import warehouse
from stream_processors.lag import WINDOWS_GROUP, committed
from stream_processors.logs import LogReader

SETTLE_S = 15.0  # after the start: what a start leaves to do is done
SAMPLE_S = 1.0
BACK_S = 90.0
FEW_SAMPLES = 10


def idle(stack: Stack, seconds: float) -> dict[str, Any]:
    """CPU of each process when no event comes, in percent of one core."""
    time.sleep(SETTLE_S)
    before, began = _cpu_s(stack), time.monotonic()
    time.sleep(seconds)
    elapsed = time.monotonic() - began
    used = {name: cpu_s - before[name] for name, cpu_s in _cpu_s(stack).items()}
    percents = {name: round(cpu_s / elapsed * 100, 2) for name, cpu_s in used.items()}
    return {"seconds": round(elapsed, 1), "cpu_percent": percents, "total_percent": round(sum(percents.values()), 2)}


def _cpu_s(stack: Stack) -> dict[str, float]:
    used = {name: use.cpu_s for name, use in meter.use(stack.pids()).items()}
    return used | {"supervisor": meter.own_cpu_s(stack.supervisor_pid())}


def memory(stack: Stack, events_per_s: int, minutes: float, seed: int) -> dict[str, Any]:
    """Resident memory and CPU of each process over a steady run."""
    samples: dict[str, list[int]] = {}
    with traffic(stack, events_per_s, minutes * 60, seed):
        pids = stack.pids()
        appended, before, began = events_appended(stack.settings), meter.use(pids), time.monotonic()
        logged = changelog.written(stack)
        while time.monotonic() - began < minutes * 60:
            for name, pid in pids.items():
                samples.setdefault(name, []).append(meter.resident_mb(pid))
            time.sleep(SAMPLE_S)
        after, elapsed = meter.use(pids), time.monotonic() - began
        events = events_appended(stack.settings) - appended
        per_event = changelog.written(stack).per_event(logged, max(1, events))
    return {
        "minutes": round(elapsed / 60, 1),
        "rate": events_per_s,
        "rate_reached": round(rate(events, elapsed)),
        "cpu_us_per_event": meter.cpu_per_million(before, after, max(1, events)),
        **per_event,
        "end_mb": {name: each[-1] for name, each in samples.items()},
        "growth": {name: round(growth(each), 4) for name, each in samples.items() if len(each) >= FEW_SAMPLES},
    }


def recovery(stack: Stack, events_per_s: int, rounds: int, seed: int) -> list[dict[str, Any]]:
    """Seconds from `kill -9` of each worker until every one of its partitions has moved again, under traffic.

    And what the worker that came back holds then.
    """
    found = []
    with traffic(stack, events_per_s, rounds * len(WORKERS) * BACK_S, seed):
        for number in range(rounds):
            for name in WORKERS:
                os.kill(stack.pids()[name], signal.SIGKILL)
                killed_at = time.monotonic()
                time.sleep(0.2)  # what was under way is appended
                before = _progress(stack, name)
                wait_until(lambda: _all_moved(before, _progress(stack, name)), BACK_S, f"{name} at work again")  # noqa: B023 - called before the next turn
                seconds = round(time.monotonic() - killed_at, 2)
                time.sleep(SETTLE_S / 3)
                held_mb = meter.resident_mb(stack.pids()[name])
                found.append({"worker": name, "round": number, "seconds": seconds, "mb": held_mb})
    return found


def _all_moved(before: Mapping[int, int], now: Mapping[int, int]) -> bool:
    return all(now[partition] > at for partition, at in before.items())


def _progress(stack: Stack, worker: str) -> dict[int, int]:
    """How far a worker has come in each partition: what it has appended, committed or landed."""
    settings = stack.settings
    if worker == "sink":
        query = "SELECT src_partition, max(block_offset) AS at FROM blocks GROUP BY src_partition"
        return {row["src_partition"]: row["at"] for row in warehouse.ask(settings, query)}
    places = [(BLOCKS, partition) for partition in range(settings.partitions)]
    if worker == "windows":
        done = committed(settings.kafka, WINDOWS_GROUP, places)
        return {partition: done[BLOCKS, partition] for _, partition in places}
    with LogReader(settings.kafka) as reader:
        return {partition: reader.bounds(BLOCKS, partition)[1] for _, partition in places}
