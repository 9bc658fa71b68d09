"""kill -9 of each process under load, of one and of two at once."""

import itertools
import random
import time

import pytest

from stream_processors.alert_log import read_alerts

from .ground import Scenario, wait_until
from .load import Record, load_of

THRESHOLDS = range(1, 101)  # so many that each round of fifty crosses one
WORKERS = ("rating", "windows", "sink", "clickhouse")
EACH = (*WORKERS, "registry")
PAIRS = tuple(itertools.combinations(WORKERS, 2))


def test_few_kills(scenario: Scenario) -> None:
    _survive(scenario, [(name,) for name in WORKERS], events=20_000, rate=10_000)


@pytest.mark.campaign
@pytest.mark.timeout(1800)
def test_fifty_kills(scenario: Scenario) -> None:
    victims = itertools.islice(itertools.cycle(EACH), 50)
    _survive(scenario, [(name,) for name in victims], events=20_000, rate=20_000)


@pytest.mark.campaign
@pytest.mark.timeout(900)
def test_two_killed_at_once(scenario: Scenario) -> None:
    _survive(scenario, list(PAIRS), events=20_000, rate=10_000)


def _survive(scenario: Scenario, rounds: list[tuple[str, ...]], events: int, rate: int) -> None:
    """A part of the load a round; once it has crossed a threshold, and while some of it is under way, kill."""
    load = load_of(scenario.ground.settings, scenario.run, scenario.seed, events * len(rounds))
    watched = scenario.watch(THRESHOLDS, most_used(load))
    chance = random.Random(scenario.seed)
    for number, victims in enumerate(rounds):
        _round(scenario, load[number * events : (number + 1) * events], rate, victims, chance.random())
    scenario.check(watched, deep=True)


def _round(scenario: Scenario, part: list[Record], rate: int, victims: tuple[str, ...], delay_s: float) -> None:
    ground = scenario.ground
    before = _crossed(scenario)
    sending = scenario.send(part, rate)
    wait_until(lambda: _crossed(scenario) > before, "threshold crossed")
    time.sleep(delay_s)  # somewhere within a turn, not right behind an alert
    wait_until(lambda: ground.lag() > 0, "events under way")
    dead = [(name, ground.kill(name)) for name in victims]
    sending.finish()
    for name, pid in dead:
        ground.wait_restarted(name, pid)
    scenario.over()


def most_used(load: list[Record]) -> int:
    """Tokens of the organization that uses most: each part of the load then crosses thresholds."""
    used: dict[str, int] = {}
    for record in load:
        used[record.scopes[0]] = used.get(record.scopes[0], 0) + record.tokens[0] + record.tokens[1]
    return max(used.values())


def _crossed(scenario: Scenario) -> int:
    """How many thresholds of the scenario's own budget are crossed."""
    alerts = read_alerts(scenario.ground.settings, follow=False)
    return sum(1 for alert in alerts if alert["budget_id"] == scenario.run)
