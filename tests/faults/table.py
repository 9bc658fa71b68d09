"""The table of the fault suite: on the screen, whole in RESULTS.md, short in the README."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks import machine
from benchmarks.page import between, table
from benchmarks.report import README

RESULTS_JSON = Path(__file__).with_name("results.json")
RESULTS_MD = Path(__file__).with_name("RESULTS.md")
BEGIN = "<!-- figures of make faults -->\n"
COLUMNS = ("scenario", "rounds", "events", "lost", "doubled", "seconds to recover")
INTRODUCTION = """\
# Under fire

Written by `make faults`, of scenarios that passed, each with the commit at which it last ran. Each event is entered in
a book outside the ledger before it is sent, and again when the broker acknowledges it; after each scenario the book is
compared with the ledger, to the pico-dollar, and every alert with the thresholds that the book crosses. `lost`:
acknowledged and neither counted nor rejected; `doubled`: counted more than once; seconds to recover: from the end of
fault and load until nothing is under way, beside another stack under fire on the same processors. A scenario is seeded
by its name.
"""


@dataclass(frozen=True, slots=True)
class Line:
    """What became of one scenario; `test` has one scenario or, by parameter, several."""

    test: str
    scenario: str
    rounds: int
    events: int
    lost: int
    doubled: int
    recovery_s: float


def write(passed: Sequence[Line]) -> None:
    """Keeps what passed beside what passed before; RESULTS.md has all of it, the README a line for each test."""
    kept = json.loads(RESULTS_JSON.read_text()) if RESULTS_JSON.exists() else {}
    head = machine.described()
    where = f"{head['cpu']}, {head['cores']} processors, {head['memory_gb']} GB, Python {head['python']}"
    kept |= {line.scenario: {"commit": head["commit"], "where": where, "line": asdict(line)} for line in passed}
    RESULTS_JSON.write_text(json.dumps(kept, indent=1, sort_keys=True) + "\n")
    rows = sorted(
        ((Line(**one["line"]), one["commit"]) for one in kept.values()), key=lambda row: (row[0].test, row[0].scenario)
    )
    whole = table((*COLUMNS, "commit"), ([*_row(line.scenario, [line]), commit] for line, commit in rows))
    places = "; ".join(sorted({one["where"] for one in kept.values()}))
    RESULTS_MD.write_text(f"{INTRODUCTION}\n{places}.\n\n{whole}")
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
