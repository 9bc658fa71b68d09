"""The directory on the real parts: usage goes to the department of the day, and the deep audit agrees."""

import json
import secrets
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
        "organization,user,from,department\n"
        f"{organization},ada,2026-01-01T00:00:00Z,engineering\n"
        f"{organization},ada,2026-06-01T00:00:00Z,research\n"
    )
    applied = run_tollbook(stack, "directory", "apply", str(file), "--json")
    assert json.loads(applied.stdout)["added"] == [f"{organization}/ada"], applied.stderr
    moments = [datetime(2026, 3, 1, tzinfo=UTC), datetime(2026, 7, 1, tzinfo=UTC)]
    deadline, found = time.monotonic() + DEADLINE_S, {""}
    while "" in found and time.monotonic() < deadline:  # until rating has read what was applied
        ids = [secrets.token_hex(8) for _ in moments]
        with Producer(settings) as producer:
            for event_id, moment in zip(ids, moments, strict=True):
                producer.emit(
                    UsageEvent(
                        event_id=event_id,
                        source="directory",
                        occurred_at=moment,
                        organization=organization,
                        user="ada",
                        provider="openai",
                        model="gpt-4o",
                        input_tokens=1,
                    )
                )
        assert run_tollbook(stack, "wait", "--timeout", "60").returncode == 0
        rows = warehouse.ask(
            settings,
            "SELECT department FROM usage WHERE event_id IN {ids:Array(String)} ORDER BY occurred_at",
            {"ids": ids},
        )
        found = {row["department"] for row in rows}
    assert [row["department"] for row in rows] == ["engineering", "research"]
    audited = run_tollbook(stack, "audit", "--deep", "--json")
    assert audited.returncode == 0, audited.stdout
    shown = json.loads(run_tollbook(stack, "directory", "show", "ada", "--json").stdout)
    assert [row["department"] for row in shown if row["organization"] == organization] == ["engineering", "research"]
