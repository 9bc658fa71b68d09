"""Events repeated, out of order, and late: the same totals, each event once."""

import random

from .ground import Scenario
from .load import HOUR_US, events_of, last_hour, load_of, records_of, schema_id_of
from .test_kills import THRESHOLDS, most_used

DAY_US = 24 * HOUR_US
CLOSED_HOUR, CLOSED_MONTH, FORGOTTEN = 7 * HOUR_US, 35 * DAY_US, 100 * DAY_US


def test_repeated_reordered_and_late_events(scenario: Scenario) -> None:
    """Repeated at once, from another producer, and after events of hours later; windows long closed come last."""
    ground, seed = scenario.ground, scenario.seed
    load = load_of(ground.settings, scenario.run, seed, 4_000)
    late = []
    start, end = last_hour()
    for number, back in enumerate((CLOSED_HOUR, CLOSED_MONTH, FORGOTTEN), start=1):
        events = events_of(scenario.run, seed + number, 500, start - back, end - back)
        late += records_of(events, schema_id_of(ground.settings))
    watched = scenario.watch(THRESHOLDS, most_used(load))
    chance = random.Random(seed)
    shuffled = chance.sample(load, len(load))
    first, second = shuffled[:2_000], shuffled[2_000:]
    scenario.send([record for one in first for record in (one, one)]).finish()
    scenario.send([*second, *chance.sample(first, 1_000)]).finish()
    scenario.send([*late, *chance.sample(load, 1_000)]).finish()
    scenario.send(late).finish()
    scenario.over()
    scenario.check(watched)
