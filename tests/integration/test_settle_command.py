"""Credits, volume discounts and overages on the real parts: settled once, followed by late usage and by windows."""

import json
import secrets
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from producers.client import Producer
from schemas.event import UsageEvent
from schemas.settings import Settings
from stream_processors import warehouse
from tests.conftest import Environment, RunTollbook

RULES = """
[[volume]]
id = "volume-{name}"
organization = "{name}"
provider = "openai"

[[volume.range]]
from = 2026-01-01T00:00:00Z
tier = [{{ above = "1.00", discount_percent = 10 }}]

[[overage]]
id = "overage-{name}"
organization = "{name}"

[[overage.range]]
from = 2026-01-01T00:00:00Z
included_tokens = 1_000_000
per_million = "2.00"

[[credit]]
id = "credit-{name}"
organization = "{name}"

[[credit.range]]
from = 2026-01-01T00:00:00Z
amount = "2.50"
"""
Run = Callable[..., Any]


def use(settings: Settings, organization: str, input_tokens: int) -> None:
    event = UsageEvent(
        event_id=secrets.token_hex(8),
        source="settle",
        occurred_at=datetime(2026, 5, 31, 12, tzinfo=UTC),
        organization=organization,
        provider="openai",
        model="gpt-4o",  # 2.50 dollars a million
        input_tokens=input_tokens,
    )
    with Producer(settings) as producer:
        producer.emit(event)


@pytest.mark.timeout(200)
def test_what_is_due_is_booked_once(
    stack: Environment, run_tollbook: RunTollbook, settings: Settings, tmp_path: Path
) -> None:
    name, file = f"settled-{secrets.token_hex(4)}", tmp_path / "prices.toml"

    def run(*arguments: str) -> Any:
        done = run_tollbook(stack, *arguments, "--json")
        assert done.returncode == 0, done.stdout + done.stderr
        return json.loads(done.stdout)

    def settled() -> list[tuple[str, str]]:
        entries = [entry for entry in run("settle")["entries"] if entry["organization"] == name]
        return [(entry["rule"].partition("-")[0], entry["amount_usd"]) for entry in entries]

    file.write_text(RULES.format(name=name))
    run("prices", "apply", str(file))
    use(settings, name, 800_000)  # 2.00 dollars: 0.10 off, and the credit pays the rest
    assert settled() == [("volume", "-0.10"), ("credit", "-1.90")]
    assert settled() == []
    use(settings, name, 800_000)  # 4.00 dollars: 0.30 off, 600 000 tokens over, and what is left of the credit
    assert settled() == [("overage", "1.20"), ("volume", "-0.20"), ("credit", "-0.60")]
    assert run_tollbook(stack, "wait", "--timeout", "60").returncode == 0
    [month] = warehouse.ask(
        settings,
        "SELECT requests, cost_usd FROM windows WHERE organization = {o:String} AND window_kind = 'month' "
        "AND scope_kind = 'organization'",
        {"o": name},
    )
    assert (month["requests"], month["cost_usd"]) == (2, Decimal("2.4"))

    use(settings, name, 400_000)  # 1.00 dollar: 0.10 off, and 400 000 tokens over
    closing = ("periods", "close", "2026-05", "--reason", "invoiced", "--author", "mia")
    closed = run_tollbook(stack, *closing)
    assert (closed.returncode, "settled: " in closed.stdout) == (0, True), closed.stdout + closed.stderr
    assert settled() == []
    run_tollbook(stack, "periods", "reopen", *closing[2:])
