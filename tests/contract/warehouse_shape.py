"""Prints, as JSON, what ClickHouse's engine makes of our SQL: run by test_warehouse_shape.py in a process of its own.

Applies every migration in memory, then describes each dataset of Superset and each table, and parses the accounts' SQL.
"""

import json
from pathlib import Path
from typing import Any

import yaml
from chdb import session

from benchmarks.queries import ROWS, questions
from stream_processors.sink.migrate import split_statements

ROOT = Path(__file__).parents[2]


def main() -> None:
    engine = session.Session()
    engine.query("CREATE DATABASE tollbook")
    engine.query("USE tollbook")
    for path in sorted((ROOT / "clickhouse/migrations").glob("*.sql")):
        for statement in split_statements(path.read_text().replace("{zone}", "UTC")):
            engine.query(statement)
    datasets = [
        yaml.safe_load(path.read_text()) for path in sorted((ROOT / "superset/assets/datasets").rglob("*.yaml"))
    ]
    parsed = split_statements((ROOT / "clickhouse/access/departments.sql").read_text())
    for statement in parsed:
        engine.query(f"EXPLAIN AST {statement}")
    shape = {
        "datasets": {dataset["table_name"]: described(engine, dataset) for dataset in datasets},
        "usage": columns(engine, "DESCRIBE TABLE usage"),
        "parsed": len(parsed),
        "plans": plans(engine),
    }
    Path("/dev/stdout").write_text(json.dumps(shape))


def described(engine: session.Session, dataset: dict[str, Any]) -> dict[str, str]:
    sql = dataset.get("sql")
    return columns(
        engine, f"DESCRIBE TABLE ({sql.replace('{zone}', 'UTC')})" if sql else f"DESCRIBE {dataset['table_name']}"
    )


def columns(engine: session.Session, describe: str) -> dict[str, str]:
    rows = [json.loads(line) for line in str(engine.query(describe, "JSONEachRow")).splitlines()]
    return {row["name"]: row["type"] for row in rows}


def plans(engine: session.Session) -> dict[str, str]:
    """How each chart over a rollup is answered once there are rows, and they have been merged."""
    engine.query(ROWS.format(first=0, count=10_000, days=60))
    for rollup in ("usage_hourly", "usage_daily"):
        engine.query(f"OPTIMIZE TABLE {rollup} FINAL")
    return {
        name: str(engine.query(f"EXPLAIN {question}", "TSVRaw"))
        for name, question in questions()
        if "FROM usage_" in question
    }


if __name__ == "__main__":
    main()
