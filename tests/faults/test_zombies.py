"""Workers that are frozen until another has taken their place, and then go on as if nothing had been."""

import os
import signal
from collections.abc import Iterator
from subprocess import Popen

import psutil
import pytest

from .ground import wait_until
from .scenario import Scenario

EVENTS = 24_000


@pytest.fixture
def frozen() -> Iterator[list[int]]:
    """Pids that a test has frozen; those that still are go on at its end."""
    pids: list[int] = []
    yield pids
    for pid in pids:
        if psutil.pid_exists(pid):
            os.kill(pid, signal.SIGCONT)


def test_a_frozen_rating_worker_comes_back(scenario: Scenario, frozen: list[int]) -> None:
    _come_back(scenario, "rating", 1, frozen)


@pytest.mark.campaign
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", ["rating", "windows", "sink"])
def test_a_frozen_worker_comes_back(scenario: Scenario, frozen: list[int], name: str) -> None:
    _come_back(scenario, name, 1, frozen)


@pytest.mark.campaign
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", ["rating", "windows", "sink"])
def test_two_zombies_in_a_row(scenario: Scenario, frozen: list[int], name: str) -> None:
    """The one that took over is frozen, too; then both come back at once, while a third works."""
    _come_back(scenario, name, 2, frozen)


def _come_back(scenario: Scenario, name: str, zombies: int, frozen: list[int]) -> None:
    """Freezes the worker and each that takes its place but the last; then all go on at once."""
    ground = scenario.ground
    sending = scenario.send(scenario.load(EVENTS), rate=2_000)
    helpers: list[Popen[bytes]] = []
    try:
        wait_until(lambda: ground.lag() > 0, "events under way")
        pid = ground.pid(name)
        for _ in range(zombies):
            os.kill(pid, signal.SIGSTOP)
            frozen.append(pid)
            helpers.append(ground.start_worker(name))
            pid = helpers[-1].pid
            before = ground.progress(name)
            wait_until(lambda before=before: ground.progress(name) > before, "the next worker at work")  # type: ignore[misc]
            assert ground.members(name) == 1  # not the frozen one: its session is over
        for pid in frozen:
            os.kill(pid, signal.SIGCONT)
        frozen.clear()
        sending.finish()
        scenario.over()
    finally:
        for helper in helpers:
            helper.kill()
            helper.wait()
    scenario.check()
