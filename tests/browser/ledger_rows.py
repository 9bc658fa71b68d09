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
#: Organization, department, how much of the budget is used, and what callers are told.
DEPARTMENT_BUDGETS = [
    ("acme", "legal", Decimal("1.063"), "block_new"),
    ("acme", "engineering", Decimal("0.756"), "allow"),
    ("globex", "support", Decimal("0.48"), "allow"),
]
SEVERITIES = {50: "info", 75: "warning", 90: "caution", 95: "critical", 100: "critical"}
PICO = Decimal(10) ** -12
Row = dict[str, Any]


def fill(client: Client, now: datetime, days: int = 30, requests_a_day: int = 200) -> None:
    """Rows of `days` days up to `now`, some of them minutes old, with budgets and alerts on them. Seeded."""
    rng = random.Random(7)
    rows = [row for day in range(days) for row in _day(rng, now - timedelta(days=day), requests_a_day)]
    _insert(client, "usage", [{**row, "src_offset": at, "block_offset": at // 100} for at, row in enumerate(rows)])
    _insert(client, "limit_entries", _limits(rows, now))
    _insert(client, "alert_entries", _alerts(rows, now))


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


def _month(rows: list[Row], now: datetime, **scope: str) -> list[Row]:
    """The rows of a scope in the month of `now`, by time."""
    start = _window("month", now)["window_start"]
    mine = (row for row in rows if row["occurred_at"] >= start and scope.items() <= row.items())
    return sorted(mine, key=lambda row: row["occurred_at"])


def _cost(rows: list[Row]) -> Decimal:
    return sum((row["cost_usd"] or Decimal(0) for row in rows), Decimal(0))


def _limit(used: Decimal, share: Decimal) -> Decimal:
    """In whole cents, such that `share` of it is used."""
    return max(Decimal("0.01"), (used / share).quantize(Decimal("0.01")))


def _limits(rows: list[Row], now: datetime) -> list[Row]:
    """What is used of budgets, as the rows have it."""
    found = []
    for organization, department, share, decision in DEPARTMENT_BUDGETS:
        used = _cost(_month(rows, now, organization=organization, department=department))
        found.append((organization, "department", department, "month", used, _limit(used, share), "cost", decision))
    company = _cost(_month(rows, now, organization="acme"))
    found.append(("acme", "organization", "acme", "month", company, _limit(company, Decimal("0.2")), "cost", "allow"))
    today = [row for row in rows if row["user"] == "edsger" and row["occurred_at"].date() == now.date()]
    tokens = Decimal(sum(row["input_tokens"] for row in today))
    found.append(("globex", "user", "edsger", "day", tokens, tokens + 160_000, "input_tokens", "allow"))
    names = ("organization", "scope_kind", "scope", "window_kind", "used", "limit", "unit", "decision")
    return [_limit_row(dict(zip(names, one, strict=True)), now) for one in found]


def _limit_row(limit: Row, now: datetime) -> Row:
    amounts = {name: str(limit[name]) for name in ("used", "limit")} | {
        "remaining": str(limit["limit"] - limit["used"])
    }
    return (
        limit
        | amounts
        | {"budget_id": f"{limit['scope']}-{limit['window_kind']}", "as_of": now}
        | _window(limit["window_kind"], now)
    )


def _alerts(rows: list[Row], now: datetime) -> list[Row]:
    """Each threshold of a department's budget, at the row that crossed it."""
    found: list[Row] = []
    for organization, department, share, _ in DEPARTMENT_BUDGETS:
        mine = _month(rows, now, organization=organization, department=department)
        limit, used, left = _limit(_cost(mine), share), Decimal(0), list(SEVERITIES)
        for row in mine:
            used += row["cost_usd"] or 0
            while left and used * 100 >= limit * left[0]:
                threshold = left.pop(0)
                crossing = {
                    "organization": organization,
                    "scope": department,
                    "threshold": threshold,
                    "severity": SEVERITIES[threshold],
                    "detail": f"department {department} of {organization} reached {threshold} % of {limit} US dollars",
                    "used": str(used),
                    "limit": str(limit),
                    "raised_at": row["occurred_at"] + timedelta(microseconds=threshold),
                }
                found.append(crossing)
    everyone = {
        "type": "threshold",
        "state": "raised",
        "scope_kind": "department",
        "window_kind": "month",
        "unit": "cost",
    }
    return [
        {"alert_id": f"{at:032x}", "budget_id": f"{alert['scope']}-month", "alert_offset": at, **everyone, **alert}
        | _window("month", now)
        for at, alert in enumerate(found)
    ]


def _window(kind: str, now: datetime) -> dict[str, datetime]:
    start = now.replace(hour=0, minute=0, second=0, microsecond=0, day=1 if kind == "month" else now.day)
    end = start + timedelta(days=1) if kind == "day" else (start + timedelta(days=32)).replace(day=1)
    return {"window_start": start, "window_end": end}


def _insert(client: Client, table: str, rows: list[dict[str, Any]]) -> None:
    names = list(rows[0])
    client.insert(table, [[row[name] for name in names] for row in rows], column_names=names)
