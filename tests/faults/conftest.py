"""A stack for the fault suite alone, and its table: scenario, rounds, events, lost, doubled, seconds to recover."""

import re
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import pytest

from tests.conftest import Environment, RunTollbook

from . import table
from .ground import Ground, grounds
from .replay import assert_replay_changes_nothing
from .scenario import Scenario

LONGEST = ("test_kills.py", "test_lost_state.py", "test_warehouse_faults.py")
_lines: list[table.Line] = []
_failed: set[str] = set()
_began = time.monotonic()


def _ground_scope(fixture_name: str, config: pytest.Config) -> Literal["module", "package"]:
    """In the whole suite a ledger for each file: what one has grown to is no measure of how another recovers."""
    return "module" if config.getoption("--table", default=False) else "package"


@pytest.fixture(scope=_ground_scope)
def ground(
    new_stack_environment: Callable[[], Environment], run_tollbook: RunTollbook, request: pytest.FixtureRequest
) -> Iterator[Ground]:
    """A ledger for this suite: what others have used would cross thresholds, too.

    In the whole suite its groups begin again when all scenarios of a file are over.
    """
    for ground in grounds(new_stack_environment, run_tollbook):
        yield ground
        if request.config.getoption("--table", default=False):
            assert_replay_changes_nothing(ground)


@pytest.fixture
def scenario(
    ground: Ground,
    request: pytest.FixtureRequest,
    record_property: Callable[[str, Any], None],
    tmp_path: Path,
) -> Scenario:
    """A scenario named after its test, seeded by its name. What became of it goes along with the test's report."""
    run = _run_of(request.node.name)
    ground.wait_landed()
    seed = zlib.crc32(run.encode())
    print(f"seed {seed}")
    test = request.node.originalname.removeprefix("test_")

    def tell(line: table.Line) -> None:
        record_property("faults", asdict(line))

    return Scenario(test, run, seed, ground, tmp_path / "sent.jsonl", tell, ground.log_sizes())


def _run_of(test: str) -> str:
    return re.sub("[^a-zA-Z0-9]+", "-", test.removeprefix("test_")).strip("-")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """The whole suite begins with the files that take longest, so that no worker is left with them at the end."""
    if config.getoption("--table", default=False):
        items.sort(key=lambda item: (item.path.name not in LONGEST, item.path.name))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--table", action="store_true", help="keep what passed in tests/faults/RESULTS.md and README.md")


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.failed:
        _failed.add(_run_of(report.nodeid.rpartition("::")[2]))
    if report.when == "teardown":
        _lines.extend(table.Line(**value) for name, value in report.user_properties if name == "faults")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """The table, of the scenarios that ran."""
    if not _lines:
        return
    terminalreporter.section("faults")
    lines = sorted(_lines, key=lambda line: (line.test, line.scenario))
    for line in table.screen(lines):
        terminalreporter.line(line)
    if config.getoption("--table", default=False):
        passed, failed, errors = (len(terminalreporter.getreports(kind)) for kind in ("passed", "failed", "error"))
        run = table.Run(passed, failed, errors, (time.monotonic() - _began) / 60)
        table.write([line for line in lines if line.scenario not in _failed], _failed, run)
