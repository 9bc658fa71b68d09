"""Prices of one's own on the real parts: in force without a restart, told by every row, followed by the deep audit."""

import json
import secrets
import time
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import KafkaException

from producers.client import Producer
from schemas.event import UsageEvent
from schemas.settings import Settings
from schemas.topics import PRICES
from stream_processors import warehouse
from stream_processors.core.price_file import parse_prices
from stream_processors.core.price_history import changes_between, histories_after, latest_version
from stream_processors.price_log import read_histories
from stream_processors.versioned_log import Writer
from tests.conftest import Environment, RunTollbook

DEADLINE_S = 60.0
FILE = """
[[price]]
id = "{id}"
organization = "{id}"
provider = "house"
model = "{id}"
service_tier = "default"

[[price.range]]
from = 2026-01-01T00:00:00Z
per_million = {{ input_tokens = "{usd}", output_tokens = "8.00" }}
"""
#: XTS is the code that ISO 4217 keeps for tests.
MONEY = """
[[currency]]
code = "XTS"

[[currency.range]]
from = 2026-01-01T00:00:00Z
usd = "1.25"

[[tax]]
id = "tax-{id}"
organization = "{id}"

[[tax.range]]
from = 2026-01-01T00:00:00Z
percent = "7.5"
"""
BUDGET = """
[[budget]]
id = "{name}"
organization = "{name}"
scope = "organization:{name}"
period = "month"
unit = "cost"
limit = "0.10"
thresholds = [100]
fallback_usd = "0.05"
"""
Run = Callable[..., Any]


@pytest.fixture
def name() -> str:
    """An organization that nobody else uses."""
    return f"prices-{secrets.token_hex(4)}"


@pytest.fixture
def run(stack: Environment, run_tollbook: RunTollbook) -> Run:
    def run_json(*arguments: str, status: int = 0) -> Any:
        done = run_tollbook(stack, *arguments)
        assert done.returncode == status, done.stdout + done.stderr
        return json.loads(done.stdout) if "--json" in arguments else done.stderr

    return run_json


def emit(settings: Settings, organization: str, model: str) -> str:
    """The id of an event of 550 and 250 tokens."""
    event = UsageEvent(
        event_id=secrets.token_hex(8),
        source="prices",
        occurred_at=datetime.now(UTC),
        organization=organization,
        provider="house",
        model=model,
        input_tokens=550,
        output_tokens=250,
    )
    with Producer(settings) as producer:
        producer.emit(event)
    return event.event_id


def book(settings: Settings, run: Run, organization: str, version: int) -> dict[str, Any]:
    """Emits an event until one is rated with a version of the prices; its row."""
    deadline = time.monotonic() + DEADLINE_S
    while time.monotonic() < deadline:
        event_id = emit(settings, organization, organization)
        run("wait", "--timeout", "60")
        [row] = warehouse.ask(
            settings, "SELECT cost_usd, price_version FROM usage WHERE event_id = {id:String}", {"id": event_id}
        )
        if row["price_version"].endswith(f" + overrides {version}"):
            return row
    raise AssertionError(f"nothing was rated with version {version}")


def test_a_price_is_in_force_without_a_restart(settings: Settings, run: Run, name: str, tmp_path: Path) -> None:
    file = tmp_path / "prices.toml"
    file.write_text(FILE.format(id=name, usd="5.00"))
    assert "--unused" in run("prices", "apply", str(file), status=1)
    nobody = FILE.format(id=name, usd="5.00").replace(f'model = "{name}"', 'model = "*"')
    file.write_text(nobody.replace('"house"', f'"{name}"'))
    assert f"provider = '{name}'" in run("prices", "apply", str(file), status=1)
    file.write_text(FILE.format(id=name, usd="5.00"))
    applied = run("prices", "apply", str(file), "--unused", "--json")
    assert [(each["id"], each["change"], each["booked"]["rows"]) for each in applied["changes"]] == [(name, "added", 0)]
    first = book(settings, run, name, applied["version"])
    assert int(first["cost_usd"].scaleb(12)) == 550 * 5_000_000 + 250 * 8_000_000

    in_other_money = FILE.format(id=name, usd="4.80").replace('"default"', '"default"\ncurrency = "XTS"')
    file.write_text(in_other_money)
    assert "currency = 'XTS': no rate of it is known" in run("prices", "apply", str(file), status=1)
    file.write_text(in_other_money + MONEY.format(id=name))
    again = run("prices", "apply", str(file), "--json")
    changes = {each["id"]: each for each in again["changes"]}
    change = changes[name]
    assert (again["version"], change["change"]) == (applied["version"] + 1, "changed")
    assert sorted(changes) == sorted(["XTS", name, f"tax-{name}"])
    assert change["booked"]["rows"] >= 1
    assert run("prices", "apply", str(file), "--json")["changes"] == []
    second = book(settings, run, name, again["version"])
    assert int(second["cost_usd"].scaleb(12)) == 550 * 6_000_000 + 250 * 10_000_000  # at 1.25 dollars

    [shown] = run("prices", "show", name, "--provider", "house", "--organization", name, "--json")
    assert {line["count"]: line["usd"] for line in shown["prices"]} == {"input_tokens": "6", "output_tokens": "10"}
    assert "1 XTS at 1.25 US dollars" in shown["prices"][0]["because"]
    assert shown["tax"] == {"id": f"tax-{name}", "percent": "7.5"}
    differing = run("prices", "diff", str(applied["version"]), str(again["version"]), "--json", status=1)
    assert {each["id"] for each in differing} == set(changes)

    [net] = warehouse.ask(
        settings, "SELECT sum(cost_usd) AS usd FROM usage WHERE organization = {o:String}", {"o": name}
    )
    [line] = run("tax", "--month", f"{datetime.now(UTC):%Y-%m}", "--organization", name, "--json")
    assert (line["rule"], line["percent"], Decimal(line["net_usd"])) == (f"tax-{name}", "7.5", net["usd"])
    assert Decimal(line["tax_usd"]) == net["usd"] * 75 / 1000
    assert Decimal(line["gross_usd"]) == net["usd"] * 1075 / 1000
    audited = run("audit", "--deep", "--json")
    assert audited["ok"], audited["differences"]


def test_of_two_that_apply_at_once_the_earlier_fails(settings: Settings, name: str) -> None:
    price = parse_prices(FILE.format(id=name, usd="1.00"), "test")

    def apply(writer: Writer) -> None:
        version = latest_version(read_histories(settings.kafka)) + 1
        grown = histories_after({}, changes_between([], price), version, datetime.now(UTC))
        writer.write({history.id: history for history in grown})

    earlier = Writer(settings.kafka, PRICES)
    later = Writer(settings.kafka, PRICES)
    with pytest.raises(KafkaException):
        apply(earlier)
    assert name not in read_histories(settings.kafka)
    apply(later)
    deadline = time.monotonic() + 30
    while name not in read_histories(settings.kafka):  # a commit is readable a moment after it is acknowledged
        assert time.monotonic() < deadline


def test_a_model_without_a_price_is_told_once(
    stack: Environment, run_tollbook: RunTollbook, settings: Settings, run: Run, name: str, tmp_path: Path
) -> None:
    """Its requests count at a budget's fallback, and are marked as estimated."""
    (tmp_path / "budgets.toml").write_text(BUDGET.format(name=name))
    run("budgets", "apply", str(tmp_path / "budgets.toml"))
    first = emit(settings, name, name)
    run("wait", "--timeout", "60")
    emit(settings, name, name)
    run("wait", "--timeout", "60")
    lines = run_tollbook(stack, "alerts", "--json").stdout.splitlines()
    told = [alert for alert in map(json.loads, lines) if alert["scope"] == f"house/{name}"]
    assert [(alert["type"], alert["cause_event"]) for alert in told] == [("unpriced", first)]
    [raised] = [alert for alert in map(json.loads, lines) if alert["budget_id"] == name]
    assert (raised["threshold"], raised["used"], raised["estimated"]) == (100, "0.10", "0.10")
    [limit] = run("limits", f"organization:{name}", "--json")
    assert (limit["used"], limit["estimated"], limit["remaining"]) == ("0.10", "0.10", "0.00")
    audited = run("audit", "--json")
    assert f"house {name}: 2 requests without a price" in audited["notes"]["unpriced"]
