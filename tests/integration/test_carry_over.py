"""Limits that reach beyond their month, on the running stack: what was left before, and a task's lifetime."""

import json
import secrets
import time
from datetime import UTC, datetime

from producers.client import Producer
from schemas.calendar import Calendar, Window
from schemas.event import UsageEvent
from schemas.settings import Settings
from stream_processors import warehouse
from stream_processors.budget_log import write_histories
from stream_processors.core.budget_history import Dated
from stream_processors.core.budgets import Budget
from tests.conftest import Environment, RunTollbook

DEADLINE_S = 60.0


def use(settings: Settings, organization: str, window: Window, tokens: int, task: str = "") -> None:
    at = min((window.start + window.end) // 2, time.time_ns() // 1000)
    event = UsageEvent(
        event_id=secrets.token_hex(8),
        source="carry-over",
        occurred_at=datetime.fromtimestamp(at / 1_000_000, UTC),
        organization=organization,
        user="ada",
        task=task,
        provider="openai",
        model="gpt-4o",
        input_tokens=tokens,
    )
    with Producer(settings) as producer:
        producer.emit(event)


def test_a_limit_follows_what_was_left_of_the_month_before(settings: Settings) -> None:
    name, calendar = f"carried-{secrets.token_hex(4)}", Calendar()
    now = calendar.window("month", time.time_ns() // 1000)
    before = calendar.window("month", now.start - 1)
    budget = Budget(name, name, "user", "*", "month", "tokens", 100, (75, 100), 1, carry_over=True)
    write_histories(settings.kafka, {name: (Dated(before.start, budget, "mia"),)})  # in force since then

    def until(limit: str, standing: list[int]) -> None:
        query = (
            "SELECT any(limit) AS limit, (SELECT arraySort(groupArray(threshold)) FROM standing_alerts"
            " WHERE budget_id = {b:String} AND window_start = toStartOfMonth(now('UTC'))) AS standing"
            " FROM limits WHERE budget_id = {b:String} AND scope = 'ada'"
        )
        deadline = time.monotonic() + DEADLINE_S
        while (found := warehouse.ask(settings, query, {"b": name})) != [{"limit": limit, "standing": standing}]:
            assert time.monotonic() < deadline, found
            time.sleep(0.2)

    use(settings, name, before, 40)
    use(settings, name, now, 130)
    until("160", [75])  # 60 of 100 were left: 130 is 81 %
    use(settings, name, before, 50)
    until("110", [75, 100])  # 10 are left
    use(settings, name, before, 50)
    until("100", [75, 100])  # less than nothing is nothing


def test_a_task_s_lifetime_is_one_window(settings: Settings, stack: Environment, run_tollbook: RunTollbook) -> None:
    name, calendar = f"living-{secrets.token_hex(4)}", Calendar()
    now = calendar.window("month", time.time_ns() // 1000)
    budget = Budget(name, name, "task", "*", "lifetime", "tokens", 100, (50, 100), 1)
    write_histories(settings.kafka, {name: (Dated(time.time_ns() // 1000, budget, "mia"),)})
    use(settings, name, calendar.window("month", now.start - 1), 60, task="fix-1")
    use(settings, name, now, 60, task="fix-1")
    use(settings, name, now, 50, task="fix-2")

    limits = "SELECT scope, used, remaining, projected FROM budget_status WHERE budget_id = {b:String} ORDER BY scope"
    alerts = (
        "SELECT scope, threshold, detail FROM standing_alerts WHERE budget_id = {b:String} ORDER BY scope, threshold"
    )
    deadline = time.monotonic() + DEADLINE_S
    while len(said := warehouse.ask(settings, alerts, {"b": name})) < 3:
        assert time.monotonic() < deadline, said
        time.sleep(0.2)
    assert [(each["scope"], each["threshold"]) for each in said] == [("fix-1", 50), ("fix-1", 100), ("fix-2", 50)]
    assert said[1]["detail"] == f"task fix-1 of {name} reached 100 % of 100 tokens for its lifetime: 120 used"
    assert run_tollbook(stack, "wait", "--timeout", "60").returncode == 0
    found = [tuple(row.values()) for row in warehouse.ask(settings, limits, {"b": name})]
    assert found == [("fix-1", "120", "-20", "120"), ("fix-2", "50", "50", "50")]
    audited = run_tollbook(stack, "audit", "--json")
    assert audited.returncode == 0, json.loads(audited.stdout)["differences"]
