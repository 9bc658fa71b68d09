"""ClickHouse away, or failing inserts in each way that its front knows: rows come later, each once."""

import os
import signal
import time

import pytest

from .ground import wait_until
from .load import HOUR_US, Record
from .scenario import Scenario

MODES = ("error500", "cut_after_commit", "cut_between_parts", "space")
SPACE_BYTES = 200_000
MONTH_US = 31 * 24 * HOUR_US


def test_inserts_fail_in_every_way(scenario: Scenario) -> None:
    _fail(scenario, MODES, events=3_000, times=2)


@pytest.mark.campaign
@pytest.mark.timeout(900)
def test_inserts_fail_again_and_again(scenario: Scenario) -> None:
    _fail(scenario, MODES * 5, events=20_000, times=6)


@pytest.mark.campaign
@pytest.mark.timeout(600)
def test_clickhouse_away_for_two_minutes(scenario: Scenario) -> None:
    ground = scenario.ground
    sending = scenario.send(scenario.load(120_000), rate=1_000)
    wait_until(lambda: ground.lag() > 0, "events under way")
    pid = ground.signal("clickhouse", signal.SIGSTOP)
    try:
        before = ground.progress("windows")
        time.sleep(120)  # the fault itself
        assert ground.progress("windows") > before
    finally:
        os.kill(pid, signal.SIGCONT)
    sending.finish()
    scenario.over()
    scenario.check()


def _fail(scenario: Scenario, modes: tuple[str, ...], events: int, times: int) -> None:
    """A part of the load a mode, in which the next inserts fail; an insert has rows of two months, so two parts."""
    load = _of_two_months(scenario, events * len(modes))
    scenario.watch(load)
    for number, mode in enumerate(modes):
        part = load[number * events : (number + 1) * events]
        fail = _no_space if mode == "space" else _next_fail
        fail(scenario, mode, times, part)
        scenario.over()
    scenario.check()


def _next_fail(scenario: Scenario, mode: str, times: int, part: list[Record]) -> None:
    """A cut between parts needs rows of two months, which only those of usage have; one insert has two of its cuts."""
    ground, cut = scenario.ground, mode == "cut_between_parts"
    ground.fail_inserts(mode, 2 if cut else times, "usage" if cut else "")
    scenario.send(part, rate=len(part)).finish()
    wait_until(lambda: ground.faults_left() == 0, f"inserts that fail by {mode}")


def _no_space(scenario: Scenario, mode: str, times: int, part: list[Record]) -> None:
    """The disk takes some more, then nothing, until there is space again."""
    ground = scenario.ground
    sizes = ground.log_sizes()
    ground.fail_inserts(mode, SPACE_BYTES)
    scenario.send(part, rate=len(part)).finish()
    wait_until(lambda: "not enough space" in ground.log_since("sink", sizes), "disk that is full")
    assert ground.lag() > 0
    ground.fail_inserts("none")


def _of_two_months(scenario: Scenario, count: int) -> list[Record]:
    recent, old = (scenario.events(count // 2, back) for back in (0, MONTH_US))
    return [record for pair in zip(recent, old, strict=True) for record in pair]
