"""Late events for windows that are forgotten, on a ledger of their own: a chain's clock never goes back."""

from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest

from schemas.topics import EVENTS
from stream_processors import warehouse
from tests.conftest import Environment, RunTollbook

from .ground import Ground, grounds
from .kafka_state import configured
from .load import HOUR_US, last_hour
from .replay import assert_replay_changes_nothing
from .scenario import Scenario

BACK_HOURS = 60  # hours are remembered for 48
SEGMENTS = (
    "SELECT countIf(n > 1) AS twice FROM (SELECT uniqExact(segment) AS n FROM window_entries WHERE window_kind = 'hour'"
    " AND endsWith(organization, {run:String}) GROUP BY organization, scope_kind, scope, window_start, src_partition)"
)


@pytest.fixture(scope="module")
def ground(new_stack_environment: Callable[[], Environment], run_tollbook: RunTollbook) -> Iterator[Ground]:
    for ground in grounds(new_stack_environment, run_tollbook):
        yield ground
        assert_replay_changes_nothing(ground)


@pytest.mark.campaign
@pytest.mark.timeout(600)
def test_late_events_into_windows_already_forgotten(scenario: Scenario) -> None:
    """Half of the load is appended, by the records' own time, days ago; the other half when its hour is forgotten."""
    ground = scenario.ground
    scenario.since -= timedelta(hours=BACK_HOURS + 1)
    old = scenario.events(4_000, back=BACK_HOURS * HOUR_US)
    scenario.watch(old)
    with configured(ground, EVENTS, "message.timestamp.type", "CreateTime"):
        scenario.send(old[:2_000], at_ms=last_hour()[1] // 1000 - BACK_HOURS * 3_600_000).finish()
    scenario.over()
    scenario.send(scenario.events(2_000)).finish()  # the clock of every chain goes on to now
    scenario.over()
    scenario.send(old[2_000:]).finish()
    scenario.over()
    scenario.check()
    [found] = warehouse.ask(ground.settings, SEGMENTS, {"run": f"-{scenario.run}"})
    assert found["twice"] > 0  # opened anew, so it had been forgotten
