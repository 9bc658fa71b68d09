"""The job, for every peer alike: where things are, what tokens cost, when to alert, which columns to land.

Nothing of a framework: what a user would write whatever he streams with. The harness names the file with addresses,
prices and budgets in `BENCH_JOB`.
"""

import json
import os
from bisect import bisect_right
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import clickhouse_connect
from clickhouse_connect.driver import Client

JOB = json.loads(Path(os.environ["BENCH_JOB"]).read_text())
KAFKA, REGISTRY, TOPIC, ALERTS = JOB["kafka"], JOB["registry"], JOB["topic"], JOB["alerts_topic"]
STATE_DIR = Path(JOB["state_dir"])
GROUP = "bench"
SCHEMA: dict[str, Any] = JOB["schema"]
PRICES, CLASSES = JOB["prices"], JOB["classes"]
LIMIT_PICO, THRESHOLDS = JOB["limit_pico"], JOB["thresholds"]
EVENT_COLUMNS = [field["name"] for field in SCHEMA["fields"]]
USAGE_COLUMNS = [*EVENT_COLUMNS, "cost_pico"]
WINDOW_COLUMNS = [
    *("scope_kind", "scope", "window_start_us"),
    *("requests", "input_tokens", "output_tokens", "cost_pico", "version"),
]
FRAME_BYTES = 5  # Confluent's: a zero byte and the schema id
BATCH_ROWS = 50_000
EPOCH, MICRO, HOUR = datetime(1970, 1, 1, tzinfo=UTC), timedelta(microseconds=1), 3_600_000_000
DAY = 24 * HOUR


def micros(at: datetime) -> int:
    """Microseconds since 1970."""
    return (at - EPOCH) // MICRO


def hour(at: datetime) -> int:
    """The first microsecond of the hour."""
    return micros(at) // HOUR * HOUR


def price(event: dict[str, Any]) -> int:
    """Pico-dollars, at the price in force when it occurred; each token class has its own."""
    card = PRICES[f"{event['provider']}/{event['model']}"]
    rates = card["rates"][bisect_right(card["from_us"], micros(event["occurred_at"]) % DAY) - 1]
    return sum(rate * event[name] for name, rate in zip(CLASSES, rates, strict=True) if rate)


def measures(event: dict[str, Any], cost: int) -> tuple[int, int, int, int]:
    """What windows add up: requests, input tokens, output tokens, pico-dollars."""
    return 1, event["input_tokens"], event["output_tokens"], cost


def crossed(before: int, after: int) -> list[int]:
    """The thresholds (percents of the department's monthly budget) between two amounts."""
    return [each for each in THRESHOLDS if before * 100 < LIMIT_PICO * each <= after * 100]


def alert(department: str, threshold: int) -> bytes:
    """The record of `ALERTS`."""
    return json.dumps({"department": department, "threshold": threshold}).encode()


def row(event: dict[str, Any], cost: int) -> list[Any]:
    """A row of USAGE_COLUMNS."""
    return [*(event[name] for name in EVENT_COLUMNS), cost]


def clickhouse() -> Client:
    """A client of the database that has the tables `usage` and `windows`."""
    return clickhouse_connect.get_client(**JOB["clickhouse"])
