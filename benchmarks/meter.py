"""What processes use, by the operating system's own account: CPU time and peak resident memory."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil


@dataclass(frozen=True, slots=True)
class Use:
    """CPU seconds and peak resident memory of a process and all it started, since each began."""

    cpu_s: float
    peak_bytes: int


def use(pids: Mapping[str, int]) -> dict[str, Use]:
    """The use of each named process so far; one that is gone has none."""
    return {name: _family(pid) for name, pid in pids.items()}


def resident_mb(pid: int) -> int:
    """What one process holds now."""
    return mb(psutil.Process(pid).memory_info().rss)


def mb(size_bytes: int) -> int:
    """Millions of bytes, rounded up: what is held against a limit is never less than it was."""
    return -(-size_bytes // 1_000_000)


def own_cpu_s(pid: int) -> float:
    """CPU seconds of one process, without those that it started."""
    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system)


def cpu_per_million(before: Mapping[str, Use], after: Mapping[str, Use], events: int) -> dict[str, float]:
    """CPU seconds per million events of each process between two moments; equally microseconds an event."""
    none = Use(0.0, 0)  # of one that started in between
    return {name: round((use.cpu_s - before.get(name, none).cpu_s) / events * 1e6, 3) for name, use in after.items()}


def _family(pid: int) -> Use:
    try:
        process = psutil.Process(pid)
        members = [process, *process.children(recursive=True)]
        times = [member.cpu_times() for member in members]
        ended = times[0].children_user + times[0].children_system  # those it has waited for
        return Use(sum(t.user + t.system for t in times) + ended, sum(_peak_bytes(m.pid) for m in members))
    except (psutil.NoSuchProcess, FileNotFoundError):
        return Use(0.0, 0)


def _peak_bytes(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    found = [line for line in lines if line.startswith("VmHWM:")]  # a zombie has none
    return int(found[0].split()[1]) << 10 if found else 0
