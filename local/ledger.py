"""What the demonstration asks the ledger: ClickHouse over HTTP, as any other client would."""

import json
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from local.config import Config, read_stack_file
from local.stack import StackError

TIMEOUT_S = 5.0
TOTALS = """
SELECT sum(row_count + reject_count) AS events
FROM blocks FINAL
WHERE rated_at >= fromUnixTimestamp64Micro({since:Int64})
"""
SPEND = """
SELECT
    if(count() = 0, '', formatDateTime(max(occurred_at), '%a %H:%i', 'UTC')) AS clock,
    sum(input_tokens + output_tokens) AS tokens,
    toString(sum(cost_usd)) AS spent_usd
FROM usage
WHERE booked_at >= fromUnixTimestamp64Micro({since:Int64})
"""
DEPARTMENTS = """
SELECT organization, department, sum(requests) AS calls, toString(sum(cost_usd) AS cost) AS spent_usd
FROM usage
WHERE booked_at >= fromUnixTimestamp64Micro({since:Int64})
GROUP BY organization, department
ORDER BY cost DESC
LIMIT 6
"""
ALERTS = """
SELECT alert_id, formatDateTime(raised_at, '%H:%i:%S') AS raised, severity, budget_id, organization, scope, detail
FROM alerts
WHERE raised_at >= fromUnixTimestamp64Micro({since:Int64})
ORDER BY raised_at
"""


@dataclass(frozen=True, slots=True)
class Measured:
    """What has landed since the demonstration began; `clock` is the newest event time (UTC)."""

    events: int
    tokens: int
    cost_usd: Decimal
    clock: str
    departments: list[dict[str, Any]]
    alerts: list[dict[str, Any]]


def measure(config: Config, since_micros: int) -> Measured | None:
    """Asks for everything booked since a time, microseconds UTC; None while ClickHouse does not answer.

    Raises StackError when it refuses.
    """
    try:
        return _measure(config, since_micros)
    except urllib.error.HTTPError as error:
        raise StackError(f"ClickHouse refused: {error.read().decode(errors='replace')}") from error
    except OSError:  # refused, reset or timed out: it starts again
        return None


def _measure(config: Config, since_micros: int) -> Measured:
    events, spend = _ask(config, TOTALS, since_micros)[0], _ask(config, SPEND, since_micros)[0]
    return Measured(
        events=int(events["events"]),
        tokens=int(spend["tokens"]),
        cost_usd=Decimal(spend["spent_usd"] or 0),
        clock=spend["clock"],
        departments=_ask(config, DEPARTMENTS, since_micros),
        alerts=_ask(config, ALERTS, since_micros),
    )


def _ask(config: Config, query: str, since_micros: int) -> list[dict[str, Any]]:
    values = read_stack_file(config)
    parameters = {"database": "tollbook", "default_format": "JSONEachRow", "param_since": str(since_micros)}
    request = urllib.request.Request(  # noqa: S310 (our own http address)
        f"{values['clickhouse']}/?{urllib.parse.urlencode(parameters)}",
        data=query.encode(),
        headers={"X-ClickHouse-User": "tollbook", "X-ClickHouse-Key": values["clickhouse_password"]},
    )
    with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:  # noqa: S310
        return [json.loads(line) for line in answer.read().splitlines()]
