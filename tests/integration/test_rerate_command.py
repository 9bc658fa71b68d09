"""`tollbook rerate` on the real parts: killed half-way and run again, there and back; everything follows."""

import json
import secrets
import shlex
import subprocess
import time
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

NAME = f"rerated-{secrets.token_hex(4)}"
AT = datetime(2026, 3, 1, 12, tzinfo=UTC)
RANGE = ("--from", "2026-03-01T00:00:00Z", "--to", "2026-04-01T00:00:00Z", "--where", f"organization={NAME}")
PRICES = f"""
[[price]]
id = "{NAME}-off"
organization = "{NAME}"
model = "gpt-4o"
service_tier = "*"
[[price.range]]
from = 2026-01-01T00:00:00Z
discount_percent = 50

[[price]]
id = "{NAME}-house"
organization = "{NAME}"
provider = "house"
model = "house-*"
service_tier = "*"
[[price.range]]
from = 2026-01-01T00:00:00Z
per_million = {{ input_tokens = 1, output_tokens = 0 }}
"""
BUDGET = f"""
[[budget]]
id = "{NAME}"
scope = "organization:{NAME}"
period = "month"
unit = "cost"
limit = "0.04"
thresholds = [50, 100]
"""
LISTED = Decimal("0.0055")  # 1 000 x 2.50 + 300 x 10.00 a million
HOUSE = Decimal("0.001")  # 1 000 x 1.00 a million
Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def run(stack: Environment, run_tollbook: RunTollbook) -> Run:
    def run_checked(*arguments: str, status: int = 0, fault: str = "") -> "subprocess.CompletedProcess[str]":
        done = run_tollbook(stack | {"TOLLBOOK_FAULT": fault}, *arguments)
        assert done.returncode == status, done.stdout + done.stderr
        return done

    return run_checked


def emit(settings: Settings, models: list[tuple[str, str]]) -> None:
    """An event of each (provider, model), of users enough to be in every partition."""
    with Producer(settings) as producer:
        for number, (provider, model) in enumerate(models):
            producer.emit(
                UsageEvent(
                    event_id=secrets.token_hex(8),
                    source="rerated",
                    occurred_at=AT,
                    organization=NAME,
                    department="eng",
                    user=f"user {number}",
                    provider=provider,
                    model=model,
                    input_tokens=1000,
                    output_tokens=300,
                )
            )


def totals(settings: Settings) -> tuple[int, int, Decimal]:
    """Requests, unpriced requests and cost of the organization's month, the same in rows and in windows."""
    names = "sum(requests) AS requests, sum(unpriced_requests) AS unpriced, sum(cost_usd) AS usd"
    window = "scope_kind = 'organization' AND window_kind = 'month' AND organization = {name:String}"
    found = [
        tuple(warehouse.ask(settings, f"SELECT {names} FROM {table}", {"name": NAME})[0].values())
        for table in ("usage WHERE organization = {name:String}", f"windows WHERE {window}")
    ]
    assert found[0] == found[1]
    requests, unpriced, usd = found[0]
    return requests, unpriced, usd


def alerts(settings: Settings, wanted: dict[int, str]) -> None:
    """Waits until each threshold's newest revision is in this state.

    How many revisions came before depends on the order in which a half-done re-rating and new usage were booked:
    a sum that falls below a threshold, rises above it and falls again has rightly been raised twice.
    """
    deadline = time.monotonic() + 30
    found: dict[int, str] = {}
    while found != wanted and time.monotonic() < deadline:
        rows = warehouse.ask(
            settings,
            "SELECT threshold, argMax(state, (revision, alert_offset)) AS newest FROM alert_entries "
            f"WHERE budget_id = '{NAME}' GROUP BY threshold",
        )
        found = {row["threshold"]: row["newest"] for row in rows}
        time.sleep(0.2)
    assert found == wanted


def rerated(run: Run, *arguments: str) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(run("rerate", *arguments, "--author", "mia", "--json").stdout)
    return answer


@pytest.mark.timeout(300)
def test_killed_half_way_and_run_again_there_and_back(run: Run, settings: Settings, tmp_path: Path) -> None:
    for name, text in (("budgets", BUDGET), ("prices", PRICES)):
        (tmp_path / f"{name}.toml").write_text(text)
    run("budgets", "apply", str(tmp_path / "budgets.toml"))
    emit(settings, [("openai", "gpt-4o")] * 8 + [("house", "house-1")] * 4)
    run("wait", "--timeout", "60")
    assert totals(settings) == (12, 4, 8 * LISTED)
    alerts(settings, {50: "raised", 100: "raised"})

    applied = json.loads(run("prices", "apply", str(tmp_path / "prices.toml"), "--json").stdout)
    booked = {change["id"]: change["booked"] for change in applied["changes"]}
    assert (booked[f"{NAME}-house"]["rows"], booked[f"{NAME}-off"]["usd"]) == (4, "0.044")
    command = shlex.split(booked[f"{NAME}-house"]["rerate"])[1:]
    assert command[-4:] == ["--where", "model=house-1", "--price-version", str(applied["version"])]
    assert json.loads(run(*command, "--dry-run", "--json").stdout)["pricing"] == 4
    assert totals(settings) == (12, 4, 8 * LISTED)

    run("rerate", *RANGE, status=9, fault="entries.sent:2")
    emit(settings, [("house", "house-1")] * 2)  # while half of it is re-rated
    run("wait", "--timeout", "60")
    assert totals(settings) != (14, 0, 4 * LISTED + 6 * HOUSE)
    again = rerated(run, *RANGE)
    assert 0 < again["entries"] < 12
    run("wait", "--timeout", "60")
    assert totals(settings) == (14, 0, 4 * LISTED + 6 * HOUSE)  # 0.028 of 0.04
    alerts(settings, {50: "raised", 100: "retracted"})
    assert rerated(run, *RANGE)["entries"] == 0
    unknown = run("rerate", *RANGE, "--price-version", "999", status=1)
    assert "--price-version = 999: there are versions 0 to" in unknown.stderr

    before = str(applied["version"] - 1)
    back = rerated(run, *RANGE, "--price-version", before)
    assert (back["re-rating"], back["pricing"], back["unpricing"]) == (8, 0, 6)
    assert Decimal(back["difference_usd"]) == 4 * LISTED - 6 * HOUSE
    run("wait", "--timeout", "60")
    assert totals(settings) == (14, 6, 8 * LISTED)
    alerts(settings, {50: "raised", 100: "raised"})

    audited = json.loads(run("audit", "--deep", "--json").stdout)
    assert audited["ok"], audited["differences"]
    assert audited["checked"]["rerated"] >= 14
