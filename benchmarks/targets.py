"""What was aimed at, and what was measured: the first table of RESULTS.md, and the short one of the README."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any

from benchmarks.figures import is_exact

Results = list[dict[str, Any]]
Measured = Mapping[str, Any]
IDS = 10_000_000  # seen by the worker whose memory is told


@dataclass(frozen=True, slots=True)
class Target:
    """One figure: `read` gives it from results, or None while it has not been measured."""

    name: str
    unit: str
    limit: float
    at_least: bool  # else at most
    read: Callable[[Measured], float | None]

    def row(self, measured: Measured) -> list[str]:
        """Name, target, measured and whether it is met."""
        found = self.read(measured)
        sign = "at least" if self.at_least else "at most"
        aimed = f"{sign} {_said(self.limit)} {self.unit}".strip()
        if found is None:
            return [self.name, aimed, "not measured", ""]
        met = found >= self.limit if self.at_least else found <= self.limit
        return [self.name, aimed, f"{_said(found)} {self.unit}".strip(), "met" if met else "**missed**"]


def _said(value: float) -> str:
    if value >= 1000:
        return f"{value:,.0f}".replace(",", " ")
    return f"{value:.3g}"


def _results(measured: Measured, section: str, **key: Any) -> Results:
    found = measured.get(section, {}).get("results", [])
    return [each for each in found if key.items() <= each.items()]


def _pace(measured: Measured, system: str) -> float | None:
    """Of a system whose totals are right; one that is wrong has none."""
    runs = [each for each in _results(measured, "peers", kind="speed", system=system) if "failed" not in each]
    if any(not is_exact(run) for run in runs):
        return None
    return median(run["events_per_s"] for run in runs) if runs else None


def _times(peer: str) -> Callable[[Measured], float | None]:
    def read(measured: Measured) -> float | None:
        ours, theirs = _pace(measured, "tollbook"), _pace(measured, peer)
        return ours / theirs if ours and theirs else None

    return read


def _of_ours(name: str) -> Callable[[Measured], float | None]:
    def read(measured: Measured) -> float | None:
        runs = [each for each in _results(measured, "peers", kind="speed", system="tollbook") if name in each]
        return median(run[name] for run in runs) if runs else None

    return read


def _latency(rate: int, name: str) -> Callable[[Measured], float | None]:
    def read(measured: Measured) -> float | None:
        found = [each[name] for each in _results(measured, "latency", rate=rate) if name in each]
        return found[-1] if found else None

    return read


def _most(section: str, name: str, **key: Any) -> Callable[[Measured], float | None]:
    def read(measured: Measured) -> float | None:
        return max((each[name] for each in _results(measured, section, **key)), default=None)

    return read


def _growth(measured: Measured) -> float | None:
    return max((max(each["growth"].values()) * 100 for each in _results(measured, "memory")), default=None)


def _memory(measured: Measured) -> float | None:
    """Of a run with as many ids as the target speaks of."""
    ids = measured.get("recovery", {}).get("parameters", {}).get("ids", 0)
    return _most("recovery", "mb")(measured) if ids >= IDS else None


TARGETS = (
    Target(
        "end to end, the whole stack on the same processors", "events/s", 120_000, True, lambda m: _pace(m, "tollbook")
    ),
    Target("against idiomatic Faust", "times", 140, True, _times("faust")),
    Target("against Quix Streams", "times", 14, True, _times("quix")),
    Target("against Bytewax", "times", 3.5, True, _times("bytewax")),
    Target("against Pathway", "times", 3.5, True, _times("pathway")),
    Target("against a plain loop, nothing recoverable", "times", 1.4, True, _times("plain")),
    Target("against the hardware reference, no state", "times", 0.35, True, _times("reference")),
    Target("event to alert, p99, idle", "ms", 50, False, _latency(0, "alert_p99_ms")),
    Target("event to alert, p99, at 10 000/s", "ms", 150, False, _latency(10_000, "alert_p99_ms")),
    Target("event to alert, p99, at 50 000/s", "ms", 300, False, _latency(50_000, "alert_p99_ms")),
    Target("event to row, p95, at 10 000/s", "ms", 500, False, _latency(10_000, "row_p95_ms")),
    Target("event to row, p95, at 50 000/s", "ms", 700, False, _latency(50_000, "row_p95_ms")),
    Target("the guard's check", "us", 5, False, _most("guard", "check_p50_us")),
    Target(
        "the guard's staleness, p99, at 10 000/s", "ms", 1_000, False, _most("guard", "staleness_p99_ms", rate=10_000)
    ),
    Target("changelog at full speed", "records/event", 0.02, False, _of_ours("changelog_records_per_event")),
    Target("changelog at full speed", "bytes/event", 20, False, _of_ours("changelog_bytes_per_event")),
    Target("changelog at 5 000/s", "records/event", 0.2, False, _most("memory", "changelog_records_per_event")),
    Target("memory growth over a steady run", "%", 5, False, _growth),
    Target("a worker's memory with 1M windows and 10M ids", "MB", 800, False, _memory),
    Target("kill -9 until partitions move again", "s", 10, False, _most("recovery", "seconds")),
    Target("1M rows re-rated, to a passing audit", "s", 60, False, _most("rerate", "seconds", rows=1_000_000)),
    Target("stored bytes an event", "bytes", 48, False, _of_ours("bytes_per_event")),
    Target(
        "dashboard, p95 of the slowest chart at 100M rows",
        "ms",
        150,
        False,
        _most("queries", "p95_ms", rows=100_000_000),
    ),
    Target("idle CPU of the stack", "% of a core", 8, False, _most("idle", "total_percent")),
)


def rows(measured: Measured) -> Iterator[list[str]]:
    """All targets."""
    return (target.row(measured) for target in TARGETS)
