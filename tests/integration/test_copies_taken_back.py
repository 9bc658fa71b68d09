"""A copy in another partition is booked, and taken back without anybody asking; usage and entries count once again."""

import json
import secrets
import time
from datetime import UTC, datetime

import pytest
from confluent_kafka import Producer

from schemas.codec import encode
from schemas.event import UsageEvent
from schemas.registry import Registry
from schemas.settings import Settings
from schemas.topics import EVENTS
from stream_processors import warehouse
from stream_processors.copies import take_back_all
from tests.conftest import Environment, RunTollbook

NAME = f"copied-{secrets.token_hex(4)}"
TOTALS = """
SELECT sum(requests) AS requests, sum(input_tokens) AS tokens, countIf(adjustment_type = 'credit') AS credits,
    toString(sumIf(cost_usd, adjustment_type IN ('credit', 'correction'))) AS credited_usd
FROM usage
WHERE organization = {name:String}
"""
REVERSALS = """
SELECT count() AS entries, any(author) AS author FROM usage
WHERE organization = {name:String} AND adjustment_type = 'reversal'
"""


@pytest.mark.timeout(200)
def test_a_copy_in_another_partition_is_taken_back_once(
    stack: Environment, run_tollbook: RunTollbook, settings: Settings
) -> None:
    event = UsageEvent(
        event_id=secrets.token_hex(8),
        source="gateway",
        occurred_at=datetime(2026, 2, 1, 12, tzinfo=UTC),
        organization=NAME,
        user="u1",
        provider="openai",
        model="gpt-4o",
        input_tokens=1000,
    )
    credit = UsageEvent(
        event_id=secrets.token_hex(8),
        source="gateway",
        kind="adjustment",
        adjustment_type="credit",
        amount_pico=-4_000_000_000,
        reason="goodwill",
        author="mia",
        occurred_at=datetime(2026, 2, 1, 12, tzinfo=UTC),
        organization=NAME,
        provider="openai",
        model="",
    )
    schema_id = Registry(settings.registry).schema_id(EVENTS)
    producer = Producer({"bootstrap.servers": settings.kafka})
    for sent, partitions in ((event, (0, 1, 2)), (credit, (3, 1))):
        for partition in partitions:
            producer.produce(EVENTS, encode(sent.to_avro(), "usage_event.v1", schema_id), b"any", partition)
    assert producer.flush(30) == 0
    assert run_tollbook(stack, "wait", "--timeout", "60").returncode == 0
    assert warehouse.ask(settings, TOTALS, {"name": NAME})[0]["requests"] + _entries(settings) == 3

    deadline = time.monotonic() + 90
    right = {"requests": 1, "tokens": 1000, "credits": 2, "credited_usd": "-0.004"}
    while [right] != (found := warehouse.ask(settings, TOTALS, {"name": NAME})):
        assert time.monotonic() < deadline, found
        time.sleep(0.5)
    assert take_back_all(settings) == 0
    assert [right] == warehouse.ask(settings, TOTALS, {"name": NAME})
    assert warehouse.ask(settings, REVERSALS, {"name": NAME}) == [{"entries": 2, "author": "tollbook"}]
    assert run_tollbook(stack, "wait", "--timeout", "60").returncode == 0
    audited = run_tollbook(stack, "audit", "--deep", "--json")
    assert audited.returncode == 0, json.loads(audited.stdout)["differences"]


def _entries(settings: Settings) -> int:
    """What a quick look has taken back already."""
    return int(warehouse.ask(settings, REVERSALS, {"name": NAME})[0]["entries"])
