"""A small ledger with known rows, put straight into ClickHouse: what the dashboard shows can then be told by SQL."""

import random
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from clickhouse_connect.driver.client import Client

SCOPES = {
    "acme": {"engineering": ["ada", "grace", "linus"], "legal": ["ruth", "oliver"], "": [""]},
    "globex": {"engineering": ["ada", "edsger"], "support": ["mo", "kim", "sam"], "sales": ["zig"]},
}
# provider, model, list price of a token in pico-dollars (None: unpriced), share of the requests
MODELS = [
    ("anthropic", "claude-sonnet-4-5", 3_000_000, 40),
    ("openai", "gpt-5-mini", 250_000, 30),
    ("openai", "gpt-5", 1_250_000, 20),
    ("google", "gemini-2.5-pro", 1_250_000, 8),
    ("in-house", "llama-70b-tuned", None, 2),
]
PICO = Decimal(10) ** -12


def fill(client: Client, now: datetime, days: int = 30, requests_a_day: int = 200) -> None:
    """Rows of `days` days up to `now`, some of them minutes old, with budgets and alerts on them. Seeded."""
    rng = random.Random(7)
    rows = [row for day in range(days) for row in _day(rng, now - timedelta(days=day), requests_a_day)]
    _insert(client, "usage", [{**row, "src_offset": at, "block_offset": at // 100} for at, row in enumerate(rows)])
    _insert(client, "limit_entries", _limits(now))
    _insert(client, "alert_entries", _alerts(now))


def _day(rng: random.Random, last: datetime, requests: int) -> list[dict[str, Any]]:
    """Requests of the day that `last` is in, none later than `last`; fewer at weekends."""
    midnight = last.replace(hour=0, minute=0, second=0, microsecond=0)
    length = (last - midnight).total_seconds()
    count = requests // 4 if last.weekday() >= 5 else requests
    return [_request(rng, midnight + timedelta(seconds=rng.uniform(0, length))) for _ in range(count)]


def _request(rng: random.Random, at: datetime) -> dict[str, Any]:
    organization = rng.choice(list(SCOPES))
    department = rng.choice(list(SCOPES[organization]))
    provider, model, price_pico, _ = rng.choices(MODELS, [share for *_, share in MODELS])[0]
    input_tokens, output_tokens = rng.randint(200, 60_000), rng.randint(20, 4_000)
    cost_pico = None if price_pico is None else input_tokens * price_pico + output_tokens * price_pico * 5 + 1
    return {
        "event_id": rng.randbytes(16).hex(),
        "source": "test",
        "kind": "usage",
        "occurred_at": at,
        "booked_at": at,
        "organization": organization,
        "department": department,
        "user": rng.choice(SCOPES[organization][department]),
        "project": rng.choice(["search", "assistant", ""]),
        "provider": provider,
        "model": model,
        "status": "ok",
        "input_tokens": input_tokens,
        "output_tokens": output_tokens,
        "cache_read_tokens": input_tokens // 3,
        "cost_usd": None if cost_pico is None else cost_pico * PICO,
        "requests": 1,
        "unpriced_requests": int(cost_pico is None),
        "src_epoch": "test",
        "src_partition": rng.randrange(4),
    }


def _limits(now: datetime) -> list[dict[str, Any]]:
    budgets = [
        ("monthly-cost", "acme", "department", "engineering", "month", "151.250000000001", "200.00", "cost", "allow"),
        ("monthly-cost", "acme", "department", "legal", "month", "212.5", "200.00", "cost", "block"),
        ("monthly-cost", "globex", "department", "support", "month", "96.004", "200.00", "cost", "allow"),
        ("daily-tokens", "globex", "user", "edsger", "day", "1840022", "2000000", "input_tokens", "allow"),
        ("company", "acme", "organization", "acme", "month", "1043.75", "5000.00", "cost", "allow"),
    ]
    names = ("budget_id", "organization", "scope_kind", "scope", "window_kind", "used", "limit", "unit", "decision")
    rows = [dict(zip(names, budget, strict=True)) for budget in budgets]
    return [
        row
        | _window(row["window_kind"], now)
        | {"remaining": str(Decimal(row["limit"]) - Decimal(row["used"])), "as_of": now}
        for row in rows
    ]


def _alerts(now: datetime) -> list[dict[str, Any]]:
    crossings = [
        ("legal", 100, "200.18", "critical", 3),
        ("legal", 95, "190.204", "critical", 40),
        ("legal", 90, "181.0", "caution", 95),
        ("engineering", 75, "150.300000000009", "warning", 130),
        ("legal", 75, "150.77", "warning", 400),
        ("engineering", 50, "100.02", "info", 900),
        ("legal", 50, "100.5", "info", 1300),
    ]
    return [
        {
            "alert_id": f"{at:032x}",
            "type": "threshold",
            "state": "raised",
            "budget_id": "monthly-cost",
            "organization": "acme",
            "scope_kind": "department",
            "scope": department,
            "window_kind": "month",
            "threshold": threshold,
            "used": used,
            "limit": "200.00",
            "unit": "cost",
            "severity": severity,
            "raised_at": now - timedelta(minutes=minutes_ago),
            "alert_offset": at,
        }
        | _window("month", now)
        for at, (department, threshold, used, severity, minutes_ago) in enumerate(crossings)
    ]


def _window(kind: str, now: datetime) -> dict[str, datetime]:
    start = now.replace(hour=0, minute=0, second=0, microsecond=0, day=1 if kind == "month" else now.day)
    end = start + timedelta(days=1) if kind == "day" else (start + timedelta(days=32)).replace(day=1)
    return {"window_start": start, "window_end": end}


def _insert(client: Client, table: str, rows: list[dict[str, Any]]) -> None:
    names = list(rows[0])
    client.insert(table, [[row[name] for name in names] for row in rows], column_names=names)
