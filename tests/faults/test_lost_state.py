"""State deleted under stopped workers, one piece at a time and together: it is rebuilt, and nothing changes."""

import asyncio
import shutil
from collections import Counter
from collections.abc import Callable

import pytest

from schemas.topics import EVENTS, TOTALS, WINDOWS
from stream_processors import warehouse
from stream_processors.alert_log import read_alerts
from stream_processors.overdue import report_overdue

from .ground import MODULES, Ground, wait_until
from .kafka_state import commit, commits, configured, delete_group, join_for_nothing, make_anew, take_unrated
from .load import HOUR_US
from .replay import begin_again, snapshot
from .scenario import Scenario

OVERTAKEN, OVERDUE = "before they were rated", "has not read"  # what alerts say


def _faust_state(ground: Ground) -> None:
    shutil.rmtree(ground.state_dir / "faust")


def _changelog(ground: Ground) -> None:
    make_anew(ground, TOTALS)


def _offsets(ground: Ground) -> None:
    for name in MODULES:
        delete_group(ground, name)


def _metadata(ground: Ground) -> None:
    """The sink's offsets stay, what it has written beside them goes: as after a restore of offsets alone."""
    commit(ground, "sink", commits(ground, "sink"))


def _everything(ground: Ground) -> None:
    for lose in (_faust_state, _changelog, _offsets):
        lose(ground)


LOSSES: dict[str, Callable[[Ground], None]] = {
    "faust state": _faust_state,
    "changelog": _changelog,
    "group offsets": _offsets,
    "commit metadata": _metadata,
    "all together": _everything,
    "offsets at the beginning": begin_again,
}


def test_groups_that_begin_again_change_nothing(scenario: Scenario) -> None:
    _lose(scenario, begin_again, events=5_000)


@pytest.mark.campaign
@pytest.mark.timeout(600)
@pytest.mark.parametrize("loss", LOSSES)
def test_state_is_lost(scenario: Scenario, loss: str) -> None:
    _lose(scenario, LOSSES[loss], events=30_000)


def _lose(scenario: Scenario, lose: Callable[[Ground], None], events: int) -> None:
    """Half of the load, the loss: nothing may change; then the other half over what was rebuilt."""
    ground = scenario.ground
    load = scenario.load(events)
    scenario.send(load[: events // 2]).finish()
    scenario.over()
    before = snapshot(ground.settings)
    with ground.stopped(*MODULES) as killed:
        lose(ground)
    scenario.over(killed.items())
    assert snapshot(ground.settings) == before
    scenario.send(load[events // 2 :]).finish()
    scenario.over()
    scenario.check()


@pytest.mark.campaign
@pytest.mark.timeout(600)
def test_usage_events_is_deleted_and_made_again(scenario: Scenario) -> None:
    """A new epoch, under a rating that runs: offsets that are taken already are no overlap, and events known from
    before are duplicates."""
    ground = scenario.ground
    load = scenario.load(10_000)
    scenario.send(load[:6_000]).finish()
    scenario.over()
    dead = ground.pid("rating")
    make_anew(ground, EVENTS)
    ground.wait_restarted("rating", dead)
    scenario.send(load[4_000:]).finish()
    scenario.over()
    scenario.check()  # not deep: the events of the old epoch are gone


@pytest.mark.campaign
@pytest.mark.timeout(600)
def test_a_worker_takes_over_from_one_that_had_no_partitions(scenario: Scenario) -> None:
    """As one has none that starts again when its topic was away for a moment; the group has no other member."""
    ground = scenario.ground
    load = scenario.load(2_000)
    with ground.stopped("rating") as killed:
        asyncio.run(join_for_nothing(ground, "rating"))
    scenario.send(load).finish()
    scenario.over(killed.items())
    assert ground.members("rating") == 1
    scenario.check()


@pytest.mark.campaign
@pytest.mark.timeout(600)
def test_retention_overtakes_rating(scenario: Scenario) -> None:
    """A third of what waits is taken before it is rated: a gap of exactly that, an alert for each, and no silence."""
    ground = scenario.ground
    load = scenario.load(6_000)
    scenario.send(load[:3_000]).finish()
    scenario.over()
    with ground.stopped("rating") as killed:
        scenario.send(load[3_000:]).finish()
        taken = take_unrated(ground, 1 / 3)
    scenario.over(killed.items())
    scenario.check(taken, provoked=OVERTAKEN)
    gaps = warehouse.ask(
        ground.settings,
        "SELECT src_partition, sum(gap_count) AS n FROM blocks FINAL GROUP BY src_partition HAVING n > 0",
    )
    lost = Counter(partition for partition, _ in taken)
    assert {row["src_partition"]: row["n"] for row in gaps} == lost
    assert {f"{EVENTS}[{partition}]" for partition in lost} == _said(ground, OVERTAKEN)


@pytest.mark.campaign
@pytest.mark.timeout(600)
def test_a_reader_at_half_of_its_retention_is_told(scenario: Scenario) -> None:
    ground = scenario.ground
    scenario.send(scenario.load(1_000)).finish()
    scenario.over()
    with configured(ground, WINDOWS, "retention.ms", "60000"), ground.stopped("sink") as killed:
        scenario.send(scenario.events(1_000, back=HOUR_US)).finish()

        def told() -> bool:
            report_overdue(ground.settings)  # as rating and the sink do once a minute
            return bool(_said(ground, f"sink {OVERDUE} {WINDOWS}["))

        wait_until(told, "alert about the sink")
    scenario.over(killed.items())
    scenario.check(provoked=OVERDUE)


def _said(ground: Ground, words: str) -> set[str]:
    """The places about which an alert says something with these words."""
    return {one["scope"] for one in read_alerts(ground.settings, follow=False) if words in one["detail"]}
