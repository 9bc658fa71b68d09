"""kill -9 of each process under load, of one and of two at once."""

import itertools
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from confluent_kafka import Consumer, TopicPartition

from schemas.codec import avro_schema, decode
from schemas.topics import ALERTS

from .ground import SERVICES, wait_until
from .load import Record
from .scenario import Scenario

LONGEST_DELAY_S = 0.3
WORKERS = ("rating", "windows", "sink", "clickhouse")
PAIRS = tuple(itertools.combinations(("kafka", *WORKERS), 2))


def test_few_kills(scenario: Scenario) -> None:
    _survive(scenario, [(name,) for name in WORKERS], events=8_000, rate=5_000, deep=False)


@pytest.mark.campaign
@pytest.mark.timeout(1800)
def test_fifty_kills(scenario: Scenario) -> None:
    victims = itertools.islice(itertools.cycle(SERVICES), 50)
    _survive(scenario, [(name,) for name in victims], events=20_000, rate=10_000)


@pytest.mark.campaign
@pytest.mark.timeout(900)
def test_two_killed_at_once(scenario: Scenario) -> None:
    _survive(scenario, list(PAIRS), events=20_000, rate=10_000)


def _survive(scenario: Scenario, rounds: list[tuple[str, ...]], events: int, rate: int, deep: bool = True) -> None:
    """A part of the load a round; once it has crossed a threshold, and while the rest is still being sent, kill."""
    load = scenario.load(events * len(rounds))
    chance = random.Random(scenario.seed)
    with alerts_of(scenario) as news:
        for number, victims in enumerate(rounds):
            part = load[number * events : (number + 1) * events]
            _round(scenario, news, part, rate, victims, chance.uniform(0.0, LONGEST_DELAY_S))
    scenario.check(deep=deep)


def _round(
    scenario: Scenario,
    news: Callable[[], int],
    part: list[Record],
    rate: int,
    victims: tuple[str, ...],
    delay_s: float,
) -> None:
    ground = scenario.ground
    news()  # what came since the round before
    sending = scenario.send(part, rate)
    wait_until(lambda: news() > 0, "threshold crossed")
    time.sleep(delay_s)  # somewhere within a turn, not right behind an alert
    dead = [(name, ground.kill(name)) for name in victims]
    sending.finish()
    scenario.over(dead)


@contextmanager
def alerts_of(scenario: Scenario) -> Iterator[Callable[[], int]]:
    """Tells how many alerts of the scenario's budget have come since it was asked last; quickly, while load flows."""
    ground = scenario.ground
    consumer = Consumer({"bootstrap.servers": ground.settings.kafka, "group.id": "faults", "enable.auto.commit": False})
    places = [TopicPartition(ALERTS, number) for number in range(ground.settings.partitions)]
    for place in places:
        place.offset = consumer.get_watermark_offsets(place)[1]
    consumer.assign(places)

    def news() -> int:
        values = [message.value() or b"" for message in consumer.consume(1_000, 0.02) if not message.error()]
        return sum(decode(value, avro_schema("alert.v1"))["budget_id"] == scenario.run for value in values)

    try:
        yield news
    finally:
        consumer.close()
