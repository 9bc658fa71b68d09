"""Events repeated, out of order, and late: the same totals, each event once."""

import random

from .load import HOUR_US
from .scenario import Scenario

DAY_US = 24 * HOUR_US
CLOSED_HOUR, CLOSED_MONTH, LONG_AGO = 7 * HOUR_US, 35 * DAY_US, 100 * DAY_US


def test_repeated_reordered_and_late_events(scenario: Scenario) -> None:
    """Repeated at once, from another producer, and after events of the hour after; windows long closed come last."""
    chance = random.Random(scenario.seed)
    load, later = scenario.events(4_000, back=HOUR_US), scenario.events(1_000)
    late = [one for back in (CLOSED_HOUR, CLOSED_MONTH, LONG_AGO) for one in scenario.events(500, back)]
    scenario.watch(load)
    shuffled = chance.sample(load, len(load))
    first, second = shuffled[:2_000], shuffled[2_000:]
    scenario.send([record for one in first for record in (one, one)]).finish()
    scenario.send([*second, *chance.sample(first, 1_000)]).finish()
    scenario.send([*later, *chance.sample(load, 1_000)]).finish()
    scenario.send([*late, *chance.sample(later, 500)]).finish()
    scenario.send(late).finish()
    scenario.over()
    scenario.check()
