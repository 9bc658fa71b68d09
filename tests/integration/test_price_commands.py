"""Prices of one's own on the real parts: in force without a restart, told by every row, followed by the deep audit."""

import json
import secrets
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import KafkaException

from producers.client import Producer
from schemas.event import UsageEvent
from schemas.settings import Settings
from schemas.topics import PRICES
from stream_processors import warehouse
from stream_processors.core.overrides import parse_overrides
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
    applied = run("prices", "apply", str(file), "--unused", "--json")
    assert [(each["id"], each["change"], each["booked"]["rows"]) for each in applied["changes"]] == [(name, "added", 0)]
    first = book(settings, run, name, applied["version"])
    assert int(first["cost_usd"].scaleb(12)) == 550 * 5_000_000 + 250 * 8_000_000

    file.write_text(FILE.format(id=name, usd="6.00"))
    again = run("prices", "apply", str(file), "--json")
    [change] = again["changes"]
    assert (again["version"], change["change"]) == (applied["version"] + 1, "changed")
    assert change["booked"]["rows"] >= 1
    assert run("prices", "apply", str(file), "--json")["changes"] == []
    second = book(settings, run, name, again["version"])
    assert int(second["cost_usd"].scaleb(12)) == 550 * 6_000_000 + 250 * 8_000_000

    [shown] = run("prices", "show", name, "--provider", "house", "--organization", name, "--json")
    assert {line["count"]: line["usd"] for line in shown["prices"]} == {"input_tokens": "6", "output_tokens": "8"}
    [differing] = run("prices", "diff", str(applied["version"]), str(again["version"]), "--json", status=1)
    assert differing["id"] == name
    audited = run("audit", "--deep", "--json")
    assert audited["ok"], audited["differences"]


def test_of_two_that_apply_at_once_the_earlier_fails(settings: Settings, name: str) -> None:
    price = parse_overrides(FILE.format(id=name, usd="1.00"), "test")

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
    stack: Environment, run_tollbook: RunTollbook, settings: Settings, run: Run, name: str
) -> None:
    first = emit(settings, name, name)
    run("wait", "--timeout", "60")
    emit(settings, name, name)
    run("wait", "--timeout", "60")
    lines = run_tollbook(stack, "alerts", "--json").stdout.splitlines()
    told = [alert for alert in map(json.loads, lines) if alert["scope"] == f"house/{name}"]
    assert [(alert["type"], alert["cause_event"]) for alert in told] == [("unpriced", first)]
    audited = run("audit", "--json")
    assert f"house {name}: 2 requests without a price" in audited["notes"]["unpriced"]
