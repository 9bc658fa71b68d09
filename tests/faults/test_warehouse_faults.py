"""ClickHouse away, or failing inserts in each way that its front knows: rows come later, each once."""

import os
import signal
import time

import pytest

from schemas.settings import Settings

from .ground import Scenario, wait_until
from .load import HOUR_US, Record, events_of, last_hour, load_of, records_of, schema_id_of

MODES = ("error500", "disk_full", "cut_after_commit", "cut_between_parts")
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
    load = load_of(ground.settings, scenario.run, scenario.seed, 120_000)
    sending = scenario.send(load, rate=1_000)
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
    ground = scenario.ground
    load = _of_two_months(ground.settings, scenario.run, scenario.seed, events * len(modes))
    for number, mode in enumerate(modes):
        ground.fail_inserts(mode, times)
        scenario.send(load[number * events : (number + 1) * events], rate=events).finish()
        wait_until(lambda mode=mode: ground.faults_left() == 0, f"inserts that fail by {mode}")  # type: ignore[misc]
        scenario.over()
    scenario.check()


def _of_two_months(settings: Settings, run: str, seed: int, count: int) -> list[Record]:
    start, end = last_hour()
    schema_id = schema_id_of(settings)
    recent, old = (
        records_of(events_of(run, seed + back, count // 2, start - back * MONTH_US, end - back * MONTH_US), schema_id)
        for back in (0, 1)
    )
    return [record for pair in zip(recent, old, strict=True) for record in pair]
