"""A stack for the fault suite alone, and its table: scenario, rounds, events, lost, doubled, seconds to recover."""

import re
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import Environment, RunTollbook, running_stack

from .ground import Ground, Line, Scenario

_lines: list[Line] = []


@pytest.fixture(scope="package")
def ground(new_stack_environment: Callable[[], Environment], run_tollbook: RunTollbook) -> Iterator[Ground]:
    """A ledger of its own: what others have used would cross thresholds, too. Its inserts can be made to fail."""
    environment = new_stack_environment() | {"TOLLBOOK_FAULT": "front"}
    for running in running_stack(environment, run_tollbook):
        yield Ground(running, run_tollbook)


@pytest.fixture
def scenario(ground: Ground, request: pytest.FixtureRequest, tmp_path: Path) -> Scenario:
    """A scenario named after its test, seeded by its name."""
    run = re.sub("[^a-zA-Z0-9]+", "-", request.node.name.removeprefix("test_")).strip("-")
    ground.wait_landed()
    seed = zlib.crc32(run.encode())
    print(f"seed {seed}")
    return Scenario(run, seed, ground, tmp_path / "sent.jsonl", _lines, ground.log_sizes())


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """The table, of the scenarios that ran."""
    if not _lines:
        return
    terminalreporter.section("faults")
    wide = max(len(line.scenario) for line in _lines)
    terminalreporter.line(f"{'scenario':{wide}} rounds   events  lost  doubled  seconds to recover")
    for line in sorted(_lines, key=lambda line: line.scenario):
        counts = f"{line.rounds:6} {line.events:8} {line.lost:5} {line.doubled:8}"
        terminalreporter.line(f"{line.scenario:{wide}} {counts} {line.recovery_s:19.1f}")
