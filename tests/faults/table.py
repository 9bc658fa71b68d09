"""The table of the fault suite: on the screen, whole in RESULTS.md, short in the README."""

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks import machine
from benchmarks.page import between, table
from benchmarks.report import README

RESULTS_JSON = Path(__file__).with_name("results.json")
RESULTS_MD = Path(__file__).with_name("RESULTS.md")
BEGIN = "<!-- figures of make faults -->\n"
COLUMNS = ("scenario", "rounds", "events", "lost", "doubled", "seconds to recover")
INTRODUCTION = """\
# Under fire

Written by `make faults`, of scenarios that passed when they ran last, each with its commit. Each event is entered in a
book outside the ledger before it is sent, and again when the broker acknowledges it. After each scenario the book is
compared with the ledger, to the pico-dollar, in every scope and window; so are the alerts with the thresholds that the
book crosses, and nothing else may have been said. When all scenarios of a file are over, all groups begin again at the
first record, and nothing may change.

Rounds: how often load and fault ended, and all had to land. Lost: acknowledged and neither counted nor rejected.
Doubled: counted more than once. Seconds to recover: the longest of the rounds, from the end of load and fault, the
restart of what was killed included, until nothing is under way; beside another stack under fire on the same processors.
"""
SAID = {
    "run": "The whole suite ran last at {at} (commit {commit}), in {minutes:.0f} minutes: {passed} passed, {failed} "
    "failed, {errors} errors.",
    "fast": "The fast subset, which `make test` has, ran over and over at {at} (commit {commit}), {lanes} at a time, "
    "in {shortest_s:.0f} to {longest_s:.0f} seconds: {passed} runs passed, {failed} failed.",
}


@dataclass(frozen=True, slots=True)
class Line:
    """What became of one scenario; `test` has one scenario or, by parameter, several."""

    test: str
    scenario: str
    seed: int
    rounds: int
    events: int
    lost: int
    doubled: int
    recovery_s: float


@dataclass(frozen=True, slots=True)
class Run:
    """How the whole suite ended when it ran last; `errors` came before or behind a scenario."""

    passed: int
    failed: int
    errors: int
    minutes: float


@dataclass(frozen=True, slots=True)
class FastRuns:
    """How runs of the fast subset ended, so many of them at the same time."""

    passed: int
    failed: int
    lanes: int
    shortest_s: float
    longest_s: float


def write(passed: Sequence[Line], failed: Collection[str], run: Run) -> None:
    """Keeps what passed beside what passed before, but what has failed."""
    head = machine.described()
    packages = ", ".join(f"{name} {version}" for name, version in head["packages"].items())
    where = (
        f"{head['cpu']}, {head['cores']} processors, {head['memory_gb']} GB, {head['system']}, "
        f"Python {head['python']}, Kafka {head['kafka']}, {packages}"
    )
    kept = _read()
    scenarios = {name: one for name, one in kept.get("scenarios", {}).items() if name not in failed}
    scenarios |= {line.scenario: {"commit": head["commit"], "where": where, "line": asdict(line)} for line in passed}
    _render(kept | {"scenarios": scenarios, "run": _dated(head, asdict(run))})


def write_fast(runs: FastRuns) -> None:
    """Keeps how stable the fast subset was."""
    _render(_read() | {"fast": _dated(machine.described(), asdict(runs))})


def _read() -> dict[str, Any]:
    kept: dict[str, Any] = json.loads(RESULTS_JSON.read_text()) if RESULTS_JSON.exists() else {}
    return kept


def _dated(head: Mapping[str, Any], figures: dict[str, Any]) -> dict[str, Any]:
    return {"at": head["at"], "commit": head["commit"], **figures}


def _render(kept: dict[str, Any]) -> None:
    """RESULTS.md has all of it, the README a line for each test."""
    RESULTS_JSON.write_text(json.dumps(kept, indent=1, sort_keys=True) + "\n")
    rows = sorted(
        ((Line(**one["line"]), one["commit"]) for one in kept.get("scenarios", {}).values()),
        key=lambda row: (row[0].test, row[0].scenario),
    )
    whole = table(
        (*COLUMNS, "seed", "commit"), ([*_row(line.scenario, [line]), str(line.seed), commit] for line, commit in rows)
    )
    said = [text.format(**kept[name]) for name, text in SAID.items() if name in kept]
    places = "; ".join(sorted({one["where"] for one in kept.get("scenarios", {}).values()}))
    RESULTS_MD.write_text("\n\n".join([INTRODUCTION.rstrip(), *said, f"{places}.", whole]))
    README.write_text(between(README.read_text(), BEGIN, short(line for line, _ in rows)))


def short(lines: Iterable[Line]) -> str:
    """Sums of each test, and its slowest recovery."""
    tests: dict[str, list[Line]] = {}
    for line in lines:
        tests.setdefault(line.test, []).append(line)
    return table(COLUMNS, (_row(test.replace("_", " "), its) for test, its in tests.items()))


def screen(lines: Iterable[Line]) -> list[str]:
    """Aligned, for a terminal."""
    rows = [COLUMNS, *([str(value) for value in _row(line.scenario, [line])] for line in lines)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(COLUMNS))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]


def _row(name: str, lines: list[Line]) -> list[str | int]:
    counts = [sum(getattr(line, field) for line in lines) for field in ("rounds", "events", "lost", "doubled")]
    return [name, *counts, f"{max(line.recovery_s for line in lines):.1f}"]
