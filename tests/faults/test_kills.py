"""kill -9 of each worker and of ClickHouse under load, checked against what the load generator knows."""

import itertools
import json
import os
import random
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from producers.simulate import Simulation, simulate
from schemas.settings import Settings
from schemas.topics import ALERTS
from stream_processors import warehouse
from stream_processors.alert_log import read_alerts
from stream_processors.core.budgets import alert_id
from stream_processors.lag import lag
from stream_processors.logs import LogReader
from tests.conftest import TOLLBOOK, Environment, RunTollbook, running_stack, settings_of

VICTIMS = ("rating", "windows", "sink", "clickhouse")
THRESHOLDS = tuple(range(2, 101, 2))
DEADLINE_S = 120.0


@dataclass(frozen=True)
class Campaign:
    """How long and how hard: rounds of one kill each, events a round, events a second."""

    seed: int
    rounds: int
    events: int
    rate: int


class Load:
    """What is sent, round by round, known without asking the ledger: a simulation gives the same bytes again."""

    def __init__(self, campaign: Campaign) -> None:
        end = int(time.time()) // 3600 * 3_600_000_000
        self.rounds = [
            Simulation(campaign.seed + number, campaign.events, end - 3_600_000_000, end, late=0.0)
            for number in range(campaign.rounds)
        ]
        self.ids: list[str] = []
        self.tokens: Counter[tuple[str, int]] = Counter()  # by organization and day
        for simulation in self.rounds:
            for batch in simulate(simulation):
                self._count(batch.events.filter(pa.array(~batch.repeated)))

    def _count(self, events: pa.RecordBatch) -> None:
        self.ids += events.column("event_id").to_pylist()
        tokens = pc.add(events.column("input_tokens"), events.column("output_tokens")).to_numpy()
        days = pc.floor_temporal(events.column("occurred_at"), unit="day").cast(pa.int64()).to_numpy()
        organizations = np.array(events.column("organization").to_pylist())
        for organization, day in set(zip(organizations.tolist(), days.tolist(), strict=True)):
            self.tokens[organization, day] += int(tokens[(organizations == organization) & (days == day)].sum())

    def start(self, number: int, environment: Environment, rate: int) -> "subprocess.Popen[str]":
        """Begin to send a round."""
        s = self.rounds[number]
        command = [TOLLBOOK, "simulate", "--json", "--late", "0"]
        command += ["--events", str(s.events), "--seed", str(s.seed), "--rate", str(rate)]
        command += ["--from", _iso(s.start), "--to", _iso(s.end)]
        return subprocess.Popen(command, env=os.environ | environment, stdout=subprocess.PIPE, text=True)


@pytest.fixture(scope="module")
def stack(new_stack_environment: Callable[[], Environment], run_tollbook: RunTollbook) -> Iterator[Environment]:
    """A ledger of its own: what others have used would cross thresholds, too."""
    yield from running_stack(new_stack_environment(), run_tollbook)


@pytest.fixture(scope="module")
def settings(stack: Environment) -> Settings:
    return settings_of(stack)


def test_few_kills(stack: Environment, settings: Settings, run_tollbook: RunTollbook, tmp_path: Path) -> None:
    _survive(Campaign(seed=1100, rounds=4, events=40_000, rate=10_000), stack, settings, run_tollbook, tmp_path)


@pytest.mark.campaign
@pytest.mark.timeout(1200)
def test_ten_rounds_over_a_million_events(
    stack: Environment, settings: Settings, run_tollbook: RunTollbook, tmp_path: Path
) -> None:
    campaign = Campaign(seed=1200, rounds=10, events=120_000, rate=20_000)
    _survive(campaign, stack, settings, run_tollbook, tmp_path)


def _survive(
    campaign: Campaign, stack: Environment, settings: Settings, run_tollbook: RunTollbook, tmp_path: Path
) -> None:
    print(campaign)
    load = Load(campaign)
    budget = f"kills-{campaign.seed}"
    limit = max(load.tokens.values())
    budgets = tmp_path / "budgets.toml"
    budgets.write_text(
        f'[[budget]]\nid = "{budget}"\nscope = "organization:*"\nperiod = "day"\nunit = "tokens"\n'
        f"limit = {limit}\nthresholds = {list(THRESHOLDS)}\n"
    )
    applied = run_tollbook(stack, "budgets", "apply", str(budgets))
    assert applied.returncode == 0, applied.stderr
    chance = random.Random(campaign.seed)
    for number, victim in zip(range(campaign.rounds), itertools.cycle(VICTIMS)):
        _round(load, number, victim, chance.random(), campaign, stack, settings)

    waited = run_tollbook(stack, "wait", "--timeout", "180")
    assert waited.returncode == 0, waited.stdout + waited.stderr
    audited = run_tollbook(stack, "audit", "--deep", "--json")
    assert audited.returncode == 0, audited.stdout + audited.stderr
    _every_event_once(load, settings)
    _every_alert_once(budget, limit, load, settings)


def _round(
    load: Load,
    number: int,
    victim: str,
    delay_s: float,
    campaign: Campaign,
    stack: Environment,
    settings: Settings,
) -> None:
    """Send a part of the load; once it has crossed a threshold, and while some of it is under way, kill."""
    before = _alerts_appended(settings)
    sender = load.start(number, stack, campaign.rate)
    try:
        _await(lambda: _alerts_appended(settings) > before, f"a threshold crossed in round {number}")
        time.sleep(delay_s)  # somewhere within a turn, not right behind an alert
        pid = _ready_pid_of(victim, stack)
        _await(lambda: _total_lag(settings) > 0, f"events under way in round {number}")
        os.kill(pid, signal.SIGKILL)
        print(f"round {number}: kill -9 {victim} ({pid})")
        answer, _ = sender.communicate(timeout=600)
        assert sender.returncode == 0
        assert json.loads(answer)["acknowledged"] == campaign.events
    finally:
        sender.kill()
        sender.wait()
    _await(lambda: _ready_pid_of(victim, stack) not in (0, pid), f"{victim} at work again")


def _await(holds: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not holds():
        assert time.monotonic() < deadline, f"no {what} within {DEADLINE_S} s"
        time.sleep(0.1)


def _alerts_appended(settings: Settings) -> int:
    with LogReader(settings.kafka) as reader:
        return sum(reader.bounds(ALERTS, partition)[1] for partition in range(settings.partitions))


def _total_lag(settings: Settings) -> int:
    return sum(count for stage in lag(settings).values() for count in stage.values())


def _ready_pid_of(name: str, stack: Environment) -> int:
    """From the supervisor's own record; 0 when the process is not at work."""
    record = json.loads((Path(stack["TOLLBOOK_STATE_DIR"]) / "supervisor.json").read_text())
    [process] = [process for process in record["processes"] if process["name"] == name]
    return int(process["pid"]) if process["state"] == "ready" else 0


def _every_event_once(load: Load, settings: Settings) -> None:
    with warehouse.connect(settings) as client:
        found = client.query_arrow("SELECT event_id FROM usage WHERE source = 'simulator'", use_strings=True)
    counted = Counter(found.column("event_id").to_pylist())
    lost = [event for event in load.ids if event not in counted]
    doubled = [event for event in load.ids if counted[event] > 1]
    assert (len(lost), len(doubled)) == (0, 0), (lost[:5], doubled[:5])


def _every_alert_once(budget: str, limit: int, load: Load, settings: Settings) -> None:
    expected = {
        alert_id(budget, organization, "organization", organization, "day", day, threshold, 0)
        for (organization, day), tokens in load.tokens.items()
        for threshold in THRESHOLDS
        if tokens * 100 >= limit * threshold
    }
    in_topic = Counter(
        alert["alert_id"] for alert in read_alerts(settings, follow=False) if alert["budget_id"] == budget
    )
    rows = warehouse.ask(settings, "SELECT alert_id FROM alerts WHERE budget_id = {budget:String}", {"budget": budget})
    in_table = Counter(row["alert_id"] for row in rows)
    assert set(in_topic) == expected
    assert in_topic == in_table
    assert set(in_topic.values()) == {1}


def _iso(micros: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(micros // 1_000_000))
