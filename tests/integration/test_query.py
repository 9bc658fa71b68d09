"""Asking a running ledger: sql, wait, tail, explain, rejected and audit as a user runs them."""

import json
import subprocess
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from confluent_kafka import Producer

from schemas.settings import Settings
from schemas.topics import EVENTS, TOPICS

Environment = dict[str, str]
RunTollbook = Callable[..., "subprocess.CompletedProcess[str]"]
Run = Callable[..., str]


@pytest.fixture(scope="module")
def run(stack: Environment, run_tollbook: RunTollbook) -> Run:
    """Runs a command that must succeed; what it printed."""

    def tollbook(*arguments: str) -> str:
        done = run_tollbook(stack, *arguments)
        assert done.returncode == 0, done.stdout + done.stderr
        return str(done.stdout)

    return tollbook


@pytest.fixture(scope="module")
def used(run: Run, settings: Settings) -> str:
    """Simulated usage, and a record that is no event, landed; the id of the record's key."""
    run("simulate", "--events", "2000", "--seed", "77", "--duplicates", "0.02", "--json")
    key = f"poison-{uuid.uuid4()}"
    producer = Producer({"bootstrap.servers": settings.kafka})
    producer.produce(EVENTS, b"\1not an event", key)
    assert producer.flush(30) == 0
    run("wait", "--timeout", "120")
    return key


def json_lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_sql_in_any_format(run: Run, used: str) -> None:
    assert int(run("sql", "SELECT count() FROM usage")) >= 1900
    [row] = json_lines(run("sql", "SELECT 1 AS one", "--format", "JSONEachRow"))
    assert row == {"one": 1}
    assert run("sql", "SELECT 1 AS one FORMAT CSVWithNames") == '"one"\n1\n'


def test_sql_says_what_is_wrong(stack: Environment, run_tollbook: RunTollbook) -> None:
    done = run_tollbook(stack, "sql", "SELECT nothing FROM usage")
    assert done.returncode == 1
    assert "nothing" in done.stderr


def test_a_service_that_is_away_cannot_decide(stack: Environment, run_tollbook: RunTollbook) -> None:
    without_clickhouse = stack | {"TOLLBOOK_CLICKHOUSE": "http://127.0.0.1:1"}
    without_kafka = stack | {"TOLLBOOK_KAFKA": "127.0.0.1:1"}
    assert run_tollbook(without_clickhouse, "sql", "SELECT 1").returncode == 3
    assert run_tollbook(without_clickhouse, "wait").returncode == 3
    assert run_tollbook(without_clickhouse, "audit").returncode == 3
    assert run_tollbook(without_kafka, "wait").returncode == 3
    assert run_tollbook(without_kafka, "audit").returncode == 3
    assert run_tollbook(without_kafka, "tail", EVENTS).returncode == 3


@pytest.mark.parametrize("topic", [topic.name for topic in TOPICS])
def test_tail_decodes_every_topic(run: Run, used: str, topic: str) -> None:
    for line in json_lines(run("tail", topic, "--max", "3")):
        assert line["offset"] >= 0
        assert "error" not in line or topic == EVENTS


def test_tail_shows_what_no_schema_reads(run: Run, used: str) -> None:
    [line] = [line for line in json_lines(run("tail", EVENTS, "--from-beginning")) if line["key"] == used]
    assert "Confluent framing" in line["error"]


def test_tail_prints_a_block_row_by_row(run: Run, used: str) -> None:
    first, *rows = json_lines(run("tail", "usage.blocks", "--from-beginning", "--max", "1"))
    header = first["headers"]["block"]
    assert sum("row" in line for line in rows) == header["row_count"]
    assert sum("reject" in line for line in rows) == header["reject_count"]


def test_explain_finds_an_event_at_each_stage(run: Run, used: str) -> None:
    of_one_row = "GROUP BY event_id HAVING count() = 1 AND cost > 0"  # others may have been corrected by now
    event_id, cost = run("sql", f"SELECT event_id, any(cost_usd) AS cost FROM usage {of_one_row} LIMIT 1").split()
    facts = json.loads(run("explain", event_id, "--json"))
    [row] = facts["rows"]
    assert row["cost_usd"] == cost
    assert row["block"]["first_offset"] <= row["src_offset"] <= row["block"]["last_offset"]
    assert len(row["windows"]) == 3 * 5
    assert all(window["counted"] for window in row["windows"])
    assert facts["not_landed"] == []
    assert "booked: usage.events[" in run("explain", event_id)


def test_explain_finds_a_duplicate(run: Run, used: str) -> None:
    event_id = run("sql", "SELECT event_id FROM rejected WHERE reason = 'duplicate' LIMIT 1").strip()
    facts = json.loads(run("explain", event_id, "--json"))
    assert {reject["reason"] for reject in facts["rejects"]} == {"duplicate"}
    assert len(facts["rows"]) == 1


def test_explain_of_what_was_never_emitted(stack: Environment, run_tollbook: RunTollbook) -> None:
    assert run_tollbook(stack, "explain", "never-emitted").returncode == 1


def test_rejected_by_reason_with_bytes(run: Run, used: str) -> None:
    report = json.loads(run("rejected", "list", "--reason", "decode", "--json"))
    assert report["by_reason"]["decode"] >= 1
    assert "AW5vdCBhbiBldmVudA==" in {row["value_base64"] for row in report["newest"]}
    assert {row["reason"] for row in report["newest"]} == {"decode"}
    assert "duplicate" in run("rejected", "list")


def test_the_audit_of_a_running_ledger_agrees(run: Run, used: str) -> None:
    report = json.loads(run("audit", "--deep", "--json"))
    assert report["ok"] is True
    assert report["checked"]["deep"] == report["checked"]["conservation"] >= 2000
    assert all(mark["lag"] == 0 for mark in report["watermarks"])
    assert "Every number agrees" in run("audit")
