"""How fast the dashboard's own questions are answered on many rows.

The questions are put together from `superset/assets` (dataset, metrics, grouping, time filter of each chart), so that
a changed chart is a changed measurement. Rows are made in SQL: 400 days, 20 departments, 2 000 users, 12 models;
200 000 alerts, and a limit of every department, user and project.
"""

import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from clickhouse_connect.driver import Client

from benchmarks.figures import percentile
from local.config import REPOSITORY

ASSETS = REPOSITORY / "superset/assets"
DAYS = 400
CHUNKROWS = 2_000_000
LAST_30_DAYS = "{column} >= now() - INTERVAL 30 DAY"
RANGES = {
    "No filter": LAST_30_DAYS,  # the dashboard's own filter takes its place
    "Current month": "{column} >= toStartOfMonth(now())",
    "Current day": "{column} >= toStartOfDay(now())",
}


def fill(client: Client, there: int, rows: int) -> float:
    """Inserts into `usage` (and by its views into the rollups) what is missing of so many rows; the seconds it took.

    The first time also alerts and limits.
    """
    began = time.monotonic()
    if not there:
        client.command(ALERTS.format(days=DAYS))
        client.command(LIMITS)
    for first in range(there, rows, CHUNKROWS):
        client.command(ROWS.format(first=first, count=min(CHUNKROWS, rows - first), days=DAYS))
    return time.monotonic() - began


ROWS = """
INSERT INTO usage
    (event_id, source, kind, occurred_at, organization, department, team, user, project, task, session, feature,
    provider, model, service_tier, status, input_tokens, output_tokens, cache_read_tokens, cost_usd, requests,
    booked_at, src_offset, src_epoch, src_partition, block_offset)
SELECT
    toString(generateUUIDv4(number)),
    'benchmark',
    'usage',
    now64(6) - toIntervalSecond(cityHash64(number, 'at') % ({days} * 86400)) AS at,
    'acme',
    concat('department-', toString(person % 20)),
    concat('team-', toString(person % 40)),
    concat('user-', toString(cityHash64(number, 'user') % 2000 AS person)),
    concat('project-', toString(person % 20 * 5 + number % 5)),
    concat('task-', toString(cityHash64(person, toDate(at)) % 100000000)),
    concat('session-', toString(cityHash64(person, toStartOfHour(at)) % 100000000)),
    concat('feature-', toString(number % 5)),
    ['openai', 'anthropic', 'google'][cityHash64(number, 'model') % 12 % 3 + 1],
    concat('model-', toString(cityHash64(number, 'model') % 12)),
    'default',
    if(number % 67 = 0, 'error', 'ok'),
    cityHash64(number, 'in') % 4000 AS given,
    cityHash64(number, 'out') % 500 AS made,
    intDiv(given, 3),
    toDecimal128(given * 2 + made * 8, 12) / 1000000,
    1,
    at,
    number,
    'benchmark',
    person % 4, -- all of a user are in one partition
    intDiv(number, 10000)
FROM numbers({first}, {count})
"""
ALERTS = """
INSERT INTO alert_entries
    (alert_id, type, state, budget_id, organization, scope_kind, scope, window_kind, window_start, window_end,
    threshold, used, limit, unit, severity, detail, raised_at)
SELECT
    hex(sipHash128(number)),
    'threshold',
    'raised',
    'benchmark',
    'acme',
    'user',
    concat('user-', toString(number % 2000)),
    'month',
    toStartOfMonth(at),
    toStartOfMonth(at) + INTERVAL 1 MONTH,
    [50, 75, 90, 100][number % 4 + 1],
    '75.5',
    '100',
    'cost',
    'warning',
    concat('user user-', toString(number % 2000), ' of acme reached a threshold of $100 for the month'),
    now64(6) - toIntervalSecond(cityHash64(number) % ({days} * 86400)) AS at
FROM numbers(200000)
"""
LIMITS = """
INSERT INTO limit_entries
    (budget_id, organization, scope_kind, scope, window_kind, window_start, window_end, unit, used, limit, remaining,
    decision, as_of)
SELECT
    'benchmark',
    'acme',
    multiIf(number < 20, 'department', number < 120, 'project', 'user') AS kind,
    concat(kind, '-', toString(multiIf(number < 20, number, number < 120, number - 20, number - 120))),
    'month',
    toStartOfMonth(now()),
    toStartOfMonth(now()) + INTERVAL 1 MONTH,
    'cost',
    '75.5',
    '100',
    '24.5',
    'allow',
    now64(6)
FROM numbers(2120)
"""


def questions() -> Iterator[tuple[str, str]]:
    """Name and SQL of each chart."""
    datasets = {each["uuid"]: each for each in map(_read, sorted((ASSETS / "datasets").rglob("*.yaml")))}
    for chart in map(_read, sorted((ASSETS / "charts").glob("*.yaml"))):
        yield chart["slice_name"], _question(chart["params"], datasets[chart["dataset_uuid"]])


def _read(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load(path.read_text())
    return content


def _question(params: Mapping[str, Any], dataset: Mapping[str, Any]) -> str:
    source = f"({dataset['sql'].replace('{zone}', 'UTC')}) AS source" if dataset.get("sql") else dataset["table_name"]
    filters = [
        RANGES[each["comparator"]].format(column=each["subject"])
        for each in params.get("adhoc_filters", [])
        if each["operator"] == "TEMPORAL_RANGE"
    ]
    where = f" WHERE {' AND '.join(filters)}" if filters else ""
    limit = f" LIMIT {params.get('row_limit', 1)}"
    if params.get("query_mode") == "raw":
        return f"SELECT {', '.join(params['all_columns'])} FROM {source}{where}{limit}"
    expressions = {each["metric_name"]: each["expression"] for each in dataset["metrics"]}
    names = params.get("metrics") or [params["metric"]]
    group = [*([params["x_axis"]] if "x_axis" in params else []), *params.get("groupby", [])]
    selected = ", ".join([*group, *(f"{expressions[name]} AS metric_{name}" for name in names)])
    order = params.get("timeseries_limit_metric")
    by = f" GROUP BY {', '.join(group)}" if group else ""
    ordered = f" ORDER BY {expressions[order]} DESC" if order else ""
    return f"SELECT {selected} FROM {source}{where}{by}{ordered}{limit}"


def ask(client: Client, repeats: int) -> list[dict[str, Any]]:
    """Percentiles of each question's time in milliseconds, asked over HTTP; the first answer does not count."""
    found = []
    for name, question in questions():
        times_ms = []
        for _ in range(repeats + 1):
            began = time.monotonic()
            client.query(question)
            times_ms.append((time.monotonic() - began) * 1000)
        times_ms = times_ms[1:]
        found.append(
            {"chart": name, "p50_ms": round(percentile(times_ms, 50), 1), "p95_ms": round(percentile(times_ms, 95), 1)}
        )
    return found
