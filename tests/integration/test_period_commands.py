"""A month is closed; what is booked for it afterwards is listed, with who and why."""

import json
import secrets
import subprocess
import time
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from producers.client import Producer
from schemas.event import UsageEvent
from schemas.settings import Settings
from tests.conftest import Environment, RunTollbook

NAME = f"closed-{secrets.token_hex(4)}"
MONTH = "2025-11"  # nobody else's
COST = Decimal("0.0055")  # 1 000 x 2.50 + 300 x 10.00 a million
SAID = ("--reason", "invoiced", "--author", "mia")
Run = Callable[..., "subprocess.CompletedProcess[str]"]


def emit(settings: Settings, event_id: str) -> None:
    event = UsageEvent(
        event_id=event_id,
        source="gateway",
        occurred_at=datetime(2025, 11, 30, 23, tzinfo=UTC),
        organization=NAME,
        provider="openai",
        model="gpt-4o",
        input_tokens=1000,
        output_tokens=300,
    )
    with Producer(settings) as producer:
        producer.emit(event)


@pytest.mark.timeout(200)
def test_what_comes_for_a_closed_month_is_prior_period(
    stack: Environment, run_tollbook: RunTollbook, settings: Settings
) -> None:
    def run(*arguments: str, status: int = 0) -> "subprocess.CompletedProcess[str]":
        done = run_tollbook(stack, *arguments)
        assert done.returncode == status, done.stdout + done.stderr
        return done

    def closed() -> list[dict[str, Any]]:
        """Once the sink has landed the closing."""
        deadline = time.monotonic() + 30
        found: list[dict[str, Any]] = []
        while not found and time.monotonic() < deadline:
            listed = json.loads(run("periods", "list", "--json").stdout)
            found = [row for row in listed if row["organization"] == NAME]
        return found

    before, late = secrets.token_hex(8), secrets.token_hex(8)
    emit(settings, before)
    run("periods", "close", MONTH, *SAID)  # what was appended belongs to it, landed or not
    emit(settings, late)
    run("wait", "--timeout", "60")
    run("adjust", "reverse", before, "--reason", "sent twice", "--author", "tom")
    run("wait", "--timeout", "60")

    [month] = closed()
    assert (month["month"], month["closed_by"], month["prior_period_entries"]) == (f"{MONTH}-01", "mia", 2)
    money = ("closed_cost_usd", "prior_period_cost_usd", "net_cost_usd")
    assert [Decimal(month[name]) for name in money] == [COST, 0, COST]
    listed = json.loads(run("periods", "entries", MONTH, "--organization", NAME, "--json").stdout)
    assert [(row["kind"], row["corrects"] or row["event_id"], row["reason"], row["author"]) for row in listed] == [
        ("adjustment", before, "sent twice", "tom"),
        ("usage", late, "usage that came late", "gateway"),
    ]

    assert "it is closed already by mia" in run("periods", "close", MONTH, *SAID, status=1).stderr
    assert "closed after that" in run("periods", "close", "2099-12", *SAID, status=1).stderr
    run("periods", "reopen", MONTH, "--reason", "too early", "--author", "mia")
