"""What is unlike the ledger's history is found in ClickHouse, said once, and lands as an alert."""

import secrets
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from producers.client import Producer
from schemas.calendar import Calendar
from schemas.event import UsageEvent
from schemas.settings import Settings
from stream_processors import history_watch, warehouse
from stream_processors.budget_actions import apply_budgets
from stream_processors.core.budget_forms import build_budgets
from stream_processors.core.history_alerts import DAY_US, HOUR_US, hour_of
from stream_processors.history_watch import HistoryWatch
from tests.conftest import Environment, RunTollbook

LANDED = (
    "SELECT type, state, scope, used FROM alerts WHERE type != 'threshold'"  # other tests' budgets are for each
    " AND (organization = {name:String} OR startsWith(scope, {name:String}))"
)


def usage(name: str, at: int, tokens: int, **fields: str) -> UsageEvent:
    return UsageEvent.model_validate(
        {
            "event_id": secrets.token_hex(8),
            "source": name,
            "occurred_at": datetime.fromtimestamp(at / 1_000_000, UTC),
            "organization": name,
            "user": "ada",
            "provider": "openai",
            "model": "gpt-4o",  # 2.50 US dollars per million input tokens
            "input_tokens": tokens,
        }
        | fields
    )


@pytest.mark.timeout(200)
def test_what_is_unlike_history_is_said_once_and_lands(
    stack: Environment, run_tollbook: RunTollbook, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, calendar = f"history-{secrets.token_hex(4)}", Calendar()
    now = time.time_ns() // 1000
    if now % DAY_US < HOUR_US:
        now -= HOUR_US  # a day is summed up an hour after it ends: not between the two looks below
    yesterday = calendar.window("day", calendar.window("day", now - HOUR_US).start - 1).start + 10 * HOUR_US
    with Producer(settings) as producer:
        for week in range(1, 5):  # each with 1 US dollar and 50 requests at this hour, none of which failed
            producer.emit(usage(name, now - 7 * DAY_US * week, 400_000))
            for _ in range(49):
                producer.emit(usage(name, now - 7 * DAY_US * week, 0))
        producer.emit(usage(name, now, 8_000_000))  # 20 US dollars
        for _ in range(20):
            producer.emit(usage(name, now, 0, status="error"))
        for project in ("one", "other"):  # of which its plan includes one
            producer.emit(usage(name, now, 0, project=project))
        producer.emit(usage(name, yesterday, 1_200_000))  # 3 US dollars
        for number in range(100):
            producer.emit(usage(name, hour_of(now) - HOUR_US // 2, 0, user="eve", session=f"s{number % 20}"))
    assert run_tollbook(stack, "wait", "--timeout", "60").returncode == 0
    plan = {"id": name, "organization": name, "scope": f"organization:{name}", "period": "month", "unit": "tokens"}
    [budget] = build_budgets([plan | {"limit": 10**12, "projects": 1, "members": 1_000}])
    apply_budgets(settings, [budget], "mia", now, prune=False, next_window=False)
    _note_hours(settings, f"{name}-gateway", hour_of(now) - 4 * HOUR_US)
    _note_habits(settings, name, hour_of(now))

    HistoryWatch(settings, calendar, since=0).look(now)
    watch, deadline = HistoryWatch(settings, calendar, since=0), time.monotonic() + 60
    while len(rows := warehouse.ask(settings, LANDED, {"name": name})) < 8:
        assert time.monotonic() < deadline, rows
        watch.look(now + HOUR_US)  # this hour's arrivals are judged when it is over and no reader is behind
        time.sleep(0.25)
    assert run_tollbook(stack, "wait", "--timeout", "60").returncode == 0
    appended: list[dict[str, Any]] = []
    monkeypatch.setattr(history_watch, "append_alerts", lambda kafka, registry, records: appended.extend(records))
    HistoryWatch(settings, calendar, since=0).look(now + HOUR_US)  # as after a crash
    assert [each for each in appended if each["organization"] == name or each["scope"].startswith(name)] == []
    assert sorted((row["type"], row["state"], row["scope"], row["used"]) for row in rows) == [
        ("error_surge", "raised", "openai/gpt-4o", "20"),
        ("plan", "raised", name, "2"),
        ("silent_source", "raised", f"{name}-gateway", "0"),
        ("spike", "raised", name, "20.00"),
        ("summary", "raised", name, "3.00"),
        ("suspicious", "raised", "eve", "0"),  # a burst of sessions
        ("suspicious", "raised", "eve", "100"),  # at an unusual hour
        ("suspicious", "raised", "gpt-4o", "0"),  # seen for the first time
    ]


def _note_hours(settings: Settings, source: str, last: int) -> None:
    """As if it had sent every hour for a week, and then not any more."""
    newest = datetime.fromtimestamp(last / 1_000_000, UTC)
    hours = [(source, (newest - timedelta(hours=number)).replace(tzinfo=None)) for number in range(168)]
    with warehouse.connect(settings) as client:
        client.insert("source_hours", hours, column_names=["source", "hour"])


def _note_habits(settings: Settings, name: str, hour: int) -> None:
    """As if ada had used another model for twenty days, and eve had worked on ten days, hours earlier than now."""

    def at(micros: int) -> datetime:
        return datetime.fromtimestamp(micros / 1_000_000, UTC).replace(tzinfo=None)

    values = [(name, "ada", "model", "older", at(hour - 20 * DAY_US))]
    hours = [(name, "eve", at(hour - day * DAY_US - 6 * HOUR_US), 10, 2, at(hour)) for day in range(1, 11)]
    with warehouse.connect(settings) as client:
        client.insert("user_values", values, column_names=["organization", "user", "kind", "value", "first_hour"])
        columns = ["organization", "user", "hour", "requests", "sessions", "noted_until"]
        client.insert("user_hours", hours, column_names=columns)
