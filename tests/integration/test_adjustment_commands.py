"""Corrections on the whole path: rows, windows, alerts and statements follow, and nothing counts twice."""

import json
import secrets
import subprocess
import time
from collections.abc import Callable, Iterable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer

from schemas.codec import encode
from schemas.event import event_key
from schemas.registry import Registry
from schemas.settings import Settings
from schemas.topics import EVENTS
from stream_processors import warehouse
from tests.conftest import Environment, RunTollbook

ORGANIZATION = f"adjusted-{secrets.token_hex(4)}"
SOURCE = f"gateway-{secrets.token_hex(4)}"
MONTH = "2026-03"
AT_US = 1_772_366_400_000_000  # 2026-03-01 12:00:00 UTC
COST = Decimal("0.0055")  # 1 000 x 2.50 + 300 x 10.00 a million
Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def run(stack: Environment, run_tollbook: RunTollbook) -> Run:
    return lambda *arguments: run_tollbook(stack, *arguments)


def emit(settings: Settings, events: Iterable[dict[str, Any]], run: Run) -> None:
    """Sends events as any producer does, and waits until they are counted."""
    schema_id = Registry(settings.registry).schema_id(EVENTS)
    producer = Producer({"bootstrap.servers": settings.kafka, "partitioner": "murmur2_random"})
    for event in events:
        key = event_key(event["organization"], event["user"], event["event_id"])
        producer.produce(EVENTS, encode(event, "usage_event.v1", schema_id), key)
    assert producer.flush(30) == 0
    waited = run("wait", "--timeout", "60")
    assert waited.returncode == 0, waited.stderr


def usage(event_id: str, **fields: Any) -> dict[str, Any]:
    return {
        "event_id": event_id,
        "source": SOURCE,
        "occurred_at": AT_US,
        "organization": ORGANIZATION,
        "department": "eng",
        "user": "u1",
        "provider": "openai",
        "model": "gpt-4o",
        "input_tokens": 1000,
        "output_tokens": 300,
    } | fields


def month(settings: Settings) -> tuple[int, int, Decimal]:
    """Requests, unpriced requests and cost of the organization's window."""
    rows = warehouse.ask(
        settings,
        "SELECT requests, unpriced_requests, cost_usd FROM windows WHERE scope_kind = 'organization' "
        f"AND window_kind = 'month' AND scope = '{ORGANIZATION}'",
    )
    return next(((row["requests"], row["unpriced_requests"], row["cost_usd"]) for row in rows), (0, 0, Decimal(0)))


def alerts(settings: Settings, wanted: list[tuple[int, int, str]]) -> None:
    """Waits until the budget's alerts are these: (threshold, revision, state), newest state each."""
    deadline = time.monotonic() + 30
    found: list[tuple[int, int, str]] = []
    while found != wanted and time.monotonic() < deadline:
        rows = warehouse.ask(
            settings,
            "SELECT threshold, revision, argMax(state, alert_offset) AS state FROM alert_entries "
            f"WHERE budget_id = '{ORGANIZATION}' GROUP BY threshold, revision ORDER BY threshold, revision",
        )
        found = [(row["threshold"], row["revision"], row["state"]) for row in rows]
        time.sleep(0.2)
    assert found == wanted


@pytest.mark.timeout(300)
def test_windows_alerts_and_statements_follow_corrections(run: Run, settings: Settings, tmp_path: Path) -> None:
    budgets = tmp_path / "budgets.toml"
    budgets.write_text(
        f'[[budget]]\nid = "{ORGANIZATION}"\nscope = "organization:{ORGANIZATION}"\nperiod = "month"\n'
        'unit = "requests"\nlimit = 2\nthresholds = [50, 100]\n'
    )
    assert run("budgets", "apply", str(budgets)).returncode == 0
    first, second, unheard = (secrets.token_hex(8) for _ in range(3))
    emit(settings, [usage(first), usage(second), usage(unheard, model="unheard-of")], run)
    assert month(settings) == (3, 1, 2 * COST)
    alerts(settings, [(50, 0, "raised"), (100, 0, "raised")])

    said = ("--reason", "sent twice", "--author", "mia")
    for event_id in (second, unheard):
        assert run("adjust", "reverse", event_id, *said).returncode == 0
    assert run("adjust", "reverse", second, *said).returncode in (0, 1)  # a duplicate, or nothing is left to reverse
    assert run("wait", "--timeout", "60").returncode == 0
    assert month(settings) == (1, 0, COST)
    alerts(settings, [(50, 0, "raised"), (100, 0, "retracted")])
    again = run("adjust", "reverse", second, *said)
    assert (again.returncode, "adds up to nothing already" in again.stderr) == (1, True)

    credit = ("enter", "credit", "--organization", ORGANIZATION, "--amount", "-0.001", "--at", "2026-03-31T23:00:00Z")
    for _ in range(2):  # the same words are the same entry
        assert run("adjust", *credit, "--field", "department=eng", *said).returncode == 0
    emit(settings, [usage(secrets.token_hex(8))], run)
    assert month(settings) == (2, 0, 2 * COST - Decimal("0.001"))
    alerts(settings, [(50, 0, "raised"), (100, 0, "retracted"), (100, 1, "raised")])

    [statement] = json.loads(run("adjust", "months", "--organization", ORGANIZATION, "--json").stdout)
    assert statement["month"] == f"{MONTH}-01"
    assert (statement["original_requests"], statement["adjusted_requests"], statement["net_requests"]) == (4, -2, 2)
    adjusted = -COST - Decimal("0.001")
    assert Decimal(statement["original_cost_usd"]) == 3 * COST
    assert Decimal(statement["adjusted_cost_usd"]) == Decimal(statement["prior_period_cost_usd"]) == adjusted
    assert Decimal(statement["net_cost_usd"]) == 2 * COST - Decimal("0.001")
    listed = json.loads(run("adjust", "list", "--organization", ORGANIZATION, "--month", MONTH, "--json").stdout)
    assert sorted(entry["adjustment_type"] for entry in listed) == ["credit", "reversal", "reversal"]
    assert {(entry["reason"], entry["author"], entry["prior_period"]) for entry in listed} == {
        ("sent twice", "mia", True)
    }
    audited = run("audit", "--deep", "--json")
    assert audited.returncode == 0, audited.stdout


@pytest.mark.timeout(200)
def test_a_shared_cost_is_allocated_by_use_and_follows_late_usage(run: Run, settings: Settings) -> None:
    organization = f"shared-{secrets.token_hex(4)}"
    used = [usage(secrets.token_hex(8), organization=organization, department=name) for name in ("eng", "eng", "ops")]
    emit(settings, used, run)

    def allocated() -> dict[str, str]:
        done = run(
            *("adjust", "allocate", "gpu", "--organization", organization, "--month", MONTH, "--amount", "10.00"),
            *("--weigh", "requests", "--from", "department=platform", "--reason", "GPUs", "--author", "mia", "--json"),
        )
        assert done.returncode == 0, done.stderr
        return {each["department"]: each["amount_pico"] for each in json.loads(done.stdout)["entries"]}

    assert allocated() == {"eng": 6_666_666_666_667, "ops": 3_333_333_333_333, "platform": -10 * 10**12}
    assert allocated() == {}
    emit(settings, [usage(secrets.token_hex(8), organization=organization, department="ops")], run)
    assert allocated() == {"eng": -1_666_666_666_667, "ops": 1_666_666_666_667}  # half each
    assert run("wait", "--timeout", "60").returncode == 0
    rows = warehouse.ask(
        settings,
        "SELECT scope, cost_usd FROM windows WHERE scope_kind = 'department' AND window_kind = 'month' "
        f"AND organization = '{organization}' ORDER BY scope",
    )
    assert [tuple(row.values()) for row in rows] == [("eng", 2 * COST + 5), ("ops", 2 * COST + 5), ("platform", -10)]


@pytest.mark.timeout(200)
def test_revisions_end_at_the_highest_and_conflicts_show_both_contents(run: Run, settings: Settings) -> None:
    organization = f"revised-{secrets.token_hex(4)}"
    event_id, other = secrets.token_hex(8), secrets.token_hex(8)

    def stated(revision: int, tokens: int, **fields: Any) -> dict[str, Any]:
        of = {"organization": organization, "kind": "provisional", "revision": revision, "input_tokens": tokens}
        return usage(event_id, **of | {"output_tokens": 0} | fields)

    plain = usage(other, organization=organization)
    emit(settings, [stated(0, 1000), stated(2, 3000, department="ops", kind="final"), stated(1, 2000)], run)
    emit(settings, [plain, plain | {"output_tokens": 301}], run)
    rows = warehouse.ask(
        settings,
        "SELECT scope, requests, input_tokens, cost_usd FROM windows WHERE scope_kind = 'department' "
        f"AND window_kind = 'month' AND organization = '{organization}' ORDER BY scope",
    )
    # eng: the plain event alone; ops: 3 000 x 2.50 a million
    assert [tuple(row.values()) for row in rows] == [("eng", 1, 1000, COST), ("ops", 1, 3000, Decimal("0.0075"))]

    listed = json.loads(run("rejected", "list", "--reason", "conflict", "--json").stdout)
    [conflict] = [row for row in listed["newest"] if row["event_id"] == other]
    assert conflict["differs"] == [{"field": "output_tokens", "booked": 300, "rejected": 301}]
    assert (conflict["event"]["output_tokens"], conflict["booked"]["event"]["output_tokens"]) == (301, 300)
    audited = run("audit", "--deep", "--json")
    assert audited.returncode == 0, audited.stdout


@pytest.mark.timeout(200)
def test_a_rejected_event_is_repaired_and_counted_once(run: Run, settings: Settings, tmp_path: Path) -> None:
    organization, file = f"repaired-{secrets.token_hex(4)}", tmp_path / "rejected.jsonl"
    broken = usage(secrets.token_hex(8), organization=organization, cache_read_tokens=2000)
    emit(settings, [broken], run)
    assert run("rejected", "export", str(file), "--reason", "parts_exceed_whole").returncode == 0
    [line] = [each for each in map(json.loads, file.read_text().splitlines()) if each["event_id"] == broken["event_id"]]
    file.write_text(json.dumps(line))
    refused = run("rejected", "replay", str(file))
    assert (refused.returncode, "cache_read_tokens" in refused.stderr) == (1, True)

    line["event"]["cache_read_tokens"] = 200
    file.write_text(json.dumps(line))
    for expected in ({"sent": 1, "booked": 0}, {"sent": 0, "booked": 1}):
        replayed = run("rejected", "replay", str(file), "--json")
        assert replayed.returncode == 0, replayed.stderr
        assert json.loads(replayed.stdout).items() >= expected.items()
        assert run("wait", "--timeout", "60").returncode == 0
    [row] = warehouse.ask(
        settings, f"SELECT count() AS n, sum(requests) AS requests FROM usage WHERE organization = '{organization}'"
    )
    assert (row["n"], row["requests"]) == (1, 1)
