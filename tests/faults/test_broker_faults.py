"""The broker killed, or not answering: producers and workers wait or start again, and nothing is lost or doubled."""

import os
import signal
import time

import pytest

from .ground import wait_until
from .scenario import Scenario


def test_the_broker_is_killed_under_load(scenario: Scenario) -> None:
    _killed(scenario, rounds=1, events=10_000)


@pytest.mark.campaign
@pytest.mark.timeout(900)
def test_the_broker_is_killed_again_and_again(scenario: Scenario) -> None:
    _killed(scenario, rounds=5, events=40_000)


@pytest.mark.campaign
@pytest.mark.timeout(600)
def test_the_broker_does_not_answer_for_a_minute(scenario: Scenario) -> None:
    ground = scenario.ground
    sending = scenario.send(scenario.load(60_000), rate=2_000)
    wait_until(lambda: ground.lag() > 0, "events under way")
    pid = ground.signal("kafka", signal.SIGSTOP)
    try:
        time.sleep(60)  # the fault itself
    finally:
        os.kill(pid, signal.SIGCONT)
    sending.finish()
    scenario.over()
    scenario.check()


def _killed(scenario: Scenario, rounds: int, events: int) -> None:
    ground = scenario.ground
    load = scenario.load(rounds * events)
    for number in range(rounds):
        sending = scenario.send(load[number * events : (number + 1) * events], rate=5_000)
        wait_until(lambda: ground.lag() > 0, "events under way")
        dead = ground.kill("kafka")
        sending.finish()
        scenario.over([("kafka", dead)])
    scenario.check()
