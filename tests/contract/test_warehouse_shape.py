"""Our SQL in the engine that runs it: migrations apply, datasets have the columns they declare, accounts parse."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
DATASETS = {
    path.stem: yaml.safe_load(path.read_text()) for path in sorted((ROOT / "superset/assets/datasets").rglob("*.yaml"))
}


@pytest.fixture(scope="module")
def shape() -> dict[str, Any]:
    command = [sys.executable, str(Path(__file__).with_name("warehouse_shape.py"))]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    found: dict[str, Any] = json.loads(run.stdout)
    return found


@pytest.mark.parametrize("name", DATASETS)
def test_dataset_declares_only_columns_that_its_query_has(name: str, shape: dict[str, Any]) -> None:
    dataset = DATASETS[name]
    has = shape["datasets"][dataset["table_name"]]
    assert {column["column_name"] for column in dataset["columns"]} <= set(has)
    assert dataset["main_dttm_col"] in has


@pytest.mark.parametrize("name", DATASETS)
def test_dataset_measures_are_built_of_its_columns(name: str, shape: dict[str, Any]) -> None:
    has = shape["datasets"][DATASETS[name]["table_name"]]
    for metric in DATASETS[name]["metrics"]:
        words = re.findall(r"(?<!['\w])[a-z_]+\b(?!\()", re.sub(r"'[^']*'", "", metric["expression"]))
        assert set(words) <= set(has), metric["metric_name"]


@pytest.mark.parametrize("name", DATASETS)
def test_a_declared_type_is_that_of_the_column(name: str, shape: dict[str, Any]) -> None:
    has = shape["datasets"][DATASETS[name]["table_name"]]
    for column in DATASETS[name]["columns"]:
        plain = re.sub(r"^(?:LowCardinality|Nullable)\((.*)\)$", r"\1", has[column["column_name"]])
        assert plain.partition("(")[0] == column["type"].partition("(")[0], column["column_name"]


def test_money_is_exact_where_it_is_kept(shape: dict[str, Any]) -> None:
    assert shape["usage"]["cost_usd"] == "Nullable(Decimal(38, 12))"


def test_accounts_of_departments_are_sql_that_clickhouse_reads(shape: dict[str, Any]) -> None:
    assert shape["parsed"] == 6


def test_a_chart_reads_what_has_been_added_up_for_it(shape: dict[str, Any]) -> None:
    assert len(shape["plans"]) == 9
    for chart, plan in shape["plans"].items():
        assert re.search(r"ReadFromMergeTree \(by_(model|user)\)", plan), f"{chart}: {plan}"
