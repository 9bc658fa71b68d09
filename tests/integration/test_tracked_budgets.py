"""A budget on usage that nobody kept totals of before: counted from the ledger, judged at once, exact from then on."""

import secrets
import time
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from producers.client import Producer
from schemas.event import UsageEvent
from schemas.settings import Settings
from stream_processors import warehouse
from tests.conftest import Environment, RunTollbook

ORGANIZATION = f"tracked-{secrets.token_hex(4)}"
DEADLINE_S = 60.0
BUDGETS = f"""
[[budget]]
id = "{ORGANIZATION}-team-week"
organization = "{ORGANIZATION}"
scope = "team:*"
period = "week"
unit = "output_tokens"
limit = 1000
thresholds = [50, 75, 90, 100]
conditions = {{ model = ["gpt-4o", "gpt-4o-mini"], feature = "search" }}
"""


def send(settings: Settings, count: int, **fields: Any) -> None:
    """Events of ten output tokens each."""
    with Producer(settings) as producer:
        for number in range(count):
            producer.emit(
                UsageEvent(
                    event_id=f"{secrets.token_hex(8)}-{number}",
                    source=ORGANIZATION,
                    organization=ORGANIZATION,
                    user=f"user-{number % 7}",
                    occurred_at=datetime.now(UTC),
                    provider="openai",
                    input_tokens=100,
                    output_tokens=10,
                    **fields,
                )
            )


def alerts(settings: Settings) -> list[tuple[str, int]]:
    rows = warehouse.ask(
        settings,
        "SELECT state, threshold FROM alerts WHERE budget_id = {budget:String} ORDER BY alert_offset",
        {"budget": f"{ORGANIZATION}-team-week"},  # other tests have budgets over every organization
    )
    return [(row["state"], row["threshold"]) for row in rows]


def until(holds: Callable[[], bool]) -> float:
    """Seconds until it holds."""
    began = time.monotonic()
    while not holds():
        assert time.monotonic() < began + DEADLINE_S, "not in time"
        time.sleep(0.1)
    return time.monotonic() - began


def test_a_filter_that_nobody_tracked_is_judged_without_new_usage_and_exact_after_more(
    stack: Environment, settings: Settings, run_tollbook: RunTollbook, tmp_path: Path
) -> None:
    send(settings, 80, model="gpt-4o", feature="search", team="blue")  # 800 of 1000 output tokens
    send(settings, 30, model="gpt-4o", feature="chat", team="blue")
    send(settings, 30, model="o3", feature="search", team="blue")
    send(settings, 40, model="gpt-4o-mini", feature="search", team="green")
    assert run_tollbook(stack, "wait", "--timeout", "120").returncode == 0
    file = tmp_path / "budgets.toml"
    file.write_text(BUDGETS)
    applied = run_tollbook(stack, "budgets", "apply", str(file))
    assert applied.returncode == 0, applied.stdout + applied.stderr
    took_s = until(lambda: len(alerts(settings)) >= 2)
    print(f"alerted {took_s:.1f} s after it was applied")
    assert alerts(settings) == [("raised", 50), ("raised", 75)]

    send(settings, 15, model="gpt-4o-mini", feature="search", team="blue")
    send(settings, 70, model="o3", feature="search", team="green")
    assert run_tollbook(stack, "wait", "--timeout", "120").returncode == 0
    until(lambda: len(alerts(settings)) >= 3)
    assert alerts(settings) == [("raised", 50), ("raised", 75), ("raised", 90)]
    counted = {"blue": "950", "green": "400"}

    def limits() -> dict[str, str]:
        query = "SELECT scope, used FROM limits WHERE organization = {organization:String} AND conditions != ''"
        return {row["scope"]: row["used"] for row in warehouse.ask(settings, query, {"organization": ORGANIZATION})}

    until(lambda: limits() == counted)
    by_sql = warehouse.ask(
        settings,
        "SELECT team, sum(output_tokens) AS used FROM usage WHERE organization = {organization:String} "
        "AND model IN ('gpt-4o', 'gpt-4o-mini') AND feature = 'search' GROUP BY team",
        {"organization": ORGANIZATION},
    )
    assert {row["team"]: str(Decimal(row["used"])) for row in by_sql} == counted
    topped_up = run_tollbook(stack, "budgets", "top-up", f"{ORGANIZATION}-team-week", "300", "--scope", "blue")
    assert topped_up.returncode == 0, topped_up.stdout + topped_up.stderr
    until(lambda: len(alerts(settings)) >= 5)  # 950 of 1300 are 73 %
    assert alerts(settings)[3:] == [("retracted", 90), ("retracted", 75)]
    send(settings, 10, model="gpt-4o", feature="search", team="blue")
    until(lambda: len(alerts(settings)) >= 6)  # 1050 of 1300 are 80 %
    assert alerts(settings)[5:] == [("raised", 75)]
    audit = run_tollbook(stack, "audit", "--json")
    assert audit.returncode in (0, 3), audit.stdout
    assert '"differing":0' in audit.stdout.replace(" ", ""), audit.stdout
