"""What the charts get over REST equals SQL on the table of record; who may not write, cannot; tricks are refused."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from clickhouse_connect.driver.client import Client

from .rest import Rest

pytestmark = pytest.mark.timeout(1200)  # the first test waits for Superset to be made

ASSETS = Path(__file__).parents[2] / "superset" / "assets"
CHARTS = sorted(path.stem for path in (ASSETS / "charts").glob("*.yaml"))
DATASETS = sorted(path.stem for path in (ASSETS / "datasets").rglob("*.yaml"))

# The same questions asked of `usage`, which no chart reads; only `alerts` and `limits` are their own record.
DEPARTMENT = "if(department = '', '(unassigned)', department)"
USER = "if(user = '', '(unassigned)', user)"
COST = "sumOrNull(cost_usd)"  # NULL where nothing had a price
SQL = {
    "cost_today": f"SELECT {COST} AS cost_usd FROM usage WHERE toDate(occurred_at, 'UTC') = toDate(now('UTC'))",
    "cost_month": f"SELECT {COST} AS cost_usd FROM usage WHERE toStartOfMonth(toDate(occurred_at, 'UTC')) = "
    "toStartOfMonth(toDate(now('UTC')))",
    "requests": "SELECT sum(requests) AS requests FROM usage",
    "tokens": "SELECT sum(input_tokens) + sum(output_tokens) AS tokens FROM usage",
    "unpriced_requests": "SELECT countIf(cost_usd IS NULL) AS unpriced_requests FROM usage",
    "cost_by_day": "SELECT toUnixTimestamp(toStartOfDay(occurred_at, 'UTC')) * 1000 AS ts_day, "
    f"{DEPARTMENT} AS department, {COST} AS cost_usd FROM usage GROUP BY 1, 2",
    "cost_by_model": f"SELECT model, {COST} AS cost_usd_known, sum(requests) AS requests, "
    "countIf(cost_usd IS NULL) AS unpriced_requests FROM usage GROUP BY model",
    "totals_by_department": f"SELECT organization, {DEPARTMENT} AS department, toString({COST}) AS cost_usd_exact, "
    "sum(requests) AS requests, countIf(cost_usd IS NULL) AS unpriced_requests, "
    "sum(input_tokens + output_tokens) AS tokens FROM usage GROUP BY 1, 2",
    "top_users": f"SELECT {USER} AS user, {DEPARTMENT} AS department, organization, {COST} AS cost_usd_known, "
    "sum(requests) AS requests, sum(input_tokens + output_tokens) AS tokens FROM usage GROUP BY 1, 2, 3 "
    "ORDER BY cost_usd_known DESC LIMIT 10",
    "budgets": "SELECT concat('<a href=\"{console}/console/budgets/', budget_id, '\">', budget_id, '</a>') AS budget, "
    "toFloat64(used) / toFloat64(limit) AS percent_used, decision FROM limits",
    "alerts": "SELECT severity, concat(toString(threshold), ' %') AS threshold_percent, "
    "concat('$', used, ' of $', limit) AS amount FROM alerts",
}


def test_every_chart_has_its_sql() -> None:
    assert set(SQL) == set(CHARTS)


@pytest.mark.parametrize("chart", CHARTS)
def test_chart_equals_sql(chart: str, admin: Rest, ledger: Client, stack: dict[str, str]) -> None:
    expected = ledger.query(SQL[chart].replace("{console}", stack["console"]))
    shown = admin.get(f"/api/v1/chart/{_chart_id(admin, chart)}/data/")["result"][0]["data"]
    rows = _sorted(expected.result_rows)
    assert rows
    assert _sorted([[row[name] for name in expected.column_names] for row in shown]) == [_about(row) for row in rows]


@pytest.mark.parametrize("dataset", DATASETS)
def test_dataset_declares_the_columns_its_sql_has(dataset: str, ledger: Client) -> None:
    asset = _asset(f"datasets/Tollbook/{dataset}.yaml")
    described = ledger.query(f"DESCRIBE ({asset['sql'].replace('{zone}', 'UTC')})").result_rows
    types = {name: kind for name, kind, *_ in described}
    assert {column["column_name"] for column in asset["columns"]} == set(types)
    for column in asset["columns"]:
        name = column["column_name"]
        assert _plain(types[name]).startswith(column["type"].partition("(")[0]), name


def test_viewer_reads_and_cannot_write(admin: Rest, make_user: Callable[..., Rest]) -> None:
    viewer = make_user("viewer", "usage_viewer", "usage_all")
    chart = _chart_id(admin, "requests")
    assert viewer.get("/api/v1/dashboard/usage")["result"]["dashboard_title"] == "Usage"
    assert viewer.get(f"/api/v1/chart/{chart}/data/")["result"][0]["data"][0]["requests"] > 0
    refused = [
        viewer.post("/api/v1/chart/", {"slice_name": "mine", "viz_type": "table", "datasource_id": 1}),
        viewer.post("/api/v1/dashboard/", {"dashboard_title": "mine"}),
        viewer.post("/api/v1/dataset/", {"database": 1, "table_name": "usage"}),
        viewer.post("/api/v1/sqllab/execute/", {"database_id": 1, "sql": "SELECT 1"}),
        viewer.post("/api/v1/security/users/", {"username": "x"}),
        viewer.requests.put(f"/api/v1/chart/{chart}", data={"slice_name": "other"}),
        viewer.requests.delete(f"/api/v1/chart/{chart}"),
    ]
    assert {(answer.url, answer.status) for answer in refused} == {(answer.url, 403) for answer in refused}
    assert admin.get(f"/api/v1/chart/{chart}")["result"]["slice_name"] == "Requests"


def test_viewer_without_a_role_that_says_whose_sees_no_row(admin: Rest, make_user: Callable[..., Rest]) -> None:
    nobody = make_user("nobody", "usage_viewer")
    for chart in ("totals_by_department", "top_users", "alerts", "budgets"):
        assert nobody.get(f"/api/v1/chart/{_chart_id(admin, chart)}/data/")["result"][0]["data"] == []


@pytest.mark.parametrize(
    "expression", ["file('/etc/passwd')", "`file`('/etc/passwd')", "any((SELECT line FROM file('/etc/passwd')))"]
)
def test_functions_that_read_files_are_refused(expression: str, admin: Rest) -> None:
    metric = {"expressionType": "SQL", "sqlExpression": expression, "label": "trick"}
    dataset = _dataset_id(admin, "usage")
    answer = admin.post(
        "/api/v1/chart/data",
        {
            "datasource": {"id": dataset, "type": "table"},
            "queries": [{"columns": [], "metrics": [metric], "row_limit": 1}],
            "result_format": "json",
            "result_type": "full",
        },
    )
    assert answer.status == 400
    assert "root:" not in answer.text()


def _sorted(rows: Iterable[Sequence[Any]]) -> list[tuple[Any, ...]]:
    """Rows in an order of their own; text stays text, numbers become what JSON makes of them."""
    plain = [tuple(value if isinstance(value, str | None) else float(value) for value in row) for row in rows]
    return sorted(plain, key=lambda row: [f"{value:.6e}" if isinstance(value, float) else str(value) for value in row])


def _about(row: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(pytest.approx(value, rel=1e-12) if isinstance(value, float) else value for value in row)


def _plain(kind: str) -> str:
    return kind.removeprefix("LowCardinality(").removeprefix("Nullable(")


def _asset(path: str) -> dict[str, Any]:
    return dict(yaml.safe_load((ASSETS / path).read_text()))


def _chart_id(rest: Rest, name: str) -> int:
    return _id(rest, "chart", _asset(f"charts/{name}.yaml")["uuid"])


def _dataset_id(rest: Rest, name: str) -> int:
    return _id(rest, "dataset", _asset(f"datasets/Tollbook/{name}.yaml")["uuid"])


def _id(rest: Rest, kind: str, uuid: str) -> int:
    return int(rest.get(f"/api/v1/{kind}/{uuid}")["result"]["id"])
