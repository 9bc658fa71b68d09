"""What is left of a month is a part of the next one's limit, on the running stack, and follows late usage."""

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

DEADLINE_S = 60.0


def use(settings: Settings, organization: str, window: Window, tokens: int) -> None:
    at = min((window.start + window.end) // 2, time.time_ns() // 1000)
    event = UsageEvent(
        event_id=secrets.token_hex(8),
        source="carry-over",
        occurred_at=datetime.fromtimestamp(at / 1_000_000, UTC),
        organization=organization,
        user="ada",
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
