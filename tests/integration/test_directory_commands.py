"""The directory on the real parts: usage goes to the department of the day, what was booked moves when that is put
right, and the deep audit agrees."""

import json
import secrets
import shlex
import time
from datetime import UTC, datetime
from pathlib import Path

from producers.client import Producer
from schemas.event import UsageEvent
from schemas.settings import Settings
from stream_processors import warehouse
from tests.conftest import Environment, RunTollbook

DEADLINE_S = 60.0


def test_usage_goes_to_the_department_of_the_day(
    stack: Environment, run_tollbook: RunTollbook, settings: Settings, tmp_path: Path
) -> None:
    organization, file = f"directory-{secrets.token_hex(4)}", tmp_path / "people.csv"
    file.write_text(
        "organization,user,from,department,display_name\n"
        f"{organization},ada,2026-01-01T00:00:00Z,engineering,Ada B.\n"
        f"{organization},ada,2026-06-01T00:00:00Z,research,Ada L.\n"
    )
    file.write_text(f"{file.read_text()}{organization}-probe,ada,2026-01-01T00:00:00Z,probe,Ada\n")
    applied = run_tollbook(stack, "directory", "apply", str(file), "--json")
    added = json.loads(applied.stdout)["added"]
    assert added == [f"{organization}-probe/ada", f"{organization}/ada"], applied.stderr
    moments = [datetime(2026, 3, 1, tzinfo=UTC), datetime(2026, 7, 1, tzinfo=UTC)]

    def used(whose: str) -> list[str]:
        """The departments that ada's usage at these moments got."""
        ids = [secrets.token_hex(8) for _ in moments]
        with Producer(settings) as producer:
            for event_id, moment in zip(ids, moments, strict=True):
                producer.emit(
                    UsageEvent(
                        event_id=event_id,
                        source="directory",
                        occurred_at=moment,
                        organization=whose,
                        user="ada",
                        provider="openai",
                        model="gpt-4o",
                        input_tokens=1,
                    )
                )
        assert run_tollbook(stack, "wait", "--timeout", "60").returncode == 0
        query = "SELECT department FROM usage WHERE event_id IN {ids:Array(String)} ORDER BY occurred_at"
        return [row["department"] for row in warehouse.ask(settings, query, {"ids": ids})]

    deadline = time.monotonic() + DEADLINE_S
    while used(f"{organization}-probe") != ["probe", "probe"]:  # until rating has read what was applied
        assert time.monotonic() < deadline
    assert used(organization) == ["engineering", "research"]
    shown = json.loads(run_tollbook(stack, "directory", "show", "ada", "--json").stdout)
    assert [row["department"] for row in shown if row["organization"] == organization] == ["engineering", "research"]
    names = "SELECT DISTINCT occurred_at, display_name FROM usage_named WHERE organization = {o:String} ORDER BY ALL"
    while time.monotonic() < deadline:  # the directory lands by itself, and nobody waits for it
        named = [row["display_name"] for row in warehouse.ask(settings, names, {"o": organization})]
        if named == ["Ada B.", "Ada L."]:
            break
    assert named == ["Ada B.", "Ada L."]

    file.write_text(file.read_text().replace(",engineering,", ",sales,"))  # it was sales all the time
    applied = run_tollbook(stack, "directory", "apply", str(file), "--json")
    booked, before = json.loads(applied.stdout)["booked"], moved_to(settings, organization)
    assert booked["rows"] == before["engineering"] > 0, applied.stderr
    command = (*shlex.split(booked["command"])[1:], "--reason", "wrong list", "--author", "mia", "--json")
    assert command[:6] == ("directory", "correct", "--from", "2026-01-01T00:00:00Z", "--to", "2026-06-01T00:00:00Z")
    run_tollbook(stack | {"TOLLBOOK_FAULT": "entries.sent:1"}, *command)  # ends as it has sent the first
    for entries in (0, 0):
        moved = run_tollbook(stack, *command)
        assert moved.returncode == 0, moved.stderr
        assert json.loads(moved.stdout)["entries"] == entries
    assert run_tollbook(stack, "wait", "--timeout", "60").returncode == 0
    assert moved_to(settings, organization) == {"research": before["research"], "sales": before["engineering"]}
    listed = "SELECT DISTINCT prior_period, reason, author FROM adjustments WHERE organization = {o:String}"
    assert [tuple(row.values()) for row in warehouse.ask(settings, listed, {"o": organization})] == [
        (1, "wrong list", "mia")
    ]
    audited = run_tollbook(stack, "audit", "--deep", "--json")
    assert audited.returncode == 0, audited.stdout


def moved_to(settings: Settings, organization: str) -> dict[str, int]:
    """Requests by department, the same in rows and in windows."""
    found = []
    for names, table in (
        ("department AS scope", "usage WHERE organization"),
        ("scope", "windows WHERE scope_kind = 'department' AND window_kind = 'day' AND organization"),
    ):
        sql = f"SELECT {names}, sum(requests) AS n FROM {table} = {{o:String}} GROUP BY scope HAVING n != 0"
        found.append({row["scope"]: row["n"] for row in warehouse.ask(settings, sql, {"o": organization})})
    assert found[0] == found[1]
    return found[0]
